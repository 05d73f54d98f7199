use super::{Gguf, Value, read};
use bytes::Bytes;
use cascata_ir::types::{DType, Encoding, QuantFormat, SymbolTable};

/// A file under construction.
struct File {
    version: u32,
    pairs: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    data: Vec<u8>,
}

fn text(s: &str) -> Vec<u8> {
    [&(s.len() as u64).to_le_bytes(), s.as_bytes()].concat()
}

impl File {
    fn new() -> File {
        File { version: 3, pairs: vec![], tensors: vec![], data: vec![] }
    }

    fn pair(mut self, key: &str, code: u32, value: &[u8]) -> File {
        self.pairs.push([&text(key)[..], &code.to_le_bytes(), value].concat());
        self
    }

    /// `dims` innermost first.
    fn tensor(mut self, name: &str, dims: &[u64], format: u32, offset: u64) -> File {
        let mut entry = [text(name), (dims.len() as u32).to_le_bytes().to_vec()].concat();
        dims.iter().for_each(|d| entry.extend(d.to_le_bytes()));
        entry.extend(format.to_le_bytes());
        entry.extend(offset.to_le_bytes());
        self.tensors.push(entry);
        self
    }

    fn data(mut self, bytes: usize) -> File {
        self.data = (0..bytes).map(|i| i as u8).collect();
        self
    }

    fn bytes(self) -> Bytes {
        let mut out = [&b"GGUF"[..], &self.version.to_le_bytes()].concat();
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.pairs.len() as u64).to_le_bytes());
        self.pairs.iter().chain(&self.tensors).for_each(|part| out.extend(part));
        if !self.data.is_empty() {
            out.resize(out.len().next_multiple_of(32), 0);
        }
        out.extend(self.data);
        out.into()
    }

    fn read(self) -> Gguf {
        read(&self.bytes(), "m.gguf").unwrap()
    }

    fn refused(self) -> String {
        read(&self.bytes(), "m.gguf").unwrap_err().to_string()
    }
}

#[test]
fn metadata_of_every_type() {
    let strings = [&8u32.to_le_bytes()[..], &2u64.to_le_bytes(), &text("x"), &text("é")].concat();
    let file = File::new()
        .pair("u8", 0, &[200])
        .pair("i16", 3, &(-2i16).to_le_bytes())
        .pair("f32", 6, &1.5f32.to_le_bytes())
        .pair("yes", 7, &[1])
        .pair("i64", 11, &(-1i64).to_le_bytes())
        .pair("list", 9, &strings);
    let read = file.read().metadata;
    assert_eq!(read["u8"], Value::Unsigned(200));
    assert_eq!(read["i16"], Value::Signed(-2));
    assert_eq!(read["f32"].number(), Some(1.5));
    assert_eq!(read["yes"], Value::Bool(true));
    assert_eq!(read["i64"].size(), None);
    let list: Vec<_> = read["list"].array().unwrap().iter().map(|v| v.text().unwrap()).collect();
    assert_eq!(list, ["x", "é"]);
}

#[test]
fn tensors_are_views_in_their_own_format() {
    for version in [2, 3] {
        let mut file =
            File::new().tensor("q", &[64, 3], 3, 64).tensor("v", &[5], 0, 0).data(64 + 6 * 20);
        file.version = version;
        let tensors = file.read().tensors;
        let shown: Vec<String> =
            tensors.iter().map(|t| t.ty.display(&SymbolTable::default())).collect();
        assert_eq!(shown, ["f32[3,64]:q4_1", "f32[5]"]);
        assert_eq!(tensors[0].data.len(), 120);
        assert_eq!((tensors[0].data[0], tensors[1].data[0]), (64, 0));
        assert_eq!(tensors[0].ty.encoding, Encoding::Quant(QuantFormat::Q4_1));
        assert_eq!(tensors[1].ty.dtype, DType::F32);
    }
}

#[test]
fn the_files_own_alignment_counts() {
    let file = File::new().pair("general.alignment", 4, &64u32.to_le_bytes());
    let text = file.tensor("a", &[4], 0, 32).data(128).refused();
    assert!(text.contains("'a': offset 32 is not a multiple of 64"), "{text}");
    let odd = File::new().pair("general.alignment", 4, &48u32.to_le_bytes());
    assert!(odd.refused().contains("power of two"));
}

#[test]
fn every_wrong_tensor_is_named() {
    let text = File::new()
        .tensor("outside", &[64], 0, 0)
        .tensor("format", &[32], 7, 0)
        .tensor("half a block", &[48], 2, 0)
        .tensor("huge", &[u64::MAX, 2], 0, 0)
        .tensor("overflow", &[1 << 40, 1 << 40], 0, 0)
        .tensor("far", &[1], 0, u64::MAX - 31)
        .tensor("a", &[16], 0, 0)
        .tensor("b", &[4], 0, 32)
        .tensor("b", &[4], 0, 64)
        .data(96)
        .refused();
    for part in [
        "8 problems",
        "'outside': 256 bytes at offset 0",
        "'format': format Q5_1 (7)",
        "'half a block': q4_0 needs",
        "'huge': dim",
        "'overflow': the size",
        "'far': 4 bytes at offset",
        "'a' and 'b' overlap",
        "'b' is there twice",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn hostile_headers_are_refused() {
    let counts = |tensors: u64, pairs: u64| {
        let start = [&b"GGUF"[..], &3u32.to_le_bytes(), &tensors.to_le_bytes()].concat();
        Bytes::from([start, pairs.to_le_bytes().to_vec(), vec![0; 40]].concat())
    };
    let says = |bytes: &Bytes, part: &str| {
        let text = read(bytes, "f").unwrap_err().to_string();
        assert!(text.contains(part), "{part}: {text}");
    };
    says(&Bytes::new(), "not a GGUF file");
    says(&Bytes::from_static(b"GGUF\x01\0\0\0"), "version 1");
    says(&Bytes::from_static(b"GGUF\0\0\0\x03"), "big-endian");
    says(&Bytes::from_static(b"GGUF\x63\0\0\0"), "version 99");
    says(&Bytes::from_static(b"GGUF\x03\0\0\0\0"), "ends at byte 9");
    says(&counts(u64::MAX, 0), "tensors do not fit");
    says(&counts(0, u64::MAX / 2), "pairs do not fit");
    let array = |code: u32, n: u64| [&code.to_le_bytes()[..], &n.to_le_bytes()].concat();
    let pair = |code, value: &[u8]| File::new().pair("k", code, value).bytes();
    says(&pair(9, &array(4, 1 << 60)), "elements do not fit");
    says(&pair(9, &array(9, 1)), "arrays of arrays");
    says(&pair(7, &[2]), "2 is not a bool");
    says(&pair(77, &[2]), "type 77");
    says(&pair(8, &[&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat()), "not UTF-8");
    says(&pair(8, &u64::MAX.to_le_bytes()), "ends at byte");
    says(&File::new().pair("k", 0, &[1]).pair("k", 0, &[1]).bytes(), "twice");
    says(&File::new().tensor("t", &[1; 5], 0, 0).bytes(), "5 dims");
}
