use super::{read, read_folder};
use crate::error::ImportError;
use bytes::Bytes;
use cascata_ir::types::{DType, TensorType};

/// A file with this header.
fn file(header: &str, data: &[u8]) -> Bytes {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat().into()
}

fn message(bytes: &Bytes) -> String {
    read(bytes, "f").unwrap_err().to_string()
}

#[test]
fn tensors_are_views_of_the_file() {
    let header = r#"{"__metadata__":{"format":"pt"},
        "b":{"dtype":"BF16","shape":[2],"data_offsets":[12,16]},
        "a":{"dtype":"F32","shape":[1,3],"data_offsets":[0,12]}}"#;
    let bytes = file(header, &(0..16).collect::<Vec<u8>>());
    let tensors = read(&bytes, "f").unwrap();
    assert_eq!(tensors[0].name, "a");
    assert_eq!(tensors[0].ty, TensorType::fixed(DType::F32, &[1, 3]));
    assert_eq!(tensors[0].data, bytes.slice(bytes.len() - 16..bytes.len() - 4));
    assert_eq!(tensors[0].data.as_ptr(), bytes[bytes.len() - 16..].as_ptr());
    assert_eq!((tensors[1].ty.dtype, &tensors[1].data[..]), (DType::BF16, &[12, 13, 14, 15][..]));
}

#[test]
fn hostile_files_are_refused() {
    let one = |entry: &str, data: &[u8]| message(&file(&format!("{{\"t\":{entry}}}"), data));
    let cases = [
        message(&Bytes::new()),
        message(&Bytes::from_static(&[255; 8])),
        message(&file("[]", &[])),
        one(r#"{"dtype":"F32","shape":[1],"data_offsets":[0,8]}"#, &[0; 8]),
        one(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#, &[0; 4]),
        one(r#"{"dtype":"F32","shape":[1],"data_offsets":[4,8]}"#, &[0; 8]),
        one(r#"{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,8]}"#, &[0; 8]),
        message(&file(
            r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},
                "b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}"#,
            &[0; 6],
        )),
    ];
    for (i, text) in cases.iter().enumerate() {
        assert!(text.starts_with("f: it is not a safetensors file: "), "{i}: {text}");
    }
}

#[test]
fn types_without_a_counterpart_are_all_named() {
    let header = r#"{"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]},
        "b":{"dtype":"F8_E5M2","shape":[2],"data_offsets":[2,4]}}"#;
    let Err(ImportError::File { problems, .. }) = read(&file(header, &[0; 4]), "f") else {
        panic!("it is read");
    };
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[1].contains("'b'") && problems[1].contains("F8_E5M2"), "{problems:?}");
}

#[test]
fn shards_and_their_index_agree() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    let shard = |name: &str| {
        file(&format!(r#"{{"{name}":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}}"#), &[7])
    };
    put("one.safetensors", &shard("a"));
    put("two.safetensors", &shard("b"));
    let index = |map: &str| put(super::INDEX, format!(r#"{{"weight_map":{map}}}"#).as_bytes());
    index(r#"{"a":"one.safetensors","b":"two.safetensors"}"#);
    let tensors = read_folder(folder.path(), 1 << 20).unwrap();
    let places: Vec<(&str, &str)> =
        tensors.iter().map(|t| (t.name.as_str(), t.file.as_str())).collect();
    assert_eq!(places, [("a", "one.safetensors"), ("b", "two.safetensors")]);

    index(r#"{"a":"two.safetensors","c":"one.safetensors"}"#);
    let text = read_folder(folder.path(), 1 << 20).unwrap_err().to_string();
    assert!(text.contains("two.safetensors has no 'a'"), "{text}");
    assert!(text.contains("'b' of two.safetensors is not in the index"), "{text}");
    index(r#"{"a":"../one.safetensors","b":"none.safetensors"}"#);
    let text = read_folder(folder.path(), 1 << 20).unwrap_err().to_string();
    assert!(text.contains("2 problems") && text.contains("'../one.safetensors'"), "{text}");
    index(r#"{"a":"one.safetensors"}"#);
    let text = read_folder(folder.path(), 10).unwrap_err().to_string();
    assert!(text.contains("more than the limit of 10"), "{text}");
}
