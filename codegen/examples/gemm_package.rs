//! Matrix products of several schedules, to be checked and timed on a GPU:
//! `gemm_package FOLDER` writes their PTX and `kernels.json`, which `tests/gpu/run_gemm.py FOLDER`
//! reads.

use cascata_codegen::gpu::tile_gemm::{LARGE, Product};
use cascata_ir::kernel::{GemmSchedule, verify};
use cascata_ir::types::DType;
use cascata_ptx::{PtxTarget, compile};
use serde_json::{Value, json};
use std::error::Error;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let folder: PathBuf = std::env::args().nth(1).ok_or("usage: gemm_package FOLDER")?.into();
    std::fs::create_dir_all(&folder)?;
    let mut kernels = Vec::new();
    let of = |rows, cols, stages| GemmSchedule { rows, cols, stages };
    let others = [of(128, 192, 4), of(256, 128, 4), of(128, 128, 4), of(64, 256, 5)];
    for schedule in std::iter::once(LARGE).chain(others) {
        for group in [8, 16] {
            let product = Product { group, ..Product::plain(DType::BF16, schedule) };
            kernels.push(write(&folder, "time", product)?);
        }
        for (dtype, result) in [(DType::BF16, DType::F32), (DType::F16, DType::F16)] {
            let plain = Product::plain(dtype, schedule);
            let product = Product { result, bias: true, clamp: (-1.5, f32::INFINITY), ..plain };
            kernels.push(write(&folder, "check", product)?);
        }
    }
    Ok(std::fs::write(folder.join("kernels.json"), serde_json::to_string_pretty(&kernels)?)?)
}

fn write(folder: &Path, kind: &str, product: Product) -> Result<Value, Box<dyn Error>> {
    let GemmSchedule { rows, cols, stages } = product.schedule;
    let name = format!("{kind}_{}_r{rows}c{cols}s{stages}g{}", product.dtype, product.group);
    let kernel = product.kernel(&name);
    verify(&kernel).map_err(|e| format!("{name}: {e:?}"))?;
    let module = compile(std::slice::from_ref(&kernel), PtxTarget { name: "sm_90a" })
        .map_err(|e| format!("{name}: {e:?}"))?;
    std::fs::write(folder.join(format!("{name}.ptx")), &module.text)?;
    let launch = &module.kernels[0];
    Ok(json!({
        "name": name, "kind": kind, "dtype": product.dtype.to_string(),
        "result": product.result.to_string(), "bias": product.bias,
        "rows": rows, "cols": cols, "threads": launch.threads, "shared": launch.shared_bytes,
    }))
}
