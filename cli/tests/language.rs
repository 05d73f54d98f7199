//! Language models through the command: both formats, what is kept beside the graph, and what
//! is said of broken ones. Vocabularies against the `tokenizers` crate.

mod common;

use common::{Scene, text_folder};
use tokenizers::Tokenizer;

#[test]
fn a_directory_becomes_an_artifact_that_keeps_its_configuration() {
    let Some(folder) = text_folder("llama3") else { return };
    let scene = Scene::new();
    let model = scene.path("model");
    std::fs::create_dir(&model).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(folder.join("model").join(file), model.join(file)).unwrap();
    }
    std::fs::write(model.join("generation_config.json"), r#"{"eos_token_id":2}"#).unwrap();
    let config = r#"{"chat_template":"{{ messages }}"}"#;
    std::fs::write(model.join("tokenizer_config.json"), config).unwrap();
    scene.ok(&["compile", "model", "--last-logits", "--kv-cache=tensors", "--dim", "S=1..8"]);
    let shown = scene.ok(&["inspect", "model.casc"]);
    for part in [
        "metadata  chat_template = {{ messages }}",
        r#"metadata  generation_config.json = {"eos_token_id":2}"#,
        "metadata  config.json",
        "--last-logits --kv-cache",
        "past_key.1: f32[B,2,P,6]",
        "logits: f32[B,1,53]",
        "symbol S in 1..=8",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // The same files give the same hash, another file another.
    let hash = |scene: &Scene| {
        scene.ok(&["compile", "model", "-o", "again.casc", "-O0"]);
        scene.json(&["inspect", "again.casc", "--json"])["manifest"]["provenance"]["source_hash"]
            .to_string()
    };
    let first = hash(&scene);
    assert_eq!(first, hash(&scene));
    std::fs::write(model.join("generation_config.json"), "{}").unwrap();
    assert_ne!(first, hash(&scene));
}

#[test]
fn broken_models_say_everything_and_exit_with_3() {
    let Some(folder) = text_folder("llama3") else { return };
    let scene = Scene::new();
    let model = scene.path("model");
    std::fs::create_dir(&model).unwrap();
    let text = scene.fails(3, &["compile", "model"]);
    assert!(text.contains("config.json: the folder has no such file"), "{text}");
    let config = std::fs::read_to_string(folder.join("model/config.json")).unwrap();
    let wider = config.replace("\"intermediate_size\": 37", "\"intermediate_size\": 38");
    assert_ne!(config, wider);
    std::fs::write(model.join("config.json"), wider).unwrap();
    std::fs::copy(folder.join("model/model.safetensors"), model.join("model.safetensors")).unwrap();
    let text = scene.fails(3, &["compile", "model"]);
    assert!(text.contains("(llama): 6 problems"), "{text}");
    assert!(
        text.contains("mlp.down_proj.weight' is f32[24,37], expected floats [24,38]"),
        "{text}"
    );
    let text = scene.fails(2, &["compile", "model", "--set", "input_ids=1"]);
    assert!(text.contains("in ONNX models only"), "{text}");
}

const SAMPLE: &str = "The cascade of Einsums, 1234567 × 0.5 — it's \"naïve\", isn't it?\n\n\
    fn main() {\n\tprintln!(\"{}\", 42);\n}\n   trailing   spaces  \u{1f980} 東京 Ελλάδα I'll we've";

/// What a GGUF file's vocabulary becomes, and the end tokens.
fn kept(gguf: &std::path::Path) -> impl Fn(&str) -> String + use<> {
    let options = cascata::onnx::ImportOptions::default();
    let import = cascata::import(gguf, &options, Default::default()).unwrap();
    move |name| {
        let found = import.metadata.iter().find(|(n, _)| n == name);
        found.unwrap_or_else(|| panic!("no {name}")).1.clone()
    }
}

/// A vocabulary that SentencePiece trained gives the tokens that SentencePiece does, and text
/// again, of a thousand texts in and out of its language.
#[test]
fn sentencepiece_vocabularies_are_exact() {
    let Some(folder) = text_folder("gguf_sentencepiece") else { return };
    let kept = kept(&folder.join("model.gguf"));
    let tokenizer: Tokenizer = kept("tokenizer.json").parse().unwrap();
    let cases = std::fs::read_to_string(folder.join("encodings.json")).unwrap();
    let cases: Vec<(String, Vec<u32>, String)> = serde_json::from_str(&cases).unwrap();
    assert!(cases.len() > 1000);
    for (text, ids, back) in &cases {
        let found = tokenizer.encode(text.as_str(), false).unwrap();
        assert_eq!(found.get_ids(), ids, "{text:?}");
        assert_eq!(&tokenizer.decode(ids, false).unwrap(), back, "{text:?}");
    }
    let begun = tokenizer.encode("ka", true).unwrap();
    assert_eq!(begun.get_ids()[0], 1, "the beginning token comes first");
    assert_eq!(kept("generation_config.json"), r#"{"bos_token_id":1,"eos_token_id":2}"#);
}

/// SmolLM2's GGUF vocabulary, converted when the model is compiled, is the tokenizer of its
/// Hugging Face directory, which another program wrote.
#[test]
fn gguf_vocabularies_are_exact() {
    let (Some(gguf), Some(folder)) = (text_folder("smollm2"), text_folder("smollm2_f32")) else {
        return;
    };
    let kept = kept(&gguf.join("model.gguf"));
    let converted: Tokenizer = kept("tokenizer.json").parse().unwrap();
    let given = Tokenizer::from_file(folder.join("model/tokenizer.json")).unwrap();
    assert_eq!(converted.get_vocab_size(true), 49152);
    let turn = format!("<|im_start|>user\n{SAMPLE}<|im_end|>\n<|im_start|>assistant\n");
    for text in [SAMPLE, &turn, "", " ", "\u{0}\u{7f}", "a\r\nb"] {
        let (a, b) = (converted.encode(text, true).unwrap(), given.encode(text, true).unwrap());
        assert_eq!(a.get_ids(), b.get_ids(), "{text:?}");
        assert_eq!(converted.decode(a.get_ids(), false).unwrap(), text);
    }
    // Digits stand alone and marks are one token.
    let ids = converted.encode("<|im_start|>2024", true).unwrap();
    assert_eq!((ids.len(), ids.get_ids()[0]), (5, 1));
    assert_eq!(
        kept("generation_config.json"),
        r#"{"bos_token_id":1,"eos_token_id":2,"pad_token_id":2}"#
    );
    assert!(kept("chat_template").contains("<|im_start|>assistant"));
}
