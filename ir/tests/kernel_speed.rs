//! How fast the kernel interpreter is: `cargo test -p cascata-ir --test kernel_speed -- --ignored --nocapture`.

use cascata_ir::kernel::interp::{HostBuffer, Outcome, run};
use cascata_ir::kernel::{Kernel, parse_kernel};
use std::time::Instant;

const ELEMENTWISE: &str = "
kernel scale(N) {
  index t, i in 0..=255
  input %x: f32[256*N]
  output %y: f32[256*N]
  grid t in N {
    for i in 0..256 vector {
      %y[256*t+i] = add(mul(%x[256*t+i], 2.0f32), 1.0f32)
    }
  }
}";

const GEMM: &str = "
kernel product(N) {
  index t
  input %x: f32[128*N]
  output %y: f32[16*N]
  grid t in 1 {
    gemm {
      a: rows(%x[0], 128, 0),
      b: %x[0], b_panel_stride: 2048, b_batch_stride: 0,
      c: %y[0], c_row_stride: 16,
      m: N, n: 16, k: 128, k_last: 128, batch: 1,
    }
  }
}";

fn rate(text: &str, n: i64, x: usize, y: usize, steps: f64) -> f64 {
    let kernel: Kernel = parse_kernel(text).expect("a kernel");
    let x = HostBuffer::of(&vec![0.5f32; x]);
    let mut buffers = [x, HostBuffer::undefined(cascata_ir::types::DType::F32, y)];
    let start = Instant::now();
    assert_eq!(run(&kernel, &[n], &mut buffers), Ok(Outcome::Done));
    assert_eq!(buffers[1].first_undefined, None);
    steps / start.elapsed().as_secs_f64() / 1e6
}

#[test]
#[ignore = "measures time"]
fn element_steps_per_second() {
    let n = 8192usize;
    let elementwise = rate(ELEMENTWISE, n as i64, 256 * n, 256 * n, 256.0 * n as f64);
    println!("element-wise: {elementwise:.1} M elements/s");
    let m = 4096usize;
    let steps = (m * 16 * 128) as f64;
    println!("gemm: {:.1} M multiply-adds/s", rate(GEMM, m as i64, 128 * m, 16 * m, steps));
    assert!(elementwise > 1.0, "far below the 5 M/s that tests of whole models count on");
}
