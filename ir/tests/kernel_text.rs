//! The kernel text form: generated kernels read back equal, hostile text is refused.

use cascata_ir::kernel::interp::{HostBuffer, run};
use cascata_ir::kernel::{
    BufferId, DwConv, Expr, Gemm, Kernel, KernelBuilder, LocalId, LoopKind, PackB, Place,
    RowReduce, Rows, Scales, Space, Stmt, parse_kernel, parse_kernels, print_kernels, verify,
};
use cascata_ir::op::{BinaryOp, UnaryOp};
use cascata_ir::types::{DType, Dim, Entity as _, Scalar, SymbolId, SymbolTable};
use proptest::prelude::*;

/// Makes choices from a string of bytes, so that proptest can shrink them.
struct Choices<'a> {
    bytes: std::slice::Iter<'a, u8>,
    symbols: Vec<SymbolId>,
    buffers: Vec<BufferId>,
    locals: Vec<LocalId>,
}

const NAMES: &[&str] = &[
    "x",
    "x",
    "y.1",
    "",
    "for",
    "inf_f32",
    "a b",
    "3d",
    "max",
    "\"q\"\n\\",
    "größe",
    "x_1",
    "m0",
    "index",
    "f32",
    "\u{7}",
    "s_",
    "add",
];

impl Choices<'_> {
    /// 0 when the bytes are used up, which ends every recursion.
    fn below(&mut self, n: usize) -> usize {
        self.bytes.next().map_or(0, |b| *b as usize % n)
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// One of the first `over` symbols.
    fn symbol(&mut self, over: usize) -> SymbolId {
        let at = self.below(over);
        self.symbols[at]
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    fn number(&mut self) -> i64 {
        let small = self.below(256) as i64 - 100;
        match self.below(8) {
            6 => self.of(&[i64::MIN, i64::MAX, i64::MAX / 2, 1 << 62]),
            7 => small * 1_000_003,
            _ => small,
        }
    }

    fn dim(&mut self, depth: usize, over: usize) -> Dim {
        let leaf = depth == 0 || over == 0;
        match self.below(if leaf { 2 } else { 10 }) {
            0 => self.number().into(),
            1 if over == 0 => self.of(&[i64::MIN, i64::MAX, 0]).into(),
            1 | 2 => Dim::sym(self.symbol(over)),
            3 => self.dim(depth - 1, over) + self.dim(depth - 1, over),
            4 => self.dim(depth - 1, over) * self.dim(depth - 1, over),
            5 => self.dim(depth - 1, over).floor_div(&self.divisor(over)),
            6 => self.dim(depth - 1, over).modulo(&self.divisor(over)),
            7 => self.dim(depth - 1, over).maximum(&self.dim(depth - 1, over)),
            8 => self.dim(depth - 1, over).minimum(&self.dim(depth - 1, over)),
            _ => {
                let (a, b) = (self.dim(depth - 1, over), self.dim(depth - 1, over));
                a.broadcast(&b).unwrap_or(a)
            }
        }
    }

    fn divisor(&mut self, over: usize) -> Dim {
        match self.below(3) {
            0 => Dim::sym(self.symbol(over)),
            1 => Dim::sym(self.symbol(over)) + 1,
            _ => Dim::from(1 + self.below(20) as i64),
        }
    }

    fn any_dim(&mut self) -> Dim {
        self.dim(3, self.symbols.len())
    }

    fn place(&mut self) -> Place {
        let at = self.below(self.buffers.len());
        let buffer = self.buffers[at];
        Place { buffer, at: self.any_dim() }
    }

    fn local(&mut self) -> LocalId {
        let at = self.below(self.locals.len());
        self.locals[at]
    }

    fn scalar(&mut self) -> Scalar {
        let dtype = self.of(&DType::ALL);
        if self.flag() {
            return Scalar::from_f64(dtype, self.number() as f64 / 7.0);
        }
        let special = [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-40, 1e300];
        match self.below(3) {
            0 => Scalar::from_f64(dtype, self.of(&special)),
            1 => Scalar::from_i64(dtype, self.of(&[i64::MIN, i64::MAX, -1])),
            _ => Scalar { dtype, bits: self.of(&[0x7fc0_0001, 2, u64::MAX, 1 << 63]) },
        }
    }

    fn clamp(&mut self) -> (Scalar, Scalar) {
        match self.flag() {
            true => (Scalar::f32(f32::NEG_INFINITY), Scalar::f32(f32::INFINITY)),
            false => (self.scalar(), self.scalar()),
        }
    }

    fn expr(&mut self, depth: usize) -> Expr {
        match self.below(if depth == 0 { 4 } else { 8 }) {
            0 => self.scalar().into(),
            1 => Expr::Index(self.any_dim()),
            2 => self.local().into(),
            3 => Expr::Load(self.place()),
            4 => self.expr(depth - 1).unary(self.of(UnaryOp::ALL)),
            5 => self.expr(depth - 1).binary(self.of(BinaryOp::ALL), self.expr(depth - 1)),
            6 => self.expr(depth - 1).select(self.expr(depth - 1), self.expr(depth - 1)),
            _ => self.expr(depth - 1).cast(self.of(&DType::ALL)),
        }
    }

    fn body(&mut self, depth: usize) -> Vec<Stmt> {
        (0..self.below(5)).map(|_| self.stmt(depth)).collect()
    }

    /// Long because exhaustive.
    fn stmt(&mut self, depth: usize) -> Stmt {
        let symbol = self.symbol(self.symbols.len());
        match self.below(if depth == 0 { 13 } else { 15 }) {
            0 => Stmt::Barrier,
            1 => Stmt::bind(symbol, self.expr(2)),
            2 => Stmt::declare(self.local(), self.expr(3)),
            3 => Stmt::assign(self.local(), self.expr(3)),
            4 => Stmt::reduce(self.local(), self.of(BinaryOp::ALL), self.expr(2)),
            5 => {
                let Place { buffer, at } = self.place();
                Stmt::store(buffer, at, self.expr(3))
            }
            6 => Stmt::Check { cond: self.expr(2), message: self.below(3) },
            7 => Stmt::Gemm(Box::new(self.gemm())),
            8 => Stmt::DwConv(Box::new(self.dw_conv())),
            9 => Stmt::PackB(Box::new(PackB {
                src: self.place(),
                row_stride: self.any_dim(),
                col_stride: self.any_dim(),
                dst: self.place(),
                panel_stride: self.any_dim(),
                k: self.any_dim(),
                n: self.any_dim(),
            })),
            10 => Stmt::MapRow {
                op: self.of(UnaryOp::ALL),
                dst: self.place(),
                src: self.place(),
                n: self.any_dim(),
            },
            11 => Stmt::ReduceRow {
                local: self.local(),
                op: self.of(&[RowReduce::Sum, RowReduce::SumSq, RowReduce::Max]),
                src: self.place(),
                n: self.any_dim(),
            },
            12 => Stmt::ExpSum {
                local: self.local(),
                dst: self.place(),
                src: self.place(),
                n: self.any_dim(),
                bias: self.expr(2),
            },
            13 => {
                let kind = self.of(&[LoopKind::Serial, LoopKind::Vector, LoopKind::Threads]);
                Stmt::loop_of(kind, symbol, self.any_dim(), self.body(depth - 1))
            }
            _ => Stmt::branch(self.expr(2), self.body(depth - 1), self.body(depth - 1)),
        }
    }

    fn gemm(&mut self) -> Gemm {
        let a = match self.flag() {
            true => Rows::Indirect { base: self.place(), offsets: self.place() },
            false => Rows::Strided {
                base: self.place(),
                row_stride: self.any_dim(),
                batch_stride: self.any_dim(),
            },
        };
        Gemm {
            a,
            a_zero: self.flag().then(|| self.place()),
            b: self.place(),
            scales: self.flag().then(|| self.scales()),
            b_panel_stride: self.any_dim(),
            b_batch_stride: self.any_dim(),
            c: self.place(),
            c_row_stride: self.any_dim(),
            bias: self.flag().then(|| self.place()),
            m: self.any_dim(),
            n: self.any_dim(),
            k: self.any_dim(),
            k_last: self.any_dim(),
            batch: self.any_dim(),
            accumulate: self.flag(),
            clamp: self.clamp(),
        }
    }

    fn scales(&mut self) -> Scales {
        Scales {
            place: self.place(),
            panel_stride: self.any_dim(),
            group: 8,
            zero: 3,
            offsets: self.flag(),
        }
    }

    fn dw_conv(&mut self) -> DwConv {
        DwConv {
            base: self.place(),
            offsets: self.place(),
            w: self.place(),
            w_stride: self.any_dim(),
            bias: self.flag().then(|| self.place()),
            c: self.place(),
            c_row_stride: self.any_dim(),
            m: self.any_dim(),
            channels: self.any_dim(),
            taps: self.any_dim(),
            clamp: self.clamp(),
        }
    }
}

/// A kernel of any shape, valid or not, that refers only to what it declares.
fn kernel(bytes: &[u8]) -> Kernel {
    let mut c = Choices {
        bytes: bytes.iter(),
        symbols: Vec::new(),
        buffers: Vec::new(),
        locals: Vec::new(),
    };
    let mut symbols = SymbolTable::default();
    for _ in 0..c.below(4) {
        let id = symbols.fresh(c.of(NAMES), c.number(), c.number());
        symbols.get_mut(id).data_dependent = c.flag();
    }
    let params = symbols.len();
    c.symbols.extend(symbols.iter().map(|(id, _)| id));
    let mut k = KernelBuilder::new(c.of(NAMES), symbols);
    let tile = k.tile(c.of(NAMES));
    c.symbols.push(tile);
    for _ in 0..c.below(12) {
        let id = k.var(c.of(NAMES), c.number(), c.number());
        c.symbols.push(id);
    }
    let spaces = [Space::Input, Space::Output, Space::Scratch, Space::Shared];
    for _ in 0..1 + c.below(4) {
        let len = c.dim(2, params);
        let id = k.buffer(c.of(&spaces), c.of(NAMES), c.of(&DType::ALL), len);
        c.buffers.push(id);
    }
    for _ in 0..1 + c.below(10) {
        let id = k.local(c.of(NAMES), c.of(&DType::ALL));
        c.locals.push(id);
    }
    for _ in 0..c.below(3) {
        k.message(c.of(NAMES));
    }
    let grid = c.dim(2, params);
    k.finish(grid, tile, c.body(3))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn generated_kernels_read_back(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let kernel = kernel(&bytes);
        let text = kernel.to_string();
        let read = parse_kernel(&text);
        prop_assert_eq!(read.as_ref(), Ok(&kernel), "{}", text);
        // Anything may be verified.
        let _ = verify(&kernel);
    }

    #[test]
    fn several_kernels_read_back(
        a in prop::collection::vec(any::<u8>(), 0..200),
        b in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let kernels = vec![kernel(&a), kernel(&b)];
        prop_assert_eq!(parse_kernels(&print_kernels(&kernels)), Ok(kernels));
    }

    #[test]
    fn indices_have_the_value_of_their_dims(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        params in prop::collection::vec(-5i64..20, 3),
    ) {
        let mut symbols = SymbolTable::default();
        let ids: Vec<SymbolId> = (0..3).map(|_| symbols.fresh("n", -5, 20)).collect();
        let (buffers, locals) = (Vec::new(), Vec::new());
        let mut c = Choices { bytes: bytes.iter(), symbols: ids, buffers, locals };
        let dim = c.dim(4, 3);
        let mut k = KernelBuilder::new("value", symbols);
        let (y, tile) = (k.output("y", DType::I64, 1), k.tile("t"));
        let kernel = k.finish(1, tile, vec![Stmt::store(y, 0, Expr::index(dim.clone()))]);
        let mut results = [HostBuffer::undefined(DType::I64, 1)];
        let outcome = run(&kernel, &params, &mut results);
        match dim.eval(&|id| params.get(id.index()).copied()) {
            Ok(value) => prop_assert_eq!(results[0].values::<i64>(), [value]),
            Err(error) => {
                let text = outcome.expect_err("the dim has no value").to_string();
                prop_assert!(text.contains(&error.to_string()), "{}", text);
            }
        }
    }

    #[test]
    fn damaged_text_is_refused_or_read(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        at in any::<prop::sample::Index>(),
        len in 0usize..6,
        insert in "[-a-z0-9%(){}\\[\\].,:=*+;\"\\\\<é ]{0,4}",
    ) {
        let mut text: Vec<char> = kernel(&bytes).to_string().chars().collect();
        let start = at.index(text.len());
        let end = (start + len).min(text.len());
        text.splice(start..end, insert.chars());
        let text: String = text.into_iter().collect();
        if let Ok(kernel) = parse_kernel(&text) {
            prop_assert_eq!(parse_kernel(&kernel.to_string()), Ok(kernel));
        }
    }
}

fn refused(text: &str) -> String {
    parse_kernel(text).expect_err("the text is wrong").to_string()
}

fn with_body(body: &str) -> String {
    format!(
        "kernel k(N) {{\n  index t, i\n  output %y: f32[N]\n  local v: f32\n  grid t in N {{\n{body}\n  }}\n}}"
    )
}

#[test]
fn errors_say_where() {
    let cases = [
        ("", "expected 'kernel', found the end of the text"),
        ("kernel", "expected the kernel's name, found the end"),
        ("kernel k(N, N) {", "1:13: symbol 'N' is declared twice"),
        ("kernel k() { input %x: q8[1]", "expected an element type, found 'q8'"),
        ("kernel k() { input %x: f32[M]", "1:28: symbol 'M' is not declared"),
        ("kernel k() { message m1 \"a\"", "expected 'm0', found 'm1'"),
        ("kernel k() { message m0 \"a", "1:25: this text has no closing quote"),
        ("kernel k() ~", "1:12: unexpected '~'"),
        ("kernel k(N in 0..=99999999999999999999)", "an integer of 64 bits"),
    ];
    for (text, expected) in cases {
        assert!(refused(text).contains(expected), "{} for {text}", refused(text));
    }
    let bodies = [
        ("%z[0] = v", "6:1: buffer '%z' is not declared"),
        ("w = v", "6:1: expected a declared variable, found 'w'"),
        ("v = w", "6:5: variable 'w' is not declared"),
        ("v plus= v", "expected '=' or an op such as 'add', found 'plus'"),
        ("v = plus(v)", "6:5: unknown function 'plus'"),
        ("v = 1.5", "6:5: expected a constant such as 1.5f32"),
        ("v = 300u8", "6:5: expected a constant"),
        ("v = inf_i32", "6:5: expected a constant"),
        ("%y[floordiv(N,0)] = v", "6:4: division by zero"),
        ("%y[pow(N,2)] = v", "6:4: unknown index function 'pow'"),
        ("%y[bcast(2,3)] = v", "never broadcast"),
        ("for i in 1..4 {}", "a loop starts at 0"),
        ("for j in 0..4 {}", "expected a declared symbol, found 'j'"),
        ("pack_b { k: 1 }", "6:8: this pack_b needs a field 'src'"),
        ("pack_b { k: 1, k: 2 }", "6:16: field 'k' is given twice"),
        ("reduce_row mean v <- %y[0], n: 1", "expected 'sum', 'sum_sq' or 'max'"),
    ];
    for (body, expected) in bodies {
        let found = refused(&with_body(body));
        assert!(found.contains(expected), "{found} for {body}");
    }
}

#[test]
fn hostile_text_is_refused() {
    let deep = with_body(&format!("v = {}v{}", "neg(".repeat(5000), ")".repeat(5000)));
    assert!(refused(&deep).contains("nested too deeply"));
    let deep = with_body(&"if true {".repeat(5000));
    assert!(refused(&deep).contains("nested too deeply"));
    let deep = with_body(&format!("%y[{}", "(".repeat(5000)));
    assert!(refused(&deep).contains("nested too deeply"));
    let wide = with_body(&format!("%y[{}1] = v", "(N+i+t+1)*".repeat(64)));
    assert!(refused(&wide).contains("terms"));
    let symbols: Vec<String> = (0..5000).map(|i| format!("s{i}")).collect();
    assert!(refused(&format!("kernel k({}) {{", symbols.join(","))).contains("at most"));
}

#[test]
fn text_is_short_to_read() {
    let text = with_body("for i in 0..4 vector {\n%y[2*i+t] = add(%y[t], 1.0f32) ; comment\n}");
    let kernel = parse_kernel(&text).expect("a kernel");
    let expected = "\
kernel k(N) {
  index t, i
  output %y: f32[N]
  local v: f32
  grid t in N {
    for i in 0..4 vector {
      %y[2*i+t] = add(%y[t], 1.0f32)
    }
  }
}
";
    assert_eq!(kernel.to_string(), expected);
}
