//! What is known about a small tensor's elements while a model is imported.
//!
//! Shape arithmetic in ONNX runs on ordinary integer (sometimes float) tensors. A
//! [`Facts`] gives such a tensor's elements as expressions over the graph's symbols,
//! so that `Reshape`, `Slice`, `Range` and the like get static dims. Floats are kept as
//! exact ratios with a power of two below the line; numbers that are not exactly
//! representable that way are simply not known.

use super::complexity::{is_simple, is_simple_shape};
use super::tensor::Tensor;
use cascata_ir::types::{DType, Dim, Scalar, SymbolId, SymbolTable, TensorType};

/// Tensors with more elements carry no facts.
pub const MAX_ELEMENTS: usize = 4096;

/// Largest denominator and largest odd part kept; beyond it f32 would round.
const MAX_EXACT: i64 = 1 << 24;

/// What is known about one element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Elem {
    /// Exactly `num / den`; `den` is a positive power of two, 1 for integers and bools.
    Exact {
        /// Above the line.
        num: Dim,
        /// Below the line.
        den: i64,
    },
    /// Not known; when it depends on dims alone, these symbols would decide it.
    Unknown(Vec<SymbolId>),
}

/// What is known about a tensor with a static shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Element type.
    pub dtype: DType,
    /// Dims.
    pub dims: Vec<i64>,
    /// Elements, row-major.
    pub elems: Vec<Elem>,
}

impl Elem {
    /// An integer expression.
    pub fn int(num: impl Into<Dim>) -> Elem {
        Elem::Exact { num: num.into(), den: 1 }
    }

    /// A bool.
    pub fn bool(x: bool) -> Elem {
        Elem::int(x as i64)
    }

    /// Nothing known, not even what it depends on.
    pub fn unknown() -> Elem {
        Elem::Unknown(Vec::new())
    }

    /// `num / den` in lowest terms as far as constants allow.
    pub fn ratio(num: Dim, den: i64) -> Elem {
        let mut den = den;
        let mut num = num;
        while den > 1 {
            match num.exact_div(&Dim::from(2)) {
                Some(half) => (num, den) = (half, den / 2),
                None => break,
            }
        }
        if den > MAX_EXACT { Elem::Unknown(num.symbols()) } else { Elem::Exact { num, den } }
    }

    /// A float constant, if it is exact in this form.
    pub fn float(x: f64) -> Elem {
        // −0 would come back as +0.
        if !x.is_finite() || (x == 0.0 && x.is_sign_negative()) {
            return Elem::unknown();
        }
        let (mut x, mut den) = (x, 1i64);
        while x.fract() != 0.0 && den < MAX_EXACT {
            (x, den) = (x * 2.0, den * 2);
        }
        if x.fract() != 0.0 || x.abs() > (1i64 << 53) as f64 {
            return Elem::unknown();
        }
        Elem::Exact { num: Dim::from(x as i64), den }
    }

    /// The integer expression, if it is one.
    pub fn as_dim(&self) -> Option<&Dim> {
        match self {
            Elem::Exact { num, den: 1 } => Some(num),
            _ => None,
        }
    }

    /// The integer, if it is a known one.
    pub fn as_int(&self) -> Option<i64> {
        self.as_dim()?.as_const()
    }

    /// The number, if it is a known one.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Elem::Exact { num, den } => Some(num.as_const()? as f64 / *den as f64),
            Elem::Unknown(_) => None,
        }
    }

    /// The symbols that it depends on.
    pub fn symbols(&self) -> Vec<SymbolId> {
        match self {
            Elem::Exact { num, .. } => num.symbols(),
            Elem::Unknown(symbols) => symbols.clone(),
        }
    }

    /// Unknown, but decided by what `parts` depend on. One part that depends on
    /// something else makes the whole so.
    pub fn depends(parts: &[&Elem]) -> Elem {
        let lost = |e: &&Elem| matches!(e, Elem::Unknown(symbols) if symbols.is_empty());
        if parts.iter().any(lost) {
            return Elem::unknown();
        }
        let mut symbols: Vec<SymbolId> = parts.iter().flat_map(|e| e.symbols()).collect();
        symbols.sort_unstable();
        symbols.dedup();
        Elem::Unknown(symbols)
    }
}

impl Facts {
    /// A rank-0 fact.
    pub fn scalar(dtype: DType, elem: Elem) -> Facts {
        Facts { dtype, dims: vec![], elems: vec![elem] }
    }

    /// A vector of `i64` expressions.
    pub fn vector(dims: impl IntoIterator<Item = Dim>) -> Facts {
        let elems: Vec<Elem> = dims.into_iter().map(Elem::int).collect();
        Facts { dtype: DType::I64, dims: vec![elems.len() as i64], elems }
    }

    /// The facts of a constant; `None` when it is too large or nothing in it is exact.
    pub fn of_tensor(tensor: &Tensor) -> Option<Facts> {
        let width = tensor.dtype.size_bytes()?;
        let count = tensor.data.len() / width;
        if count > MAX_ELEMENTS {
            return None;
        }
        let elems: Vec<Elem> =
            tensor.data.chunks_exact(width).map(|bytes| constant(tensor.dtype, bytes)).collect();
        let blank = |e: &Elem| matches!(e, Elem::Unknown(_));
        if count > 0 && elems.iter().all(blank) {
            return None;
        }
        Some(Facts { dtype: tensor.dtype, dims: tensor.dims.clone(), elems })
    }

    /// Its type.
    pub fn ty(&self) -> TensorType {
        TensorType::fixed(self.dtype, &self.dims)
    }

    /// Whether every element is known.
    pub fn is_complete(&self) -> bool {
        self.elems.iter().all(|e| matches!(e, Elem::Exact { .. }))
    }

    /// Forgets numbers that the dtype does not hold exactly (there tensors wrap or round)
    /// and expressions that have grown out of bounds.
    pub fn forget_inexact(&mut self) {
        let lost = |e: &Elem| match e {
            Elem::Exact { num, .. } => {
                !is_simple(num) || (e.as_f64().is_some() && self.number(e).is_none())
            }
            Elem::Unknown(_) => false,
        };
        let lost: Vec<usize> = (0..self.elems.len()).filter(|&i| lost(&self.elems[i])).collect();
        for i in lost {
            self.elems[i] = Elem::unknown();
        }
    }

    /// All elements as integer expressions, if they are.
    pub fn as_dims(&self) -> Option<Vec<Dim>> {
        self.elems.iter().map(|e| e.as_dim().cloned()).collect()
    }

    /// All elements as integers, if they are.
    pub fn as_ints(&self) -> Option<Vec<i64>> {
        self.elems.iter().map(Elem::as_int).collect()
    }

    /// The tensor, if every element is a number that its dtype holds exactly.
    pub fn to_tensor(&self) -> Option<Tensor> {
        let width = self.dtype.size_bytes()?;
        let mut data = Vec::with_capacity(self.elems.len() * width);
        for elem in &self.elems {
            let scalar = self.number(elem)?;
            data.extend_from_slice(&scalar.bits.to_le_bytes()[..width]);
        }
        Some(Tensor { dtype: self.dtype, narrow: None, dims: self.dims.clone(), data: data.into() })
    }

    fn number(&self, elem: &Elem) -> Option<Scalar> {
        if !self.dtype.is_float() {
            let x = elem.as_int()?;
            let scalar = Scalar::from_i64(self.dtype, x);
            return (scalar.to_i64() == x).then_some(scalar);
        }
        let x = elem.as_f64()?;
        let scalar = Scalar::from_f64(self.dtype, x);
        (scalar.to_f64() == x).then_some(scalar)
    }
}

fn constant(dtype: DType, bytes: &[u8]) -> Elem {
    let mut wide = [0u8; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    let scalar = Scalar { dtype, bits: u64::from_le_bytes(wide) };
    match dtype {
        d if d.is_float() => Elem::float(scalar.to_f64()),
        DType::U64 if scalar.bits > i64::MAX as u64 => Elem::unknown(),
        // Dims saturate at ±i64::MAX.
        _ if scalar.to_i64() == i64::MIN => Elem::unknown(),
        _ => Elem::int(scalar.to_i64()),
    }
}

/// Whether `a ≥ b` for every allowed binding (`Some(true)`), for none, or undecided.
pub fn at_least(a: &Dim, b: &Dim, symbols: &SymbolTable) -> Option<bool> {
    let (low, high) = difference_bounds(a, b, symbols);
    match (low >= 0, high < 0) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    }
}

/// Bounds of `a − b`. Numbers at the ends of `i64` (`INT64_MAX` as "to the end") would
/// saturate in a subtraction of dims, so intervals are subtracted too.
fn difference_bounds(a: &Dim, b: &Dim, symbols: &SymbolTable) -> (i64, i64) {
    let (a_low, a_high) = a.bounds(symbols);
    let (b_low, b_high) = b.bounds(symbols);
    let loose = (a_low.saturating_sub(b_high), a_high.saturating_sub(b_low));
    let far = |x: i64| x.unsigned_abs() > 1 << 62;
    if [a_low, a_high, b_low, b_high].into_iter().any(far) {
        return loose;
    }
    let tight = (a.clone() - b.clone()).bounds(symbols);
    (loose.0.max(tight.0), loose.1.min(tight.1))
}

/// The larger of two dims, decided by bounds where possible.
pub fn maximum(a: &Dim, b: &Dim, symbols: &SymbolTable) -> Dim {
    match (at_least(a, b, symbols), at_least(b, a, symbols)) {
        (Some(true), _) => a.clone(),
        (_, Some(true)) => b.clone(),
        _ => a.maximum(b),
    }
}

/// The smaller of two dims, decided by bounds where possible.
pub fn minimum(a: &Dim, b: &Dim, symbols: &SymbolTable) -> Dim {
    match (at_least(a, b, symbols), at_least(b, a, symbols)) {
        (Some(true), _) => b.clone(),
        (_, Some(true)) => a.clone(),
        _ => a.minimum(b),
    }
}

/// `a / b` rounded toward zero; `None` where `b` may be zero or negative.
pub fn truncating_div(a: &Dim, b: &Dim, symbols: &SymbolTable) -> Option<Dim> {
    if !b.at_least(1, symbols) {
        return match (a.as_const(), b.as_const()) {
            (Some(a), Some(b)) => a.checked_div(b).map(Dim::from),
            _ => None,
        };
    }
    let zero = Dim::from(0);
    let up = |x: &Dim| maximum(&zero, &x.floor_div(b), symbols);
    Some(match at_least(a, &zero, symbols) {
        Some(true) => a.floor_div(b),
        Some(false) => -(-a.clone()).floor_div(b),
        // One of the two terms is zero.
        None => up(a) - up(&-a.clone()),
    })
}

/// Quotient of two products of dims when it is exact: equal factors cancel, the rest
/// must divide as polynomials.
pub fn divide_products(above: &[Dim], below: &[Dim]) -> Option<Dim> {
    if !is_simple_shape(above) || !is_simple_shape(below) {
        return None;
    }
    let mut above = above.to_vec();
    let mut rest = Dim::from(1);
    for factor in below {
        match above.iter().position(|d| d == factor) {
            Some(i) => drop(above.remove(i)),
            None => rest = rest * factor.clone(),
        }
    }
    let product = above.iter().cloned().fold(Dim::from(1), |p, d| p * d);
    if rest.is(1) { Some(product) } else { product.exact_div(&rest) }
}
