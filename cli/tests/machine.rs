//! A machine's ceilings: measured, kept in a file, read by the other commands.

mod common;

use common::Scene;

#[test]
fn measured_figures_reach_the_other_commands() {
    let s = Scene::new();
    s.small();
    let machine =
        s.json(&["calibrate", "-o", "m.json", "--threads", "1,2", "--seconds", "0.01", "--json"]);
    assert_eq!(machine["flops"].as_array().unwrap().len(), 2);
    assert_eq!(machine["launches"][1]["threads"], 2);
    assert!(machine["bandwidth"][0]["gb_per_s"].as_f64().unwrap() > 0.0);
    assert_eq!(
        machine,
        serde_json::from_slice::<serde_json::Value>(&std::fs::read(s.path("m.json")).unwrap())
            .unwrap()
    );

    s.ok(&["compile", "small.onnx", "-o", "a.casc", "--machine", "m.json"]);
    let text = s.ok(&["inspect", "a.casc", "--machine", "m.json"]);
    // The compiler's options are kept with the artifact.
    assert!(text.contains("at least") && text.contains("--machine flops="), "{text}");
    assert!(!s.ok(&["inspect", "a.casc"]).contains("at least"));
    let bench =
        ["bench", "a.casc", "--random", "1", "--dim", "N=4", "--threads", "1", "--runs", "3"];
    let bench = [&bench[..], &["--launches", "--machine", "m.json"]].concat();
    assert!(s.ok(&bench).contains("of ceiling"));
}

#[test]
fn other_files_are_no_machine_files() {
    let s = Scene::new();
    s.small();
    let figures = |gflops: &str| {
        format!(
            r#"{{"cpu": "c", "isa": "avx2", "flops": [{{"dtype": "f32", "threads": 1, "gflops": {gflops}}}],
                "bandwidth": [], "launches": []}}"#
        )
    };
    for (text, part) in [("{}", "missing field"), (figures("0").as_str(), "positive")] {
        std::fs::write(s.path("m.json"), text).unwrap();
        let message = s.fails(3, &["compile", "small.onnx", "--machine", "m.json"]);
        assert!(message.contains("m.json") && message.contains(part), "{message}");
    }
}
