//! A GGUF vocabulary as `tokenizer.json`, the one stored form of a tokenizer.
//!
//! Byte-level BPE with merges converts exactly. How text is split before merging is only a
//! name in GGUF: names that are not in [`SPLITS`] are refused rather than guessed.
//! SentencePiece's BPE has no merges but scores (`sentencepiece.rs`).

use super::{Value, sentencepiece};
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;

/// What a vocabulary is made from.
pub(super) type Metadata = BTreeMap<String, Value>;

/// Words and contractions as GPT-2 splits them; built into the `ByteLevel` pre-tokenizer.
fn gpt2() -> Json {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})
}

/// Pieces that a pattern finds, then bytes.
fn pieces(pattern: &str) -> Json {
    json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
    ]})
}

/// How text is split before merging.
struct Split {
    /// `tokenizer.ggml.pre`.
    names: &'static [&'static str],
    pre_tokenizer: fn() -> Json,
    /// A piece that is a token is one, whatever the merges say.
    ignore_merges: bool,
    /// Canonical composition first.
    nfc: bool,
}

const SPLITS: &[Split] = &[
    Split { names: &["gpt-2", "gpt2"], pre_tokenizer: gpt2, ignore_merges: false, nfc: false },
    Split {
        names: &["smollm"],
        pre_tokenizer: || {
            let digits = json!({"type": "Digits", "individual_digits": true});
            json!({"type": "Sequence", "pretokenizers": [digits, gpt2()]})
        },
        ignore_merges: false,
        nfc: false,
    },
    Split {
        names: &["llama-bpe", "llama-v3", "llama3"],
        pre_tokenizer: || {
            pieces(concat!(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
                r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            ))
        },
        ignore_merges: true,
        nfc: false,
    },
    Split {
        names: &["qwen2"],
        pre_tokenizer: || {
            pieces(concat!(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
                r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            ))
        },
        ignore_merges: false,
        nfc: true,
    },
];

/// Kinds of tokens (`llama_token_type`).
pub(super) const NORMAL: u64 = 1;
pub(super) const UNKNOWN: u64 = 2;
const CONTROL: u64 = 3;
pub(super) const USER_DEFINED: u64 = 4;

/// `tokenizer.json`.
///
/// # Errors
/// Why the vocabulary cannot be converted exactly.
pub(super) fn tokenizer_json(metadata: &Metadata) -> Result<String, String> {
    let text = |key: &str| metadata.get(&format!("tokenizer.ggml.{key}")).and_then(Value::text);
    match text("model") {
        Some("gpt2") => {}
        Some("llama") => return sentencepiece::tokenizer_json(metadata),
        Some(other) => return Err(format!("vocabularies of kind '{other}' are not converted")),
        None => return Err("the file has no vocabulary".into()),
    }
    let pre = text("pre").unwrap_or("default");
    let split = SPLITS.iter().find(|s| s.names.contains(&pre));
    let split = split.ok_or_else(|| format!("text splitting '{pre}' is not known"))?;
    let tokens = strings(metadata, "tokens")?;
    let merges = strings(metadata, "merges")?;
    let vocabulary = vocabulary(&tokens)?;
    let bytes = json!({
        "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true
    });
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added(metadata, &tokens),
        "normalizer": if split.nfc { json!({"type": "NFC"}) } else { Json::Null },
        "pre_tokenizer": (split.pre_tokenizer)(),
        "post_processor": begin(metadata, &tokens, false).unwrap_or(bytes),
        "decoder": {
            "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true
        },
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": split.ignore_merges,
            "vocab": vocabulary,
            "merges": merges,
        },
    });
    Ok(tokenizer.to_string())
}

/// Ids by tokens.
pub(super) fn vocabulary(tokens: &[&str]) -> Result<Map<String, Json>, String> {
    let mut vocabulary = Map::new();
    for (id, token) in tokens.iter().enumerate() {
        if vocabulary.insert((*token).into(), id.into()).is_some() {
            return Err(format!("token '{token}' is there twice"));
        }
    }
    Ok(vocabulary)
}

/// The kind of each token.
pub(super) fn kinds(metadata: &Metadata) -> Vec<u64> {
    let types = metadata.get("tokenizer.ggml.token_type").and_then(Value::array).unwrap_or(&[]);
    types.iter().map(|t| t.size().unwrap_or(0)).collect()
}

pub(super) fn strings<'m>(metadata: &'m Metadata, key: &str) -> Result<Vec<&'m str>, String> {
    let key = format!("tokenizer.ggml.{key}");
    let values = metadata.get(&key).and_then(Value::array);
    let values = values.ok_or_else(|| format!("'{key}' is missing"))?;
    let text = |v: &'m Value| v.text().ok_or_else(|| format!("'{key}' holds more than strings"));
    values.iter().map(text).collect()
}

/// Tokens that are found in the text before it is split.
pub(super) fn added(metadata: &Metadata, tokens: &[&str]) -> Vec<Json> {
    let kinds = kinds(metadata).into_iter();
    let marked =
        kinds.zip(tokens).enumerate().filter(|(_, (k, _))| matches!(*k, CONTROL | USER_DEFINED));
    let entry = |(id, (kind, token)): (usize, (u64, &&str))| {
        json!({
            "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": kind == CONTROL,
        })
    };
    marked.map(entry).collect()
}

/// What puts the beginning token in front, if the model wants it; `by_default` says whether one
/// does that says nothing.
pub(super) fn begin(metadata: &Metadata, tokens: &[&str], by_default: bool) -> Option<Json> {
    let wants = metadata.get("tokenizer.ggml.add_bos_token");
    let wants = wants.map_or(by_default, |w| *w == Value::Bool(true));
    let id = id(metadata, "bos").filter(|_| wants)?;
    let token = *tokens.get(usize::try_from(id).ok()?)?;
    let begin = json!({"SpecialToken": {"id": token, "type_id": 0}});
    let part = |name: &str, kind: u32| json!({"Sequence": {"id": name, "type_id": kind}});
    let second = json!({"SpecialToken": {"id": token, "type_id": 1}});
    Some(json!({
        "type": "TemplateProcessing",
        "single": [begin, part("A", 0)],
        "pair": [begin, part("A", 0), second, part("B", 1)],
        "special_tokens": {token: {"id": token, "ids": [id], "tokens": [token]}},
    }))
}

fn id(metadata: &Metadata, name: &str) -> Option<u64> {
    metadata.get(&format!("tokenizer.ggml.{name}_token_id")).and_then(Value::size)
}

/// `generation_config.json`: which tokens begin, end and fill.
pub(super) fn generation_config(metadata: &Metadata) -> String {
    let names = [("bos", "bos_token_id"), ("eos", "eos_token_id"), ("padding", "pad_token_id")];
    let known = names.iter().filter_map(|(own, name)| Some((*name, id(metadata, own)?)));
    let config: Map<String, Json> = known.map(|(name, id)| (name.into(), id.into())).collect();
    Json::Object(config).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(pre: &str) -> Metadata {
        let list = |items: &[&str]| {
            Value::Array(items.iter().map(|s| Value::Text(s.to_string())).collect())
        };
        let pairs = [
            ("model", Value::Text("gpt2".into())),
            ("pre", Value::Text(pre.into())),
            ("tokens", list(&["<s>", "a", "b", "ab"])),
            ("merges", list(&["a b"])),
            ("token_type", Value::Array([3, 1, 1, 1].map(Value::Unsigned).to_vec())),
            ("bos_token_id", Value::Unsigned(0)),
            ("eos_token_id", Value::Unsigned(3)),
            ("add_bos_token", Value::Bool(true)),
        ];
        pairs.into_iter().map(|(k, v)| (format!("tokenizer.ggml.{k}"), v)).collect()
    }

    #[test]
    fn byte_level_bpe_keeps_tokens_merges_and_marks() {
        let json: Json =
            serde_json::from_str(&tokenizer_json(&metadata("smollm")).unwrap()).unwrap();
        assert_eq!(json["model"]["vocab"]["ab"], 3);
        assert_eq!(json["model"]["merges"], json!(["a b"]));
        assert_eq!(json["added_tokens"][0]["content"], "<s>");
        assert_eq!(json["added_tokens"].as_array().unwrap().len(), 1);
        assert_eq!(json["post_processor"]["type"], "TemplateProcessing");
        assert_eq!(json["pre_tokenizer"]["pretokenizers"][0]["type"], "Digits");
        let ends = generation_config(&metadata("smollm"));
        assert_eq!(ends, r#"{"bos_token_id":0,"eos_token_id":3}"#);
    }

    #[test]
    fn what_is_not_known_exactly_is_refused() {
        assert!(tokenizer_json(&metadata("new")).unwrap_err().contains("'new' is not known"));
        let mut other = metadata("gpt2");
        other.insert("tokenizer.ggml.model".into(), Value::Text("t5".into()));
        assert!(tokenizer_json(&other).unwrap_err().contains("kind 't5'"));
        let mut twice = metadata("gpt2");
        twice.insert(
            "tokenizer.ggml.tokens".into(),
            Value::Array(vec![Value::Text("a".into()), Value::Text("a".into())]),
        );
        assert!(tokenizer_json(&twice).unwrap_err().contains("twice"));
    }
}
