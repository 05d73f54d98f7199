//! GPU programs: compiled, shown, and refused by name where they cannot be made.

mod common;

use common::Scene;

#[test]
fn targets_are_named() {
    let s = Scene::new();
    s.small();
    let unknown = s.fails(2, &["compile", "small.onnx", "--gpu", "sm_75"]);
    assert!(unknown.contains("sm_75") && unknown.contains("sm_80, sm_90, sm_90a"), "{unknown}");
    s.ok(&["compile", "small.onnx", "-o", "a.casc"]);
    let none = s.fails(1, &["inspect", "a.casc", "--ptx"]);
    assert!(none.contains("compiled without --gpu"), "{none}");
    assert_eq!(s.json(&["inspect", "a.casc", "--json"])["gpu"], serde_json::json!([]));
}

#[cfg(not(feature = "ptx"))]
#[test]
fn a_compiler_without_ptx_says_so() {
    let s = Scene::new();
    s.small();
    let message = s.fails(4, &["compile", "small.onnx", "--gpu", "sm_90a"]);
    for part in ["sm_90a", "without feature `ptx`", "tests/setup_ptx.sh"] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    assert!(!s.path("small.casc").exists());
}

#[cfg(feature = "ptx")]
#[test]
fn programs_are_compiled_and_shown() {
    let s = Scene::new();
    s.small();
    let compile = ["compile", "small.onnx", "--gpu", "sm_90a,sm_80", "--json", "-o"];
    let report = s.json(&[&compile[..], &["a.casc"]].concat());
    let targets: Vec<_> = report["gpu"].as_array().unwrap().iter().map(|g| &g["target"]).collect();
    assert_eq!(targets, ["sm_80", "sm_90a"]);
    assert_eq!(report["gpu"][0]["kernels"], report["kernels"]);
    assert!(report["phases"].as_array().unwrap().iter().any(|p| p["name"] == "ptx"));
    s.ok(&[&compile[..], &["b.casc"]].concat());
    let bytes = |name: &str| std::fs::read(s.path(name)).unwrap();
    assert!(bytes("a.casc") == bytes("b.casc"), "two compiles give the same bytes");

    let text = s.ok(&["inspect", "a.casc"]);
    for part in ["--gpu sm_80,sm_90a", "nvidia sm_80: 1 kernel", "GPU sm_90a", "threads"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let all = s.json(&["inspect", "a.casc", "--json"]);
    assert_eq!(all["gpu"][1]["target"], "sm_90a");
    let kernel = all["manifest"]["gpu"][1]["kernels"][0]["name"].as_str().unwrap();

    // The most demanding program is shown by default; a name chooses kernels.
    let ptx = s.ok(&["inspect", "a.casc", "--ptx"]);
    assert!(ptx.contains(".target sm_90a") && ptx.contains(&format!(".entry {kernel}")), "{ptx}");
    assert_eq!(ptx.len() as u64, all["gpu"][1]["ptx_bytes"].as_u64().unwrap());
    let one = s.ok(&["inspect", "a.casc", &format!("--ptx={kernel}"), "--target", "sm_80"]);
    assert!(one.contains(".target sm_80") && one.contains("ret;"), "{one}");
    let mapped = s.ok(&["inspect", "a.casc", "--kernels", "--target", "sm_80"]);
    assert!(mapped.contains("threads"), "{mapped}");
    let absent = s.fails(2, &["inspect", "a.casc", "--ptx", "--target", "sm_90"]);
    assert!(absent.contains("no program for sm_90, only for sm_80, sm_90a"), "{absent}");
    assert!(s.fails(2, &["inspect", "a.casc", "--ptx=none"]).contains("contains 'none'"));

    // One file: the CPU runs it as before.
    let run = |file: &str| s.json(&["run", file, "--random", "3", "--dim", "N=5", "--json"]);
    s.ok(&["compile", "small.onnx", "-o", "cpu.casc"]);
    assert_eq!(run("a.casc")[0]["max"], run("cpu.casc")[0]["max"]);
}
