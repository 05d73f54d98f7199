use super::*;
use bytes::Bytes;
use cascata_ir::types::{DType, TensorType};
use cascata_ir::verify::verify;
use serde_json::json;

fn tensor(dtype: DType, dims: &[i64]) -> Stored {
    let ty = TensorType::fixed(dtype, dims);
    let data = Bytes::from(vec![0; ty.stored_bytes().unwrap() as usize]);
    Stored { name: String::new(), ty, data, file: "w.safetensors".into() }
}

/// A Llama of one layer, 4 wide, 2 heads, 3 tokens.
fn tiny(change: impl FnOnce(&mut Value, &mut Vec<(String, Stored)>)) -> Description {
    let mut config = json!({
        "model_type": "llama", "hidden_size": 4, "intermediate_size": 5, "vocab_size": 3,
        "num_attention_heads": 2, "num_hidden_layers": 1, "max_position_embeddings": 16,
        "tie_word_embeddings": true
    });
    let at = "model.layers.0.";
    let mut tensors: Vec<(String, Stored)> = [
        ("model.embed_tokens.weight".to_string(), vec![3, 4]),
        ("model.norm.weight".into(), vec![4]),
        (format!("{at}input_layernorm.weight"), vec![4]),
        (format!("{at}post_attention_layernorm.weight"), vec![4]),
        (format!("{at}mlp.gate_proj.weight"), vec![5, 4]),
        (format!("{at}mlp.up_proj.weight"), vec![5, 4]),
        (format!("{at}mlp.down_proj.weight"), vec![4, 5]),
    ]
    .into_iter()
    .chain(["q", "k", "v", "o"].map(|p| (format!("{at}self_attn.{p}_proj.weight"), vec![4, 4])))
    .map(|(name, dims)| {
        let stored = Stored { name: name.clone(), ..tensor(DType::F32, &dims) };
        (name, stored)
    })
    .collect();
    change(&mut config, &mut tensors);
    let config = config.as_object().cloned().unwrap_or_default();
    Description { file: "config.json".into(), config, tensors, layout: Layout::HuggingFace }
}

fn refused(model: Description) -> String {
    build(model, TextOptions::default(), &[]).unwrap_err().to_string()
}

#[test]
fn graphs_verify_with_every_option() {
    for last_logits in [false, true] {
        for cache in [TextCache::None, TextCache::Tensors, TextCache::Paged] {
            let graph = build(tiny(|_, _| ()), TextOptions { last_logits, cache }, &[]).unwrap();
            verify(&graph).unwrap();
            let logits = graph.tensor(graph.outputs()[0]).display(&graph.symbols);
            let (expected, inputs) = match (cache, last_logits) {
                (TextCache::Paged, _) => ("f32[L,3]", 3),
                (TextCache::None, true) => ("f32[B,1,3]", 1),
                (TextCache::None, false) => ("f32[B,S,3]", 1),
                (TextCache::Tensors, true) => ("f32[B,1,3]", 3),
                (TextCache::Tensors, false) => ("f32[B,S,3]", 3),
            };
            assert_eq!((logits.to_string().as_str(), graph.inputs().len()), (expected, inputs));
            let kept = graph.outputs().last().unwrap();
            if cache == TextCache::Tensors {
                assert_eq!(graph.tensor(*kept).display(&graph.symbols), "f32[B,2,P+S,2]");
            }
        }
    }
}

#[test]
fn everything_wrong_with_tensors_is_listed() {
    let text = refused(tiny(|_, tensors| {
        tensors.retain(|(name, _)| !name.ends_with("up_proj.weight"));
        tensors[0].1.ty = TensorType::fixed(DType::F32, &[3, 5]);
        tensors[1].1.ty = TensorType::fixed(DType::I32, &[4]);
        let extra = Stored { name: "extra".into(), ..tensor(DType::BF16, &[2, 7]) };
        tensors.push(("extra".into(), extra));
    }));
    for part in [
        "(llama): 5 problems",
        "w.safetensors: 'model.layers.0.mlp.up_proj.weight' is missing, expected [5,4]",
        "w.safetensors: 'model.embed_tokens.weight' is f32[3,5], expected floats [3,4]",
        "w.safetensors: 'model.norm.weight' is i32[4], expected floats [4]",
        "w.safetensors: 'extra' bf16[2,7] has no place in the architecture",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn everything_wrong_with_a_configuration_is_listed() {
    let text = refused(tiny(|config, _| {
        config["hidden_act"] = json!("swish-ish");
        config["num_hidden_layers"] = json!(1_u64 << 40);
        config["vocab_size"] = json!(null);
        config["num_attention_heads"] = json!(3);
        config["rope_scaling"] = json!({"rope_type": "longrope", "factor": 2.0});
        config["tie_word_embeddings"] = json!("yes");
    }));
    for part in [
        "activation 'swish-ish' is not supported",
        "'num_hidden_layers' must be",
        "'vocab_size' is missing",
        "4 does not divide by 3",
        "in 'rope_scaling': type 'longrope' is not supported",
        "'tie_word_embeddings' must be true or false",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn unknown_architectures_name_the_known_ones() {
    let text = refused(tiny(|config, _| config["model_type"] = json!("rwkv")));
    assert!(text.contains("'rwkv' is not known; known are bert, gemma"), "{text}");
    let text = refused(tiny(|config, _| *config = json!({})));
    assert!(text.contains("names no 'model_type'"), "{text}");
}

#[test]
fn dims_are_narrowed_within_their_ranges() {
    let with = |text: &str| {
        let dims = [text.parse::<DimOption>().unwrap()];
        build(tiny(|_, _| ()), TextOptions::default(), &dims)
    };
    let graph = with("S=2..8").unwrap();
    let symbol = graph.symbols.lookup("S").unwrap();
    assert_eq!(graph.symbols.range(symbol), (2, 8));
    assert!(with("S=1..17").unwrap_err().to_string().contains("1..16"));
    assert!(with("T=1..2").unwrap_err().to_string().contains("B, S"));
}

#[test]
fn frequencies_of_every_scaling() {
    use rope::{Rope, Scaling};
    let rope = |scaling| Rope { dims: 4, base: 100.0, scaling };
    assert_eq!(rope(Scaling::None).frequencies(), (vec![1.0, 0.1], 1.0));
    assert_eq!(rope(Scaling::Linear(4.0)).frequencies().0, [0.25, 0.025]);
    assert_eq!(rope(Scaling::Factors(vec![1.0, 8.0])).frequencies().0, [1.0, 0.0125]);
    // 2π positions turn pair 0 once: between 0.5 and 2 turns a third is kept.
    let original = std::f64::consts::TAU;
    let llama3 = Scaling::Llama3 { factor: 4.0, low: 0.5, high: 2.0, original };
    let (f, _) = rope(llama3).frequencies();
    assert!((f[0] - (2.0 / 3.0 / 4.0 + 1.0 / 3.0)).abs() < 1e-12, "{f:?}");
    assert!((f[1] - 0.025).abs() < 1e-12, "{f:?}");
    let yarn = Scaling::Yarn {
        factor: 4.0,
        original: 20.0 * original,
        fast: 20.0,
        slow: 2.0,
        attention: 1.5,
        truncate: false,
    };
    // Pair 0 turns 20 times: kept; pair 1 turns twice: divided.
    let (f, length) = rope(yarn).frequencies();
    assert!((f[0] - 1.0).abs() < 1e-12 && (f[1] - 0.025).abs() < 1e-12, "{f:?}");
    assert_eq!(length, 1.5);
}
