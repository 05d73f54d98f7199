//! Measures every kernel against this core's peak.
//!
//! `cargo run --release -p cascata-kernels --example ceilings [-- ISA…] [-- filter]`
//!
//! Each line is the median and the best of short runs. The FMA peak is measured
//! again beside each contraction, because the clock of a shared machine moves.

#[path = "../tests/support/mod.rs"]
mod support;

use cascata_artifact::abi::{Bf16, PackBF32Args};
use cascata_kernels::{Isa, Kernels};
use std::hint::black_box;
use std::time::{Duration, Instant};
use support::codes::{CodesGemm, Format};
use support::exact::{ExactGemm, Factor};
use support::{Buffer, DwConv, Gemm, GemmShape, Place, Rng, Rows};

/// Runs per line, and the time that one takes at least.
const RUNS: usize = 25;
const RUN: Duration = Duration::from_millis(2);

const STRIDED: Rows = Rows::Strided(0);
/// Name, m, n, k, batch and A's mode.
const SHAPES: [(&str, usize, usize, usize, usize, Rows); 15] = [
    ("gemm block 128x256x256", 128, 256, 256, 1, STRIDED),
    ("gemm block 96x192x256", 96, 192, 256, 1, STRIDED),
    ("gemm block 256x512x768", 256, 512, 256, 3, STRIDED),
    ("gemm block 256x512x3072", 256, 512, 256, 12, STRIDED),
    ("gemm aliasing 128x256x256, stride 4096", 128, 256, 256, 1, Rows::Strided(3840)),
    ("gemm conv3x3 100x64x64·9", 100, 64, 64, 9, Rows::Offsets(0)),
    ("gemm conv3x3 100x64x64·9, padded", 100, 64, 64, 9, Rows::Offsets(10)),
    ("gemm conv3x3 49x128x128·9", 49, 128, 128, 9, Rows::Offsets(0)),
    ("gemm conv1x1 196x256x64", 196, 256, 64, 1, STRIDED),
    ("gemm conv1x1 100x24x96", 100, 24, 96, 1, STRIDED),
    ("gemm conv1x1 100x16x96", 100, 16, 96, 1, STRIDED),
    ("gemm conv3x3 64x24x96·9", 64, 24, 96, 9, Rows::Offsets(0)),
    ("gemm conv1x1 100x40x96", 100, 40, 96, 1, STRIDED),
    ("gemm tails 61x57x77", 61, 57, 77, 1, STRIDED),
    ("gemm attention 64x128x64", 64, 128, 64, 1, STRIDED),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let named: Vec<Isa> = words.iter().filter_map(|w| w.parse().ok()).collect();
    let filter = words.iter().find(|w| w.parse::<Isa>().is_err()).cloned().unwrap_or_default();
    for isa in Isa::ALL.into_iter().rev().filter(|&isa| isa <= Isa::detect()) {
        if named.is_empty() || named.contains(&isa) {
            println!("\n{isa}{:>61} {:>8}  of peak", "median", "best");
            let bench = Bench { isa, kernels: Kernels::new(isa), filter: filter.clone() };
            bench.gemms();
            bench.narrow::<Bf16>("bf16");
            bench.narrow::<i16>("i16");
            bench.narrow::<u8>("u8");
            bench.codes();
            bench.depthwise();
            bench.packs();
            bench.maps();
            bench.reductions();
        }
    }
}

struct Bench {
    isa: Isa,
    kernels: &'static Kernels,
    filter: String,
}

/// Median and best seconds of one call.
fn time(call: &mut dyn FnMut()) -> (f64, f64) {
    let start = Instant::now();
    call();
    let once = start.elapsed().max(Duration::from_nanos(50));
    let calls = (RUN.as_nanos() / once.as_nanos()).max(1) as usize;
    let mut runs: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..calls {
                call();
            }
            start.elapsed().as_secs_f64() / calls as f64
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    (runs[RUNS / 2], runs[0])
}

impl Bench {
    /// Prints `amount` (in units of 1e9) per second of `call`, beside the peak if given.
    fn line(&self, name: &str, unit: &str, amount: f64, peak: bool, call: &mut dyn FnMut()) {
        if !name.contains(&self.filter) {
            return;
        }
        let peak = if peak { peak_flops(self.isa) } else { 0.0 };
        let (median, best) = time(call);
        let rate = |seconds: f64| amount / seconds / 1e9;
        print!("  {name:<46} {unit:>8} {:>9.2} {:>8.2}", rate(median), rate(best));
        if peak > 0.0 {
            print!("  {:>4.0} % of {:.0}", rate(best) * 1e11 / peak, peak / 1e9);
        }
        println!();
    }

    fn gemms(&self) {
        for (name, m, n, k, batch, rows) in SHAPES {
            self.gemm(name, GemmShape { m, n, k, k_last: k, batch, rows });
        }
        for m in [1, 2, 3, 4, 5, 8, 13, 16] {
            for (place, n, k) in [("L2", 256, 256), ("L3", 1024, 1024), ("DRAM", 12288, 2048)] {
                let shape = GemmShape { m, n, k, k_last: k, batch: 1, rows: STRIDED };
                self.gemm(&format!("gemm skinny m={m} {n}x{k} ({place})"), shape);
            }
        }
    }

    fn gemm(&self, name: &str, shape: GemmShape) {
        if !name.contains(&self.filter) {
            return;
        }
        let case = Gemm::random(&mut Rng(1), Place::Aligned, shape);
        let mut c = zeros(shape.m * shape.n);
        let args = case.args(c.as_mut_ptr(), shape.n);
        let gemm = self.kernels.gemm_f32;
        // SAFETY: `case` owns operands of the sizes in `args`.
        let mut call = || unsafe { gemm(black_box(&args)) };
        let depth = (shape.batch - 1) * shape.k + shape.k_last;
        let flops = (2 * shape.m * shape.n * depth) as f64;
        self.line(name, "GFLOP/s", flops, true, &mut call);
        if shape.m <= 4 {
            self.line(&format!("{name}, B"), "GB/s", (4 * case.b.len()) as f64, false, &mut call);
        }
    }

    /// Beside the peak of f32.
    fn narrow<A: Factor>(&self, dtype: &str) {
        for (name, m, n, k, batch, rows) in [
            ("block 128x256x256", 128, 256, 256, 1, STRIDED),
            ("block 64x192x384", 64, 192, 384, 1, STRIDED),
            ("conv3x3 100x64x64·9", 100, 64, 64, 9, Rows::Offsets(0)),
            ("conv1x1 100x24x27", 100, 24, 27, 1, STRIDED),
            ("skinny m=1 256x256", 1, 256, 256, 1, STRIDED),
            ("skinny m=1 1024x1024", 1, 1024, 1024, 1, STRIDED),
            ("block m=4 256x256", 4, 256, 256, 1, STRIDED),
            ("block m=8 256x256", 8, 256, 256, 1, STRIDED),
            ("block m=16 256x256", 16, 256, 256, 1, STRIDED),
        ] {
            let shape = GemmShape { m, n, k, k_last: k, batch, rows };
            let case = ExactGemm::<A>::random(&mut Rng(1), Place::Aligned, shape);
            let mut c = vec![A::sum(0); m * n];
            let args = case.args(c.as_mut_ptr(), n);
            let gemm = A::kernel(self.kernels);
            // SAFETY: `case` owns operands of the sizes in `args`.
            let mut call = || unsafe { gemm(black_box(&args)) };
            let name = format!("gemm {dtype} {name}");
            self.line(&name, "GOP/s", (2 * m * n * k * batch) as f64, true, &mut call);
        }
    }

    /// Products by what stays narrow: bytes of B where one row is multiplied, flops beside the
    /// peak where more are.
    fn codes(&self) {
        for (name, format) in [
            ("bf16", Format::Bf16),
            ("q8_0", Format::Q8 { group: 32, wide: false, offsets: false }),
            ("q4_0", Format::Q4 { zero: 8, wide: false, offsets: false }),
            ("q4_1", Format::Q4 { zero: 0, wide: false, offsets: true }),
        ] {
            for (m, n, k, place) in [
                (1, 576, 576, "L2"),
                (1, 12288, 2048, "L3"),
                (1, 196608, 576, "DRAM"),
                (2, 576, 576, "L2"),
                (4, 576, 576, "L2"),
                (8, 576, 576, "L2"),
                (64, 192, 576, "L2"),
            ] {
                let name = format!("gemm f32 by {name} m={m} {n}x{k} ({place})");
                if !name.contains(&self.filter) {
                    continue;
                }
                let case = CodesGemm::random(&mut Rng(1), Place::Aligned, format, [m, n, k]);
                let mut c = zeros(m * n);
                let args = case.args(c.as_mut_ptr(), n);
                let gemm = format.kernel(self.kernels);
                // SAFETY: `case` owns operands of the sizes in `args`.
                let mut call = || unsafe { gemm(black_box(&args)) };
                let bytes = (case.b.len() + case.scales.len()) as f64;
                match m {
                    1 => self.line(&name, "GB/s", bytes, false, &mut call),
                    _ => self.line(&name, "GFLOP/s", (2 * m * n * k) as f64, true, &mut call),
                }
            }
        }
    }

    fn depthwise(&self) {
        for (side, channels, size) in
            [(14, 96, 3), (14, 64, 3), (14, 100, 3), (28, 16, 3), (14, 256, 5)]
        {
            let name = format!("dwconv {size}x{size}, {side}x{side} pixels x {channels}");
            let (m, taps) = (side * side, size * size);
            let mut case = DwConv::random(&mut Rng(1), Place::Aligned, [m, channels, taps], false);
            image(&mut case, side, size, channels);
            let mut c = zeros(m * channels);
            let args = case.args(c.as_mut_ptr(), channels);
            let dwconv = self.kernels.dwconv_f32;
            let flops = (2 * m * channels * taps) as f64;
            // SAFETY: `case` owns operands of the sizes in `args`.
            self.line(&name, "GFLOP/s", flops, true, &mut || unsafe { dwconv(black_box(&args)) });
        }
    }

    fn packs(&self) {
        let (k, n) = (512, 512);
        let src = Buffer::new(Place::Aligned, &Rng(1).units(k * n * 2));
        let mut dst = zeros(k * n);
        for (order, row_stride, col_stride) in
            [("rows", n, 1), ("columns", 1, k), ("columns, odd", 1, k + 24), ("strided", 2 * n, 2)]
        {
            let args = PackBF32Args {
                src: src.as_ptr(),
                row_stride: row_stride as i64,
                col_stride: col_stride as i64,
                dst: dst.as_mut_ptr(),
                panel_stride: (k * 16) as i64,
                k: if order == "strided" { k as i64 / 2 } else { k as i64 },
                n: n as i64,
            };
            let bytes = (args.k * args.n * 8) as f64;
            let pack = self.kernels.pack_b_f32;
            let name = format!("pack {k}x{n} by {order}, read + write");
            // SAFETY: `src` and `dst` hold what the strides reach.
            self.line(&name, "GB/s", bytes, false, &mut || unsafe { pack(black_box(&args)) });
        }
    }

    fn maps(&self) {
        let k = self.kernels;
        let maps = [
            ("exp", k.exp_f32),
            ("erf", k.erf_f32),
            ("tanh", k.tanh_f32),
            ("sigmoid", k.sigmoid_f32),
            ("silu", k.silu_f32),
            ("gelu_erf", k.gelu_erf_f32),
            ("gelu_tanh", k.gelu_tanh_f32),
            ("log", k.log_f32),
        ];
        let values: Vec<f32> = Rng(1).units(2048).iter().map(|x| x * 4.0).collect();
        let src = Buffer::new(Place::Aligned, &values);
        let mut dst = zeros(src.len());
        for (name, map) in maps {
            let n = src.len() as i64;
            // SAFETY: both hold `n`.
            let mut call = || unsafe { map(dst.as_mut_ptr(), black_box(src.as_ptr()), n) };
            self.line(&format!("{name} of 2048"), "Gelem/s", n as f64, false, &mut call);
        }
    }

    fn reductions(&self) {
        let k = self.kernels;
        let src = Buffer::new(Place::Aligned, &Rng(1).units(2048));
        let mut dst = zeros(src.len());
        for n in [768i64, 2048] {
            let p = src.as_ptr();
            for (name, f) in [("sum", k.sum_f32), ("sum_sq", k.sum_sq_f32), ("max", k.max_f32)] {
                // SAFETY: `src` holds `n`.
                let mut call = || _ = black_box(unsafe { f(black_box(p), n) });
                self.line(&format!("{name} of {n}"), "Gelem/s", n as f64, false, &mut call);
            }
            let mut call = || {
                // SAFETY: both hold `n`.
                let sum = unsafe { (k.exp_sum_f32)(dst.as_mut_ptr(), black_box(p), n, 0.5) };
                black_box(sum);
            };
            self.line(&format!("exp_sum of {n}"), "Gelem/s", n as f64, false, &mut call);
        }
    }
}

/// An output.
fn zeros(n: usize) -> Buffer {
    Buffer::new(Place::Aligned, &vec![0.0; n])
}

/// Makes `case` a convolution over an image with a border.
fn image(case: &mut DwConv, side: usize, size: usize, channels: usize) {
    let width = side + size - 1;
    case.a = Buffer::new(Place::Aligned, &Rng(2).units(width * width * channels));
    for (i, offset) in case.offsets.iter_mut().enumerate() {
        let (tap, pixel) = (i / case.m, i % case.m);
        let (y, x) = (pixel / side + tap / size, pixel % side + tap % size);
        *offset = ((y * width + x) * channels) as i32;
    }
}

/// Best measured FMA rate of the level's vectors, in flop/s.
fn peak_flops(isa: Isa) -> f64 {
    const STEPS: usize = 2000;
    let flops = (STEPS * 24 * 16 * 2) as f64;
    let best = match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Bf16 | Isa::Amx => {
            // SAFETY: `isa` is not above what this CPU has.
            time(&mut || _ = black_box(unsafe { peak::avx512(STEPS) })).1
        }
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => time(&mut || _ = black_box(unsafe { peak::avx2(STEPS) })).1,
        _ => return 0.0,
    };
    flops / best
}

/// Independent FMA chains in registers.
#[cfg(target_arch = "x86_64")]
mod peak {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    /// 24 chains of 16 lanes.
    #[target_feature(enable = "avx512f")]
    pub fn avx512(steps: usize) -> f32 {
        let (a, b) = (_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(0.25)));
        let mut acc = [_mm512_set1_ps(0.0); 24];
        for _ in 0..steps {
            for x in &mut acc {
                *x = _mm512_fmadd_ps(*x, a, b);
            }
        }
        acc.iter().map(|&x| _mm512_cvtss_f32(x)).sum()
    }

    /// 12 chains of 8 lanes, four times per step.
    #[target_feature(enable = "avx2,fma")]
    pub fn avx2(steps: usize) -> f32 {
        let (a, b) = (_mm256_set1_ps(black_box(0.5)), _mm256_set1_ps(black_box(0.25)));
        let mut acc = [_mm256_set1_ps(0.0); 12];
        for _ in 0..4 * steps {
            for x in &mut acc {
                *x = _mm256_fmadd_ps(*x, a, b);
            }
        }
        acc.iter().map(|&x| _mm256_cvtss_f32(x)).sum()
    }
}
