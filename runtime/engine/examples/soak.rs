//! A mixed load of any size over the test decoder and a cache of 40 blocks:
//! `cargo run --release -p cascata-engine --example soak -- [REQUESTS] [SEED]`.

#[path = "../tests/common/mod.rs"]
mod common;

fn main() {
    let mut numbers = std::env::args().skip(1).map(|a| a.parse::<u64>().expect("a number"));
    let requests = numbers.next().unwrap_or(10_000) as usize;
    let seed = numbers.next().unwrap_or(1);
    let start = std::time::Instant::now();
    let (ends, stats) = common::soak::soak(requests, seed);
    println!("{requests} requests in {:.1} s", start.elapsed().as_secs_f64());
    println!("{ends:?}");
    println!("{stats:#?}");
}
