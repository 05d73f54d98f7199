#![allow(missing_docs)]
#[path = "../../src/gpu/tile_attention.rs"]
mod tile_attention;
use cascata_ir::kernel::{Kernel, TileSchedule, parse_kernels, print_kernels, verify};
use cascata_ir::types::DType;
use std::fmt::Write as _;
use tile_attention::*;

fn main() {
    let folder = std::env::args().nth(1).unwrap();
    let only = std::env::args().nth(2);
    std::fs::create_dir_all(&folder).unwrap();
    let mut json = vec![];
    let mut emit = |name: &str, kernel: Kernel, extra: String| {
        if only.as_ref().is_some_and(|o| !name.contains(o.as_str())) {
            return;
        }
        verify(&kernel).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let text = print_kernels(std::slice::from_ref(&kernel));
        assert_eq!(
            parse_kernels(&text).unwrap_or_else(|e| panic!("{e}\n{text}")),
            vec![kernel.clone()]
        );
        if std::env::var("MLIR").is_ok() {
            std::fs::write(format!("{folder}/{name}.mlir"), cascata_ptx::mlir(&kernel).unwrap())
                .unwrap();
        }
        let wgmma = print_kernels(std::slice::from_ref(&kernel)).contains("wgmma: true");
        for target in if wgmma { vec!["sm_90a"] } else { vec!["sm_80", "sm_90"] } {
            if target == "sm_80" && std::env::var("ALL").is_err() {
                continue;
            }
            let m = cascata_ptx::compile(
                std::slice::from_ref(&kernel),
                cascata_ptx::PtxTarget { name: target },
            )
            .unwrap_or_else(|e| panic!("{name}: {e:?}"));
            std::fs::write(format!("{folder}/{name}.{target}.ptx"), &m.text).unwrap();
            if target != "sm_80" {
                let i = &m.kernels[0];
                json.push(format!("{{\"name\": \"{name}\", \"arch\": \"{target}\", \"threads\": {}, \"shared\": {}, {extra}}}", i.threads, i.shared_bytes));
            }
        }
    };
    let heads = |heads, kv_heads, head_dim, dtype| Heads {
        heads,
        kv_heads,
        head_dim,
        dtype,
        scale: 1.0 / (head_dim as f32).sqrt(),
    };
    let s = |rows, keys, warps, stages, ahead| TileSchedule {
        rows,
        keys,
        warps,
        stages,
        ahead,
        wgmma: false,
    };
    let g = |rows, keys, warps, stages| TileSchedule {
        rows,
        keys,
        warps,
        stages,
        ahead: true,
        wgmma: true,
    };
    let label = |s: TileSchedule| {
        format!(
            "r{}k{}w{}s{}{}",
            s.rows,
            s.keys,
            s.warps,
            s.stages,
            if s.wgmma {
                "g"
            } else if s.ahead {
                "a"
            } else {
                ""
            }
        )
    };
    // Timing variants of prompts: 16 heads.
    let all = [
        s(128, 64, 4, 2, false),
        s(128, 32, 4, 3, false),
        s(128, 32, 4, 2, true),
        s(128, 64, 8, 2, false),
        s(128, 64, 8, 2, true),
        s(64, 64, 4, 2, false),
        s(64, 64, 4, 2, true),
        s(256, 64, 8, 2, false),
        s(128, 48, 4, 2, false),
        s(128, 128, 8, 2, false),
        s(128, 64, 4, 2, true),
        g(128, 128, 8, 2),
        g(128, 64, 8, 2),
        g(192, 64, 12, 2),
        g(64, 128, 4, 2),
        g(192, 128, 12, 2),
        g(64, 64, 4, 3),
        g(128, 96, 8, 2),
    ];
    for dim in [128u32, 64] {
        for &schedule in &all {
            let h = heads(16, 16, dim, DType::BF16);
            let bytes = (schedule.rows + 2 * schedule.stages * schedule.keys) * dim * 2;
            if bytes > 160 << 10 {
                continue;
            }
            if schedule.keys % (schedule.warps * 32 / (dim / 8)) != 0 {
                continue;
            }
            let name = format!("prompt_d{dim}_{}", label(schedule));
            let k = Prompt { heads: h, causal: true, schedule }.kernel(&name);
            let mut e = String::new();
            write!(e, "\"kind\": \"prompt\", \"heads\": 16, \"kv_heads\": 16, \"dim\": {dim}, \"dtype\": \"bf16\", \"causal\": true, \"rows\": {}", schedule.rows).unwrap();
            emit(&name, k, e);
        }
    }
    // Checks: grouped heads, not causal, f16.
    for (dim, dtype, causal, hq, hk) in [
        (64u32, DType::F16, true, 6u32, 2u32),
        (128, DType::F16, false, 4, 4),
        (128, DType::BF16, true, 8, 2),
        (64, DType::BF16, false, 3, 1),
    ] {
        for &schedule in &[
            s(128, 64, 4, 2, false),
            s(128, 32, 4, 2, true),
            s(64, 64, 4, 3, true),
            g(128, 128, 8, 2),
            g(64, 64, 4, 3),
        ] {
            if schedule.keys % (schedule.warps * 32 / (dim / 8)) != 0 {
                continue;
            }
            let name = format!(
                "check_d{dim}_{dtype}_{}_h{hq}_{hk}_{}",
                if causal { "causal" } else { "all" },
                label(schedule)
            );
            let k = Prompt { heads: heads(hq, hk, dim, dtype), causal, schedule }.kernel(&name);
            let e = format!(
                "\"kind\": \"check\", \"heads\": {hq}, \"kv_heads\": {hk}, \"dim\": {dim}, \"dtype\": \"{dtype}\", \"causal\": {causal}, \"rows\": {}",
                schedule.rows
            );
            emit(&name, k, e);
        }
    }
    for kv in [2u32, 4, 8, 16] {
        let f = Forest { heads: heads(16, kv, 128, DType::BF16), block_tokens: 16 };
        for &schedule in &[
            s(128, 64, 4, 2, false),
            s(128, 32, 4, 2, true),
            g(128, 128, 8, 2),
            g(128, 64, 8, 2),
            s(16, 64, 1, 2, false),
            s(16, 32, 1, 4, false),
            s(16, 64, 1, 2, true),
        ] {
            let name = format!("forest_kv{kv}_{}", label(schedule));
            let e = format!(
                "\"kind\": \"forest\", \"heads\": 16, \"kv_heads\": {kv}, \"dim\": 128, \"dtype\": \"bf16\", \"block_tokens\": 16, \"rows\": {}",
                schedule.rows
            );
            emit(&name, f.partial(&name, schedule), e);
        }
        let e = format!(
            "\"kind\": \"merge\", \"heads\": 16, \"kv_heads\": {kv}, \"dim\": 128, \"dtype\": \"bf16\", \"rows\": 0"
        );
        if kv == 16 {
            emit("merge", f.merge("merge"), e);
        }
    }
    std::fs::write(format!("{folder}/kernels.json"), format!("[\n{}\n]\n", json.join(",\n")))
        .unwrap();
}
