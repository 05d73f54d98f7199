//! Constants as the kernels want them: as they are, or packed into panels.

mod codes;

use super::WeightId;
use super::strings::stored;
use cascata_ir::graph::{Const, ConstId, Graph};
use cascata_types::{
    BYTE_GROUP, DType, Dim, Encoding, PANEL_WIDTH, PanelEncoding, PrimaryMap, QuantFormat, Scalar,
};
use std::borrow::Cow;
use std::collections::HashMap;

/// A constant in the artifact.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Weight {
    /// The source constant.
    pub source: ConstId,
    /// How it is stored.
    pub data: WeightData,
}

/// How a constant is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WeightData {
    /// As it is.
    Plain,
    /// `count` matrices, each packed. Element `(row, col)` of matrix `i` is element
    /// `i·matrix_stride + row·row_stride + col·col_stride` of the source.
    Panels {
        /// Shape and blocking of one matrix.
        encoding: PanelEncoding,
        /// Number of matrices.
        count: u64,
        /// Source elements between matrices.
        matrix_stride: u64,
        /// Source elements between rows.
        row_stride: u64,
        /// Source elements between columns.
        col_stride: u64,
        /// Elements are stored as f32 whatever the source's type is.
        to_f32: bool,
    },
    /// `count` block-quantised matrices `[n,k]`: the codes of their elements; see
    /// `lower/codes.rs`.
    Codes {
        /// What the source's blocks are.
        format: QuantFormat,
        /// Number of matrices.
        count: u64,
        /// Rows of the source's matrices, columns of the packed ones.
        n: u64,
        /// Elements of a row, whole blocks.
        k: u64,
    },
    /// The scales of the same, and the offsets.
    #[allow(missing_docs, reason = "as of the codes")]
    Scales { format: QuantFormat, count: u64, n: u64, k: u64 },
}

/// Every constant of an artifact, each form once.
#[derive(Debug, Default)]
pub struct WeightTable {
    /// All weights.
    pub items: PrimaryMap<WeightId, (Weight, String, DType, u64)>,
    ids: HashMap<Weight, WeightId>,
}

impl WeightTable {
    pub(super) fn add(&mut self, graph: &Graph, weight: Weight) -> WeightId {
        if let Some(id) = self.ids.get(&weight) {
            return *id;
        }
        let source = &graph.consts[weight.source];
        let plain = source.ty.elements().as_const().unwrap_or(0).max(0) as u64;
        let elements = match &weight.data {
            WeightData::Plain => plain,
            WeightData::Panels { encoding, count, .. } => encoding.elements() * count,
            WeightData::Codes { format, count, n, k } => {
                panel_columns(*n) * count * format.codes().code_elements(*k)
            }
            WeightData::Scales { format, count, n, k } => {
                panel_columns(*n) * count * format.codes().scale_elements(*k)
            }
        };
        let dtype = match &weight.data {
            WeightData::Panels { to_f32: true, .. } => DType::F32,
            WeightData::Codes { format, .. } => format.codes().codes,
            WeightData::Scales { format, .. } => format.codes().scales,
            _ => source.ty.dtype,
        };
        let entry = (weight.clone(), source.name.clone(), dtype, elements);
        let id = self.items.push(entry);
        self.ids.insert(weight, id);
        id
    }

    pub(super) fn describe(&self, id: WeightId) -> (String, DType, Dim) {
        let (_, name, dtype, elements) = &self.items[id];
        (name.clone(), stored(*dtype), Dim::from(*elements as i64))
    }

    /// Stored bytes.
    pub fn bytes(&self, id: WeightId) -> u64 {
        let (_, _, dtype, elements) = &self.items[id];
        elements * dtype.stored_bytes() as u64
    }

    /// The stored bytes themselves; of strings the packed ones, which become ids.
    pub fn data<'g>(&self, id: WeightId, graph: &'g Graph) -> Cow<'g, [u8]> {
        let (weight, ..) = &self.items[id];
        let source: &Const = &graph.consts[weight.source];
        let size = source.ty.dtype.size_bytes().unwrap_or(0);
        match &weight.data {
            WeightData::Plain => dense(source),
            WeightData::Panels { to_f32: true, .. } => {
                Cow::Owned(pack(&weight.data, &as_f32(&dense(source), source.ty.dtype), 4))
            }
            panels @ WeightData::Panels { .. } => Cow::Owned(pack(panels, &dense(source), size)),
            WeightData::Codes { format, n, k, .. } => {
                Cow::Owned(codes::pack_codes(*format, &source.data, *n, *k))
            }
            WeightData::Scales { format, n, k, .. } => {
                Cow::Owned(codes::pack_scales(*format, &source.data, *n, *k))
            }
        }
    }
}

/// Columns of whole panels.
fn panel_columns(n: u64) -> u64 {
    n.next_multiple_of(PANEL_WIDTH as u64)
}

/// The elements one after the other; blocks are dequantised while the artifact is written,
/// one constant at a time.
fn dense(source: &Const) -> Cow<'_, [u8]> {
    match source.ty.encoding {
        Encoding::Quant(format) => {
            let elements = format.dequantise(&source.data);
            Cow::Owned(elements.iter().flat_map(|x| x.to_le_bytes()).collect())
        }
        _ => Cow::Borrowed(&source.data),
    }
}

/// Elements of `size` bytes moved to their places in the panels.
fn pack(form: &WeightData, source: &[u8], size: usize) -> Vec<u8> {
    let WeightData::Panels { encoding, count, matrix_stride, row_stride, col_stride, .. } = form
    else {
        return source.to_vec();
    };
    let mut data = vec![0u8; (encoding.elements() * count) as usize * size];
    // A batch of no matrices is described as one.
    let count = if source.is_empty() { 0 } else { *count };
    for i in 0..count {
        let matrix = &mut data[(i * encoding.elements()) as usize * size..];
        for row in 0..encoding.k {
            for col in 0..encoding.n {
                let from =
                    (i * matrix_stride + row * row_stride + col * col_stride) as usize * size;
                let to = encoding.offset(row, col) as usize * size;
                matrix[to..to + size].copy_from_slice(&source[from..from + size]);
            }
        }
    }
    if encoding.sums() > 0 {
        data.chunks_exact_mut(encoding.panel_stride() as usize).for_each(store_sums);
    }
    data
}

/// Writes the sums of a panel's columns of i8 behind it.
fn store_sums(panel: &mut [u8]) {
    let mut sums = [0i32; PANEL_WIDTH];
    let (elements, behind) = panel.split_at_mut(panel.len() - size_of_val(&sums));
    for quads in elements.chunks_exact(PANEL_WIDTH * BYTE_GROUP as usize) {
        for (sum, quad) in sums.iter_mut().zip(quads.chunks_exact(BYTE_GROUP as usize)) {
            *sum += quad.iter().map(|x| i32::from(*x as i8)).sum::<i32>();
        }
    }
    for (to, sum) in behind.chunks_exact_mut(size_of::<i32>()).zip(sums) {
        to.copy_from_slice(&sum.to_le_bytes());
    }
}

/// Every element converted to f32.
fn as_f32(source: &[u8], dtype: DType) -> Vec<u8> {
    let size = dtype.size_bytes().unwrap_or(1);
    let mut out = Vec::with_capacity(source.len() / size * 4);
    for element in source.chunks_exact(size) {
        let mut bits = [0u8; 8];
        bits[..size].copy_from_slice(element);
        let value = Scalar { dtype, bits: u64::from_le_bytes(bits) }.to_f64() as f32;
        out.extend_from_slice(&value.to_le_bytes());
    }
    out
}
