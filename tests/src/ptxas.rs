//! Assembling PTX with `ptxas`, which says what each kernel takes of a GPU.

use anyhow::{Context, Result, ensure};
use cascata_artifact::gpu::GpuTarget;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What `ptxas` says of a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The kernel's name.
    pub kernel: String,
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of shared memory of a block, beside what a launch adds.
    pub shared_bytes: u32,
    /// Bytes of a thread's stack: arrays that have no place in registers, and spills.
    pub stack_bytes: u32,
    /// Bytes of a thread's registers that are stored and loaded again, where the code says so.
    pub spill_bytes: u32,
    /// Whether its `wgmma` products wait for each other: `ptxas` could not tell that their
    /// registers are left alone meanwhile.
    pub serialized: bool,
}

/// The assembler: `CASCATA_PTXAS`, or the one that `tests/setup_ptx.sh` installs.
///
/// A test prints why it is skipped where there is none.
pub fn find() -> Option<PathBuf> {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv-ptx/bin/ptxas");
    let path = std::env::var_os("CASCATA_PTXAS").map_or_else(own, PathBuf::from);
    let found = path.is_file().then_some(path);
    if found.is_none() {
        println!("skipped: there is no ptxas; tests/setup_ptx.sh installs it");
    }
    found
}

/// Assembles a module; gives its kernels in the order in which `ptxas` speaks of them.
///
/// # Errors
/// What `ptxas` says is wrong.
pub fn assemble(ptxas: &Path, ptx: &str, target: GpuTarget) -> Result<Vec<Usage>> {
    let mut command = Command::new(ptxas);
    command.args(["--verbose", "--gpu-name", target.name(), "--output-file", "/dev/null", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| ptxas.display().to_string())?;
    // ptxas reads everything before it says anything.
    child.stdin.take().context("its input")?.write_all(ptx.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ptxas for {}: {said}", target.name());
    Ok(usages(&said))
}

fn usages(said: &str) -> Vec<Usage> {
    let mut all: Vec<Usage> = Vec::new();
    for line in said.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let kernel = rest.split('\'').next().unwrap_or_default().to_string();
            all.push(Usage { kernel, ..Usage::default() });
        }
        let Some(last) = all.last_mut() else { continue };
        if line.contains("bytes stack frame") {
            last.stack_bytes = before(line, " bytes stack frame");
            last.spill_bytes = before(line, " bytes spill stores");
        }
        if line.contains("Used ") {
            last.registers = before(line, " registers");
            last.shared_bytes = before(line, " bytes smem");
        }
    }
    // Such a line names its function, and may come before the function's own lines.
    for line in said.lines().filter(|l| l.contains("serialized")) {
        all.iter_mut()
            .filter(|u| line.contains(&format!("'{}'", u.kernel)))
            .for_each(|u| u.serialized = true);
    }
    all
}

/// The number before some words.
fn before(line: &str, words: &str) -> u32 {
    let number = line.split(words).next().and_then(|head| head.split(' ').next_back());
    number.filter(|_| line.contains(words)).and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ptxas_says_is_understood() {
        let said = "ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async \
            instructions are serialized due to insufficient register resources in function 'k_b'\n\
            ptxas info    : 0 bytes gmem\n\
            ptxas info    : Compiling entry function 'k_a' for 'sm_80'\n\
            ptxas info    : Function properties for k_a\n    \
            16 bytes stack frame, 12 bytes spill stores, 20 bytes spill loads\n\
            ptxas info    : Used 40 registers, used 1 barriers, 1152 bytes smem, 408 bytes cmem[0]\n\
            ptxas info    : Compiling entry function 'k_b' for 'sm_80'\n\
            ptxas info    : Used 8 registers, 400 bytes cmem[0]\n";
        let a = Usage {
            kernel: "k_a".into(),
            registers: 40,
            shared_bytes: 1152,
            stack_bytes: 16,
            spill_bytes: 12,
            serialized: false,
        };
        let b = Usage { kernel: "k_b".into(), registers: 8, serialized: true, ..Usage::default() };
        assert_eq!(usages(said), [a, b]);
    }
}
