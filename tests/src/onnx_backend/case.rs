//! One backend test on disk, as `tests/models/onnx_backend.py` writes it.

use cascata_ir::interp::Tensor;
use cascata_types::DType;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Cases whose reference is not exact: their absolute tolerance.
const INEXACT: &[(&str, f64)] = &[
    // NumPy transforms in f32: what cancels to 0 is 2·10^-7 there.
    ("test_dft_inverse", 1e-6),
    ("test_dft_inverse_opset19", 1e-6),
];

/// One data set of one test.
pub struct Case {
    /// The folder's name.
    pub name: String,
    /// The model file.
    pub path: PathBuf,
    /// `node`, `expanded`, `simple`, `pytorch-converted` or `pytorch-operator`.
    pub kind: String,
    /// Relative tolerance of floats.
    pub rtol: f64,
    /// Absolute tolerance of floats.
    pub atol: f64,
    /// How far integers of quantised results may be apart.
    pub steps: i64,
    /// Version of the default domain.
    pub opset: i64,
    /// `domain.name` of every node, bodies included.
    pub ops: Vec<String>,
    /// Element types of inputs and outputs as ONNX has them.
    pub types: Vec<String>,
    /// Why the data is not tensors.
    pub skip: Option<String>,
    /// Why the reference evaluator does not give the outputs either.
    pub reference: Option<String>,
    /// Inputs that are sequences, with the number of their elements.
    pub lengths: Vec<(String, usize)>,
    /// Optional inputs that hold nothing.
    pub absent: Vec<String>,
    /// In the model's order, by name; elements of a sequence `x` are called `x.0`, `x.1`, …
    pub inputs: Vec<(String, Tensor)>,
    /// In the model's order, elements of sequences one after the other.
    pub outputs: Vec<Tensor>,
}

impl Case {
    /// Reads a folder; `None` for one that holds no case.
    ///
    /// # Panics
    /// The files are not what `onnx_backend.py` writes.
    pub fn read(folder: &Path) -> Option<Case> {
        let meta = std::fs::read_to_string(folder.join("meta.json")).ok()?;
        let meta: Value = serde_json::from_str(&meta).expect("meta.json is JSON");
        let name = folder.file_name()?.to_str()?.to_string();
        let text = |key: &str| meta[key].as_str().map(str::to_string);
        let kind = match text("kind")?.as_str() {
            "node" if name.contains("_expanded") => "expanded".to_string(),
            kind => kind.to_string(),
        };
        let mut types: Vec<String> = ["inputs", "outputs"]
            .iter()
            .flat_map(|s| meta[*s].as_array().cloned().unwrap_or_default())
            .filter_map(|t| t["type"].as_str().map(str::to_string))
            .collect();
        types.sort_unstable();
        types.dedup();
        let skip = text("skip");
        let inexact = INEXACT.iter().find(|(n, _)| *n == name).map(|(_, atol)| *atol);
        let data = std::fs::read(folder.join("data.bin")).unwrap_or_default();
        let mut rest = data.as_slice();
        let mut tensors = |stem: &str| match skip {
            Some(_) => Vec::new(),
            None => meta[stem]
                .as_array()
                .expect("tensors")
                .iter()
                .map(|t| tensor(t, &mut rest))
                .collect(),
        };
        let (inputs, outputs) = (tensors("inputs"), tensors("outputs"));
        let strings = |v: &Value| v.as_str().map(str::to_string);
        let names = |v: &Value| v.as_array().into_iter().flatten().filter_map(strings).collect();
        let length =
            |(name, n): (&String, &Value)| (name.clone(), n.as_u64().unwrap_or(0) as usize);
        let lengths = meta["lengths"].as_object().into_iter().flatten().map(length).collect();
        Some(Case {
            path: folder.join("model.onnx"),
            kind,
            rtol: meta["rtol"].as_f64().unwrap_or(1e-3),
            atol: inexact.or(meta["atol"].as_f64()).unwrap_or(1e-7),
            steps: meta["steps"].as_i64().unwrap_or(0),
            opset: meta["opset"].as_i64().unwrap_or(0),
            ops: names(&meta["ops"]),
            lengths,
            absent: names(&meta["absent"]),
            types,
            reference: text("reference"),
            inputs,
            outputs: outputs.into_iter().map(|(_, t)| t).collect(),
            skip,
            name,
        })
    }
}

/// The tensor that `meta` describes; its bytes leave the front of `data`.
fn tensor(meta: &Value, data: &mut &[u8]) -> (String, Tensor) {
    let name = meta["name"].as_str().expect("a name").to_string();
    let dtype: DType = meta["dtype"].as_str().expect("a dtype").parse().expect("a dtype");
    let dims: Vec<usize> = meta["dims"]
        .as_array()
        .expect("dims")
        .iter()
        .map(|d| d.as_u64().expect("a dim") as usize)
        .collect();
    let count: usize = dims.iter().product();
    let len = match dtype.size_bytes() {
        Some(size) => count * size,
        None => (0..count).fold(0, |at, _| {
            let word = data[at..at + 4].try_into().expect("four bytes");
            at + 4 + u32::from_le_bytes(word) as usize
        }),
    };
    let (own, rest) = data.split_at(len);
    *data = rest;
    (name, Tensor::from_le_bytes(dtype, &dims, own).expect("the bytes fit the dims"))
}

/// `|got − want| ≤ atol + rtol·|want|` for floats, `≤ steps` for the rest; dtype and dims
/// must be equal.
///
/// # Errors
/// Which element is worst.
pub fn compare(
    got: &Tensor,
    want: &Tensor,
    (rtol, atol): (f64, f64),
    steps: i64,
) -> Result<(), String> {
    let show = |t: &Tensor| format!("{}{:?}", t.dtype(), t.dims());
    if got.dtype() != want.dtype() || got.dims() != want.dims() {
        return Err(format!("got {}, want {}", show(got), show(want)));
    }
    if !got.dtype().is_float() {
        let head = |t: &Tensor| format!("{:?}", t.data()).chars().take(160).collect::<String>();
        let near = |(a, b): (&i128, &i128)| (a - b).abs() <= i128::from(steps);
        let equal = match (got.to_i128(), want.to_i128()) {
            (Some(a), Some(b)) => a.iter().zip(&b).all(near),
            _ => got.data() == want.data(),
        };
        return if equal { Ok(()) } else { Err(format!("got {}, want {}", head(got), head(want))) };
    }
    // Half floats are rounded at other places than in the reference: two units in the last place.
    let rtol = match got.dtype() {
        DType::BF16 => rtol.max(1.0 / 64.0),
        DType::F16 => rtol.max(1.0 / 512.0),
        _ => rtol,
    };
    let (a, b) = (got.to_f64().unwrap_or_default(), want.to_f64().unwrap_or_default());
    let excess = |x: f64, y: f64| {
        if x == y || (x.is_nan() && y.is_nan()) {
            return 0.0;
        }
        let e = (x - y).abs() - (atol + rtol * y.abs());
        if e.is_nan() { f64::INFINITY } else { e }
    };
    let worst = (0..a.len()).max_by(|&i, &j| excess(a[i], b[i]).total_cmp(&excess(a[j], b[j])));
    match worst.filter(|&i| excess(a[i], b[i]) > 0.0) {
        Some(i) => {
            let wrong = (0..a.len()).filter(|&j| excess(a[j], b[j]) > 0.0).count();
            Err(format!("{wrong} of {} wrong; at {i} got {}, want {}", a.len(), a[i], b[i]))
        }
        None => Ok(()),
    }
}
