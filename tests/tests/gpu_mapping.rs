//! Kernels mapped onto thread blocks mean what they meant: both run in the Kernel IR
//! interpreter, which reports races, missing barriers and reads of what nobody wrote.
//!
//! The kernels are those of random graphs and of the real models' lowering; operands are
//! random. Sums of floats are taken in another order.

use cascata_codegen::gpu;
use cascata_codegen::lower::{Lowering, Machine};
use cascata_ir::graph::Graph;
use cascata_ir::kernel::interp::{HostBuffer, Outcome, Program, RunOptions, launch_buffers};
use cascata_ir::kernel::{Kernel, Space, Stmt, verify};
use cascata_ir::op::Op;
use cascata_ir::types::DType;
use cascata_passes::pipeline::OptLevel;
use cascata_tests::pipeline;
use cascata_tests::random::{Rng, generate};

/// Sums of a few thousand terms in another order, of numbers near 1.
const TOLERANCE: f64 = 2e-4;
/// Kernels over more elements take too long in an interpreter.
const LARGEST: i64 = 1 << 14;

/// Every kernel of a fused graph.
fn kernels(graph: &Graph) -> Vec<Kernel> {
    let mut lowering = Lowering::new(graph, Machine::Gpu);
    for region in graph.regions.values() {
        for id in &region.nodes {
            if matches!(graph.nodes[*id].op, Op::Group { .. }) {
                // What the CPU has no kernel for either is not asked for here.
                let _ = lowering.group(*id);
            }
        }
    }
    let launches = lowering.launches.into_iter();
    launches.flat_map(|l| l.variants.into_iter().map(|v| v.kernel)).collect()
}

/// Small sizes, different ones.
fn params(kernel: &Kernel) -> Vec<i64> {
    let symbols = kernel.symbols.iter().take(kernel.params);
    symbols.enumerate().map(|(i, (_, s))| (3 + i as i64).clamp(s.min, s.max)).collect()
}

fn operands(
    kernel: &Kernel,
    params: &[i64],
    largest: i64,
    rng: &mut Rng,
) -> Option<Vec<HostBuffer>> {
    let mut buffers = launch_buffers(kernel, params).ok()?;
    let declared = kernel.buffers.values().filter(|b| b.space != Space::Scratch);
    for (buffer, declared) in buffers.iter_mut().zip(declared) {
        if buffer.len() as i64 > largest {
            return None;
        }
        if declared.space == Space::Input {
            let value = |rng: &mut Rng| match buffer.dtype {
                d if d.is_float() => rng.unit() * 2.0 - 1.0,
                DType::Bool => f64::from(u8::from(rng.one_in(2))),
                _ => (rng.unit() * 3.0).floor(),
            };
            let values: Vec<f64> = (0..buffer.len()).map(|_| value(rng)).collect();
            *buffer = HostBuffer::rounded(buffer.dtype, &values);
        }
    }
    Some(buffers)
}

/// Runs a kernel as it is and mapped; false where its operands made no sense to it.
fn check(kernel: &Kernel, rng: &mut Rng) -> bool {
    compare(kernel, LARGEST, rng)
}

/// As [`check`], where no operand has more than `largest` elements.
fn compare(kernel: &Kernel, largest: i64, rng: &mut Rng) -> bool {
    // Kernels over tensors without elements are never launched, and not always valid.
    if verify(kernel).is_err() {
        return false;
    }
    let params = params(kernel);
    let Some(buffers) = operands(kernel, &params, largest, rng) else { return false };
    let mut expected = buffers.clone();
    let run = |kernel: &Kernel, buffers: &mut [HostBuffer]| {
        let program = Program::new(kernel).expect("a valid kernel");
        program.run(&params, buffers, &RunOptions::default())
    };
    let Ok(Outcome::Done) = run(kernel, &mut expected) else { return false };
    let mapped = gpu::map(kernel);
    let show = || format!("\n{kernel}\nmapped:\n{mapped}");
    if let Err(errors) = verify(&mapped) {
        panic!("{}{}", errors[0], show());
    }
    let mut found = buffers;
    match run(&mapped, &mut found) {
        Ok(Outcome::Done) => {}
        other => panic!("{other:?}{}", show()),
    }
    for (found, expected) in found.iter().zip(&expected) {
        let apart = apart(found, expected);
        assert!(apart <= TOLERANCE, "{apart:.2e} apart{}", show());
    }
    true
}

fn apart(a: &HostBuffer, b: &HostBuffer) -> f64 {
    let tolerant = if matches!(a.dtype, DType::F16 | DType::BF16) { 0.01 } else { 1.0 };
    let numbers = |h: &HostBuffer| h.scalars().into_iter().map(|x| x.to_f64()).collect::<Vec<_>>();
    let pair = |(a, b): (f64, f64)| match (a == b, a.is_nan() && b.is_nan()) {
        (true, _) | (_, true) => 0.0,
        _ => tolerant * (a - b).abs() / b.abs().max(1.0),
    };
    numbers(a).into_iter().zip(numbers(b)).map(pair).fold(0.0, f64::max)
}

#[test]
fn kernels_of_random_graphs() {
    let mut rng = Rng::new(7);
    let (mut compared, mut graphs) = (0, 0);
    for seed in 0..150 {
        let case = generate(seed);
        let Ok(fused) = pipeline::fused_graph(case.graph, OptLevel::O2) else { continue };
        graphs += 1;
        compared += kernels(&fused).iter().filter(|k| check(k, &mut rng)).count();
    }
    println!("{compared} kernels of {graphs} graphs");
    assert!(compared > 500, "only {compared} kernels could be compared");
}

/// Every form that a contraction has: few rows and many, narrow and wide columns, K in blocks
/// of which the last is shorter, few tiles and many.
#[test]
fn products_of_all_shapes() {
    let mut rng = Rng::new(11);
    // Many tiles take long in an interpreter: they get short K.
    let wide = [(13, 100, 5, 264, 1..2), (9, 181, 5, 264, 2..3)];
    let cases =
        [(1, 37, 35, 1, 1..4), (5, 200, 35, 1, 1..4), (8, 16, 35, 2, 1..4), (70, 37, 35, 1, 1..4)];
    for (m, n, k, tiles, batches) in cases.into_iter().chain(wide) {
        for batch in batches {
            let k_last = if batch == 1 { k } else { k - 2 };
            let (panels, row) = ((n + 15) / 16, k * (batch - 1) + k_last);
            let (panel, block) = (k * 16, panels * k * 16);
            let (a, b, c) = (m * row, batch * block, m * n);
            let text = format!(
                "kernel product() {{
  index tile in 0..={}
  input %a: f32[{a}]
  input %b: f32[{b}]
  output %c: f32[{}]
  grid tile in {tiles} {{
    gemm {{
      a: rows(%a[0], {row}, {k}),
      b: %b[0], b_panel_stride: {panel}, b_batch_stride: {block},
      c: %c[{c}*tile], c_row_stride: {n},
      m: {m}, n: {n}, k: {k}, k_last: {k_last}, batch: {batch},
    }}
  }}
}}
",
                tiles - 1,
                c * tiles
            );
            let kernel = cascata_ir::kernel::parse_kernel(&text).expect("a kernel");
            assert!(compare(&kernel, i64::MAX, &mut rng), "it runs as it is: {text}");
        }
    }
}

/// Pairs of i16 and quads of bytes, the latter less a zero point: K of whole groups and not.
#[test]
fn products_of_integers() {
    let mut rng = Rng::new(12);
    for (left, right, group, sums, zero) in
        [("i16", "i16", 2, 0, ""), ("u8", "i8", 4, 64, ", a_zero: %zero[0]")]
    {
        for (m, n, k, batch) in [(1, 37, 35, 1), (9, 181, 38, 2), (70, 20, 64, 3)] {
            let k_last = if batch == 1 { k } else { k - 3 };
            let row = k * (batch - 1) + k_last;
            let panel = (k + group - 1) / group * group * 16 + sums;
            let block = (n + 15) / 16 * panel;
            let (a, b, c) = (m * row, batch * block, m * n);
            let input = if zero.is_empty() { "" } else { "\n  input %zero: u8[1]" };
            let text = format!(
                "kernel product() {{
  index tile in 0..=0
  input %a: {left}[{a}]
  input %b: {right}[{b}]{input}
  output %c: i32[{c}]
  grid tile in 1 {{
    gemm {{
      a: rows(%a[0], {row}, {k}){zero},
      b: %b[0], b_panel_stride: {panel}, b_batch_stride: {block},
      c: %c[0], c_row_stride: {n},
      m: {m}, n: {n}, k: {k}, k_last: {k_last}, batch: {batch},
    }}
  }}
}}
"
            );
            let kernel = cascata_ir::kernel::parse_kernel(&text).expect("a kernel");
            assert!(compare(&kernel, i64::MAX, &mut rng), "it runs as it is: {text}");
        }
    }
}

/// Without its barriers a contraction must not pass.
#[test]
fn a_missing_barrier_is_found() {
    fn without_barriers(body: &mut Vec<Stmt>) {
        body.retain(|s| !matches!(s, Stmt::Barrier));
        for s in body {
            if let Stmt::For { body, .. } = s {
                without_barriers(body);
            }
        }
    }
    let text = "kernel product() {
  index tile in 0..=0
  input %a: f32[66]
  input %b: f32[352]
  output %c: f32[39]
  grid tile in 1 {
    gemm {
      a: rows(%a[0], 22, 0),
      b: %b[0], b_panel_stride: 352, b_batch_stride: 0,
      c: %c[0], c_row_stride: 13,
      m: 3, n: 13, k: 22, k_last: 22, batch: 1,
    }
  }
}
";
    let kernel = cascata_ir::kernel::parse_kernel(text).expect("a kernel");
    assert!(check(&kernel, &mut Rng::new(1)), "it runs as it is");
    let mut broken = gpu::map(&kernel);
    without_barriers(&mut broken.body);
    let params: Vec<i64> = vec![];
    let mut buffers =
        operands(&broken, &params, LARGEST, &mut Rng::new(1)).expect("small operands");
    let outcome =
        Program::new(&broken).expect("valid").run(&params, &mut buffers, &RunOptions::default());
    assert!(outcome.is_err(), "{outcome:?}");
}
