//! Trusted loads: every byte that is ever used is covered, and what is refused says why.

mod common;

use cascata_artifact::sign::{PublicKey, SecretKey};
use cascata_artifact::{Header, SectionKind};
use cascata_runtime::{Artifact, LoadOptions, TensorView};
use common::*;
use std::ops::Range;

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

fn trusting(n: u8) -> LoadOptions {
    Artifact::options().trust(key(n).public())
}

/// `triple` with weights of two chunks.
fn model() -> Model {
    let mut m = triple();
    m.weight("w", &vec![1.5; 300_000]);
    m
}

fn refusal(options: &LoadOptions, bytes: &[u8]) -> String {
    options.from_bytes(bytes).expect_err("it loads").to_string()
}

/// Bytes of the file that are used: the header, and each section that is read.
fn used(header: &Header, header_bytes: u64) -> Vec<Range<u64>> {
    let skipped = |s: &&cascata_artifact::Section| {
        // The code of another CPU is not read, what people read is checked when it is read.
        let other = s.kind == SectionKind::Code && s.index == 1;
        !other && !matches!(s.kind, SectionKind::Attachment | SectionKind::Provenance)
    };
    let sections = header.sections.iter().filter(skipped).map(|s| s.offset..s.end());
    std::iter::once(0..header_bytes).chain(sections).collect()
}

#[test]
fn a_signed_artifact_loads_and_runs() {
    let bytes = model().signed_bytes(&key(1));
    for options in [trusting(1), trusting(2).trust(key(1).public()), Artifact::options()] {
        let session = options.from_bytes(&bytes).unwrap().session(&runtime(1)).unwrap();
        let out = session.run(&[("x", TensorView::of(&[1], &[2f32]).unwrap())]).unwrap();
        assert_eq!(out[0].to_vec::<f32>().unwrap(), [6.0]);
    }
}

#[test]
fn wrong_keys_and_missing_signatures_are_refused() {
    let signed = model().signed_bytes(&key(1));
    let text = refusal(&trusting(2), &signed);
    assert!(
        text.contains("signed by somebody else") && text.contains(&key(2).public().to_string())
    );
    assert!(refusal(&trusting(1), &model().bytes()).contains("is not signed"));
    let plain = triple();
    let short = plain.writer().signature(63, |root| [root.as_slice(), &root[..31]].concat());
    let short = short.to_bytes(|_, _| Ok(()));
    assert!(refusal(&trusting(1), &short.unwrap()).contains("signed by somebody else"));
}

#[test]
fn a_signature_of_another_artifact_is_refused() {
    let mut bytes = model().signed_bytes(&key(1));
    let other = triple().signed_bytes(&key(1));
    let place = |bytes: &[u8]| {
        let header = Header::parse(bytes, bytes.len() as u64).unwrap();
        let s = header.section(SectionKind::Signature).unwrap().clone();
        s.offset as usize..s.end() as usize
    };
    let (to, from) = (place(&bytes), place(&other));
    bytes[to].copy_from_slice(&other[from]);
    assert!(refusal(&trusting(1), &bytes).contains("changed afterwards"));
}

#[test]
fn every_changed_byte_that_is_used_is_refused() {
    let good = model().signed_bytes(&key(1));
    let header = Header::parse(&good, good.len() as u64).unwrap();
    let header_bytes = Header::length(&good).unwrap() as u64;
    let mut bytes = good.clone();
    let mut reasons = std::collections::BTreeMap::<&str, usize>::new();
    for range in used(&header, header_bytes) {
        // All of the small sections, some of the weights.
        let step = if range.end - range.start > 10_000 { 9_973 } else { 1 };
        for at in range.step_by(step) {
            bytes[at as usize] ^= 1 << (at % 8);
            let text = refusal(&trusting(1), &bytes);
            let known = [
                "damaged",
                "not a Cascata",
                "is not supported",
                "signed by somebody else",
                "header",
            ];
            let reason = known.into_iter().find(|k| text.contains(k));
            *reasons.entry(reason.unwrap_or_else(|| panic!("{text}"))).or_default() += 1;
            bytes[at as usize] = good[at as usize];
        }
    }
    println!("{reasons:?}");
    trusting(1).from_bytes(&bytes).unwrap();
}

#[test]
fn a_header_made_anew_is_refused() {
    // Whoever changes code and repairs all hashes has not got the key.
    let mut m = model();
    let signed = m.signed_bytes(&key(1));
    m.entry.inputs[0].name = "other".into();
    let mut forged = m.signed_bytes(&key(9));
    let place = |bytes: &[u8]| {
        let header = Header::parse(bytes, bytes.len() as u64).unwrap();
        let s = header.section(SectionKind::Signature).unwrap().clone();
        s.offset as usize..s.end() as usize
    };
    let (to, from) = (place(&forged), place(&signed));
    forged[to].copy_from_slice(&signed[from]);
    Artifact::from_bytes(&forged).unwrap();
    assert!(refusal(&trusting(1), &forged).contains("changed afterwards"));
}

#[test]
fn truncated_files_are_refused() {
    let good = model().signed_bytes(&key(1));
    for n in (0..5000).step_by(37).chain((5000..good.len()).step_by(100_003)) {
        refusal(&trusting(1), &good[..n]);
    }
}

#[test]
fn weights_are_checked_unless_one_says_no() {
    let mut bytes = model().signed_bytes(&key(1));
    let header = Header::parse(&bytes, bytes.len() as u64).unwrap();
    let weights = header.section(SectionKind::Weights).unwrap().offset as usize;
    bytes[weights + 1_100_000] ^= 1;
    assert!(refusal(&trusting(1), &bytes).contains("damaged weights section"));
    trusting(1).check_weights(false).from_bytes(&bytes).unwrap();
}

#[test]
fn keys_have_one_text() {
    let secret = key(3);
    let public = secret.public();
    assert_eq!(public.to_string().parse::<PublicKey>().unwrap(), public);
    let back: SecretKey = format!("{}\n", secret.to_text()).parse().unwrap();
    assert_eq!(back.public(), public);
    assert!(!format!("{secret:?}").contains("03030303"), "secrets are not printed");
    for text in
        ["", "cascata-ed25519-public:00", &secret.to_text(), &public.to_string().replace(':', "=")]
    {
        assert!(text.parse::<PublicKey>().is_err(), "{text}");
    }
    let error = public.to_string().parse::<SecretKey>().unwrap_err().to_string();
    assert!(error.contains("cascata-ed25519-secret:"), "{error}");
}

/// A test vector of RFC 8032 (section 7.1, TEST 1): our keys are the standard's.
#[test]
fn keys_are_those_of_the_rfc() {
    let secret =
        "cascata-ed25519-secret:9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let public = secret.parse::<SecretKey>().unwrap().public().to_string();
    assert!(public.ends_with("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"));
}
