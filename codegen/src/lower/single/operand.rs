//! How the kernels of single ops see their operands.

use super::super::body::Body;
use super::super::matmul::{View, pack_batches};
use super::super::strings::stored;
use super::super::{Group, LowerError, Lowering, Operand, Weight, WeightData};
use cascata_ir::graph::ValueId;
use cascata_ir::kernel::{Expr, Place};
use cascata_ir::op::Op;
use cascata_types::{Dim, PANEL_WIDTH, PanelEncoding};

/// Longest K block, as for matrix products.
const BLOCK_K: u64 = 512;

/// An operand as a dense buffer; what is computed where it is read gets a temporary.
pub(super) fn dense(
    lowering: &mut Lowering,
    group: &Group,
    v: ValueId,
) -> Result<Operand, LowerError> {
    if leaf(lowering, group, v).is_none() {
        return Ok(Body::new(lowering, group).operand_of(v));
    }
    let ty = lowering.graph.tensor(v).clone();
    let temp = lowering.temp(stored(ty.dtype), ty.elements());
    super::super::map::fill_temp(lowering, group, v, temp)?;
    Ok(temp)
}

/// The same, `None` for an operand of zeros.
pub(super) fn dense_or_zero(
    lowering: &mut Lowering,
    group: &Group,
    v: ValueId,
) -> Result<Option<Operand>, LowerError> {
    match leaf(lowering, group, v) {
        Some(Op::Fill { value, .. }) if value.to_f64() == 0.0 => Ok(None),
        _ => dense(lowering, group, v).map(Some),
    }
}

/// The op behind a value that has no memory.
fn leaf<'g>(lowering: &mut Lowering<'g>, group: &Group, v: ValueId) -> Option<&'g Op> {
    let graph = lowering.graph;
    let v = Body::new(lowering, group).resolve(v);
    let owner = cascata_passes::fuse::memory_owner(graph, v);
    let op = &graph.def_node(owner)?.op;
    matches!(op, Op::Fill { .. } | Op::DimValues { .. } | Op::Iota { .. }).then_some(op)
}

/// Matrices `[k, n]` in panels; see [`PanelEncoding`].
pub(super) struct Panels {
    pub operand: Operand,
    /// Elements between matrices.
    pub matrix: Dim,
    pub panel: Dim,
    pub k_block: Dim,
    pub blocks: Dim,
    /// Elements between K blocks.
    pub block: Dim,
}

impl Panels {
    /// Packs `count` transposed matrices `[n, k]` that follow each other: at compile time
    /// where they are constants, else by a launch.
    pub fn of_transposed(
        lowering: &mut Lowering,
        group: &Group,
        v: ValueId,
        (count, n, k): (i64, &Dim, &Dim),
    ) -> Result<Self, LowerError> {
        let operand = dense(lowering, group, v)?;
        if let (Operand::Weight(id), Some(k), Some(n)) = (operand, k.as_const(), n.as_const()) {
            let source = lowering.weights.items[id].0.source;
            return Ok(Self::constant(lowering, source, count as u64, n as u64, k as u64));
        }
        let width = Dim::from(PANEL_WIDTH as i64);
        let batch = vec![n.clone() * k.clone()];
        let (base, rows, cols) = (Dim::from(0), Dim::from(1), k.clone());
        let view = View { operand, base, batch, rows, cols, converted: false };
        let operand = pack_batches(lowering, group, &view, &[count.into()], k, n)?;
        let panel = k.clone() * width.clone();
        Ok(Self {
            operand,
            matrix: n.ceil_div(&width) * panel.clone(),
            panel,
            k_block: k.clone(),
            blocks: Dim::from(1),
            block: Dim::from(0),
        })
    }

    fn constant(
        lowering: &mut Lowering,
        source: cascata_ir::graph::ConstId,
        count: u64,
        n: u64,
        k: u64,
    ) -> Self {
        let k_block = k.div_ceil(k.div_ceil(BLOCK_K).max(1)).max(1);
        let encoding = PanelEncoding { k, n, k_block, k_group: 1 };
        let (matrix_stride, row_stride, col_stride, to_f32) = (n * k, 1, k, false);
        let data =
            WeightData::Panels { encoding, count, matrix_stride, row_stride, col_stride, to_f32 };
        let weight = lowering.weights.add(lowering.graph, Weight { source, data });
        let dim = |x: u64| Dim::from(x as i64);
        Self {
            operand: Operand::Weight(weight),
            matrix: dim(encoding.elements()),
            panel: dim(encoding.panel_stride()),
            k_block: dim(encoding.k_block),
            blocks: dim(encoding.k_blocks()),
            block: dim(encoding.block_stride()),
        }
    }
}

/// Element `at` of a buffer, or 0 where there is none.
pub(super) fn element(body: &mut Body, operand: Option<Operand>, at: Dim) -> Expr {
    match operand {
        Some(operand) => Expr::Load(Place::new(body.input(operand), at)),
        None => Expr::f32(0.0),
    }
}
