//! Random kernels: loops of every kind around random expressions of every dtype.
//!
//! Float operands are small multiples of 1/4 and float operations are exact on them, so
//! that results must agree bit for bit in spite of fused multiply-adds and of the free
//! order of reductions.

use crate::support::random::Random;
use crate::support::{EXACT, TARGETS, check};
use cascata_codegen::cpu::compile;
use cascata_ir::kernel::interp::HostBuffer;
use cascata_ir::kernel::{BufferId, Expr, Kernel, KernelBuilder, LocalId, LoopKind, Stmt};
use cascata_ir::op::{BinaryOp, UnaryOp};
use cascata_ir::types::{DType, Dim, SymbolId, SymbolTable};

const DTYPES: [DType; 13] = {
    use DType::*;
    [Bool, I8, U8, I16, U16, I32, U32, I64, U64, F16, BF16, F32, F64]
};
/// Dtypes with more weight: what SIMD code knows.
const LIKELY: [DType; 6] = {
    use DType::*;
    [F32, F32, I32, Bool, F16, U8]
};

/// Makes one kernel.
struct Maker {
    random: Random,
    k: KernelBuilder,
    n: SymbolId,
    m: SymbolId,
    tile: SymbolId,
    /// Loop variables in scope, each below `M`.
    vars: Vec<SymbolId>,
    /// Operands of `N·M + N + M` elements.
    inputs: Vec<(BufferId, DType)>,
    /// Locals in scope that may be read.
    locals: Vec<(LocalId, DType)>,
}

impl Maker {
    fn dtype(&mut self) -> DType {
        if self.random.below(3) == 0 {
            self.random.pick(&DTYPES)
        } else {
            self.random.pick(&LIKELY)
        }
    }

    /// An index into an input, over the tile and the loops around.
    fn index(&mut self) -> Dim {
        let (n, m) = (Dim::sym(self.n), Dim::sym(self.m));
        let tile = Dim::sym(self.tile);
        let Some(last) = self.vars.last() else { return tile };
        let var = if self.random.below(4) == 0 { self.random.pick(&self.vars) } else { *last };
        let j = Dim::sym(var);
        match self.random.below(9) {
            0 => j * n + tile,
            1 => tile * m,
            2 => j,
            3 => m - j - 1,
            4 => tile * m + j.floor_div(&2.into()),
            5 => (j * 3 + tile).modulo(&m),
            6 => {
                let last = m.clone() - tile.modulo(&3.into()) - 1;
                tile * m + j.minimum(&last).maximum(&0.into())
            }
            _ => tile * m + j,
        }
    }

    fn leaf(&mut self, dtype: DType) -> Expr {
        let locals: Vec<LocalId> =
            self.locals.iter().filter(|(_, d)| *d == dtype).map(|(l, _)| *l).collect();
        match self.random.below(6) {
            0 if !locals.is_empty() => Expr::Local(self.random.pick(&locals)),
            1 if dtype == DType::I64 => Expr::index(self.index()),
            2 => {
                let x = self.random.tame(dtype, 1).scalars()[0].to_f64();
                Expr::number(dtype, (x * 4.0).round() / 4.0)
            }
            _ => {
                let of: Vec<BufferId> =
                    self.inputs.iter().filter(|(_, d)| *d == dtype).map(|(b, _)| *b).collect();
                let buffer = match of.is_empty() {
                    true => {
                        let (n, m) = (Dim::sym(self.n), Dim::sym(self.m));
                        let name = format!("x{}", self.inputs.len());
                        let len = n.clone() * m.clone() + n + m + 1;
                        let buffer = self.k.input(&name, dtype, len);
                        self.inputs.push((buffer, dtype));
                        buffer
                    }
                    false => self.random.pick(&of),
                };
                let at = self.index();
                Expr::load(buffer, at)
            }
        }
    }

    fn expr(&mut self, dtype: DType, depth: usize) -> Expr {
        use BinaryOp::*;
        if depth == 0 {
            return self.leaf(dtype);
        }
        let unary: &[UnaryOp] = match dtype {
            DType::Bool => &[UnaryOp::Not],
            d if d.is_float() => &[
                UnaryOp::Neg,
                UnaryOp::Abs,
                UnaryOp::Sign,
                UnaryOp::Floor,
                UnaryOp::Ceil,
                UnaryOp::Round,
                UnaryOp::Trunc,
                UnaryOp::Relu,
            ],
            _ => &[UnaryOp::Neg, UnaryOp::Abs, UnaryOp::Sign, UnaryOp::Relu, UnaryOp::BitNot],
        };
        let binary: &[BinaryOp] = match dtype {
            DType::Bool => &[And, Or, Xor],
            d if d.is_float() => &[Add, Sub, Mul, Add, Max, Min],
            _ => {
                &[Add, Sub, Mul, Add, Div, Mod, Rem, Pow, Max, Min, BitAnd, BitOr, BitXor, Shl, Shr]
            }
        };
        match self.random.below(8) {
            0 => {
                let op = self.random.pick(unary);
                self.expr(dtype, depth - 1).unary(op)
            }
            1 => {
                let cond = self.expr(DType::Bool, depth - 1);
                let (a, b) = (self.expr(dtype, depth - 1), self.expr(dtype, depth - 1));
                cond.select(a, b)
            }
            2 if dtype == DType::Bool => {
                let of = self.dtype();
                let op = self.random.pick(&[Eq, Ne, Lt, Le, Gt, Ge]);
                let (a, b) = (self.expr(of, depth - 1), self.expr(of, depth - 1));
                a.binary(op, b)
            }
            // A cast from an integer could leave the small floats that stay exact.
            2 if !dtype.is_float() || depth == 1 => {
                let of = self.dtype();
                let of = if dtype.is_float() && !of.is_float() { DType::Bool } else { of };
                self.expr(of, depth - 1).cast(dtype)
            }
            3 => self.leaf(dtype),
            _ => {
                let op = self.random.pick(binary);
                let (a, b) = (self.expr(dtype, depth - 1), self.expr(dtype, depth - 1));
                a.binary(op, b)
            }
        }
    }

    /// A reduction that is exact in any order.
    fn reduction(&mut self, dtype: DType) -> BinaryOp {
        match dtype {
            DType::Bool => self.random.pick(&[BinaryOp::And, BinaryOp::Or]),
            d if d.is_float() => self.random.pick(&[BinaryOp::Add, BinaryOp::Max, BinaryOp::Min]),
            _ => self.random.pick(&[BinaryOp::Add, BinaryOp::Mul, BinaryOp::Max]),
        }
    }

    fn value(&mut self, dtype: DType) -> Expr {
        let depth = self.random.below(3);
        self.expr(dtype, depth)
    }

    fn declare(&mut self, body: &mut Vec<Stmt>, name: &str) -> (LocalId, DType) {
        let dtype = self.dtype();
        let local = self.k.local(name, dtype);
        let value = self.value(dtype);
        body.push(Stmt::declare(local, value));
        (local, dtype)
    }

    /// A loop that reduces into locals, stores rows and may hold another loop.
    fn row_loop(&mut self, accumulators: &[(LocalId, DType)], index: usize) -> Stmt {
        let j = self.k.var("j", 0, 23);
        self.vars.push(j);
        let outer = self.locals.len();
        let mut body = Vec::new();
        if self.random.below(2) == 0 {
            let local = self.declare(&mut body, "inner");
            self.locals.push(local);
            if self.random.below(3) == 0 {
                let value = self.value(local.1);
                body.push(Stmt::assign(local.0, value));
            }
        }
        if self.random.below(3) == 0 {
            let inner = self.inner_loop(&mut body);
            self.locals.push(inner);
        }
        for (local, dtype) in accumulators {
            let (op, value) = (self.reduction(*dtype), self.value(*dtype));
            body.push(Stmt::reduce(*local, op, value));
        }
        if self.random.below(4) > 0 {
            let store = self.store_row(j, index);
            match self.random.below(5) {
                0 => body.push(self.branched(store)),
                _ => body.push(store),
            }
        }
        self.locals.truncate(outer);
        self.vars.pop();
        let kind = if self.random.below(4) == 0 { LoopKind::Serial } else { LoopKind::Vector };
        Stmt::loop_of(kind, j, self.m, body)
    }

    /// A store in both arms, or in one and a default in the other.
    fn branched(&mut self, store: Stmt) -> Stmt {
        let cond = self.value(DType::Bool);
        let Stmt::Store { buffer, at, value } = store.clone() else { return store };
        let other = Expr::bool(true).select(value.clone(), value);
        Stmt::branch(cond, vec![store], vec![Stmt::store(buffer, at, other)])
    }

    /// A local that an inner loop reduces into.
    fn inner_loop(&mut self, body: &mut Vec<Stmt>) -> (LocalId, DType) {
        let (local, dtype) = self.declare(body, "folded");
        let k = self.k.var("k", 0, 23);
        self.vars.push(k);
        let (op, value) = (self.reduction(dtype), self.value(dtype));
        self.vars.pop();
        let m = Dim::sym(self.m);
        let extent = if self.random.below(2) == 0 { m.minimum(&3.into()) } else { m };
        let kind = if self.random.below(3) == 0 { LoopKind::Vector } else { LoopKind::Serial };
        body.push(Stmt::loop_of(kind, k, extent, vec![Stmt::reduce(local, op, value)]));
        (local, dtype)
    }

    fn store_row(&mut self, j: SymbolId, index: usize) -> Stmt {
        let dtype = self.dtype();
        let (n, m) = (Dim::sym(self.n), Dim::sym(self.m));
        let y = self.k.output(&format!("y{index}"), dtype, n.clone() * m.clone());
        let (tile, j) = (Dim::sym(self.tile), Dim::sym(j));
        let at = match self.random.below(4) {
            0 => j * n + tile,
            1 => tile * m.clone() + (m - j - 1),
            _ => tile * m + j,
        };
        let value = self.value(dtype);
        Stmt::store(y, at, value)
    }
}

fn random_kernel(seed: u64) -> Kernel {
    let mut symbols = SymbolTable::default();
    let (n, m) = (symbols.intern("N"), symbols.intern("M"));
    symbols.get_mut(n).max = 8;
    (symbols.get_mut(m).min, symbols.get_mut(m).max) = (1, 24);
    let mut k = KernelBuilder::new(&format!("random{seed}"), symbols);
    let tile = k.var("t", 0, 7);
    let mut maker = Maker {
        random: Random(seed),
        k,
        n,
        m,
        tile,
        vars: Vec::new(),
        inputs: Vec::new(),
        locals: Vec::new(),
    };
    let mut body = Vec::new();
    for index in 0..1 + maker.random.below(2) {
        let accumulators: Vec<_> =
            (0..maker.random.below(3)).map(|_| maker.declare(&mut body, "sum")).collect();
        let row = maker.row_loop(&accumulators, index);
        body.push(row);
        maker.locals.extend(accumulators);
    }
    for (i, (local, dtype)) in maker.locals.clone().into_iter().enumerate() {
        let y = maker.k.output(&format!("s{i}"), dtype, Dim::sym(n));
        body.push(Stmt::store(y, Dim::sym(tile), Expr::Local(local)));
    }
    maker.k.finish(n, tile, body)
}

/// Buffers are declared in the order of use, but launch buffers may come in any order.
fn fill(random: &mut Random, dtype: DType, len: usize) -> HostBuffer {
    if !dtype.is_float() {
        return random.wild(dtype, len);
    }
    let values: Vec<f64> = (0..len).map(|_| random.below(17) as f64 / 4.0 - 2.0).collect();
    HostBuffer::rounded(dtype, &values)
}

#[test]
fn random_kernels() {
    let count = std::env::var("FUZZ").ok().and_then(|x| x.parse().ok()).unwrap_or(600);
    let first = std::env::var("SEED").ok().and_then(|x| x.parse().ok()).unwrap_or(0);
    let mut all_simd = 0;
    for seed in first..first + count {
        let kernel = random_kernel(seed);
        let compiled = compile(&kernel, &TARGETS[0]).expect("machine code");
        all_simd += u64::from(compiled.notes.is_empty());
        let mut random = Random(seed ^ 0xfeed);
        for params in [[2, 1], [1, 4], [3, 7], [5, 17], [8, 24], [0, 5]] {
            check(&kernel, &params, &mut |_, dtype, len| fill(&mut random, dtype, len), EXACT);
        }
    }
    assert!(all_simd * 3 >= count, "only {all_simd} of {count} without scalar vector loops");
}
