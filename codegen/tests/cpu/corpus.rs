//! The interpreter's kernel corpus, `ir/tests/filetests/kernel/*.txt`, as machine code.
//!
//! Directives that expect an interpreter error are not run: what they do is undefined
//! here. Kernels for threads must be refused.

use crate::support::{Tolerance, check_given};
use cascata_codegen::cpu::{CodegenError, CpuLevel, CpuTarget, compile};
use cascata_ir::kernel::interp::{HostBuffer, launch_buffers};
use cascata_ir::kernel::{Kernel, Space, Stmt, parse_kernel, verify};
use std::path::Path;

#[test]
fn corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ir/tests/filetests/kernel");
    let mut runs = 0;
    for entry in std::fs::read_dir(&folder).expect("the corpus") {
        let text = std::fs::read_to_string(entry.expect("a file").path()).expect("a text");
        for section in text.split("\nkernel ").map(|s| s.trim_start_matches(';')) {
            runs += section_runs(section);
        }
    }
    assert!(runs > 20, "only {runs} runs");
}

/// Runs a kernel's directives; returns how many.
fn section_runs(section: &str) -> usize {
    let source = format!("kernel {section}");
    let Ok(kernel) = parse_kernel(&source) else { return 0 };
    if verify(&kernel).is_err() {
        return 0;
    }
    if needs_threads(&kernel) {
        let target = CpuTarget::new(CpuLevel::V1).expect("a target");
        let refused = compile(&kernel, &target);
        assert!(matches!(refused, Err(CodegenError::Unsupported { .. })), "{kernel}");
        return 0;
    }
    let directives = section.lines().filter_map(|l| l.strip_prefix("; run "));
    let directives = directives.filter_map(|l| l.split_once("->"));
    let mut count = 0;
    for (given, expected) in directives {
        if !expected.trim().starts_with("error") {
            run(&kernel, given);
            count += 1;
        }
    }
    count
}

fn needs_threads(kernel: &Kernel) -> bool {
    fn barrier(body: &[Stmt]) -> bool {
        body.iter().any(|s| match s {
            Stmt::Barrier => true,
            Stmt::For { body, .. } => barrier(body),
            Stmt::If { then, otherwise, .. } => barrier(then) || barrier(otherwise),
            _ => false,
        })
    }
    kernel.buffers.values().any(|b| b.space == Space::Shared) || barrier(&kernel.body)
}

fn run(kernel: &Kernel, given: &str) {
    let values = |name: &str| {
        let start = given.find(&format!("{name}="))? + name.len() + 1;
        let rest = &given[start..];
        let end = match rest.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
            true => rest.find(' ').unwrap_or(rest.len()),
            false => rest.find([']', ')'])? + 1,
        };
        Some(list(&rest[..end]))
    };
    let params: Vec<i64> = kernel
        .symbols
        .iter()
        .take(kernel.params)
        .map(|(_, s)| values(&s.name).expect("a parameter")[0] as i64)
        .collect();
    let mut buffers = launch_buffers(kernel, &params).expect("launch buffers");
    for (declared, buffer) in kernel.buffers.values().zip(&mut buffers) {
        if let Some(values) = values(&declared.name) {
            *buffer = HostBuffer::rounded(declared.dtype, &values);
        }
    }
    check_given(kernel, &params, &buffers, Tolerance { ulps: 4.0, absolute: 1e-6 });
}

/// `[1 2]`, `iota(3)`, `fill(3 0.5)` or one number.
fn list(text: &str) -> Vec<f64> {
    let (kind, numbers) = match text.split_once(['[', '(']) {
        Some((kind, rest)) => (kind, rest.trim_end_matches([']', ')'])),
        None => ("", text),
    };
    let numbers: Vec<f64> =
        numbers.split_whitespace().map(|x| x.parse().expect("a number")).collect();
    match kind {
        "iota" => (0..numbers[0] as i64).map(|i| i as f64).collect(),
        "fill" => vec![numbers[1]; numbers[0] as usize],
        _ => numbers,
    }
}
