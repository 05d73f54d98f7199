//! Attention tiles as PTX for every target. With `CASCATA_PTXAS` set to a `ptxas`, it must
//! accept all of them, without spilled registers and without products that wait for each other.
#![cfg(feature = "ptx")]

use cascata_codegen::gpu::tile_attention::{Forest, Heads, NARROW, Prompt, wide};
use cascata_ir::kernel::Kernel;
use cascata_ir::types::DType;
use cascata_ptx::{PtxTarget, compile};
use std::process::Command;

fn kernels(wgmma: bool) -> Vec<Kernel> {
    let mut all = vec![];
    for (head_dim, dtype) in [(64, DType::F16), (128, DType::BF16)] {
        let heads = Heads { heads: 16, kv_heads: 4, head_dim, dtype, scale: 0.1 };
        let schedule = wide(head_dim, wgmma);
        let forest = Forest { heads, block_tokens: 16 };
        for causal in [false, true] {
            let name = format!("prompt{head_dim}{causal}");
            all.push(Prompt { heads, causal, schedule }.kernel(&name));
        }
        all.push(forest.partial(&format!("wide{head_dim}"), schedule));
        all.push(forest.partial(&format!("narrow{head_dim}"), NARROW));
        all.push(forest.merge(&format!("merge{head_dim}")));
    }
    all
}

/// What `ptxas` says of a module.
fn assembled(ptxas: &str, ptx: &str, target: &str) -> String {
    let folder = std::env::temp_dir().join(format!("cascata-attention-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (from, to) = (folder.join(format!("{target}.ptx")), folder.join("out.cubin"));
    std::fs::write(&from, ptx).unwrap();
    let arch = format!("-arch={target}");
    let run = Command::new(ptxas).args([&arch, "-v"]).arg(&from).arg("-o").arg(&to).output();
    let output = run.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{target}: {said}");
    said
}

#[test]
fn every_target_assembles_without_spills() {
    let ptxas = std::env::var("CASCATA_PTXAS").ok();
    for (name, wgmma) in [("sm_80", false), ("sm_90", false), ("sm_90a", true)] {
        let module = compile(&kernels(wgmma), PtxTarget { name }).unwrap();
        let product = if wgmma { "wgmma.mma_async" } else { "mma.sync" };
        assert!(module.text.contains(product), "{name} has no {product}");
        let Some(ptxas) = &ptxas else { continue };
        let said = assembled(ptxas, &module.text, name);
        let spilled = |l: &&str| l.contains("spill stores") && !l.contains(" 0 bytes spill stores");
        let spills: Vec<&str> = said.lines().filter(spilled).collect();
        assert!(spills.is_empty(), "{name}: {said}");
        assert!(!said.contains("serialized"), "{name}: {said}");
    }
    if ptxas.is_none() {
        eprintln!("not assembled: CASCATA_PTXAS names no ptxas");
    }
}

#[test]
fn wgmma_is_for_its_target_alone() {
    let error = compile(&kernels(true), PtxTarget { name: "sm_90" }).unwrap_err();
    assert!(error.iter().all(|e| e.to_string().contains("needs sm_90a")), "{error:?}");
}

#[test]
fn sizes_that_have_no_code_are_refused_by_name() {
    let heads = Heads { heads: 2, kv_heads: 1, head_dim: 80, dtype: DType::F16, scale: 0.1 };
    let schedule = wide(80, false);
    let odd = Prompt { heads, causal: true, schedule }.kernel("odd");
    let floats = Heads { head_dim: 64, dtype: DType::F32, ..heads };
    let floats = Prompt { heads: floats, causal: true, schedule: wide(64, false) }.kernel("floats");
    for (kernel, says) in [(odd, "head_dim 80"), (floats, "attention of f32")] {
        let error = compile(&[kernel], PtxTarget { name: "sm_80" }).unwrap_err();
        assert!(error[0].to_string().contains(says), "{error:?}");
    }
}
