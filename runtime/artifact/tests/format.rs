//! The file format: what is written is read; what is damaged is refused.

mod common;

use cascata_artifact::format::{MAGIC, PAGE};
use cascata_artifact::{
    ArtifactReader, ArtifactWriter, FormatError, Header, SectionKind, WriteError,
};
use common::{artifact, manifest, weight, weight_bytes};

#[test]
fn reads_back_what_was_written() {
    let bytes = artifact();
    let reader = ArtifactReader::parse(&bytes).unwrap();
    assert_eq!(reader.full_manifest().unwrap(), manifest());
    assert!(reader.manifest().provenance.stages.is_empty(), "bulk stays out of the load path");
    assert_eq!(reader.code(0).unwrap(), [0xc3; 100]);
    assert_eq!(reader.code(1).unwrap(), [0x90; 100]);
    assert!(reader.code(2).is_none());
    for i in 0..3 {
        assert_eq!(reader.weight(i).unwrap(), weight_bytes(i), "weight {i}");
    }
    assert_eq!(reader.attachments().unwrap(), [("labels.txt", b"cat\ndog\n".as_slice())]);
    assert_eq!(reader.signature().unwrap(), &reader.header().root[..8]);
    reader.check_weights().unwrap();
    for s in &reader.header().sections {
        assert_eq!(s.offset % PAGE, 0, "{}", s.name());
    }
}

#[test]
fn the_same_bytes_every_time() {
    assert_eq!(artifact(), artifact());
}

#[test]
fn a_file_has_the_same_bytes_and_no_partial_file_stays() {
    let dir = std::env::temp_dir().join(format!("cascata-format-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("model.cascata");
    let writer = || ArtifactWriter::new(manifest()).code(&[0xc3; 100]).code(&[0x90; 100]);
    writer().write(&path, |i, sink| sink(&weight_bytes(i))).unwrap();
    let bytes = writer().to_bytes(|i, sink| sink(&weight_bytes(i))).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    let error = writer().write(&path, |_, sink| sink(b"short")).unwrap_err();
    assert!(
        matches!(error, WriteError::WeightBytes { index: 0, expected: 100, found: 5, .. }),
        "{error}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "a failed write leaves the old file");
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn weights_that_share_a_place_are_written_once() {
    let mut m = manifest();
    let mut twin = weight("twin", m.weights[1].bytes);
    twin.offset = m.weights[1].offset;
    m.weights.push(twin);
    let mut asked = Vec::new();
    let bytes = ArtifactWriter::new(m)
        .code(&[0xc3; 100])
        .code(&[0x90; 100])
        .to_bytes(|i, sink| {
            asked.push(i);
            sink(&weight_bytes(i))
        })
        .unwrap();
    assert_eq!(asked, [0, 1, 2]);
    let reader = ArtifactReader::parse(&bytes).unwrap();
    assert_eq!(reader.weight(3), reader.weight(1));
}

#[test]
fn every_truncation_is_refused() {
    let bytes = artifact();
    let near_start = 0..300;
    let sampled = (300..bytes.len()).step_by(997);
    for n in near_start.chain(sampled).chain([bytes.len() - 1]) {
        let error = ArtifactReader::parse(&bytes[..n]).expect_err("truncated");
        match n {
            0..8 => assert!(matches!(
                error,
                FormatError::NotAnArtifact { .. } | FormatError::Truncated { .. }
            )),
            _ => assert!(matches!(error, FormatError::Truncated { .. }), "{n}: {error}"),
        }
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(matches!(ArtifactReader::parse(&longer), Err(FormatError::TrailingBytes { .. })));
}

#[test]
fn every_flipped_bit_before_the_weights_is_refused() {
    let mut bytes = artifact();
    let header = Header::parse(&bytes, bytes.len() as u64).unwrap();
    let checked = |k| matches!(k, SectionKind::Manifest | SectionKind::Code);
    let hot: Vec<(usize, usize)> = std::iter::once((0, 4096))
        .chain(
            header
                .sections
                .iter()
                .filter(|s| checked(s.kind))
                .map(|s| (s.offset as usize, s.end() as usize)),
        )
        .collect();
    for (from, to) in hot {
        for at in (from..to).step_by(7).chain(from..(from + 200).min(to)) {
            bytes[at] ^= 1 << (at % 8);
            assert!(ArtifactReader::parse(&bytes).is_err(), "byte {at}");
            bytes[at] ^= 1 << (at % 8);
        }
    }
    assert!(ArtifactReader::parse(&bytes).is_ok());
}

#[test]
fn damaged_weights_and_attachments_are_found_when_asked() {
    let mut bytes = artifact();
    let header = Header::parse(&bytes, bytes.len() as u64).unwrap();
    let weights = header.section(SectionKind::Weights).unwrap().offset as usize;
    bytes[weights + 2_000_000] ^= 1;
    let labels = header.section(SectionKind::Attachment).unwrap().offset as usize;
    bytes[labels + 20] ^= 1;
    let reader = ArtifactReader::parse(&bytes).unwrap();
    let error = reader.check_weights().unwrap_err();
    let expected = (weights + (1 << 20)) as u64;
    assert!(matches!(error, FormatError::Hash { offset, .. } if offset == expected), "{error}");
    assert!(matches!(reader.attachments(), Err(FormatError::Hash { .. })));
}

/// The bytes with a changed header whose hash is right again.
fn forge(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = artifact();
    change(&mut bytes);
    bytes[32..64].fill(0);
    let hash = *blake3::hash(&bytes[..4096]).as_bytes();
    bytes[32..64].copy_from_slice(&hash);
    bytes
}

#[test]
fn another_major_version_is_named() {
    let bytes = forge(|b| b[8..12].copy_from_slice(&7u32.to_le_bytes()));
    let error = ArtifactReader::parse(&bytes).unwrap_err();
    assert!(matches!(error, FormatError::Version { major: 7, minor: 0 }));
    let text = error.to_string();
    assert!(text.contains("7.0") && text.contains("1.x"), "{text}");
}

#[test]
fn a_newer_minor_version_is_read() {
    let bytes = forge(|b| b[12..16].copy_from_slice(&9u32.to_le_bytes()));
    assert_eq!(ArtifactReader::parse(&bytes).unwrap().header().minor, 9);
}

#[test]
fn unknown_sections_are_skipped_only_when_optional() {
    let attachment = |b: &[u8]| {
        (0..8).map(|i| 64 + i * 64).find(|&at| b[at] == 6).expect("the attachment's row")
    };
    let optional = forge(|b| {
        let at = attachment(b);
        b[at..at + 4].copy_from_slice(&99u32.to_le_bytes());
    });
    assert!(ArtifactReader::parse(&optional).unwrap().attachments().unwrap().is_empty());
    let needed = forge(|b| {
        let at = attachment(b);
        b[at..at + 8].copy_from_slice(&99u64.to_le_bytes());
    });
    let error = ArtifactReader::parse(&needed).unwrap_err();
    assert!(matches!(error, FormatError::UnknownSection { kind: 99, .. }), "{error}");
}

#[test]
fn hostile_tables_are_refused() {
    for field in [8, 16] {
        for value in [0, 1, 4095, 8191, 1 << 20, 1 << 40, u64::MAX, u64::MAX - 4095] {
            for row in 0..3 {
                let at = 64 + row * 64 + field;
                let bytes = forge(|b| b[at..at + 8].copy_from_slice(&value.to_le_bytes()));
                assert!(
                    ArtifactReader::parse(&bytes).is_err(),
                    "row {row} field {field} = {value}"
                );
            }
        }
    }
    for count in [0u32, 1, 9, 1024, 1025, u32::MAX] {
        let bytes = forge(|b| b[20..24].copy_from_slice(&count.to_le_bytes()));
        assert!(ArtifactReader::parse(&bytes).is_err(), "{count} sections");
    }
    assert!(matches!(
        ArtifactReader::parse(b"PK\x03\x04hello"),
        Err(FormatError::NotAnArtifact { .. })
    ));
    assert!(matches!(ArtifactReader::parse(&MAGIC), Err(FormatError::Truncated { .. })));
}
