//! A short form of `examples/soak.rs`.

mod common;

#[test]
fn every_stream_ends_and_no_block_leaks() {
    let (ends, stats) = common::soak::soak(600, 1);
    println!("{ends:?}\n{stats:?}");
    assert!(ends.finished > 0 && ends.cancelled > 0 && ends.dropped > 0 && ends.refused > 0);
    assert!(stats.preemptions > 0 && stats.evictions > 0, "{stats:?}");
    assert!(stats.cached_tokens > 0 && stats.drafts_accepted > 0, "{stats:?}");
}
