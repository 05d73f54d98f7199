//! Text form of a [`Graph`]; [`crate::parse`] reads it back.
//!
//! ```text
//! graph "name" {
//!   symbol B in 1..=64
//!   const c0 "w" : f32[2,3] = dense<1.0, 2.0, 3.0, 4.0, 5.0, 6.0>
//!   body(%0 "x" : f32[B,2]) {
//!     check B == N : "why"
//!     %1 "w" = const {value = c0} : f32[2,3]
//!     %2 = matmul(%0, %1) : f32[B,3] from "node of the source model"
//!     return %2 "y"
//!   }
//! }
//! ```
//!
//! Value ids are those of the graph; dead nodes are not printed.

use crate::graph::{Const, DimCheck, Graph, NodeId, RegionId, ValueId};
use crate::op::attr_text::AttrText;
use crate::op::table::print_attrs;
use cascata_types::{DType, Dim, Encoding, Scalar, SymbolId, TensorType};
use std::fmt::Write as _;

/// Elements up to which a constant is always printed.
pub const INLINE_ELEMENTS: usize = 16;

/// Bytes up to which a uniform constant is printed as one number.
pub(crate) const SPLAT_BYTES: u64 = 1 << 24;

/// Regions nested deeper than this are not printed (and not parsed).
pub(crate) const MAX_DEPTH: usize = 64;

/// How constants of more than [`INLINE_ELEMENTS`] elements are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConstText {
    /// By length only: the dump is for reading.
    #[default]
    Elided,
    /// By BLAKE3 hash: parses given a way to find the bytes.
    Hashed,
    /// In full: parses on its own.
    Full,
}

/// How a graph is printed.
#[derive(Clone, Copy, Debug, Default)]
pub struct PrintOptions {
    /// How large constants are printed.
    pub consts: ConstText,
}

/// The text form of a graph.
pub fn print(graph: &Graph, options: PrintOptions) -> String {
    let mut p = Printer { graph, out: String::new(), depth: 0, attrs: 0 };
    p.text("graph ");
    p.quoted(&graph.name);
    p.text(" {");
    p.depth += 1;
    for (_, s) in graph.symbols.iter() {
        let mark = if s.data_dependent { " data_dependent" } else { "" };
        p.line(&format!("symbol {} in {}..={}{mark}", s.name, s.min, s.max));
    }
    for (id, c) in graph.consts.iter() {
        p.line(&format!("const {id} "));
        p.quoted(&c.name);
        p.text(" : ");
        p.tensor_type(&c.ty);
        p.text(" = ");
        p.const_data(c, options.consts);
    }
    p.line("body");
    p.region(Graph::ROOT);
    p.depth -= 1;
    p.line("}\n");
    p.out
}

/// Text under construction.
pub(crate) struct Printer<'g> {
    graph: &'g Graph,
    out: String,
    depth: usize,
    /// Attributes printed so far for the current node.
    attrs: usize,
}

impl Printer<'_> {
    pub(crate) fn text(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn line(&mut self, text: &str) {
        self.out.push('\n');
        for _ in 0..self.depth {
            self.out.push_str("  ");
        }
        self.out.push_str(text);
    }

    pub(crate) fn quoted(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' | '\\' => self.out.extend(['\\', c]),
                c if c.is_control() => {
                    let _ = write!(self.out, "\\u{{{:x}}}", c as u32);
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    pub(crate) fn dim(&mut self, dim: &Dim) {
        let text = dim.display(&self.graph.symbols);
        self.text(&text);
    }

    pub(crate) fn tensor_type(&mut self, ty: &TensorType) {
        let text = ty.display(&self.graph.symbols);
        self.text(&text);
    }

    pub(crate) fn symbol(&mut self, id: SymbolId) {
        let name = self.graph.symbols.name(id);
        self.text(&name);
    }

    /// `name = value` inside the braces of a node.
    pub(crate) fn attr<T: AttrText>(&mut self, name: &str, value: &T) {
        self.text(if self.attrs == 0 { " {" } else { ", " });
        self.text(name);
        self.text(" = ");
        // A region's nodes have attributes of their own.
        let count = std::mem::take(&mut self.attrs);
        value.print(self);
        self.attrs = count + 1;
    }

    /// `(params) { checks; nodes; return results }`.
    pub(crate) fn region(&mut self, id: RegionId) {
        let graph = self.graph;
        let Some(region) = graph.regions.get(id) else {
            return self.text(&format!("({id} does not exist) {{}}"));
        };
        if self.depth > MAX_DEPTH {
            return self.text("(nested too deeply) {}");
        }
        self.text("(");
        for (i, &v) in region.params.iter().enumerate() {
            self.text(if i > 0 { ", " } else { "" });
            self.value_def(v);
            self.text(" : ");
            self.value_type(v);
        }
        self.text(") {");
        self.depth += 1;
        for check in &region.checks {
            self.check(check);
        }
        for &node in &region.nodes {
            self.node(node);
        }
        self.line("return");
        for (i, v) in region.results.iter().enumerate() {
            self.text(if i > 0 { ", " } else { " " });
            self.text(&v.to_string());
            if let (Graph::ROOT, Some(name)) = (id, graph.output_names.get(i)) {
                self.text(" ");
                self.quoted(name);
            }
        }
        self.depth -= 1;
        self.line("}");
    }

    fn check(&mut self, check: &DimCheck) {
        self.line("check ");
        self.dim(&check.lhs);
        self.text(" == ");
        self.dim(&check.rhs);
        self.text(" : ");
        self.quoted(&check.what);
    }

    fn value_def(&mut self, v: ValueId) {
        self.text(&v.to_string());
        if let Some(value) = self.graph.values.get(v)
            && !value.name.is_empty()
        {
            self.text(" ");
            self.quoted(&value.name);
        }
    }

    fn value_type(&mut self, v: ValueId) {
        let text = match self.graph.values.get(v) {
            Some(value) => value.ty.display(&self.graph.symbols),
            None => "?".into(),
        };
        self.text(&text);
    }

    fn node(&mut self, id: NodeId) {
        let graph = self.graph;
        let Some(node) = graph.nodes.get(id) else {
            return self.line(&format!("{id} does not exist"));
        };
        self.line("");
        for (i, &v) in node.outputs.iter().enumerate() {
            self.text(if i > 0 { ", " } else { "" });
            self.value_def(v);
        }
        self.text(if node.outputs.is_empty() { "" } else { " = " });
        self.text(node.op.name());
        let operands: Vec<String> = node.inputs.iter().map(ValueId::to_string).collect();
        self.text(&format!("({})", operands.join(", ")));
        self.attrs = 0;
        print_attrs(&node.op, self);
        self.text(if self.attrs > 0 { "}" } else { "" });
        for (i, &v) in node.outputs.iter().enumerate() {
            self.text(if i > 0 { ", " } else { " : " });
            self.value_type(v);
        }
        if !node.source.is_empty() {
            self.text(" from ");
            self.quoted(&node.source);
        }
    }

    fn const_data(&mut self, c: &Const, how: ConstText) {
        let size = c.ty.dtype.size_bytes().unwrap_or(1);
        // Only data that the type accounts for can be written element by element.
        let plain = c.ty.encoding == Encoding::Dense
            && c.ty.dtype != DType::Str
            && c.ty.stored_bytes() == Some(c.data.len() as u64)
            && !c.data.is_empty();
        let count = c.data.len() / size;
        if plain && count <= INLINE_ELEMENTS {
            let numbers: Vec<String> =
                c.data.chunks_exact(size).map(|e| element_text(c.ty.dtype, e)).collect();
            self.text(&format!("dense<{}>", numbers.join(", ")));
            return;
        }
        if how == ConstText::Elided {
            return self.text(&format!("elided<{}>", c.data.len()));
        }
        let first = &c.data[..size.min(c.data.len())];
        let splat = plain
            && c.data.len() as u64 <= SPLAT_BYTES
            && c.data.chunks_exact(size).all(|e| e == first);
        match how {
            _ if splat => self.text(&format!("splat<{}>", element_text(c.ty.dtype, first))),
            ConstText::Hashed => self.text(&format!("hash<{}>", blake3::hash(&c.data).to_hex())),
            _ => self.hex(&c.data),
        }
    }

    fn hex(&mut self, data: &[u8]) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.out.reserve(2 * data.len());
        self.text("hex<");
        for byte in data {
            self.out.push(DIGITS[usize::from(byte >> 4)] as char);
            self.out.push(DIGITS[usize::from(byte & 15)] as char);
        }
        self.text(">");
    }
}

/// The number in little-endian `bytes` of a numeric dtype.
fn element_text(dtype: DType, bytes: &[u8]) -> String {
    let bits = bytes.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
    number_text(Scalar { dtype, bits })
}

/// A number without its dtype: decimal where that is exact, else its bits as `0x…`.
pub(crate) fn number_text(value: Scalar) -> String {
    let text = match value.dtype {
        DType::Bool => (if value.bits == 0 { "false" } else { "true" }).to_string(),
        DType::U64 => value.bits.to_string(),
        // f16 and bf16 are exact in f32, whose shortest text reads back to them.
        DType::F16 | DType::BF16 | DType::F32 => format!("{:?}", value.to_f64() as f32),
        DType::F64 => format!("{:?}", value.to_f64()),
        _ => value.to_i64().to_string(),
    };
    match number_from(value.dtype, &text) {
        Some(back) if back == value => text,
        _ => format!("{:#x}", value.bits),
    }
}

/// The inverse of [`number_text`]; `None` when the text is no number of the dtype.
pub(crate) fn number_from(dtype: DType, text: &str) -> Option<Scalar> {
    if let Some(hex) = text.strip_prefix("0x") {
        return Some(Scalar { dtype, bits: u64::from_str_radix(hex, 16).ok()? });
    }
    let bits = match dtype {
        DType::Str => return None,
        DType::Bool => match text {
            "true" => 1,
            "false" => 0,
            _ => return None,
        },
        DType::U64 => text.parse().ok()?,
        DType::F64 => text.parse::<f64>().ok()?.to_bits(),
        d if d.is_float() => return Some(Scalar::from_f64(d, text.parse::<f32>().ok()?.into())),
        d => {
            let x: i64 = text.parse().ok()?;
            let value = Scalar::from_i64(d, x);
            return (value.to_i64() == x).then_some(value);
        }
    };
    Some(Scalar { dtype, bits })
}
