//! `tract-peer MODEL INPUTS.npz`: the protocol of `engine.py`, for tract.
//!
//! Prints how long loading and the first run took, then reads lines with a number of seconds and
//! prints the times of runs for that long. tract computes on one thread.
#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};
use npyz::npz::NpzArchive;
use serde_json::json;
use std::io::BufRead;
use std::path::Path;
use std::time::{Duration, Instant};
use tract_onnx::prelude::*;

/// An array of the archive as a tensor.
fn tensor(archive: &mut NpzArchive<std::io::BufReader<std::fs::File>>, name: &str) -> Result<Tensor> {
    let array = archive.by_name(name)?.with_context(|| format!("no array '{name}'"))?;
    let shape: Vec<usize> = array.shape().iter().map(|d| *d as usize).collect();
    let npyz::DType::Plain(kind) = array.dtype() else { bail!("a structured array") };
    Ok(match kind.to_string().trim_start_matches(['<', '|', '=']) {
        "f4" => Tensor::from_shape(&shape, &array.into_vec::<f32>()?)?,
        "i8" => Tensor::from_shape(&shape, &array.into_vec::<i64>()?)?,
        "i4" => Tensor::from_shape(&shape, &array.into_vec::<i32>()?)?,
        "b1" => Tensor::from_shape(&shape, &array.into_vec::<bool>()?)?,
        other => bail!("arrays of type {other}"),
    })
}

/// The most memory that the process has used.
fn peak_rss_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? * 1024)
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (model, inputs) = (args.next().context("MODEL")?, args.next().context("INPUTS")?);
    let mut archive = NpzArchive::open(&inputs)?;
    let start = Instant::now();
    let mut model = tract_onnx::onnx().model_for_path(Path::new(&model))?;
    let mut feeds: TVec<TValue> = tvec!();
    for i in 0..model.input_outlets()?.len() {
        let name = model.node(model.input_outlets()?[i].node).name.clone();
        let feed = tensor(&mut archive, &name)?;
        model.set_input_fact(i, InferenceFact::dt_shape(feed.datum_type(), feed.shape()))?;
        feeds.push(feed.into());
    }
    let plan = model.into_optimized()?.into_runnable()?;
    let load_ns = start.elapsed().as_nanos() as u64;
    let start = Instant::now();
    plan.run(feeds.clone())?;
    println!("{}", json!({"load_ns": load_ns, "first_run_ns": start.elapsed().as_nanos() as u64}));
    for line in std::io::stdin().lock().lines() {
        let limit = Duration::from_secs_f64(line?.trim().parse()?);
        let (block, mut times) = (Instant::now(), vec![]);
        while block.elapsed() < limit || times.len() < 3 {
            let start = Instant::now();
            plan.run(feeds.clone())?;
            times.push(start.elapsed().as_nanos() as u64);
        }
        println!("{}", json!({"times_ns": times, "peak_rss_bytes": peak_rss_bytes()?}));
    }
    Ok(())
}
