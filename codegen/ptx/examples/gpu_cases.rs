//! Writes kernels, operands and what the Kernel IR interpreter gives, for a machine with a GPU:
//! `gpu_cases FOLDER [TARGET]`, then `tests/gpu/run_cases.py FOLDER` there.
//!
//! Every function over every dtype it is defined for, conversions, reductions over threads,
//! shared memory, scratch, checks.

use cascata_ir::kernel::interp::{HostBuffer, Outcome, launch_buffers, run};
use cascata_ir::kernel::{Expr, Kernel, KernelBuilder, Stmt, verify};
use cascata_ir::op::{BinaryOp, UnaryOp};
use cascata_ir::types::{DType, Dim, Scalar, SymbolTable};
use cascata_ptx::{PtxTarget, compile};
use std::fmt::Write as _;
use std::path::Path;

type Error = Box<dyn std::error::Error>;

const TARGETS: [&str; 3] = ["sm_80", "sm_90", "sm_90a"];
const THREADS: i64 = 64;
const DTYPES: [DType; 13] = {
    use DType::*;
    [Bool, I8, U8, I16, U16, I32, U32, I64, U64, F16, BF16, F32, F64]
};

/// A kernel with operands and how far results may be off.
struct Case {
    kernel: Kernel,
    inputs: Vec<HostBuffer>,
    ulp: f64,
    abs: f64,
}

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().collect();
    let folder = Path::new(args.get(1).ok_or("gpu_cases FOLDER [TARGET]")?);
    let asked = args.get(2).map_or("sm_90a", String::as_str);
    let name = *TARGETS.iter().find(|t| **t == asked).ok_or("TARGET is sm_80, sm_90 or sm_90a")?;
    std::fs::create_dir_all(folder)?;
    let mut cases = elementwise();
    cases.extend(groups());
    cases.push(block_sum());
    cases.push(failing_check());
    let mut json = Vec::new();
    for (i, chunk) in cases.chunks(40).enumerate() {
        let kernels: Vec<Kernel> = chunk.iter().map(|c| c.kernel.clone()).collect();
        let module = compile(&kernels, PtxTarget { name })
            .map_err(|all| all.iter().map(|e| format!("{e}\n")).collect::<String>())?;
        let file = format!("cases{i}.ptx");
        std::fs::write(folder.join(&file), &module.text)?;
        for (case, info) in chunk.iter().zip(&module.kernels) {
            json.push(describe(folder, &file, case, info)?);
        }
    }
    std::fs::write(folder.join("cases.json"), format!("[\n{}\n]\n", json.join(",\n")))?;
    println!("{} cases", json.len());
    Ok(())
}

/// Runs the interpreter, writes operands and results, and gives the case's JSON.
fn describe(
    folder: &Path,
    module: &str,
    case: &Case,
    info: &cascata_ptx::PtxKernel,
) -> Result<String, Error> {
    let kernel = &case.kernel;
    let mut buffers = launch_buffers(kernel, &[])?;
    for (buffer, input) in buffers.iter_mut().zip(&case.inputs) {
        *buffer = input.clone();
    }
    let status = match run(kernel, &[], &mut buffers)? {
        Outcome::Done => 0,
        Outcome::Failed(_) => 1,
    };
    let mut list = Vec::new();
    for (i, (buffer, declared)) in buffers.iter().zip(kernel.buffers.values()).enumerate() {
        let file = format!("{}_{i}.bin", kernel.name);
        let role = if i < case.inputs.len() { "file" } else { "expected" };
        let mut text = format!(
            "{{\"name\": \"{}\", \"dtype\": \"{}\", \"bytes\": {}",
            declared.name,
            buffer.dtype,
            buffer.bytes.len()
        );
        if status == 0 || role == "file" {
            std::fs::write(folder.join(&file), &buffer.bytes)?;
            write!(text, ", \"{role}\": \"{file}\"")?;
        }
        write!(text, ", \"tolerance\": {{\"ulp\": {}, \"abs\": {}}}}}", case.ulp, case.abs)?;
        list.push(text);
    }
    let tiles = kernel.grid.as_const().ok_or("a case has no symbols")?;
    Ok(format!(
        "{{\"name\": \"{0}\", \"module\": \"{module}\", \"entry\": \"{0}\", \"threads\": {1}, \
         \"shared_bytes\": {2}, \"scratch_bytes\": {3}, \"tiles\": {tiles}, \"dims\": [], \
         \"status\": {status}, \"buffers\": [{4}]}}",
        kernel.name,
        info.threads,
        info.shared_bytes,
        info.scratch_bytes.as_const().unwrap_or(0),
        list.join(", ")
    ))
}

/// Interesting numbers of a dtype.
fn numbers(dtype: DType) -> Vec<f64> {
    let mut all = vec![0.0, 1.0, 2.0, 3.0, 7.0, 5.0, 100.0, 31.0, 64.0, 127.0];
    if dtype == DType::Bool {
        return vec![0.0, 1.0, 1.0, 0.0];
    }
    if dtype.is_signed_int() || dtype.is_float() {
        all.extend([-1.0, -2.0, -3.0, -7.0, -100.0, -128.0]);
    }
    if dtype.is_float() {
        all.extend([0.5, -0.5, 0.1, -0.3, 1.5, 2.5, -2.5, 0.999, 1.001, 88.0, -88.0, 9.5, -9.5]);
        all.extend([-0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e-3, -1e-3, 3.3e4, 1e-7]);
        all.extend([1e-40, -1e-40, 1e30, -1e30, 1e-30, 0.785, 12.566, -20.0, 15.0]);
    }
    if dtype.is_int() && dtype.size_bytes() != Some(1) {
        all.extend([1000.0, 32767.0]);
    }
    all
}

fn host(dtype: DType, values: &[f64]) -> HostBuffer {
    let mut buffer = HostBuffer::rounded(dtype, values);
    if dtype == DType::Bool {
        buffer.bytes = values.iter().map(|x| u8::from(*x != 0.0)).collect();
    }
    buffer
}

/// `y[i] = f(x[i], …)` for every `i`, a thread each.
fn map(name: &str, from: &[HostBuffer], to: DType, f: impl Fn(Vec<Expr>) -> Expr) -> Kernel {
    let n = from[0].len() as i64;
    let mut k = KernelBuilder::new(name, SymbolTable::default());
    let inputs: Vec<_> =
        from.iter().enumerate().map(|(i, b)| k.input(&format!("x{i}"), b.dtype, n)).collect();
    let y = k.output("y", to, n);
    let tiles = (n + THREADS - 1) / THREADS;
    let (tile, t) = (k.var("tile", 0, tiles - 1), k.var("t", 0, THREADS - 1));
    let i = k.var("i", 0, tiles * THREADS - 1);
    let at = Dim::sym(i);
    let value = f(inputs.iter().map(|x| Expr::load(*x, at.clone())).collect());
    let inside = Expr::Binary(
        BinaryOp::Lt,
        Expr::Index(at.clone()).into(),
        Expr::Const(Scalar::i64(n)).into(),
    );
    let body = vec![
        Stmt::bind(i, Expr::Index(Dim::sym(tile) * THREADS + Dim::sym(t))),
        Stmt::branch(inside, vec![Stmt::store(y, at, value)], vec![]),
    ];
    let threads = Stmt::loop_of(cascata_ir::kernel::LoopKind::Threads, t, THREADS, body);
    k.finish(tiles, tile, vec![threads])
}

fn elementwise() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |kernel: Kernel, inputs: Vec<HostBuffer>, ulp: f64, abs: f64| {
        // What is not defined for a dtype is no case.
        if verify(&kernel).is_ok() {
            cases.push(Case { kernel, inputs, ulp, abs });
        }
    };
    for dtype in DTYPES {
        for op in UnaryOp::ALL {
            let mut x = numbers(dtype);
            x.retain(|x| is_bounded(*op, *x));
            let x = host(dtype, &x);
            let (ulp, abs) = bounds(*op, dtype);
            let name = format!("{op}_{dtype}");
            let f = |x: Vec<Expr>| Expr::Unary(*op, x[0].clone().into());
            add(
                map(&name, std::slice::from_ref(&x), op.result(dtype), f),
                vec![x.clone()],
                ulp,
                abs,
            );
        }
        let values = numbers(dtype);
        let pairs: Vec<(f64, f64)> =
            values.iter().flat_map(|a| values.iter().map(|b| (*a, *b))).collect();
        let (a, b): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        let both = [host(dtype, &a), host(dtype, &b)];
        for op in BinaryOp::ALL {
            let name = format!("{op}_{dtype}");
            let ulp = if matches!(op, BinaryOp::Pow | BinaryOp::Atan2) {
                power_bound(dtype)
            } else {
                0.0
            };
            let f = |x: Vec<Expr>| Expr::Binary(*op, x[0].clone().into(), x[1].clone().into());
            add(map(&format!("{name}_2"), &both, op.result(dtype), f), both.to_vec(), ulp, 0.0);
        }
        let x = host(dtype, &values);
        for to in DTYPES {
            let f = |x: Vec<Expr>| Expr::Cast(to, x[0].clone().into());
            let name = format!("{dtype}_to_{to}");
            add(map(&name, std::slice::from_ref(&x), to, f), vec![x.clone()], 0.0, 0.0);
        }
    }
    cases
}

/// Whether the formula of a function promises anything for a number: sines do up to 2^20, and
/// gated functions of −∞ are their limit, where the interpreter multiplies −∞ by 0.
fn is_bounded(op: UnaryOp, x: f64) -> bool {
    use UnaryOp::*;
    match op {
        Sin | Cos | Tan => !x.is_finite() || x.abs() <= f64::from(1 << 20),
        // Half floats end at 65504.
        Silu | GeluErf | GeluTanh => x.is_nan() || x > -65504.0,
        _ => true,
    }
}

/// The stated errors of the formulas, with a unit for the interpreter's own rounding: in units
/// in the last place, and absolute.
fn bounds(op: UnaryOp, dtype: DType) -> (f64, f64) {
    use UnaryOp::*;
    if matches!(op, GeluErf | GeluTanh) {
        return (8.0, 4e-6);
    }
    // e^x below −86.9 is 0 in f32, and what is made of it may be off by that much.
    let tiny = if dtype == DType::F64 { 1e-300 } else { 4e-38 };
    match op {
        // -88 times such a 0.
        Silu | Mish if dtype != DType::F64 => (8.0, 100.0 * tiny),
        Neg | Abs | Sign | Floor | Ceil | Round | Trunc | Sqrt | Relu | Not | BitNot | IsNan
        | IsInf => (0.0, 0.0),
        Rsqrt | Recip => (1.0, 0.0),
        Sinh | Cosh | Tan if dtype == DType::F64 => (64.0, tiny),
        _ => (8.0, tiny),
    }
}

fn power_bound(dtype: DType) -> f64 {
    if dtype == DType::F64 { 4096.0 } else { 1.0 }
}

/// Reductions over groups of every width.
fn groups() -> Vec<Case> {
    let mut cases = Vec::new();
    for (dtype, op) in [
        (DType::F32, BinaryOp::Add),
        (DType::F32, BinaryOp::Max),
        (DType::F64, BinaryOp::Add),
        (DType::I32, BinaryOp::Min),
        (DType::I64, BinaryOp::Add),
        (DType::F16, BinaryOp::Max),
        (DType::I8, BinaryOp::Max),
        (DType::Bool, BinaryOp::Or),
    ] {
        for width in [1u32, 2, 8, 32, 64, 256] {
            let n = 256i64;
            let values: Vec<f64> = (0..n)
                .map(|i| {
                    if dtype == DType::Bool {
                        f64::from(u8::from(i == 77))
                    } else {
                        ((i * 37) % 101) as f64 - 50.0
                    }
                })
                .collect();
            let x = host(dtype, &values);
            let mut k =
                KernelBuilder::new(&format!("group_{op}_{dtype}_{width}"), SymbolTable::default());
            let (from, to) = (k.input("x", dtype, n), k.output("y", dtype, n));
            let (tile, t) = (k.var("tile", 0, 0), k.var("t", 0, n - 1));
            let all = k.local("all", dtype);
            let value = Expr::load(from, Dim::sym(t));
            let body = vec![
                Stmt::GroupReduce { local: all, op, value, width },
                Stmt::store(to, Dim::sym(t), Expr::Local(all)),
            ];
            let threads = Stmt::loop_of(cascata_ir::kernel::LoopKind::Threads, t, n, body);
            let kernel = k.finish(1, tile, vec![threads]);
            cases.push(Case { kernel, inputs: vec![x], ulp: 0.0, abs: 0.0 });
        }
    }
    cases
}

/// Sums by a tree in shared memory; then one value is stored by block-level code and read by
/// all threads.
fn block_sum() -> Case {
    let text = "kernel block_sum() {
  index t in 0..=2, i in 0..=63, step in 0..=5, half in 0..=32, j in 0..=63
  input %x: f32[192]
  output %y: f32[192]
  shared %s: f32[64]
  shared %m: f32[1]
  shared %big: f32[30000]
  grid t in 3 {
    for i in 0..64 threads {
      %s[i] = %x[64*t+i]
      %big[i] = 2f32
      barrier
      for step in 0..6 {
        bind half = shr(32i64, index(step))
        if lt(index(i), index(half)) {
          %s[i] = add(%s[i], %s[i+min(half,63-i)])
        }
        barrier
      }
    }
    %m[0] = mul(%s[0], %big[17])
    for j in 0..64 threads {
      %y[64*t+j] = add(%m[0], %x[64*t+j])
    }
  }
}
";
    let kernel = cascata_ir::kernel::parse_kernel(text).expect("a kernel");
    let values: Vec<f64> = (0..192).map(|i| f64::from(i % 13) - 4.0).collect();
    Case { kernel, inputs: vec![host(DType::F32, &values)], ulp: 0.0, abs: 0.0 }
}

/// A check that one thread's element does not meet.
fn failing_check() -> Case {
    let text = "kernel failing_check() {
  index t in 0..=0, i in 0..=63
  input %x: i64[64]
  output %y: i64[64]
  message m0 \"too large\"
  grid t in 1 {
    for i in 0..64 threads {
      check lt(%x[i], 1000i64) else m0
      %y[i] = %x[i]
    }
  }
}
";
    let kernel = cascata_ir::kernel::parse_kernel(text).expect("a kernel");
    let values: Vec<f64> = (0..64).map(|i| if i == 40 { 5000.0 } else { f64::from(i) }).collect();
    Case { kernel, inputs: vec![host(DType::I64, &values)], ulp: 0.0, abs: 0.0 }
}
