//! Blocks taken apart into panels of codes and panels of scales.

use cascata_types::{CODES_OF_WORD, Codes, PANEL_WIDTH, QuantFormat, Scalar};

/// The codes of matrices `[n,k]`: `[n/16][k][16]` of i8, or `[n/16][k/8][16]` of u32. Columns
/// that are not there are 0.
pub(super) fn pack_codes(format: QuantFormat, blocks: &[u8], n: u64, k: u64) -> Vec<u8> {
    let codes = format.codes();
    let panel = codes.code_elements(k) as usize * PANEL_WIDTH * codes.codes.stored_bytes();
    let mut out = vec![0u8; panels(format, blocks, n, k) * panel];
    for_each_row(format, blocks, n, k, |at, lane, row| {
        let panel = &mut out[at * panel..][..panel];
        for (i, code) in row.codes.iter().enumerate() {
            if !codes.has_words() {
                panel[i * PANEL_WIDTH + lane] = *code as u8;
                continue;
            }
            let (word, nibble) = (i / CODES_OF_WORD as usize, i % CODES_OF_WORD as usize);
            let code = (i32::from(*code) + codes.zero as i32) as u8;
            panel[(word * PANEL_WIDTH + lane) * 4 + nibble / 2] |= code << (nibble % 2 * 4);
        }
    });
    out
}

/// The scales of the same matrices: `[n/16][k/group][16]`, offsets behind each 16 if there are
/// any.
pub(super) fn pack_scales(format: QuantFormat, blocks: &[u8], n: u64, k: u64) -> Vec<u8> {
    let codes = format.codes();
    let size = codes.scales.stored_bytes();
    let kinds = if codes.offsets { 2 } else { 1 };
    let panel = codes.scale_elements(k) as usize * PANEL_WIDTH * size;
    let mut out = vec![0u8; panels(format, blocks, n, k) * panel];
    for_each_row(format, blocks, n, k, |at, lane, row| {
        let panel = &mut out[at * panel..][..panel];
        for (i, x) in row.scales.iter().flat_map(|pair| &pair[..kinds]).enumerate() {
            let to = &mut panel[(i * PANEL_WIDTH + lane) * size..][..size];
            // An f16 is one of the block's, exactly.
            let bits = Scalar::from_f64(codes.scales, f64::from(*x)).bits;
            to.copy_from_slice(&bits.to_le_bytes()[..size]);
        }
    });
    out
}

/// Bytes of a row of `k` elements.
fn row_bytes(format: QuantFormat, k: u64) -> usize {
    (k / format.block_elements() * format.block_bytes()) as usize
}

/// Panels of all matrices.
fn panels(format: QuantFormat, blocks: &[u8], n: u64, k: u64) -> usize {
    let matrices = blocks.len() / row_bytes(format, k) / n as usize;
    matrices * n.div_ceil(PANEL_WIDTH as u64) as usize
}

/// Calls `each` with the panel, the column in it and the codes of every row.
fn for_each_row(
    format: QuantFormat,
    blocks: &[u8],
    n: u64,
    k: u64,
    mut each: impl FnMut(usize, usize, &Codes),
) {
    let (n, panels) = (n as usize, (n as usize).div_ceil(PANEL_WIDTH));
    for (i, row) in blocks.chunks_exact(row_bytes(format, k)).enumerate() {
        let panel = i / n * panels + i % n / PANEL_WIDTH;
        each(panel, i % n % PANEL_WIDTH, &format.take_apart(row));
    }
}
