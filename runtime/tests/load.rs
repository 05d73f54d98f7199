//! Loading: what is refused, what is read, what runs here.

mod common;

use cascata_artifact::{Header, SectionKind};
use cascata_runtime::{Artifact, LoadError, Runtime, Session, TensorView};
use common::*;
use std::time::{Duration, Instant};

/// `triple` plus weights of that many MiB, which a step reads the first element of.
fn with_weights(mib: usize) -> Model {
    let mut m = triple();
    m.weight("big", &vec![1.0; mib << 18]);
    m
}

#[test]
fn loads_a_file_and_runs() {
    let file = triple().file("runs");
    let session = Session::load(&file.0).unwrap();
    let out = session.run(&[("x", TensorView::of(&[2], &[1f32, 2.0]).unwrap())]).unwrap();
    assert_eq!(out[0].to_vec::<f32>().unwrap(), [3.0, 6.0]);
    assert!(session.runtime().threads() >= 1);
    assert_eq!(session.artifact().code_variant().level, "x86-64-v1");
}

#[test]
fn the_best_level_that_the_cpu_has_is_picked_unless_one_is_forced() {
    let bytes = triple().bytes();
    let load = |level: &str| Artifact::options().level(level).from_bytes(&bytes);
    assert_eq!(load("x86-64-v1").unwrap().code_variant().level, "x86-64-v1");
    let error = load("x86-64-v9").unwrap_err();
    assert!(matches!(error, LoadError::Unsupported { .. }));
    assert!(error.to_string().contains("x86-64-v9 needs teleport"), "{error}");
    let error = load("x86-64-v7").unwrap_err().to_string();
    assert!(
        error.contains("there is no code of level 'x86-64-v7', only x86-64-v1, x86-64-v9"),
        "{error}"
    );
}

#[test]
fn damaged_files_are_refused() {
    let file = with_weights(1).file("damaged");
    let good = std::fs::read(&file.0).unwrap();
    let header = Header::parse(&good, good.len() as u64).unwrap();
    let refused = |bytes: &[u8]| {
        std::fs::write(&file.0, bytes).unwrap();
        let from_file = Artifact::load(&file.0).unwrap_err().to_string();
        let from_bytes = Artifact::from_bytes(bytes).unwrap_err().to_string();
        let cause = |text: &str| text.split_once(": ").unwrap().1.to_string();
        assert_eq!(cause(&from_file), cause(&from_bytes));
        from_file
    };
    for n in (0..200).chain((200..good.len()).step_by(50_021)) {
        refused(&good[..n]);
    }
    let mut bytes = good.clone();
    for s in header
        .sections
        .iter()
        .filter(|s| matches!(s.kind, SectionKind::Manifest | SectionKind::Code))
    {
        if s.kind == SectionKind::Code && s.index == 1 {
            continue; // Of another CPU: not loaded, hence not checked.
        }
        for at in [s.offset, s.offset + s.length / 2, s.end() - 1] {
            bytes[at as usize] ^= 4;
            assert!(refused(&bytes).contains("blake3"));
            bytes[at as usize] ^= 4;
        }
    }
    bytes[8] = 2;
    assert!(refused(&bytes).contains("artifact format 2.0 is not supported"));
    assert!(matches!(Artifact::load("/nowhere/model"), Err(LoadError::Io { .. })));
}

#[test]
fn weights_are_checked_only_on_request() {
    let file = with_weights(3).file("weights");
    let mut bytes = std::fs::read(&file.0).unwrap();
    let header = Header::parse(&bytes, bytes.len() as u64).unwrap();
    Artifact::load(&file.0).unwrap().check_weights().unwrap();
    let weights = header.section(SectionKind::Weights).unwrap().offset as usize;
    bytes[weights + (2 << 20) + 5] ^= 1;
    std::fs::write(&file.0, &bytes).unwrap();
    let artifact = Artifact::load(&file.0).unwrap();
    let error = artifact.check_weights().unwrap_err().to_string();
    assert!(
        error.contains(&format!("damaged weights section at offset {}", weights + (2 << 20))),
        "{error}"
    );
    assert!(Artifact::options().check_weights(true).load(&file.0).is_err());
}

/// Resident bytes of this process's mappings of a file.
fn resident_kib(path: &std::path::Path) -> Option<u64> {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let at = smaps.find(path.to_str().unwrap())?;
    let rss = smaps[at..].lines().find(|l| l.starts_with("Rss:")).unwrap();
    rss.split_whitespace().nth(1).unwrap().parse().ok()
}

#[test]
fn loading_is_fast_and_does_not_read_the_weights() {
    let file = with_weights(64).file("lazy");
    let best = (0..5).map(|_| {
        let start = Instant::now();
        let artifact = Artifact::load(&file.0).unwrap();
        let elapsed = start.elapsed();
        assert_eq!(resident_kib(&file.0), Some(0), "no page of the weights is mapped in");
        drop(artifact);
        elapsed
    });
    let best = best.min().unwrap();
    assert!(best < Duration::from_millis(10), "{best:?}");
    assert_eq!(resident_kib(&file.0), None, "unmapped with the artifact");
}

#[test]
fn no_memory_is_writable_and_executable() {
    let _artifact = triple().artifact();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.lines().any(|l| l.contains(" rwx")), "{maps}");
}

#[test]
fn attachments_and_signature() {
    let m = triple();
    let writer = m
        .writer()
        .attachment("labels.txt", b"cat\n")
        .attachment("empty", b"")
        .signature(4, |root| root[..4].into());
    let artifact = Artifact::from_bytes(&writer.to_bytes(|_, _| Ok(())).unwrap()).unwrap();
    assert_eq!(artifact.attachment("labels.txt").unwrap().unwrap(), b"cat\n");
    assert_eq!(artifact.attachment("empty").unwrap().unwrap(), b"");
    assert_eq!(artifact.attachment("tokenizer.json").unwrap(), None);
    let (root, signature) = artifact.signature().unwrap();
    assert_eq!(signature.unwrap(), &root[..4]);
}

#[test]
fn entries_are_chosen_by_name() {
    let m = triple();
    let mut manifest = m.manifest();
    let mut other = manifest.entries[0].clone();
    other.name = "decode".into();
    manifest.entries.push(other);
    let code = [kernels::ADD_F32, &[0xcc; 16]].concat();
    let writer = cascata_artifact::ArtifactWriter::new(manifest).code(&code).code(&code);
    let artifact = Artifact::from_bytes(&writer.to_bytes(|_, _| Ok(())).unwrap()).unwrap();
    assert_eq!(artifact.entries().collect::<Vec<_>>(), ["main", "decode"]);
    let rt = Runtime::global().unwrap();
    let entry =
        |name| artifact.session_with(&rt, &cascata_runtime::SessionOptions::default().entry(name));
    assert_eq!(entry("decode").unwrap().entry().name, "decode");
    assert_eq!(artifact.session(&rt).unwrap().entry().name, "main");
    assert_eq!(
        entry("prefill").unwrap_err().to_string(),
        "there is no entry point 'prefill', only main, decode"
    );
}

#[test]
fn ports_that_cannot_be_passed_are_refused_early() {
    let mut m = triple();
    m.entry.inputs.push(cascata_artifact::manifest::Port {
        name: "state".into(),
        ty: cascata_types::ValueType::Resource("kv".into()),
        default: None,
    });
    let error = m.artifact().session(&runtime(1)).unwrap_err();
    assert!(
        matches!(&error, LoadError::UnsupportedPort { port, .. } if port == "state"),
        "{error}"
    );
}
