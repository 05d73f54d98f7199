//! Block-quantised constants, which stay narrow: their codes in panels, their scales beside them.
//!
//! One form serves both readers: as the right operand of a product, whose columns the rows of
//! the constant are, and element by element (the rows of an embedding), so that an embedding
//! tied to the last product is in the artifact once.

use super::access::{binary, cast};
use super::body::Body;
use super::{Lowering, Machine, Operand, Weight, WeightData};
use cascata_ir::graph::{ConstId, ValueId};
use cascata_ir::kernel::{Expr, Place};
use cascata_ir::op::{BinaryOp, Op};
use cascata_passes::fuse::memory_owner;
use cascata_types::{
    CODES_OF_WORD, CodeFormat, DType, Dim, Encoding, PANEL_WIDTH, QuantFormat, Scalar,
};

const WIDTH: i64 = PANEL_WIDTH as i64;

/// A constant of matrices `[N,K]`, blocks along K, as kernels read it.
#[derive(Clone, Copy)]
pub(super) struct Coded {
    /// `[count][N/16][K][16]`, in words of eight K where codes have 4 bits.
    pub codes: Operand,
    /// `[count][N/16][K/group][16]`, the offsets of a group behind its scales.
    pub scales: Operand,
    pub format: CodeFormat,
    /// Columns of a packed matrix, and its rows.
    pub n: u64,
    pub k: u64,
}

impl Coded {
    /// Elements between panels of codes.
    pub fn code_stride(&self) -> i64 {
        self.format.code_elements(self.k) as i64 * WIDTH
    }

    /// Elements between panels of scales.
    pub fn scale_stride(&self) -> i64 {
        self.format.scale_elements(self.k) as i64 * WIDTH
    }

    /// Panels of a matrix.
    pub fn panels(&self) -> i64 {
        self.n.div_ceil(PANEL_WIDTH as u64) as i64
    }
}

/// The format of a constant whose blocks kernels read.
fn format_of(lowering: &Lowering, source: ConstId) -> Option<QuantFormat> {
    match lowering.graph.consts[source].ty.encoding {
        // A GPU's kernels read f32.
        Encoding::Quant(format) if lowering.machine == Machine::Cpu => Some(format),
        _ => None,
    }
}

impl Lowering<'_> {
    /// A block-quantised constant as matrices of `n` rows of `k` elements; `None` if it is not
    /// that, or if kernels cannot read it so.
    pub(super) fn coded(&mut self, source: ConstId, n: u64, k: u64) -> Option<Coded> {
        let format = format_of(self, source)?;
        let elements = self.graph.consts[source].ty.elements().as_const()? as u64;
        let matrix = n.checked_mul(k).filter(|m| *m > 0)?;
        if !k.is_multiple_of(format.block_elements()) || !elements.is_multiple_of(matrix) {
            return None;
        }
        let count = elements / matrix;
        let mut weight =
            |data| Operand::Weight(self.weights.add(self.graph, Weight { source, data }));
        let codes = weight(WeightData::Codes { format, count, n, k });
        let scales = weight(WeightData::Scales { format, count, n, k });
        Some(Coded { codes, scales, format: format.codes(), n, k })
    }
}

impl Body<'_, '_> {
    /// The constant behind a value from outside of the group, if it is a matrix whose blocks
    /// kernels read.
    pub(super) fn coded_matrix(&mut self, v: ValueId) -> Option<Coded> {
        let owner = memory_owner(self.graph, self.resolve(v));
        let Op::Const(source) = self.graph.def_node(owner)?.op else { return None };
        let shape = &self.graph.tensor(owner).shape;
        let [n, k] = &shape[..] else { return None };
        let (n, k) = (n.as_const()?, k.as_const()?);
        self.lowering.coded(source, u64::try_from(n).ok()?, u64::try_from(k).ok()?)
    }

    /// Element `(row, col)` of a constant matrix: as `QuantFormat::dequantise` gives it.
    pub(super) fn coded_element(&mut self, coded: &Coded, row: &Dim, col: &Dim) -> Expr {
        let (panel, lane) = (row.floor_div(&WIDTH.into()), row.modulo(&WIDTH.into()));
        let code = self.code(coded, panel.clone() * coded.code_stride() + lane.clone(), col);
        let kinds = if coded.format.offsets { 2 } else { 1 };
        let group = col.floor_div(&(coded.format.group as i64).into());
        let at = panel * coded.scale_stride() + lane + group * (kinds * WIDTH);
        let scales = self.input(coded.scales);
        let load =
            |at| cast(DType::F32, coded.format.scales, Expr::Load(Place { buffer: scales, at }));
        let product = binary(BinaryOp::Mul, code, load(at.clone()));
        if !coded.format.offsets {
            return product;
        }
        binary(BinaryOp::Add, product, load(at + WIDTH))
    }

    /// The code at `col` of the row whose first code is at `start`, as f32.
    fn code(&mut self, coded: &Coded, start: Dim, col: &Dim) -> Expr {
        let buffer = self.input(coded.codes);
        if !coded.format.has_words() {
            let code = Expr::Load(Place { buffer, at: start + col.clone() * WIDTH });
            return cast(DType::F32, coded.format.codes, code);
        }
        let of_word = Dim::from(CODES_OF_WORD as i64);
        let word = Expr::Load(Place { buffer, at: start + col.floor_div(&of_word) * WIDTH });
        let bits = cast(DType::U32, DType::I64, Expr::Index(col.modulo(&of_word) * 4));
        let mask = Expr::Const(Scalar { dtype: DType::U32, bits: 15 });
        let code = binary(BinaryOp::BitAnd, binary(BinaryOp::Shr, word, bits), mask);
        let zero = Expr::Const(Scalar::f32(coded.format.zero as f32));
        binary(BinaryOp::Sub, cast(DType::F32, DType::U32, code), zero)
    }
}
