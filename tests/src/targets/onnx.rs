//! ONNX models: as they are, and built from bytes so that most are well-formed protobuf with
//! known operators.

use super::text::verified;
use bytes::Bytes;
use cascata_frontends::onnx::{ImportOptions, import_bytes, operators};

/// A model file.
///
/// # Panics
/// A defect: a model that is imported does not verify.
pub fn model(bytes: &[u8]) -> bool {
    let options = ImportOptions { max_bytes: 1 << 20, ..ImportOptions::default() };
    let Ok(import) = import_bytes(Bytes::copy_from_slice(bytes), &options) else { return false };
    if let Err(errors) = cascata_ir::verify::verify(&import.graph) {
        panic!("imported and not valid: {errors:?}");
    }
    verified(&import.graph)
}

/// A model of a few nodes that the bytes choose.
///
/// # Panics
/// As [`model`].
pub fn nodes(bytes: &[u8]) -> bool {
    model(&build(&mut Choices(bytes)))
}

/// The bytes that are left to decide.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, n: usize) -> usize {
        self.byte() as usize % n.max(1)
    }

    /// Mostly small, sometimes at a border.
    fn int(&mut self) -> i64 {
        const ODD: [i64; 8] = [i64::MAX, i64::MIN, -1, 1 << 31, 1 << 40, -9, 255, 1000];
        match self.byte() {
            b @ 0..=239 => i64::from(b % 16) - 4,
            b => ODD[usize::from(b) % ODD.len()],
        }
    }
}

/// A field with a length.
fn field(number: u64, bytes: &[u8], out: &mut Vec<u8>) {
    varint(number << 3 | 2, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn number(field: u64, value: i64, out: &mut Vec<u8>) {
    varint(field << 3, out);
    varint(value as u64, out);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 128 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

/// `ModelProto`.
fn build(c: &mut Choices<'_>) -> Vec<u8> {
    let (mut model, mut opset, mut graph) = (Vec::new(), Vec::new(), Vec::new());
    number(1, 8, &mut model);
    number(2, 7 + c.below(16) as i64, &mut opset);
    field(8, &opset, &mut model);
    let mut values: Vec<String> = Vec::new();
    for i in 0..1 + c.below(3) {
        values.push(format!("x{i}"));
        field(11, &value_info(&values[i], c), &mut graph);
    }
    for i in 0..c.below(3) {
        values.push(format!("w{i}"));
        field(5, &tensor(&format!("w{i}"), c), &mut graph);
    }
    for i in 0..1 + c.below(6) {
        let outputs: Vec<String> = (0..1 + c.below(2)).map(|k| format!("v{i}_{k}")).collect();
        field(1, &node(&values, &outputs, c), &mut graph);
        values.extend(outputs);
    }
    let last = values[c.below(values.len())].clone();
    let mut output = Vec::new();
    field(1, last.as_bytes(), &mut output);
    field(12, &output, &mut graph);
    field(7, &graph, &mut model);
    model
}

/// `ValueInfoProto`; dims are numbers or symbols.
fn value_info(name: &str, c: &mut Choices<'_>) -> Vec<u8> {
    let (mut shape, mut tensor, mut ty, mut info) = (vec![], vec![], vec![], vec![]);
    for _ in 0..c.below(5) {
        let mut dim = Vec::new();
        match c.below(3) {
            0 => field(2, [b"N".as_slice(), b"S", b"a b"][c.below(3)], &mut dim),
            _ => number(1, c.int(), &mut dim),
        }
        field(1, &dim, &mut shape);
    }
    number(1, dtype(c), &mut tensor);
    field(2, &shape, &mut tensor);
    field(1, &tensor, &mut ty);
    field(1, name.as_bytes(), &mut info);
    field(2, &ty, &mut info);
    info
}

/// Mostly f32 and i64.
fn dtype(c: &mut Choices<'_>) -> i64 {
    [1, 1, 1, 7, 7, 9, 6, 10, 11, 2, 3, 8, 16][c.below(13)]
}

/// `TensorProto` of a few i64 or f32.
fn tensor(name: &str, c: &mut Choices<'_>) -> Vec<u8> {
    let (mut out, mut raw) = (Vec::new(), Vec::new());
    let count = c.below(5);
    let integers = c.below(2) == 0;
    for _ in 0..count {
        let value = c.int();
        match integers {
            true => raw.extend(value.to_le_bytes()),
            false => raw.extend((value as f32).to_le_bytes()),
        }
    }
    number(1, count as i64, &mut out);
    number(2, if integers { 7 } else { 1 }, &mut out);
    field(8, name.as_bytes(), &mut out);
    field(9, &raw, &mut out);
    out
}

/// `NodeProto`.
fn node(values: &[String], outputs: &[String], c: &mut Choices<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let ops = operators();
    let op = &ops[(usize::from(c.byte()) << 8 | usize::from(c.byte())) % ops.len()];
    for _ in 0..c.below(5) {
        field(1, values[c.below(values.len())].as_bytes(), &mut out);
    }
    outputs.iter().for_each(|o| field(2, o.as_bytes(), &mut out));
    let (domain, name) = op.rsplit_once('.').unwrap_or(("", op));
    field(4, name.as_bytes(), &mut out);
    field(7, domain.as_bytes(), &mut out);
    for _ in 0..c.below(4) {
        field(5, &attribute(c), &mut out);
    }
    out
}

const ATTRIBUTES: [&str; 26] = [
    "axis",
    "axes",
    "perm",
    "keepdims",
    "kernel_shape",
    "strides",
    "pads",
    "dilations",
    "group",
    "to",
    "mode",
    "epsilon",
    "alpha",
    "starts",
    "ends",
    "value",
    "split",
    "num_outputs",
    "largest",
    "sorted",
    "batch_dims",
    "equation",
    "hidden_size",
    "direction",
    "allowzero",
    "blocksize",
];

/// `AttributeProto`.
fn attribute(c: &mut Choices<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    field(1, ATTRIBUTES[c.below(ATTRIBUTES.len())].as_bytes(), &mut out);
    match c.below(5) {
        0 => {
            number(20, 1, &mut out);
            varint(2 << 3 | 5, &mut out);
            out.extend((c.int() as f32 / 4.0).to_le_bytes());
        }
        1 => {
            number(20, 2, &mut out);
            number(3, c.int(), &mut out);
        }
        2 => {
            number(20, 3, &mut out);
            let texts = ["linear", "cubic", "constant", "ij,jk->ik", "forward", "bidirectional"];
            field(4, texts[c.below(texts.len())].as_bytes(), &mut out);
        }
        3 => {
            number(20, 4, &mut out);
            field(5, &tensor("", c), &mut out);
        }
        _ => {
            number(20, 7, &mut out);
            (0..c.below(5)).for_each(|_| number(8, c.int(), &mut out));
        }
    }
    out
}
