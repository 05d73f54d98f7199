//! Regular expressions, determinised.
//!
//! The syntax is RE2's: what `\d`, `\s`, `\w` and `\b` mean is ASCII only. A pattern
//! becomes a [`Dfa`] when a model is compiled, so that a run needs no regex engine: it walks
//! a table, one look-up per byte.

use cascata_types::text::Dfa;
use regex_automata::Anchored;
use regex_automata::dfa::{Automaton, dense};
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::util::syntax;
use std::collections::HashMap;

/// Most bytes that building an automaton may take: patterns can ask for any number.
const MOST_BYTES: usize = 8 << 20;

/// The automaton that accepts exactly the strings that a pattern matches as a whole.
///
/// # Errors
/// The pattern is not valid, has something that no automaton does, or is too large.
pub fn full_match(pattern: &str) -> Result<Dfa, String> {
    let whole = format!(r"\A(?:{})\z", ascii_classes(pattern));
    let config = dense::Config::new()
        .start_kind(regex_automata::dfa::StartKind::Anchored)
        .dfa_size_limit(Some(MOST_BYTES))
        .determinize_size_limit(Some(MOST_BYTES));
    let dfa = dense::Builder::new()
        .configure(config)
        .syntax(syntax::Config::new().nest_limit(64))
        .thompson(regex_automata::nfa::thompson::Config::new().nfa_size_limit(Some(MOST_BYTES)))
        .build(&whole)
        .map_err(|e| format!("the pattern '{pattern}' makes no automaton: {}", causes(&e)))?;
    table(&dfa).ok_or_else(|| format!("the pattern '{pattern}' makes no automaton"))
}

fn causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", causes(source)),
        None => error.to_string(),
    }
}

/// RE2's meaning of classes that are Unicode's elsewhere.
fn ascii_classes(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            '[' => in_class = true,
            ']' => in_class = false,
            _ => {}
        }
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('d') => out.push_str("[0-9]"),
            Some('D') => out.push_str("[^0-9]"),
            Some('w') => out.push_str("[0-9A-Za-z_]"),
            Some('W') => out.push_str("[^0-9A-Za-z_]"),
            Some('s') => out.push_str(r"[\t\n\f\r ]"),
            Some('S') => out.push_str(r"[^\t\n\f\r ]"),
            Some('b') if !in_class => out.push_str(r"(?-u:\b)"),
            Some('B') if !in_class => out.push_str(r"(?-u:\B)"),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

/// The states that strings reach, numbered from the first.
fn table(dfa: &dense::DFA<Vec<u32>>) -> Option<Dfa> {
    let first = dfa.start_state(&start::Config::new().anchored(Anchored::Yes)).ok()?;
    let mut numbers: HashMap<StateID, u32> = HashMap::from([(first, 0)]);
    let mut order = vec![first];
    let mut rows: Vec<Vec<u32>> = Vec::new();
    let mut accepts = Vec::new();
    while let Some(&state) = order.get(rows.len()) {
        let mut number = |s: StateID| {
            *numbers.entry(s).or_insert_with(|| {
                order.push(s);
                order.len() as u32 - 1
            })
        };
        rows.push((0..=255u8).map(|b| number(dfa.next_state(state, b))).collect());
        accepts.push(dfa.is_match_state(dfa.next_eoi_state(state)));
    }
    Some(with_classes(&rows, accepts))
}

/// Bytes that every state treats alike share a class.
fn with_classes(rows: &[Vec<u32>], accepts: Vec<bool>) -> Dfa {
    let mut columns: HashMap<Vec<u32>, u8> = HashMap::new();
    let mut firsts: Vec<usize> = Vec::new();
    let mut classes = Vec::with_capacity(256);
    for byte in 0..256 {
        let column = rows.iter().map(|row| row[byte]).collect();
        let class = *columns.entry(column).or_insert_with(|| {
            firsts.push(byte);
            (firsts.len() - 1) as u8
        });
        classes.push(class);
    }
    let next = rows.iter().flat_map(|row| firsts.iter().map(|b| row[*b])).collect();
    Dfa { classes, next, accepts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_strings_are_matched() {
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("a+b?", &["a", "aab"], &["", "b", "ab ", "xab"]),
            ("a|bc", &["a", "bc"], &["ab", "c", "abc"]),
            ("", &[""], &["a"]),
            (".", &["x", "é", "漢"], &["", "xy", "\n"]),
            (r"\d{2}", &["42"], &["4", "٣٣"]),
            (r"[\w.]+@\S+", &["a.b@c"], &["é@c", "a@ c"]),
            (r"\bab\b", &["ab"], &["abc"]),
            (r"[\]\D]x", &["]x", "ax"], &["1x"]),
            ("(?i)straße", &["STRAßE"], &["STRASSE"]),
        ];
        for (pattern, yes, no) in cases {
            let dfa = full_match(pattern).unwrap();
            assert!(dfa.is_sound(), "{pattern}");
            yes.iter().for_each(|t| assert!(dfa.accepts(t), "'{pattern}' on '{t}'"));
            no.iter().for_each(|t| assert!(!dfa.accepts(t), "'{pattern}' on '{t}'"));
        }
    }

    #[test]
    fn what_no_automaton_does_is_named() {
        for (pattern, word) in [("(a", "unclosed"), (r"(a)\1", "backreference")] {
            let error = full_match(pattern).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        assert!(full_match("(?:[a-z]{0,500}){0,500}").unwrap_err().contains("automaton"));
    }
}
