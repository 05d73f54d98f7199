//! Reading reference tensors and comparing results with them.
#![allow(dead_code, reason = "each test crate uses a part")]

use cascata_ir::interp::{Data, Element, Tensor};
use npyz::npz::NpzArchive;
use npyz::{DType as NpyType, NpyFile, Order, TypeChar};
use std::io::Read;
use std::path::{Path, PathBuf};

/// A folder of the model cache: `$CASCATA_CACHE`, else `.cache` of this checkout.
pub fn cache(folder: &str) -> Option<PathBuf> {
    let root = match std::env::var_os("CASCATA_CACHE") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.join(".cache"),
    };
    Some(root.join(folder)).filter(|p| p.is_dir())
}

/// The arrays of an npz file by name.
pub fn read_npz(path: &Path) -> Result<Vec<(String, Tensor)>, String> {
    let fail = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut archive = NpzArchive::open(path).map_err(fail)?;
    let names: Vec<String> = archive.array_names().map(str::to_string).collect();
    let mut out = Vec::new();
    for name in names {
        let npy = archive.by_name(&name).map_err(fail)?.ok_or("the array is gone")?;
        let tensor = read_npy(npy).map_err(|e| format!("{}: {name}: {e}", path.display()))?;
        out.push((name, tensor));
    }
    Ok(out)
}

fn read_npy<R: Read>(npy: NpyFile<R>) -> Result<Tensor, String> {
    let dims: Vec<usize> = npy.shape().iter().map(|&d| d as usize).collect();
    let (kind, width) = match npy.dtype() {
        NpyType::Plain(t) => (t.type_char(), t.size_field()),
        other => return Err(format!("a structured type {other:?}")),
    };
    fn make<T: Element, S: npyz::Deserialize + Copy, R: Read>(
        npy: NpyFile<R>,
        dims: &[usize],
        f: impl Fn(S) -> T,
    ) -> Result<Tensor, String> {
        let fortran = npy.order() == Order::Fortran;
        let mut values: Vec<S> = npy.into_vec().map_err(|e| e.to_string())?;
        if fortran {
            values = row_major(&values, dims);
        }
        Tensor::new(dims, values.into_iter().map(f).collect()).map_err(|e| e.to_string())
    }
    match (kind, width) {
        (TypeChar::Bool, _) => make(npy, &dims, |x: bool| x),
        (TypeChar::Int, 1) => make(npy, &dims, |x: i8| x),
        (TypeChar::Int, 2) => make(npy, &dims, |x: i16| x),
        (TypeChar::Int, 4) => make(npy, &dims, |x: i32| x),
        (TypeChar::Int, 8) => make(npy, &dims, |x: i64| x),
        (TypeChar::Uint, 1) => make(npy, &dims, |x: u8| x),
        (TypeChar::Uint, 2) => make(npy, &dims, |x: u16| x),
        (TypeChar::Uint, 4) => make(npy, &dims, |x: u32| x),
        (TypeChar::Uint, 8) => make(npy, &dims, |x: u64| x),
        (TypeChar::Float, 2) => make(npy, &dims, |x: half::f16| x),
        (TypeChar::Float, 4) => make(npy, &dims, |x: f32| x),
        (TypeChar::Float, 8) => make(npy, &dims, |x: f64| x),
        other => Err(format!("type {other:?}")),
    }
}

/// Row-major elements of a column-major array.
fn row_major<T: Copy>(values: &[T], dims: &[usize]) -> Vec<T> {
    let mut out = values.to_vec();
    for (at, value) in values.iter().enumerate() {
        let (mut rest, mut coordinates) = (at, Vec::new());
        for d in dims {
            coordinates.push(rest % d);
            rest /= d;
        }
        let to = coordinates.iter().zip(dims).fold(0, |to, (c, d)| to * d + c);
        out[to] = *value;
    }
    out
}

/// `|got − want| ≤ atol + rtol·|want|` for floats, equality for the rest; dtype and dims
/// must be equal. Gives the worst element as text where that fails.
pub fn compare(got: &Tensor, want: &Tensor, rtol: f64, atol: f64) -> Result<(), String> {
    if got.dtype() != want.dtype() || got.dims() != want.dims() {
        let show = |t: &Tensor| format!("{}{:?}", t.dtype(), t.dims());
        return Err(format!("got {}, want {}", show(got), show(want)));
    }
    if !got.dtype().is_float() {
        return match got.data() == want.data() {
            true => Ok(()),
            false => Err(format!("got {}, want {}", head(got.data()), head(want.data()))),
        };
    }
    let (a, b) = (got.to_f64().ok_or("no floats")?, want.to_f64().ok_or("no floats")?);
    let excess = |x: f64, y: f64| {
        if x == y || (x.is_nan() && y.is_nan()) {
            return 0.0;
        }
        let e = (x - y).abs() - (atol + rtol * y.abs());
        if e.is_nan() { f64::INFINITY } else { e }
    };
    let worst = (0..a.len()).max_by(|&i, &j| excess(a[i], b[i]).total_cmp(&excess(a[j], b[j])));
    match worst {
        Some(i) if excess(a[i], b[i]) > 0.0 => {
            let wrong = (0..a.len()).filter(|&j| excess(a[j], b[j]) > 0.0).count();
            Err(format!("{wrong} of {} wrong; at {i} got {}, want {}", a.len(), a[i], b[i]))
        }
        _ => Ok(()),
    }
}

fn head(data: &Data) -> String {
    format!("{data:?}").chars().take(160).collect()
}
