//! What a compile is asked to do, and how it tells what it is doing.

use crate::onnx::ImportOptions;
use cascata_artifact::gpu::GpuTarget;
use cascata_codegen::cpu::CpuLevel;
use cascata_frontends::{TextCache, TextOptions};
use cascata_ir::graph::Graph;
use cascata_passes::egraph::cost::{Machine, ProfilePoint};
use cascata_passes::pipeline::{OptLevel, Options as PassOptions, Precision};

/// What a compile is asked to do.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    /// Ranges and values of dims, inputs that become constants.
    pub import: ImportOptions,
    /// What the graph of a text model takes and gives.
    pub text: TextOptions,
    /// How much is optimised, and whether the graph is verified after every pass.
    pub passes: PassOptions,
    /// Levels that get machine code; the runtime picks the best that its CPU has.
    pub targets: Vec<CpuLevel>,
    /// GPUs that the artifact runs on, too; needs feature `ptx`.
    pub gpu: Vec<GpuTarget>,
    /// Values of the source model, by name, that become outputs too.
    pub fetch: Vec<String>,
    /// Every named result of a fused group becomes an output too. The kernels stay as they
    /// are, so this shows where two compiles of one model part.
    pub fetch_groups: bool,
    /// Keep the printed graphs (after each stage that changed them) and kernels in the artifact, for `inspect`.
    pub keep_text: bool,
}

impl Default for CompileOptions {
    /// Everything is optimised, for CPUs with AVX2 (`x86-64-v3`).
    fn default() -> Self {
        Self {
            import: ImportOptions::default(),
            text: TextOptions::default(),
            passes: PassOptions::default(),
            targets: vec![CpuLevel::V3],
            gpu: Vec::new(),
            fetch: Vec::new(),
            fetch_groups: false,
            keep_text: true,
        }
    }
}

impl CompileOptions {
    /// The options that change the artifact, as text, for its provenance.
    pub(crate) fn text(&self) -> Vec<String> {
        let level = match self.passes.level {
            OptLevel::O0 => "-O0",
            OptLevel::O1 => "-O1",
            OptLevel::O2 => "-O2",
        };
        let mut text = vec![level.to_string()];
        let targets: Vec<&str> = self.targets.iter().map(|t| t.name()).collect();
        text.push(format!("--target {}", targets.join(",")));
        if !self.gpu.is_empty() {
            let gpus: Vec<&str> = self.gpu.iter().map(|t| t.name()).collect();
            text.push(format!("--gpu {}", gpus.join(",")));
        }
        text.extend(
            self.import.dims.iter().map(|d| format!("--dim {}={}..{}", d.target, d.min, d.max)),
        );
        let numbers = |v: &[f64]| v.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        text.extend(
            self.import.values.iter().map(|v| format!("--set {}={}", v.input, numbers(&v.values))),
        );
        text.extend(self.import.lengths.iter().map(|l| format!("--length {l}")));
        text.extend(self.import.ranks.iter().map(|r| format!("--rank {r}")));
        text.extend(self.import.absent.iter().map(|a| format!("--absent {a}")));
        text.extend(self.import.params.iter().map(|p| format!("--param {p}")));
        if self.text.last_logits {
            text.push("--last-logits".into());
        }
        text.extend(match self.text.cache {
            TextCache::None => None,
            TextCache::Paged => Some("--kv-cache".into()),
            TextCache::Tensors => Some("--kv-cache=tensors".into()),
        });
        let sizes =
            |p: &ProfilePoint| p.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>();
        let points = &self.passes.egraph.profile;
        text.extend(points.iter().map(|p| format!("--profile {}", sizes(p).join(","))));
        let machine = self.passes.egraph.machine;
        if machine != Machine::default() {
            let Machine { peak_flops, bytes, launch } = machine;
            text.push(format!("--machine flops={peak_flops},bytes={bytes},launch={launch}"));
        }
        if self.passes.precision == Precision::Bf16 {
            text.push("--precision bf16".into());
        }
        text.extend(self.passes.egraph.without.iter().map(|r| format!("--without {r}")));
        text.extend(self.fetch.iter().map(|f| format!("--fetch {f}")));
        text
    }
}

/// Follows a compile; `()` does not.
pub trait Progress {
    /// A phase begins: `import`, the name of a pass, `build`.
    fn phase(&mut self, name: &str) {
        let _ = name;
    }

    /// The graph after a stage: `input`, then the passes by name.
    fn stage(&mut self, name: &str, graph: &Graph) {
        let _ = (name, graph);
    }
}

impl Progress for () {}
