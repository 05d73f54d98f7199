//! Measures the CPU back end: throughput of typical kernels and compile time.
//!
//! `cargo run --release -p cascata-codegen --example cpu_speed`. Medians; one thread.

#[path = "../tests/cpu/support/exec.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod exec;
#[path = "../tests/cpu/support/memory.rs"]
#[allow(dead_code, reason = "the tests use it")]
mod memory;

use cascata_artifact::abi::Context;
use cascata_codegen::cpu::{CpuLevel, CpuTarget, MidEnd, compile, compile_all};
use cascata_ir::kernel::{Kernel, parse_kernel};
use cascata_kernels::Isa;
use exec::{Loaded, import_table};
use std::time::Instant;

/// A kernel with the sizes that it is measured at.
struct Case {
    name: &'static str,
    source: &'static str,
    params: &'static [i64],
    /// Elements that a run works on, and bytes that it moves for each.
    elements: f64,
    bytes: f64,
}

const CASES: &[Case] = &[
    Case {
        name: "chain (x*s + b, relu)",
        source: "kernel chain(N in 1..=65536) {
  index t, i in 0..=65535
  input %x: f32[N]
  input %b: f32[N]
  output %y: f32[N]
  grid t in 1 {
    for i in 0..N vector {
      %y[i] = relu(add(mul(%x[i], 1.5f32), %b[i]))
    }
  }
}",
        params: &[4096],
        elements: 4096.0,
        bytes: 12.0,
    },
    Case {
        name: "gelu_erf",
        source: "kernel gelu(N in 1..=65536) {
  index t, i in 0..=65535
  input %x: f32[N]
  output %y: f32[N]
  grid t in 1 {
    for i in 0..N vector {
      %y[i] = gelu_erf(%x[i])
    }
  }
}",
        params: &[4096],
        elements: 4096.0,
        bytes: 8.0,
    },
    Case {
        name: "silu * gate",
        source: "kernel swiglu(N in 1..=65536) {
  index t, i in 0..=65535
  input %x: f32[N]
  input %g: f32[N]
  output %y: f32[N]
  grid t in 1 {
    for i in 0..N vector {
      %y[i] = mul(silu(%x[i]), %g[i])
    }
  }
}",
        params: &[4096],
        elements: 4096.0,
        bytes: 12.0,
    },
    Case {
        name: "softmax row, generated",
        source: "kernel softmax(R in 1..=64, N in 1..=65536) {
  index t, i in 0..=65535, j in 0..=65535, k in 0..=65535
  input %x: f32[R*N]
  output %y: f32[R*N]
  local m: f32, s: f32, e: f32, r: f32
  grid t in R {
    let m = -inf_f32
    for i in 0..N vector {
      m max= %x[N*t+i]
    }
    let s = 0.0f32
    for j in 0..N vector {
      let e = exp(sub(%x[N*t+j], m))
      %y[N*t+j] = e
      s add= e
    }
    let r = recip(s)
    for k in 0..N vector {
      %y[N*t+k] = mul(%y[N*t+k], r)
    }
  }
}",
        params: &[16, 512],
        elements: 16.0,
        bytes: 4096.0,
    },
    Case {
        name: "softmax row, row primitives",
        source: "kernel softmax_rows(R in 1..=64, N in 1..=65536) {
  index t, k in 0..=65535
  input %x: f32[R*N]
  output %y: f32[R*N]
  local m: f32, s: f32, r: f32
  grid t in R {
    reduce_row max m <- %x[N*t], n: N
    exp_sum s, %y[N*t] <- %x[N*t], n: N, bias: m
    let r = recip(s)
    for k in 0..N vector {
      %y[N*t+k] = mul(%y[N*t+k], r)
    }
  }
}",
        params: &[16, 512],
        elements: 16.0,
        bytes: 4096.0,
    },
    Case {
        name: "layernorm row (768)",
        source: "kernel layernorm(R in 1..=64, N in 1..=65536) {
  index t, i in 0..=65535, j in 0..=65535, k in 0..=65535
  input %x: f32[R*N]
  input %g: f32[N]
  input %b: f32[N]
  output %y: f32[R*N]
  local s: f32, q: f32, mean: f32, d: f32, r: f32
  grid t in R {
    let s = 0.0f32
    for i in 0..N vector {
      s add= %x[N*t+i]
    }
    let mean = div(s, f32(index(N)))
    let q = 0.0f32
    for j in 0..N vector {
      let d = sub(%x[N*t+j], mean)
      q add= mul(d, d)
    }
    let r = rsqrt(add(div(q, f32(index(N))), 0.00001f32))
    for k in 0..N vector {
      %y[N*t+k] = add(mul(mul(sub(%x[N*t+k], mean), r), %g[k]), %b[k])
    }
  }
}",
        params: &[16, 768],
        elements: 16.0,
        bytes: 6144.0,
    },
    Case {
        name: "column sums (64 x 768)",
        source: "kernel columns(R in 1..=64, N in 1..=65536) {
  index t, i in 0..=65535, j in 0..=63
  input %x: f32[R*N]
  output %y: f32[N]
  local s: f32
  grid t in 1 {
    for i in 0..N vector {
      let s = 0.0f32
      for j in 0..R {
        s add= %x[N*j+i]
      }
      %y[i] = s
    }
  }
}",
        params: &[64, 768],
        elements: 49152.0,
        bytes: 4.0,
    },
    Case {
        name: "u8 -> f32 dequantise",
        source: "kernel dequantise(N in 1..=65536) {
  index t, i in 0..=65535
  input %x: u8[N]
  output %y: f32[N]
  grid t in 1 {
    for i in 0..N vector {
      %y[i] = mul(sub(f32(%x[i]), 128.0f32), 0.02f32)
    }
  }
}",
        params: &[4096],
        elements: 4096.0,
        bytes: 5.0,
    },
    Case {
        name: "f16 -> f32",
        source: "kernel widen(N in 1..=65536) {
  index t, i in 0..=65535
  input %x: f16[N]
  output %y: f32[N]
  grid t in 1 {
    for i in 0..N vector {
      %y[i] = f32(%x[i])
    }
  }
}",
        params: &[4096],
        elements: 4096.0,
        bytes: 6.0,
    },
    Case {
        name: "max pool 3x3 stride 2, channels last 64",
        source: "kernel pool(H in 3..=64, W in 3..=64, C in 1..=64) {
  index t in 0..=31, ox in 0..=31, c in 0..=63, ky in 0..=2, kx in 0..=2
  input %x: f32[H*W*C]
  output %y: f32[floordiv(H-1,2)*floordiv(W-1,2)*C]
  local m: f32
  grid t in floordiv(H-1,2) {
    for ox in 0..floordiv(W-1,2) {
      for c in 0..C vector {
        let m = -inf_f32
        for ky in 0..3 {
          for kx in 0..3 {
            m max= %x[(2*t+ky)*W*C+(2*ox+kx)*C+c]
          }
        }
        %y[t*floordiv(W-1,2)*C+ox*C+c] = m
      }
    }
  }
}",
        params: &[33, 33, 64],
        elements: 16.0 * 16.0 * 64.0,
        bytes: 40.0,
    },
    Case {
        name: "transpose 128 x 128",
        source: "kernel transpose(R in 1..=256, C in 1..=256) {
  index t in 0..=255, j in 0..=255
  input %x: f32[R*C]
  output %y: f32[R*C]
  grid t in C {
    for j in 0..R vector {
      %y[t*R+j] = %x[j*C+t]
    }
  }
}",
        params: &[128, 128],
        elements: 16384.0,
        bytes: 8.0,
    },
];

fn main() {
    let kernels: Vec<Kernel> =
        CASES.iter().map(|c| parse_kernel(c.source).expect("a kernel")).collect();
    let level = if Isa::detect() >= Isa::Avx512 { CpuLevel::V4 } else { CpuLevel::V3 };
    for (level, mid_end) in
        [(CpuLevel::V3, MidEnd::Off), (CpuLevel::V3, MidEnd::On), (level, MidEnd::Off)]
    {
        let target = CpuTarget::with_mid_end(level, mid_end).expect("a target");
        println!("{level}, mid-end {mid_end:?}");
        for (case, kernel) in CASES.iter().zip(&kernels) {
            measure(case, kernel, &target);
        }
        compile_time(&kernels, &target);
    }
}

fn measure(case: &Case, kernel: &Kernel, target: &CpuTarget) {
    let compiled = compile(kernel, target).expect("machine code");
    for note in &compiled.notes {
        println!("  note: {note}");
    }
    let loaded = Loaded::new(&compiled);
    let size = |d: &cascata_ir::types::Dim| {
        d.eval(&|s| case.params.get(s.0 as usize).copied()).expect("a size")
    };
    let mut buffers: Vec<Vec<f32>> = kernel
        .buffers
        .values()
        .map(|b| (0..size(&b.len)).map(|i| (i % 17) as f32 * 0.25 - 2.0).collect())
        .collect();
    let pointers: Vec<*mut u8> = buffers.iter_mut().map(|b| b.as_mut_ptr().cast()).collect();
    let imports = import_table(Isa::detect());
    let zeros = [0f32; 1024];
    let context = Context {
        buffers: pointers.as_ptr(),
        dims: case.params.as_ptr(),
        imports: imports.as_ptr(),
        zeros: zeros.as_ptr().cast(),
    };
    let tiles = size(&kernel.grid);
    let mut scratch = vec![0u8; 1 << 16];
    let runs = 200;
    let mut times: Vec<f64> = (0..21)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..runs {
                // SAFETY: the buffers have the declared sizes (f32 is the widest element),
                // and no case uses more scratch.
                let status = unsafe { loaded.call(&context, 0, tiles, scratch.as_mut_ptr()) };
                assert_eq!(status, 0);
            }
            start.elapsed().as_secs_f64() / f64::from(runs)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let seconds = times[times.len() / 2];
    println!(
        "  {:42} {:9.1} ns, {:8.3} ns per element or row, {:6.1} GB/s, {} bytes of code",
        case.name,
        seconds * 1e9,
        seconds * 1e9 / case.elements,
        case.elements * case.bytes / seconds * 1e-9,
        compiled.code.len()
    );
}

fn compile_time(kernels: &[Kernel], target: &CpuTarget) {
    let many: Vec<Kernel> = kernels.iter().cycle().take(500).cloned().collect();
    let start = Instant::now();
    for kernel in &many {
        compile(kernel, target).expect("machine code");
    }
    let one = start.elapsed().as_secs_f64();
    let start = Instant::now();
    assert!(compile_all(&many, target).iter().all(Result::is_ok));
    let all = start.elapsed().as_secs_f64();
    println!("  500 kernels: {:.2} ms each on one thread, {all:.2} s on all threads", one * 2.0);
}
