//! MatMul groups: `y[.., M, N] = epilogue(a[.., M, K] · b[.., K, N])`, f32 (of operands that may
//! be bf16 in memory), or i32 of operands that are i16, or u8 and i8, in memory.
//!
//! Bound by flops for M ≥ 8 (2·M·N·K at the micro-kernel's rate), by the bytes of `b`
//! below. A constant `b` is packed at compile time; any other is packed by a launch
//! of its own, once, whatever the number of row blocks. Leading axes become rows
//! where `b` does not depend on them. Error: that of one f32 FMA chain over K,
//! ≤ K·2⁻²⁴·Σ|a·b|; integers are exact.

mod pack;

pub(super) use pack::pack_batches;

use super::access::broadcast_index;
use super::body::Body;
use super::epilogue::Block;
use super::nest::{Axis, estimate};
use super::{Group, LowerError, Lowering, Operand};
use cascata_ir::graph::{Node, ValueId};
use cascata_ir::kernel::{Expr, Gemm, Place, Rows, Scales, Stmt};
use cascata_passes::fuse::{NarrowFactor, memory_owner};
use cascata_types::{DType, Dim, PANEL_WIDTH, SymbolId};
use pack::{Packed, pack};

/// Most rows of a block: A's block and the result's stay in L2 beside a K block of B.
pub(super) const BLOCK_ROWS: i64 = 64;
/// Blocks of rows come in multiples of this, so that few threads get equal shares.
// PERF: a 20x20 feature map in blocks of 64 pixels leaves one of two threads 256 of its
// 400 pixels; in blocks of 50 each has 200.
const BLOCKS_AT_ONCE: i64 = 4;
/// Most columns of a block, a whole number of panels.
pub(super) const BLOCK_COLS: i64 = 192;
/// Most columns where one block holds all rows: enough blocks for many threads, each
/// still long enough to hide the start of its loads.
const NARROW_COLS: i64 = 64;
/// Below this many operations a tile is not worth another thread.
const PARALLEL_FLOPS: i64 = 200_000;

/// A matrix inside a buffer: element `(row, col)` of batch index β is at
/// `base + Σ β·batch + row·rows + col·cols`.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub operand: Operand,
    pub base: Dim,
    pub batch: Vec<Dim>,
    pub rows: Dim,
    pub cols: Dim,
    /// Elements are converted to f32 when they are read; only constants are seen so.
    pub converted: bool,
}

/// The left operand.
struct Left {
    view: View,
    /// What stands for 0 in it: one u8.
    zero: Option<Operand>,
}

pub(super) fn lower(lowering: &mut Lowering, group: &Group) -> Result<(), LowerError> {
    let root = &lowering.graph.nodes[lowering.root(group)];
    let c = root.outputs[0];
    let Some(Factors { left, right, zero }) = factors(lowering, group, root) else {
        return super::single::naive_matmul(lowering, group);
    };
    let full = lowering.graph.tensor(c).shape.clone();
    let batch = &full[..full.len() - 2];
    let a = view(lowering, group, left, batch)?;
    let a =
        if a.cols.is(1) && !a.converted { a } else { materialise(lowering, group, left, batch)? };
    let b = pack(lowering, group, right, batch)?;
    let zero = zero.map(|v| super::conv::dense(lowering, group, v)).transpose()?;
    multiply(lowering, group, c, Left { view: a, zero }, b)
}

/// The factors of a contraction as a micro-kernel reads them.
pub(super) struct Factors {
    /// f32, bf16, i16 or u8.
    pub left: ValueId,
    /// f32, bf16, i16, or known i8.
    pub right: ValueId,
    /// What stands for 0 on the left: one u8.
    pub zero: Option<ValueId>,
}

/// The factors in f32, or those that the group widens for its sums; `None` where no
/// micro-kernel reads them.
pub(super) fn factors(lowering: &mut Lowering, group: &Group, node: &Node) -> Option<Factors> {
    let (graph, members) = (lowering.graph, lowering.members(group));
    let (left, right) = (node.inputs[0], node.inputs[1]);
    let floats = graph.tensor(node.outputs[0]).dtype == DType::F32;
    let wide = floats.then_some(Factors { left, right, zero: None });
    let Some([left, right]) = NarrowFactor::pair(graph, node) else { return wide };
    let mut casts = left.casts.iter().chain(&right.casts);
    let packed = right.dtype(graph) != DType::I8 || {
        let outside = Body::new(lowering, group).resolve(right.memory);
        // One element is a number in the code.
        let weights = graph.as_const(memory_owner(graph, outside));
        weights.is_some_and(|w| w.ty.elements().as_const().is_some_and(|n| n > 1))
    };
    let found = Factors { left: left.memory, right: right.memory, zero: left.zero };
    (packed && casts.all(|id| members.contains(id))).then_some(found).or(wide)
}

/// Sees an operand as matrices in memory; copies it to a temporary when it is computed
/// or scattered.
pub(super) fn view(
    lowering: &mut Lowering,
    group: &Group,
    v: ValueId,
    batch: &[Dim],
) -> Result<View, LowerError> {
    match try_view(lowering, group, v, batch)? {
        Some(view) => Ok(view),
        None => materialise(lowering, group, v, batch),
    }
}

/// An operand where it lies, if it does so with strides.
pub(super) fn try_view(
    lowering: &mut Lowering,
    group: &Group,
    v: ValueId,
    batch: &[Dim],
) -> Result<Option<View>, LowerError> {
    let mut body = Body::new(lowering, group);
    body.blocks_are_plain = true;
    let shape = body.shape(v);
    let (lead, matrix) = shape.split_at(shape.len() - 2);
    let batch_vars: Vec<SymbolId> = batch.iter().map(|d| body.index("batch", d)).collect();
    let (row, col) = (body.index("row", &matrix[0]), body.index("col", &matrix[1]));
    let at: Vec<Dim> = batch_vars.iter().map(|v| Dim::sym(*v)).collect();
    let mut idx = broadcast_index(lead, batch, &at);
    idx.extend([Dim::sym(row), Dim::sym(col)]);
    let (place, converted) = match body.value_at(v, &idx)? {
        Expr::Load(place) => (place, false),
        Expr::Cast(DType::F32, x) => match *x {
            Expr::Load(place) => (place, true),
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    if !body.prelude.is_empty() {
        return Ok(None);
    }
    let Some(operand) = body.operand_at(place.buffer) else { return Ok(None) };
    let mut base = place.at;
    let mut take = |var: SymbolId| {
        let (stride, rest) = base.linear_in(var)?;
        base = rest;
        Some(stride)
    };
    let strides: Option<Vec<Dim>> =
        batch_vars.iter().chain([&row, &col]).map(|v| take(*v)).collect();
    let Some(mut strides) = strides else { return Ok(None) };
    let cols = strides.pop().expect("a stride per axis");
    let rows = strides.pop().expect("a stride per axis");
    if converted && !matches!(operand, Operand::Weight(_)) {
        return Ok(None);
    }
    Ok(Some(View { operand, base, batch: strides, rows, cols, converted }))
}

/// Copies an operand to a dense temporary.
pub(super) fn materialise(
    lowering: &mut Lowering,
    group: &Group,
    v: ValueId,
    batch: &[Dim],
) -> Result<View, LowerError> {
    let ty = lowering.graph.tensor(v).clone();
    let temp = lowering.temp(ty.dtype, ty.elements());
    super::map::fill_temp(lowering, group, v, temp)?;
    let strides = super::body::strides(&ty.shape);
    let lead = ty.rank() - 2;
    let skip = batch.len() - lead;
    let along = |i: usize| match i.checked_sub(skip) {
        Some(j) if ty.shape[j] == batch[i] || ty.shape[j].as_const().is_some_and(|d| d != 1) => {
            strides[j].clone()
        }
        Some(j) if !ty.shape[j].is(1) => {
            strides[j].clone() * (ty.shape[j].clone() - 1).minimum(&1.into())
        }
        _ => Dim::from(0),
    };
    Ok(View {
        operand: temp,
        base: Dim::from(0),
        batch: (0..batch.len()).map(along).collect(),
        rows: strides[lead].clone(),
        cols: Dim::from(1),
        converted: false,
    })
}

fn scaled_strides(extents: &[Dim], unit: &Dim) -> Vec<Dim> {
    let strides = super::body::strides(extents);
    strides.into_iter().map(|s| s * unit.clone()).collect()
}

/// Number of row blocks of a contraction with `rows` rows; none has more than `most`.
pub(super) fn row_blocks(rows: &Dim, most: i64) -> Dim {
    let blocks = rows.ceil_div(&(BLOCKS_AT_ONCE * most).into()) * BLOCKS_AT_ONCE;
    // A kernel for any number of rows lets a block be empty.
    if rows.as_const().is_some() { blocks.minimum(rows) } else { blocks }
}

/// The first row and the number of rows of a block: even shares.
pub(super) fn block_rows(block: &Dim, rows: &Dim, blocks: &Dim) -> (Dim, Dim) {
    if blocks.is(1) {
        return (0.into(), rows.clone());
    }
    let start = |i: Dim| (i * rows.clone()).floor_div(blocks);
    let first = start(block.clone());
    (first.clone(), start(block.clone() + 1) - first)
}

/// Columns of a block: near `most`, a whole number of panels, even shares.
pub(super) fn block_cols(n: &Dim, most: i64) -> i64 {
    let n = n.as_const().unwrap_or(most).max(1) as u64;
    let share = n.div_ceil(n.div_ceil(most as u64));
    share.next_multiple_of(PANEL_WIDTH as u64) as i64
}

/// Where the number of rows is only known at run time there are two variants: a single
/// block of rows leaves just the column blocks to share among threads, so they are narrow.
fn multiply(
    lowering: &mut Lowering,
    group: &Group,
    c: ValueId,
    a: Left,
    b: Packed,
) -> Result<(), LowerError> {
    let (rows, batch) = rows_and_batch(&lowering.graph.tensor(c).shape, &a.view, &b);
    let (least, most) = rows.bounds(&lowering.graph.symbols);
    let mut multiply = |blocks| multiply_in_blocks(lowering, group, c, &a, &b, blocks);
    if most <= BLOCK_ROWS {
        return multiply(Blocks::all_rows());
    }
    if least > BLOCK_ROWS || !batch.is_empty() {
        return multiply(Blocks::of(&rows));
    }
    multiply(Blocks::all_rows())?;
    multiply(Blocks::of(&rows))?;
    lowering.join_variants(Dim::from(BLOCK_ROWS) - rows);
    Ok(())
}

/// How a product is cut into blocks.
struct Blocks {
    /// Number of blocks along the rows.
    rows: Dim,
    /// Most columns of a block.
    cols: i64,
}

impl Blocks {
    /// All rows in one block.
    fn all_rows() -> Self {
        Self { rows: 1.into(), cols: NARROW_COLS }
    }

    fn of(rows: &Dim) -> Self {
        Self { rows: row_blocks(rows, BLOCK_ROWS), cols: BLOCK_COLS }
    }
}

/// The rows of the product and the axes left: leading axes that B does not depend on and
/// that A steps over evenly become rows.
fn rows_and_batch(shape: &[Dim], a: &View, b: &Packed) -> (Dim, Vec<Dim>) {
    let rank = shape.len();
    let mut batch: Vec<Dim> = shape[..rank - 2].to_vec();
    let mut m = shape[rank - 2].clone();
    while let Some(last) = batch.last() {
        let i = batch.len() - 1;
        let even = a.batch[i] == a.rows.clone() * m.clone() || last.is(1);
        if !(even && (b.batch[i].is(0) || last.is(1))) {
            break;
        }
        m = m * last.clone();
        batch.pop();
    }
    (m, batch)
}

fn multiply_in_blocks(
    lowering: &mut Lowering,
    group: &Group,
    c: ValueId,
    left: &Left,
    b: &Packed,
    blocks: Blocks,
) -> Result<(), LowerError> {
    let a = &left.view;
    let root = lowering.graph.nodes[lowering.root(group)].clone();
    let name = super::map::name(lowering, group);
    let mut body = Body::new(lowering, group);
    let shape = body.shape(c);
    let k = body.shape(root.inputs[0]).last().cloned().expect("a matrix has columns");
    let rank = shape.len();
    let n = shape[rank - 1].clone();
    let (m, batch) = rows_and_batch(&shape, a, b);
    let cols = block_cols(&n, blocks.cols);
    let mut outer: Vec<Axis> =
        batch.iter().map(|d| Axis { var: body.index("batch", d), extent: d.clone() }).collect();
    for (hint, count) in [("cb", n.ceil_div(&cols.into())), ("rb", blocks.rows.clone())] {
        outer.push(Axis { var: body.index(hint, &count), extent: count });
    }
    let vars: Vec<Dim> = outer.iter().map(Axis::at).collect();
    let (lead, block_at) = vars.split_at(batch.len());
    let col0 = block_at[0].clone() * cols;
    let (row0, rows) = block_rows(&block_at[1], &m, &blocks.rows);
    let matrix_row = super::body::dot(lead, &scaled_strides(&batch, &m));
    let block = Block {
        rows,
        cols: (n.clone() - col0.clone()).minimum(&cols.into()),
        row0: matrix_row + row0.clone(),
        col0: col0.clone(),
    };
    let fused = body.fused_epilogue(c, &n, false);
    let target = body.target(&fused, group.outputs[0], &block, (BLOCK_ROWS.into(), cols.into()))?;
    let bias = fused.bias.map(|v| {
        let operand = body.operand_of(v);
        Place { buffer: body.input(operand), at: col0.clone() }
    });
    let (a_buffer, b_buffer) = (body.input(a.operand), body.input(b.operand));
    let from = a.base.clone() + super::body::dot(lead, &a.batch[..batch.len()]);
    let panel = col0.floor_div(&(PANEL_WIDTH as i64).into());
    let scales = b.scales.as_ref().map(|s| {
        let at = super::body::dot(lead, &s.batch[..batch.len()])
            + panel.clone() * s.coded.scale_stride();
        Scales {
            place: Place { buffer: body.input(s.coded.scales), at },
            panel_stride: s.coded.scale_stride().into(),
            group: s.coded.format.group as u32,
            zero: s.coded.format.zero,
            offsets: s.coded.format.offsets,
        }
    });
    let e = &b.encoding;
    let gemm = Stmt::Gemm(Box::new(Gemm {
        a: Rows::Strided {
            base: Place { buffer: a_buffer, at: from + row0 * a.rows.clone() },
            row_stride: a.rows.clone(),
            batch_stride: e.k_block.clone(),
        },
        a_zero: left.zero.map(|zero| Place::new(body.input(zero), 0)),
        b: Place {
            buffer: b_buffer,
            at: super::body::dot(lead, &b.batch[..batch.len()]) + panel * e.panel_stride.clone(),
        },
        scales,
        b_panel_stride: e.panel_stride.clone(),
        b_batch_stride: e.block_stride.clone(),
        c: Place { buffer: target.buffer, at: target.at.clone() },
        c_row_stride: target.row_stride.clone(),
        bias,
        m: block.rows.clone(),
        n: block.cols.clone(),
        k: e.k_block.clone(),
        k_last: k.clone() - (e.blocks.clone() - 1) * e.k_block.clone(),
        batch: e.blocks.clone(),
        accumulate: false,
        clamp: fused.clamp,
    }));
    body.flops = shape.iter().fold(k.clone() * 2, |p, d| p * d.clone());
    let work = estimate(&(k * block.rows * (2 * cols)), &body.symbols);
    let (mut grid, mut stmts) = body.grid(&outer, 1);
    grid.min_tiles = (PARALLEL_FLOPS / work.max(1)).max(1);
    stmts.push(gemm);
    stmts.extend(target.finish);
    body.finish(&name, grid, stmts);
    Ok(())
}
