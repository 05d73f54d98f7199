use std::collections::HashMap;

/// Counts how often each word occurs.
fn count(text: &str) -> HashMap<&str, usize> {
    let mut counts = HashMap::new();
    for word in text.split_whitespace() {
        *counts.entry(word).or_insert(0) += 1;
    }
    counts
}

fn main() {
    for (word, n) in count("to be or not to be") {
        println!("{word}: {n}");
    }
}
