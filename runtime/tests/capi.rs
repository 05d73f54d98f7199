//! The C API: the example and a misuse test are built with `cc` against the static
//! library and run; the header's numbers are those of the code.

mod common;

use cascata_artifact::sign::SecretKey;
use cascata_runtime::DType;
use common::*;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The static library that cargo built beside this test.
fn static_library() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let deps = exe.parent().unwrap();
    let in_deps = deps.join("libcascata_runtime.a");
    if in_deps.exists() { in_deps } else { deps.with_file_name("libcascata_runtime.a") }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Builds a C program as a service would: optimised, unused sections dropped, stripped.
fn build(source: &Path, name: &str) -> TempFile {
    let exe = TempFile(std::env::temp_dir().join(format!("cascata-{}-{name}", std::process::id())));
    let output = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-Os", "-s", "-Wl,--gc-sections", "-I"])
        .arg(root().join("include"))
        .arg(source)
        .arg(static_library())
        .args(["-lpthread", "-ldl", "-lm", "-o"])
        .arg(&exe.0)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    exe
}

fn run(exe: &TempFile, args: &[&str]) -> (bool, String) {
    let output = Command::new(&exe.0).args(args).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn the_example_runs_a_model_and_is_small() {
    let exe = build(&root().join("../examples/c/run.c"), "run");
    let bytes = std::fs::metadata(&exe.0).unwrap().len();
    println!("stripped C client: {bytes} bytes");
    // The CUDA driver's part comes on top.
    let most = (4 << 20) + if cfg!(feature = "cuda") { 256 << 10 } else { 0 };
    assert!(bytes < most, "{bytes} bytes");
    let model = data_dependent().file("capi");
    let (ok, text) = run(&exe, &[model.0.to_str().unwrap(), "3"]);
    assert!(ok, "{text}");
    assert_eq!(
        text,
        "entry main\ninput k: i64[1]\ninput x: f32[B]\ny [5] = 0 3 6 9 12\nz [3] = 6 6 6\n"
    );
    let (ok, text) = run(&exe, &[model.0.to_str().unwrap(), "101"]);
    assert!(!ok);
    assert!(text.contains("error 3: input 'x', axis 0: B = 101 is outside 1..=100"), "{text}");
}

#[test]
fn misuse_is_reported() {
    let exe = build(&root().join("tests/capi_errors.c"), "errors");
    let model = triple().file("capi-errors");
    let key = SecretKey::from_seed([7; 32]);
    let signed = triple().signed_file("capi-signed", &key);
    let paths = [&model, &signed].map(|f| f.0.to_str().unwrap());
    let (ok, text) = run(&exe, &[paths[0], paths[1], &key.public().to_string()]);
    assert!(ok && text == "ok\n", "{text}");
}

#[test]
fn the_headers_dtypes_are_the_codes() {
    let header = std::fs::read_to_string(root().join("include/cascata.h")).unwrap();
    for (number, dtype) in DType::ALL.iter().enumerate() {
        let line = format!("CASCATA_{} = {number}", dtype.name().to_uppercase());
        assert!(header.contains(&line), "{line}");
    }
}
