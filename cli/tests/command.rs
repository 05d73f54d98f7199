//! The command: exit codes, what errors name, JSON, arrays that come back.

mod common;

use common::{Scene, magika};

#[test]
fn compile_run_and_look() {
    let s = Scene::new();
    s.small();
    let report =
        s.json(&["compile", "small.onnx", "-o", "a.casc", "--dim", "N=1..8", "--json", "--verify"]);
    assert!(report["kernels"].as_u64().unwrap() >= 1);
    assert!(report["phases"].as_array().unwrap().iter().any(|p| p["name"] == "build"));
    assert!(report["artifact_bytes"].as_u64().unwrap() > 0);

    let run =
        s.json(&["run", "a.casc", "--random", "3", "--dim", "N=5", "--output", "y.npz", "--json"]);
    assert_eq!(run[0]["name"], "y");
    assert_eq!(run[0]["dims"], serde_json::json!([5, 3]));
    assert!(run[0]["max"].as_f64().unwrap() <= 1.0);

    let text = s.ok(&["inspect", "a.casc", "--dim", "N=4"]);
    for part in ["small.onnx", "x: f32[N,3]", "N in 1..=8", "x86-64-v3", "memory at N=4"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let all = s.json(&["inspect", "a.casc", "--json"]);
    assert_eq!(all["sample"]["sizes"]["N"], 1);
    assert_eq!(all["manifest"]["entries"][0]["inputs"][0]["name"], "x");
    assert!(
        s.ok(&["inspect", "a.casc", "--graph", "--stage", "input"]).contains("graph \"small\"")
    );
    let unknown = s.fails(2, &["inspect", "a.casc", "--graph", "--stage", "nowhere"]);
    assert!(unknown.contains("only input") && unknown.contains("fuse"), "{unknown}");
    assert!(s.ok(&["inspect", "a.casc", "--cascade"]).contains("flops"));
    assert!(s.ok(&["inspect", "a.casc", "--kernels"]).contains("kernel"));
    assert!(s.ok(&["explain", "a.casc", "y"]).contains("node_y"));
}

#[test]
fn sequences_are_as_many_arrays() {
    let s = Scene::new();
    s.sequences();
    let asked = s.fails(3, &["compile", "sequences.onnx"]);
    assert!(asked.contains("'xs'") && asked.contains("--length xs=NUMBER"), "{asked}");
    let told = ["--length", "xs=3", "--absent", "o"];
    s.ok(&[&["compile", "sequences.onnx", "-o", "a.casc"][..], &told].concat());
    let sizes = ["--dim", "N.0=2", "--dim", "N.1=4", "--dim", "N.2=1"];
    let random = ["run", "--random", "1", "--json"];
    for subject in [&["a.casc"][..], &[&["interp:sequences.onnx"][..], &told].concat()] {
        let run = s.json(&[&random[..], subject, &sizes].concat());
        let outputs: Vec<_> =
            run.as_array().unwrap().iter().map(|o| (&o["name"], &o["dims"])).collect();
        let wanted = [("y.0", [2, 3]), ("y.1", [4, 3])].map(|(n, d)| (n.into(), d.into()));
        assert_eq!(outputs, wanted.each_ref().map(|(n, d)| (n, d)));
    }
    // An empty sequence and what an optional holds.
    let one = s
        .json(&[&random[..], &["sequences.onnx", "--length", "xs=1", "--fix-dim", "N=2"]].concat());
    assert_eq!(one[0]["name"], "z");
    let artifact = s.fails(2, &[&random[..], &["a.casc"], &told].concat());
    assert!(artifact.contains("--length") && artifact.contains("model file"), "{artifact}");
    let tensor = s.fails(2, &["compile", "sequences.onnx", "--length", "o=1", "--length", "xs=1"]);
    assert!(tensor.contains("'o=1'"), "{tensor}");
}

#[test]
fn outputs_of_one_model_are_inputs_of_the_next() {
    let s = Scene::new();
    s.small();
    s.model("next.onnx", &["y"], &[("Neg", &["y"], "z")], &["z"]);
    let first = s.json(&[
        "run",
        "small.onnx",
        "--random",
        "1",
        "--dim",
        "N=4",
        "--output",
        "y.npz",
        "--json",
    ]);
    let second = s.json(&["run", "next.onnx", "--input", "y.npz", "--json"]);
    assert_eq!(second[0]["dims"], first[0]["dims"]);
    assert_eq!(second[0]["max"].as_f64().unwrap(), -first[0]["min"].as_f64().unwrap());
    assert_eq!(second[0]["min"].as_f64().unwrap(), -first[0]["max"].as_f64().unwrap());
}

#[test]
fn two_compiles_give_the_same_bytes() {
    let s = Scene::new();
    s.small();
    for name in ["a.casc", "b.casc"] {
        s.ok(&["compile", "small.onnx", "-o", name]);
    }
    assert_eq!(std::fs::read(s.path("a.casc")).unwrap(), std::fs::read(s.path("b.casc")).unwrap());
}

#[test]
fn profile_points_and_comparisons_are_reported() {
    let s = Scene::new();
    s.small();
    let estimate = |profile: &[&str]| {
        let args = [&["compile", "small.onnx", "--json", "--verify"], profile].concat();
        let rewriting = s.json(&args)["rewriting"].clone();
        let checks = rewriting["checks"].clone();
        let slices = ["compared", "unchanged"].map(|k| checks[k].as_u64().unwrap());
        assert_eq!(slices.iter().sum::<u64>(), rewriting["distinct"].as_u64().unwrap());
        rewriting["cost_after"].as_f64().unwrap()
    };
    let one = estimate(&["--profile", "N=1"]);
    let many = estimate(&["--profile", "N=4096"]);
    assert!(one < many, "{one} {many}");
    // The report is that of the first point's graph.
    assert_eq!(estimate(&["--profile", "N=1", "--profile", "N=4096"]), one);
}

#[test]
fn stages_are_dumped() {
    let s = Scene::new();
    s.small();
    s.ok(&[
        "compile",
        "small.onnx",
        "--dump-after",
        "^(input|fuse)$",
        "--dump-dir",
        "dumps",
        "-O0",
        "--strip",
    ]);
    assert!(std::fs::read_to_string(s.path("dumps/00-input.txt")).unwrap().contains("relu"));
    assert!(std::fs::read_to_string(s.path("dumps/01-fuse.txt")).unwrap().contains("group"));
    assert!(s.fails(1, &["inspect", "small.casc", "--kernels"]).contains("--strip"));
    let message =
        s.fails(2, &["compile", "small.onnx", "--dump-after", "fusion", "--dump-dir", "dumps"]);
    assert!(message.contains("--dump-after fusion"), "{message}");
}

#[test]
fn differences_are_found_and_placed() {
    let s = Scene::new();
    s.small();
    let same = s.json(&[
        "diff-run",
        "interp:small.onnx",
        "O0:small.onnx",
        "--random",
        "2",
        "--dim",
        "N=7",
        "--json",
    ]);
    assert_eq!(same["diverges"], false);

    // The same but for the node in the middle.
    let nodes: [(&str, &[&str], &str); 3] =
        [("Relu", &["x"], "h"), ("Sub", &["h", "x"], "s"), ("Tanh", &["s"], "y")];
    s.model("other.onnx", &["x"], &nodes, &["y"]);
    let args = ["diff-run", "interp:small.onnx", "interp:other.onnx", "--random", "2", "--json"];
    let run = s.cascata(&args);
    assert_eq!(run.code(), 1);
    let result: serde_json::Value = serde_json::from_str(&run.stdout()).unwrap();
    assert_eq!(result["first"]["name"], "s");
    assert_eq!(result["first"]["agreeing_before"], 2); // x and h
    let message = s.fails(1, &["diff-run", "small.onnx", "other.onnx", "--random", "2"]);
    assert!(message.contains("outputs diverge: y"), "{message}");
}

#[test]
fn values_can_be_fetched() {
    let s = Scene::new();
    s.small();
    let run = s.json(&["run", "small.onnx", "--random", "1", "--fetch", "h", "--json"]);
    assert_eq!(run[1]["name"], "h");
    assert!(run[1]["min"].as_f64().unwrap() >= 0.0);
    assert!(
        s.fails(2, &["run", "small.onnx", "--random", "1", "--fetch", "nothing"])
            .contains("'nothing'")
    );
}

#[test]
fn an_artifact_gives_what_its_kernels_write() {
    let s = Scene::new();
    s.small();
    s.ok(&["compile", "small.onnx", "-o", "a.casc", "--target", "x86-64-v3"]);
    let fused = s.fails(2, &["run", "a.casc", "--random", "1", "--fetch", "h"]);
    assert!(fused.contains("'h'") && fused.contains('y'), "{fused}");
    s.ok(&["compile", "small.onnx", "-o", "b.casc", "--target", "x86-64-v3", "--fetch", "s"]);
    let run = s.json(&["run", "b.casc", "--random", "1", "--fetch", "y", "--json"]);
    let names: Vec<&str> =
        run.as_array().unwrap().iter().filter_map(|o| o["name"].as_str()).collect();
    assert_eq!(names, ["y", "s"], "an output is there once");
}

#[test]
fn a_models_dims_can_be_fixed() {
    let s = Scene::new();
    s.small();
    let run = s.json(&["run", "small.onnx", "--random", "1", "--fix-dim", "N=6", "--json"]);
    assert_eq!(run[0]["dims"], serde_json::json!([6, 3]));
    s.ok(&["compile", "small.onnx", "-o", "a.casc"]);
    for command in ["run", "bench"] {
        let message = s.fails(2, &[command, "a.casc", "--random", "1", "--fix-dim", "N=6"]);
        assert!(message.contains("--fix-dim"), "{message}");
    }
    s.ok(&["diff-run", "interp:small.onnx", "a.casc", "--random", "1", "--fix-dim", "N=6"]);
}

#[test]
fn measurements_are_json() {
    let s = Scene::new();
    s.small();
    s.ok(&["compile", "small.onnx", "-o", "a.casc"]);
    let one =
        s.json(&["bench", "a.casc", "--random", "1", "--runs", "5", "--threads", "1", "--json"]);
    for field in ["median_ns", "p10_ns", "p90_ns", "load_ns", "first_run_ns", "peak_rss_bytes"] {
        assert!(one[field].as_u64().unwrap() > 0, "{field}");
    }
    assert_eq!((one["runs"].as_u64(), one["threads"].as_u64()), (Some(5), Some(1)));
    let two = s.json(&[
        "bench",
        "small.onnx",
        "--random",
        "1",
        "--runs",
        "5",
        "--threads",
        "1,2",
        "--pin",
        "--json",
    ]);
    assert_eq!(two[1]["threads"], 2);
}

#[test]
fn traces_are_chrome_traces() {
    let s = Scene::new();
    s.small();
    s.ok(&["run", "small.onnx", "--random", "1", "--profile", "trace.json"]);
    let trace: serde_json::Value =
        serde_json::from_slice(&std::fs::read(s.path("trace.json")).unwrap()).unwrap();
    let event = &trace["traceEvents"][0];
    assert_eq!((&event["ph"], &event["name"]), (&"X".into(), &"y".into()));
    assert!(event["args"]["source"].as_array().unwrap().iter().any(|n| n == "node_y"));
}

/// Products of bf16: near those of f32, and not the same; the artifact says so.
#[test]
fn products_may_be_of_bf16() {
    let s = Scene::new();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/magika/model.onnx");
    s.ok(&["compile", model, "-o", "f32.casc"]);
    s.ok(&["compile", model, "-o", "bf16.casc", "--precision", "bf16"]);
    assert!(s.ok(&["inspect", "bf16.casc"]).contains("--precision bf16"));
    let compare = |tolerance: &str| {
        let pair = ["diff-run", "f32.casc", "bf16.casc", "--random", "1"];
        s.cascata(&[&pair[..], &["--tolerance", tolerance]].concat()).code()
    };
    assert_ne!(compare("1e-7"), 0);
    assert_eq!(compare("0.05"), 0);
}

#[test]
fn wrong_usage_ends_with_2() {
    let s = Scene::new();
    s.small();
    assert!(s.fails(2, &["compile", "small.onnx", "--precision", "f8"]).contains("f32 or bf16"));
    s.fails(2, &["compile"]);
    s.fails(2, &["run", "small.onnx"]); // neither --input nor --random
    assert!(s.fails(2, &["compile", "small.onnx", "--target", "arm"]).contains("'arm'"));
    assert!(s.fails(2, &["compile", "small.onnx", "--dim", "M=3"]).contains("M=3"));
    let message = s.fails(2, &["compile", "small.onnx", "--profile", "M=3"]);
    assert!(message.contains("'M'") && message.contains("it has: N"), "{message}");
    assert!(s.fails(2, &["compile", "small.onnx", "--profile", "N"]).contains("NAME=VALUE"));
    assert!(
        s.fails(2, &["run", "small.onnx", "--random", "1", "--dim", "M=3"]).contains("'M', only N")
    );
    assert!(
        s.fails(2, &["run", "small.onnx", "--random", "1", "--range", "q=0..1"])
            .contains("'q', only x")
    );
}

#[test]
fn bad_files_end_with_3() {
    let s = Scene::new();
    s.small();
    std::fs::write(s.path("junk"), b"junk of no kind at all").unwrap();
    assert!(s.fails(3, &["compile", "junk"]).contains("junk"));
    assert!(s.fails(3, &["compile", "absent.onnx"]).contains("absent.onnx"));
    assert!(s.fails(3, &["inspect", "junk"]).contains("not a Cascata artifact"));
    assert!(s.fails(3, &["run", "small.onnx", "--input", "junk"]).contains("junk"));
    assert!(
        s.fails(3, &["compile", "small.onnx", "-o", "no/such/folder.casc"]).contains("no/such")
    );
    s.ok(&["compile", "small.onnx", "-o", "a.casc"]);
    let bytes = std::fs::read(s.path("a.casc")).unwrap();
    std::fs::write(s.path("short.casc"), &bytes[..bytes.len() / 2]).unwrap();
    assert!(s.fails(3, &["run", "short.casc", "--random", "1"]).contains("short.casc"));
    assert!(s.fails(3, &["inspect", "short.casc"]).contains("short.casc"));
}

#[test]
fn unsupported_ops_end_with_4_and_are_all_named() {
    let s = Scene::new();
    s.model("odd.onnx", &["x"], &[("Frobnicate", &["x"], "h"), ("Twiddle", &["x"], "y")], &["y"]);
    let message = s.fails(4, &["compile", "odd.onnx"]);
    assert!(message.contains("Frobnicate") && message.contains("Twiddle"), "{message}");
}

#[test]
fn wrong_inputs_end_with_5_and_are_all_named() {
    let s = Scene::new();
    s.small();
    s.model("two.onnx", &["a", "b"], &[("Add", &["a", "b"], "c")], &["c"]);
    s.ok(&["run", "small.onnx", "--random", "1", "--output", "y.npz"]);
    for subject in ["two.onnx", "interp:two.onnx"] {
        let message = s.fails(5, &["run", subject, "--input", "y.npz"]);
        for part in ["'a' is missing", "'b' is missing", "no input 'y'"] {
            assert!(message.contains(part), "{part} is not in {message}");
        }
    }
}

#[test]
fn help_says_the_exit_codes() {
    let s = Scene::new();
    assert!(s.ok(&["--help"]).contains("Exit codes:"));
    for command in ["compile", "run", "bench", "inspect", "explain", "diff-run", "calibrate"] {
        let help = s.ok(&[command, "--help"]);
        assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{command}");
    }
}

#[test]
fn a_real_model_goes_all_the_way() {
    let s = Scene::new();
    let model = magika();
    let model = model.to_str().unwrap();
    let report = s.json(&["compile", model, "-o", "m.casc", "--json"]);
    assert!(!report["rewriting"]["rules"].as_object().unwrap().is_empty());
    let inputs = ["--random", "5", "--dim", "bytes:0=2", "--range", "bytes=0..256"];
    let interpreter = format!("interp:{model}");
    s.ok(&[&["diff-run", &interpreter, "m.casc"], &inputs[..]].concat());
    let value = s.cascata(&["explain", "m.casc", "target_labels"]);
    assert_eq!(value.code(), 1);
    assert!(value.stderr().contains("target_label"), "{}", value.stderr());
}
