//! Attention tiles as PTX: which products they use, and what has no code.
#![cfg(feature = "ptx")]

use cascata_codegen::gpu::tile_attention::{Heads, Prompt, wide};
use cascata_ir::kernel::Kernel;
use cascata_ir::types::DType;
use cascata_ptx::{PtxTarget, compile};

fn prompt(wgmma: bool) -> Kernel {
    let heads = Heads { heads: 16, kv_heads: 4, head_dim: 64, dtype: DType::F16, scale: 0.1 };
    Prompt { heads, causal: true, schedule: wide(64, wgmma) }.kernel("prompt")
}

#[test]
fn products_are_those_of_the_schedule() {
    for (name, wgmma) in [("sm_80", false), ("sm_90", false), ("sm_90a", true)] {
        let text = compile(&[prompt(wgmma)], PtxTarget { name }).unwrap().text;
        assert_eq!(text.contains("wgmma.mma_async"), wgmma, "{name}");
        assert_eq!(text.contains("mma.sync"), !wgmma, "{name}");
    }
}

#[test]
fn wgmma_is_for_its_target_alone() {
    let error = compile(&[prompt(true)], PtxTarget { name: "sm_90" }).unwrap_err();
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
