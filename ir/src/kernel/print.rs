//! The text form of kernels; [`super::parse`] reads it back.
//!
//! ```text
//! kernel scale(N in 1..=64) {
//!   index t, i in 0..=3
//!   input %x: f32[4*N]
//!   output %y: f32[4*N]
//!   grid t in N {
//!     for i in 0..4 vector {
//!       %y[4*t+i] = mul(%x[4*t+i], 2.0f32)
//!     }
//!   }
//! }
//! ```
//! A `;` starts a comment that ends with the line.

mod attention;
mod tile_gemm;

use super::names::{Names, is_plain};
use super::{
    BufferId, DwConv, Expr, Gemm, Kernel, LocalId, LoopKind, PackB, Place, RowReduce, Rows, Scales,
    Space, Stmt,
};
use crate::op::BinaryOp;
use cascata_types::{DType, Dim, Entity as _, Scalar, Symbol, SymbolTable};
use std::fmt::{self, Write as _};

/// Declarations of one kind share a line up to this width.
const LINE_WIDTH: usize = 96;

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printer = Printer::new(self);
        printer.kernel();
        f.write_str(&printer.out)
    }
}

/// The text of several kernels, one after the other.
pub fn print_kernels<'a>(kernels: impl IntoIterator<Item = &'a Kernel>) -> String {
    let texts: Vec<String> = kernels.into_iter().map(Kernel::to_string).collect();
    texts.join("\n")
}

impl Kernel {
    /// The text of one of this kernel's statements, without what is nested in it.
    pub fn stmt_headline(&self, stmt: &Stmt) -> String {
        let mut printer = Printer::new(self);
        printer.stmt(stmt);
        let mut lines = printer.out.lines();
        let first = lines.next().unwrap_or_default().to_string();
        match lines.next() {
            Some(_) => first + " … }",
            None => first,
        }
    }
}

struct Printer<'a> {
    kernel: &'a Kernel,
    names: Names,
    out: String,
    indent: usize,
}

impl<'a> Printer<'a> {
    fn new(kernel: &'a Kernel) -> Self {
        Self { kernel, names: Names::new(kernel), out: String::new(), indent: 0 }
    }

    fn line(&mut self, text: &str) {
        for _ in 0..self.indent {
            self.out.push_str("  ");
        }
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn nested(&mut self, body: &[Stmt]) {
        self.indent += 1;
        for stmt in body {
            self.stmt(stmt);
        }
        self.indent -= 1;
    }

    fn kernel(&mut self) {
        let kernel = self.kernel;
        let symbols: Vec<String> = kernel
            .symbols
            .iter()
            .map(|(id, s)| symbol(&self.names.symbols.name(id), s, id.index() < kernel.params))
            .collect();
        let (params, indices) = symbols.split_at(kernel.params.min(symbols.len()));
        self.line(&format!("kernel {}({}) {{", name_text(&kernel.name), params.join(", ")));
        self.indent += 1;
        self.wrapped("index", indices);
        for (id, buffer) in kernel.buffers.iter() {
            let (handle, len) = (self.names.buffer(id), self.dim(&buffer.len));
            let original = original(&handle, &buffer.name);
            let space = space_name(buffer.space);
            self.line(&format!("{space} %{handle}{original}: {}[{len}]", buffer.dtype));
        }
        let locals: Vec<String> = kernel
            .locals
            .iter()
            .map(|(id, l)| {
                let handle = self.names.local(id);
                format!("{handle}{}: {}", original(&handle, &l.name), l.dtype)
            })
            .collect();
        self.wrapped("local", &locals);
        for (i, message) in kernel.messages.iter().enumerate() {
            self.line(&format!("message m{i} {}", quoted(message)));
        }
        let (tile, grid) = (self.names.symbols.name(kernel.tile), self.dim(&kernel.grid));
        self.line(&format!("grid {tile} in {grid} {{"));
        self.nested(&kernel.body);
        self.line("}");
        self.indent -= 1;
        self.line("}");
    }

    /// Declarations of one kind, as many on a line as fit.
    fn wrapped(&mut self, keyword: &str, items: &[String]) {
        let mut line = String::new();
        for item in items {
            if !line.is_empty() && line.len() + item.len() > LINE_WIDTH {
                self.line(&std::mem::take(&mut line));
            }
            let _ = match line.is_empty() {
                true => write!(line, "{keyword} {item}"),
                false => write!(line, ", {item}"),
            };
        }
        if !line.is_empty() {
            self.line(&line);
        }
    }

    /// Long because exhaustive.
    fn stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::For { var, extent, kind, body } => {
                let (var, extent) = (self.names.symbols.name(*var), self.dim(extent));
                self.line(&format!("for {var} in 0..{extent}{} {{", loop_suffix(*kind)));
                self.nested(body);
                self.line("}");
            }
            Stmt::Bind { symbol, value } => {
                let symbol = self.names.symbols.name(*symbol);
                self.line(&format!("bind {symbol} = {}", self.expr(value)));
            }
            Stmt::Let { local, value } | Stmt::Assign { local, value } => {
                let new = if matches!(stmt, Stmt::Let { .. }) { "let " } else { "" };
                self.line(&format!("{new}{} = {}", self.local(*local), self.expr(value)));
            }
            Stmt::Reduce { local, op, value } => {
                self.line(&format!("{} {op}= {}", self.local(*local), self.expr(value)));
            }
            Stmt::Store { buffer, at, value } => {
                let place = self.element(*buffer, at);
                self.line(&format!("{place} = {}", self.expr(value)));
            }
            Stmt::If { cond, then, otherwise } => {
                self.line(&format!("if {} {{", self.expr(cond)));
                self.nested(then);
                if !otherwise.is_empty() {
                    self.line("} else {");
                    self.nested(otherwise);
                }
                self.line("}");
            }
            Stmt::Check { cond, message } => {
                self.line(&format!("check {} else m{message}", self.expr(cond)));
            }
            Stmt::Gemm(gemm) => self.gemm(gemm),
            Stmt::DwConv(conv) => self.dw_conv(conv),
            Stmt::PackB(pack) => self.pack_b(pack),
            Stmt::MapRow { op, dst, src, n } => {
                let (dst, src) = (self.place(dst), self.place(src));
                self.line(&format!("map_row {op} {dst} <- {src}, n: {}", self.dim(n)));
            }
            Stmt::ReduceRow { local, op, src, n } => {
                let (local, src, n) = (self.local(*local), self.place(src), self.dim(n));
                self.line(&format!("reduce_row {} {local} <- {src}, n: {n}", row_name(*op)));
            }
            Stmt::ExpSum { local, dst, src, n, bias } => {
                let (dst, src) = (self.place(dst), self.place(src));
                let (local, n, bias) = (self.local(*local), self.dim(n), self.expr(bias));
                self.line(&format!("exp_sum {local}, {dst} <- {src}, n: {n}, bias: {bias}"));
            }
            Stmt::Barrier => self.line("barrier"),
            Stmt::TileAttention(attention) => self.tile_attention(attention),
            Stmt::TileGemm(gemm) => self.tile_gemm(gemm),
            Stmt::GroupReduce { local, op, value, width } => {
                self.group_reduce(*local, *op, value, *width)
            }
        }
    }

    fn group_reduce(&mut self, local: LocalId, op: BinaryOp, value: &Expr, width: u32) {
        let (local, value) = (self.local(local), self.expr(value));
        self.line(&format!("group_reduce {op} {local} <- {value}, width: {width}"));
    }

    fn gemm(&mut self, g: &Gemm) {
        let a = match &g.a {
            Rows::Strided { base, row_stride, batch_stride } => format!(
                "rows({}, {}, {})",
                self.place(base),
                self.dim(row_stride),
                self.dim(batch_stride)
            ),
            Rows::Indirect { base, offsets } => {
                format!("indirect({}, {})", self.place(base), self.place(offsets))
            }
        };
        let mut lines = vec![
            vec![("a", a)],
            vec![
                ("b", self.place(&g.b)),
                ("b_panel_stride", self.dim(&g.b_panel_stride)),
                ("b_batch_stride", self.dim(&g.b_batch_stride)),
            ],
            vec![("c", self.place(&g.c)), ("c_row_stride", self.dim(&g.c_row_stride))],
        ];
        lines[0].extend(g.a_zero.as_ref().map(|zero| ("a_zero", self.place(zero))));
        if let Some(s) = &g.scales {
            lines.insert(2, self.scales(s));
        }
        lines.extend(g.bias.as_ref().map(|b| vec![("bias", self.place(b))]));
        lines.push(vec![
            ("m", self.dim(&g.m)),
            ("n", self.dim(&g.n)),
            ("k", self.dim(&g.k)),
            ("k_last", self.dim(&g.k_last)),
            ("batch", self.dim(&g.batch)),
        ]);
        let mut end = vec![];
        if g.accumulate {
            end.push(("accumulate", "true".to_string()));
        }
        end.extend(clamp_field(&g.clamp));
        lines.push(end);
        self.block("gemm", &lines);
    }

    fn scales(&self, s: &Scales) -> Vec<(&'static str, String)> {
        vec![
            ("scales", self.place(&s.place)),
            ("scales_panel_stride", self.dim(&s.panel_stride)),
            ("scales_group", s.group.to_string()),
            ("codes_zero", s.zero.to_string()),
            ("scales_offsets", s.offsets.to_string()),
        ]
    }

    fn dw_conv(&mut self, d: &DwConv) {
        let mut lines = vec![
            vec![("base", self.place(&d.base)), ("offsets", self.place(&d.offsets))],
            vec![("w", self.place(&d.w)), ("w_stride", self.dim(&d.w_stride))],
            vec![("c", self.place(&d.c)), ("c_row_stride", self.dim(&d.c_row_stride))],
        ];
        lines.extend(d.bias.as_ref().map(|b| vec![("bias", self.place(b))]));
        lines.push(vec![
            ("m", self.dim(&d.m)),
            ("channels", self.dim(&d.channels)),
            ("taps", self.dim(&d.taps)),
        ]);
        lines.push(clamp_field(&d.clamp).into_iter().collect());
        self.block("dwconv", &lines);
    }

    fn pack_b(&mut self, p: &PackB) {
        let lines = [
            vec![
                ("src", self.place(&p.src)),
                ("row_stride", self.dim(&p.row_stride)),
                ("col_stride", self.dim(&p.col_stride)),
            ],
            vec![("dst", self.place(&p.dst)), ("panel_stride", self.dim(&p.panel_stride))],
            vec![("k", self.dim(&p.k)), ("n", self.dim(&p.n))],
        ];
        self.block("pack_b", &lines);
    }

    fn block(&mut self, keyword: &str, lines: &[Vec<(&str, String)>]) {
        self.line(&format!("{keyword} {{"));
        self.indent += 1;
        for fields in lines.iter().filter(|l| !l.is_empty()) {
            let texts: Vec<String> = fields.iter().map(|(k, v)| format!("{k}: {v}")).collect();
            self.line(&(texts.join(", ") + ","));
        }
        self.indent -= 1;
        self.line("}");
    }

    fn dim(&self, dim: &Dim) -> String {
        dim.display(&self.names.symbols)
    }

    fn local(&self, id: LocalId) -> String {
        self.names.local(id)
    }

    fn element(&self, buffer: BufferId, at: &Dim) -> String {
        format!("%{}[{}]", self.names.buffer(buffer), self.dim(at))
    }

    fn place(&self, place: &Place) -> String {
        self.element(place.buffer, &place.at)
    }

    fn expr(&self, expr: &Expr) -> String {
        match expr {
            Expr::Const(x) => scalar(*x),
            Expr::Index(dim) => format!("index({})", self.dim(dim)),
            Expr::Local(id) => self.local(*id),
            Expr::Load(place) => self.place(place),
            Expr::Unary(op, a) => format!("{op}({})", self.expr(a)),
            Expr::Binary(op, a, b) => format!("{op}({}, {})", self.expr(a), self.expr(b)),
            Expr::Select(c, a, b) => {
                format!("select({}, {}, {})", self.expr(c), self.expr(a), self.expr(b))
            }
            Expr::Cast(dtype, a) => format!("{dtype}({})", self.expr(a)),
            Expr::Bits(dtype, a) => format!("as_{dtype}({})", self.expr(a)),
        }
    }
}

/// `N in 1..=64`; the default range is left out, and so is where the value comes from
/// when that is usual (the shapes for a parameter, the run for an index).
fn symbol(handle: &str, symbol: &Symbol, is_param: bool) -> String {
    let mut out = format!("{handle}{}", original(handle, &symbol.name));
    if (symbol.min, symbol.max) != (0, SymbolTable::DEFAULT_MAX) {
        let _ = write!(out, " in {}..={}", symbol.min, symbol.max);
    }
    match (is_param, symbol.data_dependent) {
        (true, true) => out + " data",
        (false, false) => out + " shape",
        _ => out,
    }
}

fn original(handle: &str, name: &str) -> String {
    if handle == name { String::new() } else { format!(" {}", quoted(name)) }
}

fn name_text(name: &str) -> String {
    if is_plain(name) { name.to_string() } else { quoted(name) }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn loop_suffix(kind: LoopKind) -> &'static str {
    match kind {
        LoopKind::Serial => "",
        LoopKind::Vector => " vector",
        LoopKind::Threads => " threads",
    }
}

pub(super) fn space_name(space: Space) -> &'static str {
    match space {
        Space::Input => "input",
        Space::Output => "output",
        Space::Scratch => "scratch",
        Space::Shared => "shared",
    }
}

pub(super) fn row_name(op: RowReduce) -> &'static str {
    match op {
        RowReduce::Sum => "sum",
        RowReduce::SumSq => "sum_sq",
        RowReduce::Max => "max",
    }
}

/// What a contraction clamps to unless it says otherwise.
pub(super) fn no_clamp() -> (Scalar, Scalar) {
    (Scalar::f32(f32::NEG_INFINITY), Scalar::f32(f32::INFINITY))
}

fn clamp_field(clamp: &(Scalar, Scalar)) -> Option<(&'static str, String)> {
    let text = || format!("[{}, {}]", scalar(clamp.0), scalar(clamp.1));
    (*clamp != no_clamp()).then(|| ("clamp", text()))
}

/// `1.5f32`, `-3i64`, `true`, `inf_f32`, `nan_f16`; the bits where no number gives them.
pub(super) fn scalar(x: Scalar) -> String {
    let d = x.dtype;
    // A NaN is printed by name only if it is the usual one.
    let value = if x.to_f64().is_nan() { f64::NAN } else { x.to_f64() };
    if d == DType::Bool && x.bits <= 1 {
        return (x.bits == 1).to_string();
    }
    if d.is_int() && Scalar::from_i64(d, x.to_i64()) == x {
        return match d {
            DType::U64 => format!("{}{d}", x.bits),
            _ => format!("{}{d}", x.to_i64()),
        };
    }
    if d.is_float() && Scalar::from_f64(d, value) == x {
        return match value {
            v if v.is_nan() => format!("nan_{d}"),
            v if v.is_infinite() => format!("{}inf_{d}", if v < 0.0 { "-" } else { "" }),
            _ if d == DType::F32 => format!("{:?}{d}", f32::from_bits(x.bits as u32)),
            v => format!("{v:?}{d}"),
        };
    }
    format!("bits_{d}({:#x})", x.bits)
}
