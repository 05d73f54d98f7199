//! MatMul groups: `y[.., M, N] = epilogue(a[.., M, K] · b[.., K, N])`, f32 (of operands that may
//! be bf16 in memory), or i32 of operands that are i16, or u8 and i8, in memory.
//!
//! Bound by flops for M ≥ 8 (2·M·N·K at the micro-kernel's rate), by the bytes of `b`
//! below. A constant `b` is packed at compile time; any other is packed by a launch
//! of its own, once, whatever the number of row blocks. Leading axes become rows
//! where `b` does not depend on them. Error: that of one f32 FMA chain over K,
//! ≤ K·2⁻²⁴·Σ|a·b|; integers are exact.

use super::access::{and, broadcast_index, compare};
use super::body::Body;
use super::codes::Coded;
use super::epilogue::Block;
use super::nest::{Axis, estimate};
use super::{Group, LowerError, Lowering, Machine, Operand, Weight, WeightData, WeightId};
use cascata_ir::graph::{Node, ValueId};
use cascata_ir::kernel::{Expr, Gemm, PackB, Place, Rows, Scales, Stmt};
use cascata_ir::op::BinaryOp;
use cascata_passes::fuse::{NarrowFactor, memory_owner};
use cascata_types::{DType, Dim, PANEL_WIDTH, PanelEncoding, Scalar, SymbolId};

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
/// Longest K block: a register tile of A and its two panels of B stay in L1.
const BLOCK_K: u64 = 512;
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

/// The right operand, packed: matrix β starts at `Σ β·batch`.
#[derive(Clone)]
struct Packed {
    operand: Operand,
    batch: Vec<Dim>,
    encoding: PackedShape,
    /// What its codes stand for.
    scales: Option<PackedScales>,
}

/// The scales of packed codes: those of matrix β start at `Σ β·batch`.
#[derive(Clone)]
struct PackedScales {
    coded: Coded,
    batch: Vec<Dim>,
}

#[derive(Clone)]
struct PackedShape {
    k_block: Dim,
    blocks: Dim,
    panel_stride: Dim,
    block_stride: Dim,
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

/// K blocks of roughly equal length, none longer than [`BLOCK_K`], of whole groups.
fn k_block(k: u64, group: u64) -> u64 {
    k.div_ceil(k.div_ceil(BLOCK_K).max(1)).max(1).next_multiple_of(group)
}

fn pack(
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
    let from = view.base.clone() + super::body::dot(&vars[..extents.len()], &view.batch);
    let column = first.clone() * width.clone();
    let pack = PackB {
        src: Place { buffer: src, at: from + column.clone() * view.cols.clone() },
        row_stride: view.rows.clone(),
        col_stride: view.cols.clone(),
        dst: Place {
            buffer: dst,
            at: super::body::dot(&vars[..extents.len()], &strides) + first * panel.clone(),
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

/// Packs run-time matrices whole: matrix β (over `batch`, row-major) starts at
/// `β·k·⌈n/16⌉·16`, its panels are `k·16` elements apart; i16 with `k` rounded up to pairs.
pub(super) fn pack_batches(
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
