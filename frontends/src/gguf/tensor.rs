//! The tensor table: names, shapes, formats, places.

use super::cursor::Cursor;
use crate::stored::Stored;
use bytes::Bytes;
use cascata_ir::types::{DType, Dim, Encoding, QuantFormat, TensorType};
use std::collections::BTreeSet;

/// Most dims of a tensor (ggml's `GGML_MAX_DIMS`).
const MAX_RANK: u32 = 4;

/// One row of the table.
pub(super) struct Entry {
    name: String,
    /// Innermost first, as the file has them.
    dims: Vec<u64>,
    format: u32,
    /// From the start of the data.
    offset: u64,
}

pub(super) fn entries(cursor: &mut Cursor, count: u64) -> Result<Vec<Entry>, String> {
    // The shortest entry: an empty name and no dims.
    cursor.room_for(count, 8 + 4 + 4 + 8, "tensors")?;
    (0..count).map(|_| entry(cursor)).collect()
}

fn entry(cursor: &mut Cursor) -> Result<Entry, String> {
    let name = cursor.string()?;
    let rank = cursor.u32()?;
    if rank > MAX_RANK {
        return Err(format!("tensor '{name}' has {rank} dims, at most {MAX_RANK} are possible"));
    }
    let dims = (0..rank).map(|_| cursor.u64()).collect::<Result<_, _>>()?;
    Ok(Entry { name, dims, format: cursor.u32()?, offset: cursor.u64()? })
}

/// The tensors as views of the file, or everything that is wrong with them.
pub(super) fn place(
    bytes: &Bytes,
    file: &str,
    entries: &[Entry],
    start: u64,
    alignment: u64,
) -> Result<Vec<Stored>, Vec<String>> {
    let (mut tensors, mut problems, mut names) = (Vec::new(), Vec::new(), BTreeSet::new());
    let mut places: Vec<(u64, u64, &str)> = Vec::new();
    for e in entries {
        if !names.insert(&e.name) {
            problems.push(format!("tensor '{}' is there twice", e.name));
        }
        match view(bytes, e, start, alignment) {
            Ok((ty, data)) => {
                places.push((e.offset, e.offset + data.len() as u64, &e.name));
                tensors.push(Stored { name: e.name.clone(), ty, data, file: file.into() });
            }
            Err(reason) => problems.push(format!("tensor '{}': {reason}", e.name)),
        }
    }
    places.sort_unstable();
    for pair in places.windows(2) {
        let ((_, end, first), (from, to, second)) = (pair[0], pair[1]);
        if from < end && from < to {
            problems.push(format!("tensors '{first}' and '{second}' overlap"));
        }
    }
    if problems.is_empty() { Ok(tensors) } else { Err(problems) }
}

fn view(
    bytes: &Bytes,
    e: &Entry,
    start: u64,
    alignment: u64,
) -> Result<(TensorType, Bytes), String> {
    let (dtype, encoding) = format(e.format)?;
    let dim = |n: &u64| i64::try_from(*n).map_err(|_| format!("dim {n} is too large"));
    let dims: Vec<i64> = e.dims.iter().rev().map(dim).collect::<Result<_, _>>()?;
    let shape: Vec<Dim> = dims.iter().map(|d| Dim::from(*d)).collect();
    let ty = TensorType { dtype, shape, encoding };
    if let Some(problem) = ty.encoding_problem() {
        return Err(problem);
    }
    let size = ty.stored_bytes().ok_or_else(|| format!("the size of {dims:?} does not fit"))?;
    if !e.offset.is_multiple_of(alignment) {
        return Err(format!("offset {} is not a multiple of {alignment}", e.offset));
    }
    let from = start.checked_add(e.offset);
    let range = from.zip(from.and_then(|f| f.checked_add(size)));
    let range = range.filter(|(_, to)| *to <= bytes.len() as u64);
    let (from, to) = range.ok_or_else(|| {
        let end = bytes.len() as u64;
        format!("{size} bytes at offset {} lie outside of the file of {end}", e.offset)
    })?;
    Ok((ty, bytes.slice(from as usize..to as usize)))
}

/// Dtype and encoding of a ggml type.
fn format(code: u32) -> Result<(DType, Encoding), String> {
    use QuantFormat::*;
    let dense = |dtype| Ok((dtype, Encoding::Dense));
    let quant = |format| Ok((DType::F32, Encoding::Quant(format)));
    match code {
        0 => dense(DType::F32),
        1 => dense(DType::F16),
        2 => quant(Q4_0),
        3 => quant(Q4_1),
        8 => quant(Q8_0),
        12 => quant(Q4K),
        13 => quant(Q5K),
        14 => quant(Q6K),
        24 => dense(DType::I8),
        25 => dense(DType::I16),
        26 => dense(DType::I32),
        27 => dense(DType::I64),
        28 => dense(DType::F64),
        30 => dense(DType::BF16),
        other => {
            let name = OTHERS.iter().find(|(c, _)| *c == other).map_or("unknown", |(_, n)| n);
            Err(format!(
                "format {name} ({other}) is not supported; convert it to F32, F16, BF16, Q8_0, \
                 Q4_0, Q4_1, Q4_K, Q5_K or Q6_K"
            ))
        }
    }
}

/// Formats that exist and are not read.
const OTHERS: &[(u32, &str)] = &[
    (6, "Q5_0"),
    (7, "Q5_1"),
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
];
