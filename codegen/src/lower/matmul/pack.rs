//! Right operands of contractions in panels: constants when the artifact is written, what is
//! computed by a launch of its own.

use super::super::access::{and, compare};
use super::super::body::{Body, dot};
use super::super::codes::Coded;
use super::super::nest::{Axis, estimate};
use super::super::{Group, LowerError, Lowering, Machine, Operand, Weight, WeightData, WeightId};
use super::{View, materialise, scaled_strides, view};
use cascata_ir::graph::ValueId;
use cascata_ir::kernel::{Expr, PackB, Place, Stmt};
use cascata_ir::op::BinaryOp;
use cascata_types::{DType, Dim, PANEL_WIDTH, PanelEncoding, Scalar};

/// Longest K block: a register tile of A and its two panels of B stay in L1.
const BLOCK_K: u64 = 512;

/// The right operand, packed: matrix β starts at `Σ β·batch`.
#[derive(Clone)]
pub(super) struct Packed {
    pub operand: Operand,
    pub batch: Vec<Dim>,
    pub encoding: PackedShape,
    /// What its codes stand for.
    pub scales: Option<PackedScales>,
}

/// The scales of packed codes: those of matrix β start at `Σ β·batch`.
#[derive(Clone)]
pub(super) struct PackedScales {
    pub coded: Coded,
    pub batch: Vec<Dim>,
}

#[derive(Clone)]
pub(super) struct PackedShape {
    pub k_block: Dim,
    pub blocks: Dim,
    pub panel_stride: Dim,
    pub block_stride: Dim,
}

/// K blocks of roughly equal length, none longer than [`BLOCK_K`], of whole groups.
fn k_block(k: u64, group: u64) -> u64 {
    k.div_ceil(k.div_ceil(BLOCK_K).max(1)).max(1).next_multiple_of(group)
}

pub(super) fn pack(
    lowering: &mut Lowering,
    group: &Group,
    b: ValueId,
    batch: &[Dim],
) -> Result<Packed, LowerError> {
    let shape = lowering.graph.tensor(b).shape.clone();
    let (k, n) = (&shape[shape.len() - 2], &shape[shape.len() - 1]);
    let view = view(lowering, group, b, batch)?;
    if let Operand::Weight(id) = view.operand {
        let narrow = pack_codes(lowering, id, &view, k, n);
        if let Some(packed) = narrow.or_else(|| pack_constant(lowering, id, &view, k, n)) {
            return Ok(packed);
        }
    }
    let view = if view.converted { materialise(lowering, group, b, batch)? } else { view };
    pack_at_run_time(lowering, group, &view, batch, Repeats::Share, k, n)
}

/// Elements between a constant's matrices of `matrix` elements that an operand steps over, if
/// it starts with the first and steps over whole ones.
fn whole_matrices(view: &View, matrix: i64) -> Option<Vec<i64>> {
    let strides: Vec<i64> = view.batch.iter().map(Dim::as_const).collect::<Option<_>>()?;
    let whole = |s: &i64| matrix != 0 && s % matrix == 0;
    (view.base.is(0) && strides.iter().all(whole)).then_some(strides)
}

/// A block-quantised constant whose rows are the operand's columns: its blocks run along K.
fn pack_codes(
    lowering: &mut Lowering,
    id: WeightId,
    view: &View,
    k: &Dim,
    n: &Dim,
) -> Option<Packed> {
    let source = lowering.weights.items[id].0.source;
    let (k, n) = (k.as_const()?, n.as_const()?);
    let strides = whole_matrices(view, k * n)?;
    if !view.rows.is(1) || !view.cols.is(k) || view.converted {
        return None;
    }
    let coded = lowering.coded(source, n as u64, k as u64)?;
    let batch = |panel: i64| -> Vec<Dim> {
        strides.iter().map(|s| Dim::from(s / (k * n) * coded.panels() * panel)).collect()
    };
    Some(Packed {
        operand: coded.codes,
        batch: batch(coded.code_stride()),
        encoding: PackedShape {
            k_block: k.into(),
            blocks: 1.into(),
            panel_stride: coded.code_stride().into(),
            block_stride: 0.into(),
        },
        scales: Some(PackedScales { coded, batch: batch(coded.scale_stride()) }),
    })
}

/// Packs a constant at compile time, when all of its strides are numbers.
fn pack_constant(
    lowering: &mut Lowering,
    id: WeightId,
    view: &View,
    k: &Dim,
    n: &Dim,
) -> Option<Packed> {
    let source = lowering.weights.items[id].0.source;
    let stored = lowering.graph.consts[source].ty.dtype;
    // Halves that f32 is multiplied by stay halves, in one block.
    let halves = view.converted && stored == DType::BF16 && lowering.machine == Machine::Cpu;
    let to_f32 = view.converted && !halves;
    let k_group = PanelEncoding::group_of(if to_f32 { DType::F32 } else { stored });
    let elements = lowering.graph.consts[source].ty.elements().as_const()? as u64;
    let (k, n) = (k.as_const()? as u64, n.as_const()? as u64);
    let count = (elements / (k * n).max(1)).max(1);
    let matrix = (k * n) as i64;
    let (whole, rows, cols) =
        (whole_matrices(view, matrix)?, view.rows.as_const()?, view.cols.as_const()?);
    let k_block = if halves { k } else { k_block(k, k_group) };
    let encoding = PanelEncoding { k, n, k_block, k_group };
    let data = WeightData::Panels {
        encoding,
        count,
        matrix_stride: k * n,
        row_stride: rows as u64,
        col_stride: cols as u64,
        to_f32,
    };
    let weight = lowering.weights.add(lowering.graph, Weight { source, data });
    let packed = encoding.elements() as i64;
    Some(Packed {
        operand: Operand::Weight(weight),
        batch: whole.iter().map(|s| Dim::from(s / matrix * packed)).collect(),
        encoding: PackedShape {
            k_block: (encoding.k_block as i64).into(),
            blocks: (encoding.k_blocks() as i64).into(),
            panel_stride: (encoding.panel_stride() as i64).into(),
            block_stride: (encoding.block_stride() as i64).into(),
        },
        scales: None,
    })
}

/// One launch that packs every matrix of a run-time operand into a temporary.
fn pack_at_run_time(
    lowering: &mut Lowering,
    group: &Group,
    view: &View,
    batch: &[Dim],
    repeats: Repeats,
    k: &Dim,
    n: &Dim,
) -> Result<Packed, LowerError> {
    let width = Dim::from(PANEL_WIDTH as i64);
    let panels = n.ceil_div(&width);
    let dtype = lowering.dtype(view.operand);
    let k_group = PanelEncoding::group_of(dtype) as i64;
    let panel = k.ceil_div(&k_group.into()) * k_group * width.clone();
    let matrix = panels.clone() * panel.clone();
    let shared = |s: &Dim| repeats == Repeats::Share && s.is(0);
    let extents: Vec<Dim> = batch
        .iter()
        .zip(&view.batch)
        .map(|(d, s)| if shared(s) { Dim::from(1) } else { d.clone() })
        .collect();
    let count = extents.iter().fold(Dim::from(1), |p, d| p * d.clone());
    let temp = lowering.temp(dtype, matrix.clone() * count);
    let mut body = Body::new(lowering, group);
    let mut outer: Vec<Axis> =
        extents.iter().map(|d| Axis { var: body.index("batch", d), extent: d.clone() }).collect();
    let chunk = Dim::from(4);
    let chunks = panels.ceil_div(&chunk);
    outer.push(Axis { var: body.index("chunk", &chunks), extent: chunks });
    let first = Dim::sym(outer[extents.len()].var) * chunk.clone();
    let vars: Vec<Dim> = outer.iter().map(|a| Dim::sym(a.var)).collect();
    let strides = scaled_strides(&extents, &matrix);
    let (src, dst) = (body.input(view.operand), body.output(temp));
    let from = view.base.clone() + dot(&vars[..extents.len()], &view.batch);
    let column = first.clone() * width.clone();
    let pack = PackB {
        src: Place { buffer: src, at: from + column.clone() * view.cols.clone() },
        row_stride: view.rows.clone(),
        col_stride: view.cols.clone(),
        dst: Place {
            buffer: dst,
            at: dot(&vars[..extents.len()], &strides) + first * panel.clone(),
        },
        panel_stride: panel.clone(),
        k: k.clone(),
        n: (n.clone() - column).minimum(&(chunk * width.clone())),
    };
    let stmt = match dtype {
        DType::I16 | DType::BF16 => pack_pairs(&mut body, &pack, dtype),
        DType::F32 => Stmt::PackB(Box::new(pack)),
        other => return Err(body.error(format!("factors of {other} are packed when compiled"))),
    };
    let elements = estimate(&(k.clone() * 64), &body.symbols);
    let (grid, mut stmts) = body.grid(&outer, elements);
    stmts.push(stmt);
    body.finish("pack_b", grid, stmts);
    let batch = extents.iter().zip(strides).map(|(d, s)| if d.is(1) { Dim::from(0) } else { s });
    Ok(Packed {
        operand: temp,
        batch: batch.collect(),
        encoding: PackedShape {
            k_block: k.clone(),
            blocks: Dim::from(1),
            panel_stride: panel,
            block_stride: Dim::from(0),
        },
        scales: None,
    })
}

/// What [`PackB`] does, of 16 bits in pairs of K, as loops.
fn pack_pairs(body: &mut Body, p: &PackB, dtype: DType) -> Stmt {
    let width = PANEL_WIDTH as i64;
    let extents = [p.n.ceil_div(&width.into()), p.k.ceil_div(&2.into()), width.into()];
    let [panel, pair, lane] = [("panel", 0), ("pair", 1), ("lane", 2)]
        .map(|(hint, i): (_, usize)| body.index(hint, &extents[i]));
    let col = Dim::sym(panel) * width + Dim::sym(lane);
    let to = Dim::sym(panel) * p.panel_stride.clone()
        + Dim::sym(pair) * (2 * width)
        + Dim::sym(lane) * 2;
    let store = |half: i64| {
        let row = Dim::sym(pair) * 2 + half;
        let within = |i: &Dim, n: &Dim| compare(BinaryOp::Lt, i.clone(), n.clone());
        let inside = and(within(&row, &p.k), within(&col, &p.n));
        let from = row.minimum(&(p.k.clone() - 1)) * p.row_stride.clone()
            + col.minimum(&(p.n.clone() - 1)) * p.col_stride.clone();
        let x = Expr::Load(Place::new(p.src.buffer, p.src.at.clone() + from));
        let zero = Expr::Const(Scalar::from_i64(dtype, 0));
        Stmt::store(p.dst.buffer, p.dst.at.clone() + to.clone() + half, inside.select(x, zero))
    };
    let vars = [panel, pair, lane].into_iter().zip(extents).rev();
    let nested = |body, (var, extent)| vec![Stmt::serial(var, extent, body)];
    vars.fold(vec![store(0), store(1)], nested).remove(0)
}

/// Packs run-time matrices whole: matrix β (over `batch`, row-major) starts at
/// `β·k·⌈n/16⌉·16`, its panels are `k·16` elements apart; i16 with `k` rounded up to pairs.
pub(in crate::lower) fn pack_batches(
    lowering: &mut Lowering,
    group: &Group,
    view: &View,
    batch: &[Dim],
    k: &Dim,
    n: &Dim,
) -> Result<Operand, LowerError> {
    Ok(pack_at_run_time(lowering, group, view, batch, Repeats::Pack, k, n)?.operand)
}

/// What packing does with matrices that a broadcast repeats.
#[derive(Clone, Copy, PartialEq)]
enum Repeats {
    Share,
    Pack,
}
