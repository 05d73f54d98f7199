//! Regenerates `frontends/src/onnx/proto.rs`.
//!
//! ```text
//! cargo run --manifest-path frontends/proto-gen/Cargo.toml -- \
//!     <site-packages>/onnx/onnx-ml.proto frontends/src/onnx/proto.rs
//! ```
//! `onnx-ml.proto` comes with the `onnx` wheel.
#![forbid(unsafe_code)]

use std::{env, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().collect();
    let [_, proto, out] = args.as_slice() else {
        return Err("usage: onnx-proto-gen ONNX_ML_PROTO OUT_FILE".into());
    };
    let folder = Path::new(proto).parent().ok_or("the proto file has no folder")?;
    let descriptors = protox::compile([proto], [folder])?;
    let scratch = env::temp_dir().join(format!("onnx-proto-gen-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    prost_build::Config::new()
        .out_dir(&scratch)
        // Weights stay views into the mapped file.
        .bytes([".onnx.TensorProto.raw_data"])
        // Upstream's comments are not Rust documentation.
        .disable_comments(["."])
        .compile_fds(descriptors)?;
    fs::copy(scratch.join("onnx.rs"), out)?;
    fs::remove_dir_all(&scratch)?;
    Ok(())
}
