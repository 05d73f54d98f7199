//! A byte-level tokenizer small enough for the test decoder's vocabulary: 16 tokens for half
//! bytes would not decode, so it has single bytes that make up text in several scripts.

use cascata_engine::Tokenizer;
use serde_json::json;

/// GPT-2's printable stand-in for a byte.
fn stand_in(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|b| !printable(*b)).count() as u32;
    char::from_u32(256 + before).expect("a character")
}

fn tokenizer(bytes: impl Iterator<Item = u8>, merges: &[&str]) -> Tokenizer {
    let mut vocab = serde_json::Map::new();
    let singles = bytes.map(|b| stand_in(b).to_string());
    let pairs = merges.iter().map(|m| m.replace(' ', ""));
    for token in singles.chain(pairs) {
        let id = vocab.len();
        vocab.entry(token).or_insert(json!(id));
    }
    let end = vocab.len();
    let json = json!({
        "version": "1.0",
        "added_tokens": [{
            "id": end, "content": "<end>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true
        }],
        "pre_tokenizer": {
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true
        },
        "decoder": {
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true
        },
        "model": { "type": "BPE", "vocab": vocab, "merges": merges },
    });
    Tokenizer::from_json(json.to_string().as_bytes()).expect("a tokenizer")
}

/// All bytes, some merges: 262 tokens.
pub fn all_bytes() -> Tokenizer {
    tokenizer(0..=255, &["h e", "l l", "he ll", "Ġ t", "t h"])
}

/// Ids below the decoder's vocabulary of 96: space, lower-case letters, and the bytes of
/// two- and three-byte characters.
pub fn of_the_decoder() -> Tokenizer {
    let bytes =
        (b' '..=b' ').chain(b'a'..=b'z').chain(0xC3..=0xC3).chain(0x80..=0xBF).chain(0xE2..=0xE2);
    tokenizer(bytes, &["h e", "l l"])
}
