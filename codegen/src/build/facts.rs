//! What the manifest needs to know of a kernel.

use crate::lower::for_each_dim;
use cascata_ir::kernel::{Kernel, Rows, Stmt};
use cascata_types::{DType, SymbolId};

/// The printed kernel without its name and its buffers' names: equal for kernels that
/// can share code.
pub(super) fn anonymous_text(kernel: &Kernel) -> String {
    let mut kernel = kernel.clone();
    kernel.name = "kernel".into();
    for (i, buffer) in kernel.buffers.values_mut().enumerate() {
        buffer.name = format!("b{i}");
    }
    kernel.to_string()
}

/// Bytes that the kernel reads at the context's zeros: one row of an indirect operand.
pub(super) fn zeros_bytes(kernel: &Kernel) -> u64 {
    kernel.body.iter().map(|s| in_stmt(s, kernel)).max().unwrap_or(0)
}

fn in_stmt(stmt: &Stmt, kernel: &Kernel) -> u64 {
    let row = |elements: &cascata_types::Dim| {
        let longest = elements.bounds(&kernel.symbols).1.clamp(0, 1 << 24);
        longest as u64 * 4
    };
    match stmt {
        // Rows of zero points are the micro-kernel's own, and codes have strided rows.
        Stmt::Gemm(g) if kernel.buffers[g.b.buffer].dtype == DType::I8 => 0,
        Stmt::Gemm(g) if matches!(g.a, Rows::Indirect { .. }) => row(&g.k).max(row(&g.k_last)),
        Stmt::DwConv(d) => row(&d.channels),
        Stmt::For { body, .. } => body.iter().map(|s| in_stmt(s, kernel)).max().unwrap_or(0),
        Stmt::If { then, otherwise, .. } => {
            then.iter().chain(otherwise).map(|s| in_stmt(s, kernel)).max().unwrap_or(0)
        }
        _ => 0,
    }
}

/// The graph's symbols that the kernel mentions.
pub(super) fn used_params(kernel: &Kernel) -> Vec<SymbolId> {
    let mut used = kernel.grid.symbols();
    for buffer in kernel.buffers.values() {
        used.extend(buffer.len.symbols());
    }
    let mut body = kernel.body.clone();
    for_each_dim(&mut body, &mut |d| used.extend(d.symbols()));
    used.retain(|s| (s.0 as usize) < kernel.params);
    used.sort_unstable();
    used.dedup();
    used
}
