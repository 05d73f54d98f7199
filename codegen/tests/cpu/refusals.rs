//! What the back end refuses, and what it promises about everything else.

use cascata_artifact::abi::Import;
use cascata_codegen::cpu::{
    CodeBlob, CodegenError, CpuLevel, CpuTarget, compile, compile_all, import_index,
};
use cascata_ir::kernel::{Kernel, parse_kernel};

fn target() -> CpuTarget {
    CpuTarget::new(CpuLevel::V3).expect("a target")
}

fn kernel(declarations: &str, body: &str) -> Kernel {
    let text = format!(
        "kernel k(N in 0..=9) {{\n  index t, i in 0..=99\n  input %x: f32[100]\n  \
         input %k: i32[100]\n  output %y: f32[100]\n{declarations}\n  grid t in 1 {{\n{body}\n  }}\n}}"
    );
    parse_kernel(&text).unwrap_or_else(|e| panic!("{e} in\n{text}"))
}

fn refusal(declarations: &str, body: &str) -> CodegenError {
    compile(&kernel(declarations, body), &target()).expect_err("a refusal")
}

#[test]
fn errors_name_kernel_statement_and_cause() {
    let barrier = refusal("", "    for i in 0..4 threads {\n      barrier\n    }");
    let text = "kernel 'k', for i / barrier: a barrier is not supported by the CPU back end";
    assert_eq!(barrier.to_string(), text);
    let shared = refusal("  shared %s: f32[4]", "    %s[0] = 1.0f32");
    assert!(matches!(shared, CodegenError::Unsupported { .. }), "{shared}");
    let undefined = refusal("", "    %y[0] = f32(exp(%k[0]))");
    let text = "kernel 'k', store y: exp is not defined for i32";
    assert_eq!(undefined.to_string(), text);
    let mixed = refusal("", "    %y[0] = add(%x[0], %k[0])");
    assert!(matches!(mixed, CodegenError::Invalid { .. }), "{mixed}");
}

#[test]
fn scalar_loops_say_why() {
    let compiled = compile(
        &kernel("", "    for i in 0..99 vector {\n      %y[i] = rem(%x[i], 3.0f32)\n    }"),
        &target(),
    );
    let notes = compiled.expect("machine code").notes;
    assert_eq!(notes, ["for i: scalar, because rem of f32 has no SIMD code"]);
}

#[test]
fn threads_do_not_change_the_code() {
    let kernels: Vec<Kernel> = (1..40)
        .map(|n| {
            let body = format!(
                "    for i in 0..{n} vector {{\n      %y[i] = tanh(mul(%x[i], {n}.0f32))\n    }}"
            );
            kernel("", &body)
        })
        .collect();
    let target = target();
    let together = compile_all(&kernels, &target);
    for (kernel, compiled) in kernels.iter().zip(together) {
        assert_eq!(compiled, compile(kernel, &target));
    }
    assert!(compile_all(&[], &target).is_empty());
}

#[test]
fn blobs_align_functions() {
    let mut blob = CodeBlob::default();
    for len in [1usize, 63, 64, 65, 0, 7] {
        let index = blob.push(&vec![0x90; len]);
        let range = blob.functions()[index];
        assert_eq!((range.offset % CodeBlob::ALIGN, range.len), (0, len));
        assert!(blob.bytes()[range.offset..].iter().all(|b| *b == 0x90));
    }
    assert_eq!(blob.functions().len(), 6);
}

#[test]
fn imports_have_fixed_places() {
    for (i, import) in Import::ALL.into_iter().enumerate() {
        assert_eq!(import_index(import), i);
    }
}
