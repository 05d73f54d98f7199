//! Checks of GPU programs.

use super::{Errors, Program, SectionSizes, verify_dim};
use crate::gpu::{GpuKernel, GpuProgram};
use crate::manifest::Manifest;

/// Threads of a warp; blocks are whole warps.
const WARP: u32 = 32;
/// What every GPU can run in a block.
const MOST_THREADS: u32 = 1024;
/// What a block of the targets' GPUs can have.
const MOST_SHARED_BYTES: u32 = 227 << 10;
/// What the copy engine moves at once, along an axis.
const MOST_BOX: u32 = 256;

impl Manifest {
    pub(super) fn verify_gpu(&self, errors: &mut Errors, sections: &SectionSizes) {
        if self.gpu.len() != sections.ptx.len() {
            let (a, b) = (self.gpu.len(), sections.ptx.len());
            errors
                .push("gpu", format!("{a} programs are listed and the file has {b} PTX sections"));
        }
        if !self.gpu.is_sorted_by(|a, b| a.target < b.target) {
            errors.push("gpu", "the targets are not in order, each once");
        }
        for i in sections.ptx.iter().enumerate().filter(|(_, n)| **n == 0).map(|(i, _)| i) {
            errors.push(format!("gpu[{i}]"), "its PTX section is empty");
        }
        for (i, program) in self.gpu.iter().enumerate() {
            let at = format!("gpu[{i}].");
            program.kernels.iter().enumerate().for_each(|(k, kernel)| {
                verify_kernel(
                    errors,
                    &format!("{at}kernels[{k}] ('{}')", kernel.info.name),
                    kernel,
                );
            });
            self.same_entries(errors, &at, program);
            let kernels = program.kernels.iter().map(|k| &k.info).collect();
            let program = Program { kernels, entries: &program.entries, weights: &self.weights };
            program.verify(errors, &at);
        }
    }

    /// A program runs in the place of the manifest's own entries.
    fn same_entries(&self, errors: &mut Errors, at: &str, program: &GpuProgram) {
        let (own, others) = (&self.entries, &program.entries);
        if own.len() != others.len() {
            let (a, b) = (others.len(), own.len());
            errors.push(format!("{at}entries"), format!("{a} entries in the place of {b}"));
        }
        for (i, (own, other)) in own.iter().zip(others).enumerate() {
            let same = [
                ("name", own.name == other.name),
                ("symbols", own.symbols == other.symbols),
                ("inputs", own.inputs == other.inputs),
                ("outputs", own.outputs == other.outputs),
                ("variants", own.variants == other.variants),
            ];
            for (what, _) in same.iter().filter(|(_, same)| !same) {
                let problem = format!("not those of the manifest's '{}'", own.name);
                errors.push(format!("{at}entries[{i}].{what}"), problem);
            }
        }
    }
}

fn verify_kernel(errors: &mut Errors, at: &str, kernel: &GpuKernel) {
    let identifier = |name: &str| {
        let rest = |c: char| c.is_ascii_alphanumeric() || c == '_';
        name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(rest)
    };
    if !identifier(&kernel.info.name) {
        errors.push(at, "its name is no identifier of PTX");
    }
    let threads = kernel.threads;
    if threads == 0 || threads > MOST_THREADS || !threads.is_multiple_of(WARP) {
        errors.push(at, format!("{threads} threads are not 1 to {} warps", MOST_THREADS / WARP));
    }
    if kernel.shared_bytes > MOST_SHARED_BYTES {
        let bytes = kernel.shared_bytes;
        errors.push(at, format!("{bytes} bytes of shared memory, over {MOST_SHARED_BYTES}"));
    }
    let sizes = vec![1; kernel.info.dims as usize];
    for (i, map) in kernel.tensor_maps.iter().enumerate() {
        let at = format!("{at}.tensor_maps[{i}]");
        errors.index(&at, "buffer", map.buffer, kernel.info.buffers as usize);
        for dim in [&map.base, &map.extent[0], &map.extent[1], &map.row_stride] {
            verify_dim(errors, &at, dim, &sizes);
        }
        if map.box_extent.iter().any(|n| *n == 0 || *n > MOST_BOX) {
            errors.push(&at, format!("a box of {:?}, not 1 to {MOST_BOX}", map.box_extent));
        }
        let swizzle = map.swizzle_bytes;
        if ![0, 32, 64, 128].contains(&swizzle) {
            errors.push(&at, format!("a swizzle of {swizzle} bytes"));
        } else if swizzle > 0 && map.box_extent[0] > swizzle {
            // Elements have a byte at least.
            let columns = map.box_extent[0];
            errors.push(&at, format!("a box of {columns} columns in a swizzle of {swizzle} bytes"));
        }
    }
}
