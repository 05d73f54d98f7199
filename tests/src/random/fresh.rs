//! New operands: inputs, constants and filled tensors with data in a domain.

use super::build::Builder;
use super::rng::Rng;
use super::witness::Witness;
use bytes::Bytes;
use cascata_ir::graph::{Graph, ValueId};
use cascata_ir::interp::Tensor;
use cascata_ir::op::Op;
use cascata_types::{DType, Dim, Scalar, Shape, TensorType};

/// Which numbers an operand may hold.
#[derive(Clone, Copy, Debug)]
pub(super) enum Domain {
    /// Floats in ±2; small integers, now and then extreme ones; any bool.
    Any,
    /// Floats in 0.25..2.25; integers in 1..=5.
    Positive,
    /// Integers in `low..=high`.
    Index(i64, i64),
}

/// Sizes of dims: 1, primes, and neighbours of vector and tile widths.
const SIZES: [i64; 14] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 17, 33];

/// Element types, the commoner more often.
const DTYPES: [DType; 24] = {
    use DType::*;
    [
        F32, F32, F32, F32, F32, F32, F32, F32, F32, F32, F64, F64, I64, I64, I32, I32, Bool, U8,
        I8, F16, BF16, I16, U16, U32,
    ]
};

impl Builder {
    pub fn any_dtype(&mut self) -> DType {
        match self.rng.below(60) {
            0 => DType::U64,
            _ => self.rng.pick(&DTYPES),
        }
    }

    /// A shape of distinct sizes (1 apart), with symbols among them.
    pub fn any_shape(&mut self, rank: usize) -> Shape {
        let mut sizes = SIZES;
        // Large shapes get small dims.
        let choice = if rank > 3 { 8 } else { sizes.len() };
        self.rng.shuffle(&mut sizes[..choice]);
        let mut shape: Shape = sizes[..rank].iter().map(|d| Dim::from(*d)).collect();
        for dim in &mut shape {
            match self.rng.below(12) {
                0 => *dim = 1.into(),
                1..4 if !self.symbols.is_empty() => *dim = Dim::sym(self.rng.pick(&self.symbols)),
                _ => {}
            }
        }
        if rank > 0 && self.rng.one_in(60) {
            let axis = self.rng.below(rank);
            shape[axis] = 0.into();
        }
        shape
    }

    /// An input, a constant or a filled tensor.
    pub fn fresh(&mut self, dtype: DType, shape: Shape, domain: Domain) -> ValueId {
        let fixed = shape.iter().all(|d| d.as_const().is_some());
        match self.rng.below(8) {
            0..3 if fixed => self.constant(dtype, &shape, domain),
            3 => self.filled(dtype, shape, domain),
            _ => self.input(dtype, shape, domain),
        }
    }

    /// A new graph input with data for each binding.
    pub fn input(&mut self, dtype: DType, shape: Shape, domain: Domain) -> ValueId {
        let sizes: Vec<Vec<usize>> = (0..self.bindings.len())
            .map(|i| shape.iter().map(|d| self.eval(d, i).unwrap_or(0).max(0) as usize).collect())
            .collect();
        let name = format!("x{}", self.graph.inputs().len());
        let v = self.graph.add_param(Graph::ROOT, name, TensorType::dense(dtype, shape));
        let data =
            sizes.iter().map(|dims| Witness::exact(data(&mut self.rng, dtype, dims, domain)));
        let data = data.collect();
        self.register(v, data)
    }

    /// A new constant.
    pub fn constant(&mut self, dtype: DType, shape: &[Dim], domain: Domain) -> ValueId {
        let dims: Vec<usize> =
            shape.iter().map(|d| d.as_const().unwrap_or(0).max(0) as usize).collect();
        let tensor = data(&mut self.rng, dtype, &dims, domain);
        let bytes = Bytes::from(tensor.to_le_bytes());
        let name = format!("c{}", self.graph.consts.len());
        let ty = TensorType::dense(dtype, shape.to_vec());
        let v = self.graph.add_const(Graph::ROOT, name, ty, bytes);
        let witness = Witness::exact(tensor);
        self.register(v, vec![witness; self.bindings.len()])
    }

    fn filled(&mut self, dtype: DType, shape: Shape, domain: Domain) -> ValueId {
        let one = data(&mut self.rng, dtype, &[], domain);
        let x = one.to_f64().map_or(1.0, |x| x[0]);
        let op = Op::Fill { value: Scalar::from_f64(dtype, x), shape: shape.clone() };
        self.add(op, &[]).unwrap_or_else(|| self.input(dtype, shape, domain))
    }

    fn register(&mut self, v: ValueId, witnesses: Vec<Witness>) -> ValueId {
        self.witnesses.insert(v, witnesses);
        self.pool.push(v);
        v
    }

    /// An operand that broadcasts with `shape`, from the pool if one is found.
    pub fn partner(&mut self, dtype: DType, shape: &[Dim], domain: Domain) -> ValueId {
        let compatible = |b: &Self, v: ValueId| {
            let other = b.shape(v);
            let dims = shape.iter().rev().zip(other.iter().rev());
            b.dtype(v) == dtype && dims.into_iter().all(|(a, b)| a == b || a.is(1) || b.is(1))
        };
        let free = matches!(domain, Domain::Any);
        if free
            && self.rng.below(5) > 1
            && let Some(v) = self.find(compatible)
        {
            return v;
        }
        let mut other: Shape = shape.to_vec();
        for dim in &mut other {
            if self.rng.one_in(3) {
                *dim = 1.into();
            } else if dim.is(1) && self.rng.one_in(3) {
                *dim = self.rng.pick(&SIZES[1..6]).into();
            }
        }
        if self.rng.one_in(3) {
            let cut = self.rng.below(other.len() + 1);
            other.drain(..cut);
        } else if self.rng.one_in(6) && other.len() < 5 {
            other.insert(0, self.rng.pick(&SIZES[..3]).into());
        }
        self.fresh(dtype, other, domain)
    }

    /// `v` if it has this rank at least, else a view of it that has.
    pub fn at_least_rank(&mut self, v: ValueId, rank: usize) -> Option<ValueId> {
        let mut shape = self.shape(v);
        if shape.len() >= rank {
            return Some(v);
        }
        while shape.len() < rank {
            let at = self.rng.below(shape.len() + 1);
            shape.insert(at, 1.into());
        }
        self.add(Op::Reshape { shape }, &[v])
    }

    /// A float value of this rank: from the pool or new.
    pub fn float_of_rank(&mut self, rank: usize, dtype: DType) -> ValueId {
        let found = self.find(|b, v| b.rank(v) == rank && b.dtype(v) == dtype);
        found.unwrap_or_else(|| {
            let shape = self.any_shape(rank);
            self.input(dtype, shape, Domain::Any)
        })
    }
}

/// Random elements.
fn data(rng: &mut Rng, dtype: DType, dims: &[usize], domain: Domain) -> Tensor {
    let n = dims.iter().product();
    let wild = matches!(domain, Domain::Any) && dtype.is_int() && rng.one_in(4);
    let made = if wild {
        let size = dtype.size_bytes().unwrap_or(1);
        let bytes: Vec<u8> = (0..n * size).map(|_| rng.bits() as u8).collect();
        Tensor::from_le_bytes(dtype, dims, &bytes)
    } else {
        let values = (0..n).map(|_| number(rng, dtype, domain)).collect();
        Tensor::from_f64(dtype, dims, values)
    };
    made.expect("data of these dims")
}

fn number(rng: &mut Rng, dtype: DType, domain: Domain) -> f64 {
    match domain {
        Domain::Index(low, high) => rng.range(low, high) as f64,
        _ if dtype == DType::Bool => rng.below(2) as f64,
        Domain::Positive if dtype.is_float() => 0.25 + 2.0 * rng.unit(),
        Domain::Positive => rng.range(1, 5) as f64,
        Domain::Any if dtype.is_float() => 4.0 * rng.unit() - 2.0,
        Domain::Any if dtype.is_unsigned_int() => rng.below(12) as f64,
        Domain::Any => rng.range(-9, 9) as f64,
    }
}
