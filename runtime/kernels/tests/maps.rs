//! The map primitives at each level: error bounds over the range of f32, special
//! values, tails.

mod support;

use cascata_artifact::abi::MapF32Fn;
use cascata_kernels::{Isa, Kernels};
use support::{Buffer, Place, Rng, levels};

unsafe extern "C" {
    safe fn erf(x: f64) -> f64;
}

/// What a result may differ by from the f64 value `exact` at `x`.
type Bound = fn(x: f64, exact: f64) -> f64;

struct Function {
    name: &'static str,
    kernel: fn(&Kernels) -> MapF32Fn,
    exact: fn(f64) -> f64,
    bound: Bound,
}

/// The spacing of f32 at `exact`.
fn ulp(exact: f64) -> f64 {
    let exponent = exact.abs().max(f32::MIN_POSITIVE as f64).log2().floor();
    (exponent - 23.0).exp2()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn gelu_tanh(x: f64) -> f64 {
    let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
    x * sigmoid(2.0 * u)
}

const FUNCTIONS: [Function; 8] = [
    Function { name: "exp", kernel: |k| k.exp_f32, exact: f64::exp, bound: |_, y| 2.0 * ulp(y) },
    Function { name: "erf", kernel: |k| k.erf_f32, exact: |x| erf(x), bound: |_, y| 4.0 * ulp(y) },
    Function { name: "tanh", kernel: |k| k.tanh_f32, exact: f64::tanh, bound: |_, y| 4.0 * ulp(y) },
    Function {
        name: "sigmoid",
        kernel: |k| k.sigmoid_f32,
        exact: sigmoid,
        bound: |_, y| (4.0 * ulp(y)).max(4.6e-39),
    },
    Function {
        name: "silu",
        kernel: |k| k.silu_f32,
        exact: |x| x * sigmoid(x),
        bound: |_, y| (4.0 * ulp(y)).max(4e-37),
    },
    Function {
        name: "gelu_erf",
        kernel: |k| k.gelu_erf_f32,
        exact: |x| x * (1.0 + erf(x / std::f64::consts::SQRT_2)) / 2.0,
        bound: |x, _| 1e-6 * x.abs().max(1.0),
    },
    Function {
        name: "gelu_tanh",
        kernel: |k| k.gelu_tanh_f32,
        exact: gelu_tanh,
        bound: |x, _| 1e-6 * x.abs().max(1.0),
    },
    Function { name: "log", kernel: |k| k.log_f32, exact: f64::ln, bound: |_, y| 2.0 * ulp(y) },
];

fn apply(f: MapF32Fn, src: &[f32]) -> Vec<f32> {
    let mut dst = vec![0.0; src.len()];
    // SAFETY: both hold `src.len()`.
    unsafe { f(dst.as_mut_ptr(), src.as_ptr(), src.len() as i64) };
    dst
}

/// The largest error in bounds, and in ulps with its place, of finite `xs`.
fn worst(f: &Function, isa: Isa, xs: &[f32]) -> (f64, f64, f32) {
    let mut worst = (0.0f64, 0.0f64, 0.0f32);
    for (&x, got) in xs.iter().zip(apply((f.kernel)(Kernels::new(isa)), xs)) {
        let exact = (f.exact)(x as f64);
        if exact.is_nan() {
            assert!(got.is_nan(), "{isa} {}({x}) is NaN, not {got}", f.name);
        } else if exact.is_infinite() || exact.abs() > f32::MAX as f64 {
            let near = exact.abs() <= f32::MAX as f64 * (1.0 + 2e-7);
            assert!(got.is_infinite() || near, "{isa} {}({x}) is {exact}, not {got}", f.name);
        } else {
            // Rounding up beyond the largest f32 gives inf: measure it there.
            let got = if got == f32::INFINITY { 128f64.exp2() } else { got as f64 };
            let error = (got - exact).abs();
            let ulps = error / ulp(exact);
            worst.0 = worst.0.max(error / (f.bound)(x as f64, exact));
            if ulps > worst.1 || ulps.is_nan() {
                (worst.1, worst.2) = (ulps, x);
            }
        }
    }
    worst
}

/// Every `step`-th f32.
fn sweep(step: u32) {
    for isa in levels() {
        for f in &FUNCTIONS {
            let mut worst_of = (0.0f64, 0.0f64, 0.0f32);
            let mut bits = 0u64;
            while bits <= u32::MAX as u64 {
                let end = (bits + 65536 * step as u64).min(1 << 32);
                let xs: Vec<f32> =
                    (bits..end).step_by(step as usize).map(|b| f32::from_bits(b as u32)).collect();
                let found = worst(f, isa, &xs);
                worst_of.0 = worst_of.0.max(found.0);
                if found.1 > worst_of.1 {
                    (worst_of.1, worst_of.2) = (found.1, found.2);
                }
                bits = end.next_multiple_of(step as u64);
            }
            let (bounds, ulps, x) = worst_of;
            println!("{isa:<9} {:<10} {bounds:.2} of its bound; {ulps:.2} ulp at {x:e}", f.name);
            assert!(bounds <= 1.0, "{isa} {}: {bounds} times its bound", f.name);
        }
    }
}

#[test]
fn error_bounds_over_all_magnitudes() {
    sweep(5021);
}

/// All 2^32 inputs: `cargo test --release -p cascata-kernels -- --ignored --nocapture`.
#[test]
#[ignore = "minutes; the sparse sweep runs always"]
fn error_bounds_exhaustive() {
    sweep(1);
}

/// Densely where the functions bend.
#[test]
fn error_bounds_near_zero_and_borders() {
    let mut xs: Vec<f32> = (-60000..=60000).map(|i| i as f32 * 1.7e-4).collect();
    xs.extend((-50000..=50000).map(|i| i as f32 * 2.1e-3));
    for border in
        [0.95f32, 1.0, 4.0, 88.722_84, 87.336_54, 103.972_08, 0.707_106_77, f32::MIN_POSITIVE]
    {
        for step in -2000..=2000 {
            let x = f32::from_bits((border.to_bits() as i32 + step) as u32);
            xs.extend([x, -x]);
        }
    }
    for isa in levels() {
        for f in &FUNCTIONS {
            let (bounds, ulps, x) = worst(f, isa, &xs);
            assert!(bounds <= 1.0, "{isa} {}: {bounds} times its bound, {ulps} ulp at {x}", f.name);
        }
    }
}

#[test]
fn special_values() {
    const INF: f32 = f32::INFINITY;
    let k = |name: &str, x: f32, isa: Isa| {
        let f = FUNCTIONS.iter().find(|f| f.name == name).expect("a function's name");
        apply((f.kernel)(Kernels::new(isa)), &[x])[0]
    };
    for isa in levels() {
        for f in &FUNCTIONS {
            assert!(k(f.name, f32::NAN, isa).is_nan(), "{isa} {}(NaN)", f.name);
            assert!(k(f.name, -f32::NAN, isa).is_nan(), "{isa} {}(-NaN)", f.name);
        }
        for name in ["erf", "tanh", "silu", "gelu_erf", "gelu_tanh"] {
            assert_eq!(k(name, -0.0, isa).to_bits(), (-0.0f32).to_bits(), "{isa} {name}(-0)");
            assert_eq!(k(name, 0.0, isa).to_bits(), 0, "{isa} {name}(0)");
        }
        for name in ["silu", "gelu_erf", "gelu_tanh"] {
            assert_eq!(k(name, INF, isa), INF, "{isa} {name}(inf)");
            let nothing = k(name, -INF, isa);
            assert!((-1e-8..=0.0).contains(&nothing), "{isa} {name}(-inf) is {nothing}");
        }
        let exact = [
            ("exp", INF, INF),
            ("exp", -INF, 0.0),
            ("exp", 0.0, 1.0),
            ("exp", -104.0, 0.0),
            ("exp", -1e30, 0.0),
            ("exp", 1e30, INF),
            ("exp", 89.0, INF),
            ("erf", INF, 1.0),
            ("erf", -INF, -1.0),
            ("tanh", INF, 1.0),
            ("tanh", -INF, -1.0),
            ("sigmoid", INF, 1.0),
            ("sigmoid", -INF, 0.0),
            ("sigmoid", 0.0, 0.5),
            ("log", 0.0, -INF),
            ("log", -0.0, -INF),
            ("log", INF, INF),
            ("log", 1.0, 0.0),
        ];
        for (name, x, y) in exact {
            assert_eq!(k(name, x, isa), y, "{isa} {name}({x})");
        }
        assert!(
            k("log", -1e-45, isa).is_nan() && k("log", -INF, isa).is_nan(),
            "{isa} log below 0"
        );
    }
}

/// Each length, in place and not, at guard pages; the same bits wherever a value lies.
#[test]
fn tails_and_positions() {
    let mut rng = Rng(5);
    let values: Vec<f32> = rng.units(100).iter().map(|x| x * 9.0).collect();
    for isa in levels() {
        for f in &FUNCTIONS {
            let kernel = (f.kernel)(Kernels::new(isa));
            let whole = apply(kernel, &values);
            for n in 0..=70 {
                let from = n % 29;
                let src = Buffer::new(Place::AtGuard, &values[from..from + n]);
                let mut dst = Buffer::new(Place::AtGuard, &vec![0.0; n]);
                // SAFETY: both hold `n`.
                unsafe { kernel(dst.as_mut_ptr(), src.as_ptr(), n as i64) };
                let mut place =
                    Buffer::new(Place::AtGuard, &[&values[from..from + n], &[4.5]].concat());
                // SAFETY: in place.
                unsafe { kernel(place.as_mut_ptr(), place.as_ptr(), n as i64) };
                for (i, &want) in whole[from..from + n].iter().enumerate() {
                    let bits = [dst[i].to_bits(), place[i].to_bits()];
                    assert_eq!(bits, [want.to_bits(); 2], "{isa} {} n {n} at {i}", f.name);
                }
                assert_eq!(place[n], 4.5, "{isa} {}: wrote past n", f.name);
            }
        }
    }
}
