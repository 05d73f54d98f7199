//! SentencePiece's BPE as `tokenizer.json` (Llama 1 and 2, Mistral, Gemma).
//!
//! It merges the neighbours whose token has the highest score; a list of merges in the order of
//! these scores does the same, with every way to cut a token in two that leaves tokens. What is
//! no token becomes bytes.

use super::Value;
use super::vocabulary::{
    Metadata, NORMAL, UNKNOWN, USER_DEFINED, added, begin, kinds, strings, vocabulary,
};
use serde_json::{Value as Json, json};
use std::collections::HashMap;

/// Bytes of the longest token that is cut in two: far more than any vocabulary has, and what a
/// file can make this cost is its size times this.
const LONGEST: usize = 512;

/// What stands for a space.
const SPACE: &str = "\u{2581}";

/// `tokenizer.json`.
///
/// # Errors
/// Why the vocabulary cannot be converted exactly.
pub(super) fn tokenizer_json(metadata: &Metadata) -> Result<String, String> {
    let flag = |key: &str| metadata.get(&format!("tokenizer.ggml.{key}"));
    if flag("precompiled_charsmap").is_some() {
        return Err("text is normalised by a table, which is not converted".into());
    }
    if flag("remove_extra_whitespaces") == Some(&Value::Bool(true)) {
        return Err("extra white space is removed, which is not converted".into());
    }
    let tokens = strings(metadata, "tokens")?;
    let (kinds, scores) = (kinds(metadata), scores(metadata)?);
    if kinds.len() != tokens.len() || scores.len() != tokens.len() {
        let (n, k, s) = (tokens.len(), kinds.len(), scores.len());
        return Err(format!("{n} tokens have {k} kinds and {s} scores"));
    }
    if let Some(token) = tokens.iter().find(|t| t.len() > LONGEST) {
        return Err(format!("a token has {} bytes, at most {LONGEST} are converted", token.len()));
    }
    let unknown = kinds.iter().position(|k| *k == UNKNOWN).map(|id| tokens[id]);
    let in_front = flag("add_space_prefix") != Some(&Value::Bool(false));
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added(metadata, &tokens),
        "normalizer": normalizer(in_front),
        "pre_tokenizer": null,
        "post_processor": begin(metadata, &tokens, true),
        "decoder": decoder(in_front),
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": unknown,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": true,
            "byte_fallback": true,
            "ignore_merges": false,
            "vocab": vocabulary(&tokens)?,
            "merges": merges(&tokens, &kinds, &scores),
        },
    });
    Ok(tokenizer.to_string())
}

fn scores(metadata: &Metadata) -> Result<Vec<f64>, String> {
    let key = "tokenizer.ggml.scores";
    let values = metadata.get(key).and_then(Value::array);
    let values = values.ok_or_else(|| format!("'{key}' is missing"))?;
    let score = |v: &Value| v.number().filter(|x| !x.is_nan());
    let all: Option<Vec<f64>> = values.iter().map(score).collect();
    all.ok_or_else(|| format!("'{key}' holds more than numbers"))
}

/// Pairs of tokens that make a token, the highest score first.
fn merges(tokens: &[&str], kinds: &[u64], scores: &[f64]) -> Vec<[String; 2]> {
    let merged = |id: &usize| matches!(kinds[*id], NORMAL | USER_DEFINED);
    let parts: HashMap<&str, usize> =
        (0..tokens.len()).filter(merged).map(|id| (tokens[id], id)).collect();
    let mut found: Vec<(usize, usize, usize)> = Vec::new();
    for id in (0..tokens.len()).filter(merged) {
        let token = tokens[id];
        let cuts = token.char_indices().skip(1).map(|(at, _)| token.split_at(at));
        found.extend(cuts.filter_map(|(l, r)| Some((id, *parts.get(l)?, *parts.get(r)?))));
    }
    found.sort_by(|a, b| scores[b.0].total_cmp(&scores[a.0]).then(a.cmp(b)));
    found.iter().map(|(_, l, r)| [tokens[*l].to_string(), tokens[*r].to_string()]).collect()
}

fn normalizer(in_front: bool) -> Json {
    let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
    match in_front {
        true => {
            json!({"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": SPACE}, spaces,
            ]})
        }
        false => spaces,
    }
}

fn decoder(in_front: bool) -> Json {
    let mut steps = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if in_front {
        steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({"type": "Sequence", "decoders": steps})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(change: impl FnOnce(&mut Metadata)) -> Metadata {
        let tokens = ["<unk>", "<s>", "a", "b", "ab", "aba", "ba", "<0x0A>"];
        let kinds = [2, 3, 1, 1, 1, 1, 1, 6];
        let scores = [0.0, 0.0, -5.0, -6.0, -1.0, -3.0, -2.0, 0.0];
        let mut pairs: Metadata = [
            ("model", Value::Text("llama".into())),
            ("tokens", Value::Array(tokens.map(|t| Value::Text(t.into())).to_vec())),
            ("scores", Value::Array(scores.map(Value::Float).to_vec())),
            ("token_type", Value::Array(kinds.map(Value::Unsigned).to_vec())),
            ("bos_token_id", Value::Unsigned(1)),
        ]
        .into_iter()
        .map(|(k, v)| (format!("tokenizer.ggml.{k}"), v))
        .collect();
        change(&mut pairs);
        pairs
    }

    fn converted(change: impl FnOnce(&mut Metadata)) -> Result<Json, String> {
        let text = tokenizer_json(&metadata(change))?;
        Ok(serde_json::from_str(&text).expect("it is JSON"))
    }

    #[test]
    fn merges_are_all_cuts_in_the_order_of_scores() {
        let json = converted(|_| ()).unwrap();
        let want = json!([["a", "b"], ["b", "a"], ["a", "ba"], ["ab", "a"]]);
        assert_eq!(json["model"]["merges"], want);
        assert_eq!(json["model"]["unk_token"], "<unk>");
        assert_eq!(json["post_processor"]["type"], "TemplateProcessing");
        assert_eq!(json["normalizer"]["type"], "Sequence");
    }

    #[test]
    fn what_the_file_says_of_spaces_and_beginnings_counts() {
        let off = |key: &'static str| {
            move |m: &mut Metadata| {
                m.insert(format!("tokenizer.ggml.{key}"), Value::Bool(false));
            }
        };
        let json = converted(off("add_space_prefix")).unwrap();
        assert_eq!(json["normalizer"]["type"], "Replace");
        assert_eq!(json["decoder"]["decoders"].as_array().unwrap().len(), 3);
        assert_eq!(converted(off("add_bos_token")).unwrap()["post_processor"], Json::Null);
    }

    #[test]
    fn what_is_not_exact_is_refused() {
        let with = |key: &str, value: Value| {
            let key = format!("tokenizer.ggml.{key}");
            converted(|m| drop(m.insert(key, value))).unwrap_err()
        };
        assert!(with("precompiled_charsmap", Value::Array(vec![])).contains("by a table"));
        assert!(with("remove_extra_whitespaces", Value::Bool(true)).contains("white space"));
        let few = with("scores", Value::Array(vec![Value::Float(1.0)]));
        assert_eq!(few, "8 tokens have 8 kinds and 1 scores");
        let wrong = with("scores", Value::Array(vec![Value::Float(f64::NAN)]));
        assert!(wrong.contains("more than numbers"));
        let long = [String::new(), "x".repeat(LONGEST + 1)].map(Value::Text).to_vec();
        let long = converted(|m| {
            m.insert("tokenizer.ggml.tokens".into(), Value::Array(long));
            m.insert("tokenizer.ggml.scores".into(), Value::Array(vec![Value::Float(0.0); 2]));
            m.insert("tokenizer.ggml.token_type".into(), Value::Array(vec![Value::Unsigned(1); 2]));
        });
        assert!(long.unwrap_err().contains("513 bytes"));
    }
}
