//! Text from compiled decoders: the engine over a session against whole runs of the same
//! model, and the command.

mod common;

use cascata::engine::{Config, Engine, Model, Params, Prompt};
use cascata::kv::KvElement;
use cascata::{
    CompileOptions, PagedModel, Runtime, Session, SessionModel, TensorView, TextCache, TextOptions,
    compile,
};
use common::{Scene, text_model};
use std::path::Path;

fn session(folder: &Path, text: TextOptions, runtime: &Runtime) -> Session {
    let options = CompileOptions { text, ..CompileOptions::default() };
    compile(folder, &options, &mut ()).expect("it compiles").session(runtime).expect("it loads")
}

/// Always the likeliest token, each from a run over all tokens before it.
fn from_whole_runs(session: &Session, prompt: &[u32], new: usize) -> Vec<u32> {
    let mut tokens = prompt.to_vec();
    for _ in 0..new {
        let ids: Vec<i64> = tokens.iter().map(|t| i64::from(*t)).collect();
        let ids = TensorView::of(&[1, ids.len() as i64], &ids).map(|v| v.to_tensor());
        let ids = ids.expect("ids").expect("ids");
        let outputs = session.run(&[("input_ids", ids.view())]).expect("it runs");
        let vocabulary = outputs[0].dims()[2] as usize;
        let logits = outputs[0].as_slice::<f32>().expect("f32");
        let last = &logits[logits.len() - vocabulary..];
        let likeliest = (0..vocabulary).max_by(|a, b| last[*a].total_cmp(&last[*b]));
        tokens.push(likeliest.expect("a vocabulary") as u32);
    }
    tokens.split_off(prompt.len())
}

/// Prompts that share beginnings, longer than a step, several samples: all the same tokens.
#[test]
fn the_engine_continues_as_whole_runs_do() {
    for name in ["llama3", "gemma2", "gpt2", "neox"] {
        let Some(folder) = text_model(name) else { return };
        let runtime = Runtime::builder().threads(2).build().expect("threads");
        let whole = session(&folder, TextOptions::default(), &runtime);
        let tensors = |last_logits| TextOptions { cache: TextCache::Tensors, last_logits };
        let paged = TextOptions { cache: TextCache::Paged, last_logits: false };
        for text in [tensors(false), tensors(true), paged] {
            let session = session(&folder, text, &runtime);
            let decoder: Box<dyn Model> = match PagedModel::fits(&session) {
                true => Box::new(PagedModel::new(session).expect("a decoder")),
                false => Box::new(SessionModel::new(session).expect("a decoder")),
            };
            let config = Config {
                kv_element: KvElement::F32,
                block_tokens: 4,
                step_tokens: 7,
                max_sequences: 5,
                ..Config::default()
            };
            let engine = Engine::new(decoder, config).expect("an engine");
            let prompts: [&[u32]; 4] =
                [&[3, 1, 4, 1, 5, 9, 2, 6, 5], &[3, 1, 4, 1, 5, 9, 2, 7], &[3], &[8, 2, 8]];
            let params = Params { max_tokens: 6, ..Params::default() };
            let streams = prompts.map(|p| {
                engine.submit(Prompt::Tokens(p.to_vec()), params.clone()).expect("it is taken")
            });
            for (prompt, stream) in prompts.iter().zip(streams) {
                let outputs = stream.collect_outputs().expect("it ends");
                assert_eq!(
                    outputs[0].tokens,
                    from_whole_runs(&whole, prompt, 6),
                    "{name} {prompt:?}"
                );
            }
            let both = Params { samples: 2, ..params };
            let stream = engine.submit(Prompt::Tokens(prompts[0].to_vec()), both).expect("taken");
            let outputs = stream.collect_outputs().expect("it ends");
            assert_eq!(outputs[0].tokens, outputs[1].tokens);
            let stats = engine.finish();
            assert_eq!((stats.failures, stats.leaked_blocks()), (0, 0));
            assert!(stats.cached_tokens > 0, "nothing was shared");
        }
    }
}

/// Attention over a cache that nobody brought is an error that says what to do.
#[test]
fn a_paged_decoder_does_not_run_alone() {
    let Some(folder) = text_model("llama3") else { return };
    let runtime = Runtime::builder().threads(1).build().expect("threads");
    let text = TextOptions { cache: TextCache::Paged, last_logits: false };
    let session = session(&folder, text, &runtime);
    let rows = [0i64, 1];
    let view = || TensorView::of(&[2], &rows).expect("rows");
    let inputs = ["input_ids", "positions", "logit_rows"].map(|name| (name, view()));
    let error = session.run(&inputs).expect_err("no cache").to_string();
    assert!(error.contains("Session::run_with_cache"), "{error}");
    assert!(error.contains("model.layers.0.self_attn"), "{error}");
}

/// A tokenizer whose tokens are the words `w0`, `w1`, ….
fn words(count: usize) -> String {
    let vocabulary: serde_json::Map<String, serde_json::Value> =
        (0..count).map(|i| (format!("w{i}"), i.into())).collect();
    serde_json::json!({
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": { "type": "Whitespace" },
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "w0" },
    })
    .to_string()
}

#[test]
fn the_command_generates_and_refuses() {
    let Some(folder) = text_model("llama3") else { return };
    let scene = Scene::new();
    let copy = scene.path("model");
    std::fs::create_dir(&copy).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(folder.join(file), copy.join(file)).unwrap();
    }
    std::fs::write(copy.join("tokenizer.json"), words(53)).unwrap();
    let template =
        r#"{"chat_template":"{% for m in messages %}w1 {{ m.content }} {% endfor %}w2"}"#;
    std::fs::write(copy.join("tokenizer_config.json"), template).unwrap();
    scene.ok(&["compile", "model", "--kv-cache"]);
    let run = |args: &[&str]| {
        let start = ["generate", "model.casc", "--max-tokens", "5", "--json", "-p"];
        scene.json(&start.iter().chain(args).copied().collect::<Vec<_>>())
    };
    let found = run(&["w1 w7 w2"]);
    let sample = &found["prompts"][0][0];
    assert_eq!(sample["tokens"].as_array().unwrap().len(), 5, "{found}");
    assert_eq!((&sample["reason"], &sample["prompt_tokens"]), (&"length".into(), &3.into()));
    // The template makes the same prompt; a seed makes the same text.
    assert_eq!(run(&["w7", "--chat"])["prompts"], found["prompts"]);
    let wild = ["w3", "-n", "3", "--temperature", "1.5", "--seed", "11"];
    assert_eq!(run(&wild)["prompts"], run(&wild)["prompts"]);
    assert_eq!(run(&wild)["prompts"][0].as_array().unwrap().len(), 3);
    let text =
        scene.ok(&["generate", "model.casc", "-p", "w1 w7 w2", "--max-tokens", "5", "--stream"]);
    assert_eq!(text.trim(), sample["text"].as_str().unwrap().trim());

    let text = scene.fails(2, &["generate", "model.casc", "-p", "w1", "--top-p", "2"]);
    assert!(text.contains("top_p = 2"), "{text}");
    scene.ok(&["compile", "model", "-o", "plain.casc"]);
    let text = scene.fails(3, &["generate", "plain.casc", "-p", "w1"]);
    assert!(text.contains("--kv-cache"), "{text}");
}
