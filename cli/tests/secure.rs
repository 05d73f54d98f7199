//! The command: isolation of a batch, keys, signatures.

mod common;

use common::Scene;

#[test]
fn isolation_is_checked_before_and_shown_after_the_compile() {
    let s = Scene::new();
    s.small();
    let text = s.ok(&["check", "small.onnx", "--isolation", "batch"]);
    assert!(text.contains("batch     N") && text.contains("output    y: isolated"), "{text}");
    let json = s.json(&["check", "small.onnx", "--isolation", "batch", "--axis", "x:0", "--json"]);
    assert_eq!(json["isolated"], true);
    assert_eq!(json["report"]["outputs"][0]["axis"], 0);

    // Softmax of opset 13 and later normalises its last axis.
    s.model("leak.onnx", &["x"], &[("ReduceMax", &["x"], "m"), ("Div", &["x", "m"], "y")], &["y"]);
    let run = s.cascata(&["check", "leak.onnx", "--isolation", "batch"]);
    assert_eq!(run.code(), 1, "{}", run.stdout());
    let text = run.stdout();
    for part in ["NOT ISOLATED: entries mix at m, reduce of 'node_m'", "way to y", "mixes"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let run = s.cascata(&["check", "leak.onnx", "--isolation", "batch", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&run.stdout()).unwrap();
    assert_eq!(json["report"]["outputs"][0]["path"], serde_json::json!(["x", "m", "y"]));
    assert_eq!(json["report"]["outputs"][0]["kind"], "mixes");

    s.ok(&["compile", "small.onnx"]);
    assert!(s.ok(&["inspect", "small.casc"]).contains("batch     N: isolated, proven"));
    s.ok(&["compile", "leak.onnx"]);
    assert!(s.ok(&["inspect", "leak.casc"]).contains("batch     N: NOT ISOLATED: output 'y'"));

    s.fails(2, &["check", "small.onnx", "--isolation", "batch", "--symbol", "Q"]);
    s.fails(2, &["check", "small.onnx", "--isolation", "batch", "--axis", "x"]);
    let one = ["check", "leak.onnx", "--isolation", "batch", "--fix-dim", "N=1"];
    assert!(s.ok(&one).contains("every run holds one entry"));
}

#[test]
fn signed_artifacts_are_trusted() {
    let s = Scene::new();
    s.small();
    let public = s.ok(&["keygen", "a.key"]);
    s.ok(&["keygen", "b.key"]);
    s.fails(3, &["keygen", "a.key"]);
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(s.path("a.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    s.ok(&["compile", "small.onnx", "-o", "signed.casc", "--sign", "a.key"]);
    s.ok(&["compile", "small.onnx", "-o", "plain.casc"]);
    s.fails(3, &["compile", "small.onnx", "--sign", "a.key.pub"]);
    for key in [public.trim(), "a.key.pub"] {
        s.ok(&["run", "signed.casc", "--random", "1", "--trust", key]);
        s.ok(&[
            "bench",
            "signed.casc",
            "--random",
            "1",
            "--runs",
            "1",
            "--threads",
            "1,2",
            "--trust",
            key,
        ]);
        assert!(s.ok(&["inspect", "signed.casc", "--trust", key]).contains("signature yes"));
    }
    assert!(s.ok(&["inspect", "plain.casc"]).contains("signature none"));
    for command in ["run", "bench", "inspect"] {
        let random: &[&str] = if command == "inspect" { &[] } else { &["--random", "1"] };
        let with = |file, key| [&[command, file, "--trust", key], random].concat();
        let text = s.fails(3, &with("plain.casc", "a.key.pub"));
        assert!(text.contains("is not signed"), "{text}");
        let text = s.fails(3, &with("signed.casc", "b.key.pub"));
        assert!(text.contains("signed by somebody else"), "{text}");
        s.fails(2, &with("signed.casc", "nobody.pub"));
    }
    s.fails(2, &["run", "small.onnx", "--random", "1", "--trust", "a.key.pub"]);

    let mut bytes = std::fs::read(s.path("signed.casc")).unwrap();
    bytes[70] ^= 1;
    std::fs::write(s.path("signed.casc"), bytes).unwrap();
    assert!(
        s.fails(3, &["run", "signed.casc", "--random", "1", "--trust", "a.key.pub"])
            .contains("damaged header")
    );
}
