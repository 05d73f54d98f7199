//! Ops on strings.

use super::*;

fn texts(values: &[&str]) -> Tensor {
    Tensor::vector(values.iter().map(|s| s.to_string()).collect::<Vec<String>>())
}

#[test]
fn joined_and_cased() {
    let (a, b) = (texts(&["a", "", "É"]), texts(&["b", "", "ß"]));
    assert_eq!(apply1(Op::TextConcat, &[a.clone(), b.clone()]), texts(&["ab", "", "Éß"]));
    assert_eq!(
        apply1(Op::TextCase { upper: false }, std::slice::from_ref(&a)),
        texts(&["a", "", "é"])
    );
    assert_eq!(apply1(Op::TextCase { upper: true }, &[b]), texts(&["B", "", "SS"]));
    assert!(fails(Op::TextConcat, &[a, texts(&["x"])]).contains("must agree"));
}

#[test]
fn matched_as_a_whole() {
    let x = texts(&["ab1", "ab", "xab1", ""]);
    let op = Op::TextMatch { pattern: r"[a-w]+\d".into() };
    assert_eq!(
        apply1(op, std::slice::from_ref(&x)),
        Tensor::vector(vec![true, false, false, false])
    );
    assert!(fails(Op::TextMatch { pattern: "(".into() }, &[x]).contains("automaton"));
}

#[test]
fn split_at_delimiters() {
    let counts = |delimiter: &str, at_most, text: &str| {
        let op = Op::TextCount { delimiter: delimiter.into(), at_most };
        apply1(op, &[texts(&[text])]).as_slice::<i64>().unwrap()[0]
    };
    assert_eq!(counts("-", u64::MAX, "a--b"), 3);
    assert_eq!(counts("-", 1, "a--b"), 2);
    assert_eq!(counts("-", u64::MAX, ""), 1);
    assert_eq!(counts("", u64::MAX, "  a \t b\n"), 2);
    assert_eq!(counts("", u64::MAX, " "), 0);
    let split = |delimiter: &str, at_most, parts: i64, text: &str| {
        let op = Op::TextSplit { delimiter: delimiter.into(), at_most, parts: parts.into() };
        let found = apply1(op, &[texts(&[text])]);
        assert_eq!(found.dims(), [1, parts as usize]);
        found.as_slice::<String>().unwrap().to_vec()
    };
    assert_eq!(split("-", u64::MAX, 3, "a--b"), ["a", "", "b"]);
    assert_eq!(split("-", 1, 3, "a--b"), ["a", "-b", ""]);
    assert_eq!(split("", u64::MAX, 2, " a  b c "), ["a", "b"]);
    assert_eq!(split("", 1, 2, " a  b c "), ["a", "b c "]);
    assert!(split("-", 0, 0, "a").is_empty());
}
