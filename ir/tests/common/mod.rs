//! Random graphs and hostile ops from a seed.
#![allow(dead_code, reason = "each test binary uses a part")]

use cascata_ir::graph::{Graph, RegionId, ValueId};
use cascata_ir::op::*;
use cascata_ir::types::*;

mod hostile;

pub use hostile::hostile_op;

/// SplitMix64: the seed is the whole state, so a failure prints as one number.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
    pub fn flag(&mut self) -> bool {
        self.next() & 1 == 1
    }
    pub fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }
}

/// A graph under construction and what is visible where it grows.
pub struct Gen {
    pub rng: Rng,
    pub graph: Graph,
    pub visible: Vec<ValueId>,
    pub symbols: Vec<SymbolId>,
}

/// A graph that verifies, with `steps` attempts to add a node.
pub fn random_graph(seed: u64, steps: usize) -> Graph {
    let mut g = Gen {
        rng: Rng(seed),
        graph: Graph::new("random \"graph\""),
        visible: vec![],
        symbols: vec![],
    };
    for (name, max) in [("B", 64), ("seq.len", 1024), ("n#0", 7)] {
        let id = g.graph.symbols.intern(name);
        (g.graph.symbols.get_mut(id).min, g.graph.symbols.get_mut(id).max) = (1, max);
        g.symbols.push(id);
    }
    for i in 0..4 {
        let (dtype, rank) =
            (g.rng.pick(&[DType::F32, DType::F32, DType::F16, DType::I64]), g.rng.below(4));
        let shape: Shape = (0..rank).map(|_| g.dim()).collect();
        let v = g.graph.add_param(Graph::ROOT, format!("in {i}"), TensorType::dense(dtype, shape));
        g.visible.push(v);
    }
    g.fill_region(Graph::ROOT, steps, 0);
    for i in 0..1 + g.rng.below(3) {
        let v = g.rng.pick(&g.visible.clone());
        g.graph.add_output(format!("out\t{i}"), v);
    }
    g.graph
}

impl Gen {
    pub fn dim(&mut self) -> Dim {
        let s = Dim::sym(self.rng.pick(&self.symbols.clone()));
        match self.rng.below(8) {
            0 => s,
            1 => s * 2 + 1,
            2 => (s + 1).floor_div(&2.into()),
            3 => 1.into(),
            _ => Dim::from(self.rng.pick(&[2, 3, 5, 7, 12])),
        }
    }

    fn fill_region(&mut self, region: RegionId, steps: usize, depth: usize) {
        for _ in 0..steps {
            match self.rng.below(12) {
                0 if depth < 3 => self.control(region, depth),
                1 => self.constant(region),
                _ => self.node(region),
            }
        }
    }

    /// A constant, small or large.
    fn constant(&mut self, region: RegionId) {
        let dtype = self.rng.pick(&DType::ALL[..13]);
        let dims: Vec<i64> = (0..self.rng.below(3)).map(|_| self.rng.below(7) as i64).collect();
        let ty = TensorType::fixed(dtype, &dims);
        let uniform = self.rng.below(3) == 0;
        let byte = |rng: &mut Rng| {
            if dtype == DType::Bool { rng.next() as u8 & 1 } else { rng.next() as u8 }
        };
        let first = byte(&mut self.rng);
        let len = ty.stored_bytes().expect("a dense type") as usize;
        let data: Vec<u8> =
            (0..len).map(|_| if uniform { first } else { byte(&mut self.rng) }).collect();
        let v = self.graph.add_const(region, format!("c{len}"), ty, data.into());
        self.visible.push(v);
    }

    /// An op that may fit; what inference refuses is dropped.
    fn node(&mut self, region: RegionId) {
        let (op, arity) = if self.rng.below(3) == 0 {
            self.likely_op()
        } else {
            let op = hostile_op(&mut self.rng, &self.symbols);
            // Regions and symbols that a hostile op names are not its own.
            if !op.regions().is_empty() || !op.binds().is_empty() {
                return;
            }
            (op, 1 + self.rng.below(3))
        };
        let inputs: Vec<ValueId> =
            (0..arity).map(|_| self.rng.pick(&self.visible.clone())).collect();
        self.try_add(region, op, inputs);
    }

    fn try_add(&mut self, region: RegionId, op: Op, inputs: Vec<ValueId>) {
        let source = self.rng.pick(&["", "node/a", "b \"quoted\"\n"]);
        if let Ok(results) = self.graph.add(region, op, inputs, source) {
            for v in results {
                if self.rng.flag() {
                    self.graph.values[v].name = format!("v {v}");
                }
                self.visible.push(v);
            }
        }
    }

    fn likely_op(&mut self) -> (Op, usize) {
        let rank = 1 + self.rng.below(3);
        match self.rng.below(10) {
            0 => (Op::Binary(self.rng.pick(BinaryOp::ALL)), 2),
            1 => (Op::Unary(self.rng.pick(UnaryOp::ALL)), 1),
            2 => (Op::Transpose { perm: (0..rank).rev().collect() }, 1),
            3 => (
                Op::Reduce {
                    op: ReduceOp::Sum,
                    axes: vec![self.rng.below(rank)],
                    keep_dims: self.rng.flag(),
                },
                1,
            ),
            4 => (Op::Softmax { axis: self.rng.below(rank) }, 1),
            5 => (Op::MatMul, 2),
            6 => (Op::Concat { axis: self.rng.below(rank) }, 1 + self.rng.below(3)),
            7 => (Op::Gather { axis: self.rng.below(rank) }, 2),
            8 => (Op::NonZero { count: self.graph.symbols.fresh("nz", 0, 4096) }, 1),
            _ => (Op::Cast { to: self.rng.pick(&DType::ALL[..13]) }, 1),
        }
    }

    /// An If, Loop or Group whose regions capture what is visible.
    fn control(&mut self, region: RegionId, depth: usize) {
        let bool_ty = TensorType::fixed(DType::Bool, &[]);
        let cond = self.graph.add_const(region, "cond", bool_ty, vec![1].into());
        let carried = self.rng.pick(&self.visible.clone());
        let outside = self.visible.len();
        let kind = self.rng.below(3);
        let body = self.graph.add_region();
        let (mut params, mut inputs) = (vec![], vec![carried]);
        if kind == 0 {
            inputs = vec![cond];
        } else if kind == 1 {
            let trip_ty = TensorType::fixed(DType::I64, &[]);
            inputs.insert(0, cond);
            inputs.insert(
                0,
                self.graph.add_const(region, "trips", trip_ty, vec![3, 0, 0, 0, 0, 0, 0, 0].into()),
            );
        }
        for &v in if kind == 0 { &[] } else { inputs.as_slice() } {
            let ty = self.graph.ty(v).clone();
            params.push(self.graph.add_param(body, "", ty));
        }
        self.visible.extend(&params);
        self.fill_region(body, 4, depth + 1);
        let inner = self.rng.pick(&self.visible.clone());
        let results = match kind {
            0 => vec![carried],
            1 => vec![params[1], params[2], inner],
            _ => vec![params[0]],
        };
        self.visible.truncate(outside);
        let op = match kind {
            0 => {
                let other = self.graph.add_region();
                self.graph.regions[other].results = vec![carried];
                Op::If { then_region: body, else_region: other, dims: vec![] }
            }
            1 => {
                let count = self.graph.symbols.fresh("trips", 0, 64);
                Op::Loop { body, carried: 1, count, dims: vec![] }
            }
            _ => Op::Group { kind: GroupKind::Map, body },
        };
        self.graph.regions[body].results = results;
        // A stacked shape of symbols that are bound inside has no meaning outside.
        let escapes = self.graph.ty(inner).as_tensor().is_some_and(|t| {
            let symbols = t.shape.iter().flat_map(Dim::symbols);
            symbols.into_iter().any(|s| self.graph.symbols.get(s).is_some_and(|s| s.data_dependent))
        });
        if !(kind == 1 && escapes) {
            self.try_add(region, op, inputs);
        }
    }
}
