//! Convolution groups, channels last: `y[N, o…, O] = epilogue(x[N, s…, C] ∗ w[k…, C/g, O])`, f32
//! (of operands that may be bf16 in memory), or i32 of operands that are i16, or u8 and i8.
//!
//! No im2col: output pixels are the rows of a batch-reduce GEMM, kernel taps its
//! blocks. A small table of row offsets per block of pixels says where each tap of
//! each pixel starts (negative: padding), so stride, dilation, padding and
//! transposition are one code path. Without padding along the last spatial axis a whole
//! row of the kernel is one tap. Depthwise convolutions use the same table with
//! their own micro-kernel (of f32). Bound by flops except for depthwise (bytes). Error: one f32
//! FMA chain over all taps and channels; integers are exact.

mod offsets;

use super::body::Body;
use super::epilogue::{Block, Target};
use super::matmul::{
    BLOCK_COLS, BLOCK_ROWS, Factors, View, block_cols, block_rows, factors, row_blocks,
};
use super::nest::{Axis, estimate};
use super::{Group, LowerError, Lowering, Operand, Weight, WeightData, WeightId};
use cascata_ir::graph::{Node, ValueId};
use cascata_ir::kernel::{DwConv, Gemm, Place, Rows, Stmt};
use cascata_ir::op::{ChannelLayout, Op};
use cascata_types::{DType, Dim, PANEL_WIDTH, PanelEncoding, Shape};
use offsets::offset_table;

/// Below this many operations a tile is not worth another thread.
const PARALLEL_FLOPS: i64 = 200_000;

/// A convolution's geometry; transposed ones differ only in how taps find pixels.
struct Geometry {
    x: Shape,
    y: Shape,
    kernel: Vec<Dim>,
    strides: Vec<i64>,
    begin: Vec<i64>,
    dilations: Vec<i64>,
    groups: i64,
    transposed: bool,
    /// Neighbouring pixels that one tap reads: a whole row of the kernel, where none of
    /// it can be padding.
    row: i64,
}

impl Geometry {
    fn of(lowering: &Lowering, node: &Node) -> Result<Self, LowerError> {
        let shape = |v: ValueId| lowering.graph.tensor(v).shape.clone();
        let (x, w, y) = (shape(node.inputs[0]), shape(node.inputs[1]), shape(node.outputs[0]));
        let (strides, pads, dilations, groups, layout, transposed) = match &node.op {
            Op::Conv(a) => (&a.strides, &a.pads, &a.dilations, a.groups, a.layout, false),
            Op::ConvTranspose(a) => (&a.strides, &a.pads, &a.dilations, a.groups, a.layout, true),
            op => {
                return Err(LowerError {
                    node: node.source.clone(),
                    op: op.name(),
                    reason: "it is not a contraction".into(),
                });
            }
        };
        debug_assert_eq!(layout, ChannelLayout::Last, "the layout pass made it channels last");
        let mut geometry = Self {
            kernel: w[..w.len() - 2].to_vec(),
            x,
            y,
            strides: strides.clone(),
            begin: pads.iter().map(|p| p.0).collect(),
            dilations: dilations.clone(),
            groups,
            transposed,
            row: 1,
        };
        if pads.last() == Some(&(0, 0)) {
            geometry.join_row();
        }
        Ok(geometry)
    }

    /// Makes the taps along the last spatial axis, which has no padding, one tap: their
    /// pixels are neighbours in memory, and so are their weights.
    fn join_row(&mut self) {
        let (Some(width), Some(1)) = (self.kernel.last_mut(), self.dilations.last()) else {
            return;
        };
        if let (Some(row), false, 1) = (width.as_const(), self.transposed, self.groups) {
            self.row = row;
            *width = Dim::from(1);
        }
    }

    /// What one tap sums: the channels of a group, or of a row of pixels.
    fn tap_channels(&self) -> Dim {
        self.channels().floor_div(&self.groups.into()) * self.row
    }

    fn channels(&self) -> Dim {
        self.x[self.x.len() - 1].clone()
    }

    fn outputs(&self) -> Dim {
        self.y[self.y.len() - 1].clone()
    }

    fn taps(&self) -> Dim {
        self.kernel.iter().fold(Dim::from(1), |n, k| n * k.clone())
    }

    /// Every output pixel reads the input pixel of the same number.
    fn is_pointwise(&self) -> bool {
        self.row == 1
            && self.kernel.iter().all(|k| k.is(1))
            && self.strides.iter().all(|s| *s == 1)
            && self.begin.iter().all(|p| *p == 0)
            && self.x[..self.x.len() - 1] == self.y[..self.y.len() - 1]
    }
}

pub(super) fn lower(lowering: &mut Lowering, group: &Group) -> Result<(), LowerError> {
    let node = lowering.graph.nodes[lowering.root(group)].clone();
    let Some(Factors { left: x, right: w, zero }) = factors(lowering, group, &node) else {
        return super::single::naive_conv(lowering, group);
    };
    let geometry = Geometry::of(lowering, &node)?;
    let (c, o) = (geometry.channels(), geometry.outputs());
    let depthwise = c.is(geometry.groups) && c == o && geometry.groups > 1;
    let supported = match (geometry.groups, depthwise) {
        (1, _) => true,
        (_, true) => lowering.graph.tensor(x).dtype == DType::F32,
        _ => packs_by_group(lowering, group, w, &geometry),
    };
    if !supported {
        return super::single::naive_conv(lowering, group);
    }
    let x = dense(lowering, group, x)?;
    let bias = match node.inputs.get(2) {
        Some(v) => Some(dense(lowering, group, *v)?),
        None => None,
    };
    if depthwise {
        return depthwise_conv(lowering, group, &node, &geometry, x, bias);
    }
    let weights = pack_weights(lowering, group, w, &geometry)?;
    let zero = zero.map(|v| dense(lowering, group, v)).transpose()?;
    gemm_conv(lowering, group, &node, &geometry, Operands { x, zero, bias, weights })
}

/// Whether weights of several groups can be packed: known ones of plain convolutions.
fn packs_by_group(lowering: &mut Lowering, group: &Group, w: ValueId, g: &Geometry) -> bool {
    let mut body = Body::new(lowering, group);
    let outside = body.member_of(w).is_none();
    !g.transposed && outside && matches!(body.operand_of(w), Operand::Weight(_))
}

/// The operand as a dense buffer; what the group computes is computed into a temporary.
pub(super) fn dense(
    lowering: &mut Lowering,
    group: &Group,
    v: ValueId,
) -> Result<Operand, LowerError> {
    let mut body = Body::new(lowering, group);
    if body.member_of(v).is_none() {
        return Ok(body.operand_of(v));
    }
    drop(body);
    let ty = lowering.graph.tensor(v).clone();
    let temp = lowering.temp(ty.dtype, ty.elements());
    super::map::fill_temp(lowering, group, v, temp)?;
    Ok(temp)
}

/// Packed weights: one matrix `[taps·C/g, O/g]` per channel group, a K block per tap.
struct Weights {
    operand: Operand,
    group_stride: Dim,
    panel_stride: Dim,
    tap_stride: Dim,
}

/// Weights packed at compile time, when all sizes are numbers.
fn constant_weights(
    lowering: &mut Lowering,
    id: WeightId,
    geometry: &Geometry,
    cg: &Dim,
    og: &Dim,
) -> Option<Weights> {
    let (c, o, taps) = (cg.as_const()?, og.as_const()?, geometry.taps().as_const()?);
    let source = lowering.weights.items[id].0.source;
    let k_group = PanelEncoding::group_of(lowering.graph.consts[source].ty.dtype);
    let (k, n, k_block) = ((c * taps) as u64, o as u64, c.max(1) as u64);
    let encoding = PanelEncoding { k, n, k_block, k_group };
    let data = WeightData::Panels {
        encoding,
        count: geometry.groups as u64,
        matrix_stride: o as u64,
        row_stride: (o * geometry.groups) as u64,
        col_stride: 1,
        to_f32: false,
    };
    let weight = lowering.weights.add(lowering.graph, Weight { source, data });
    Some(Weights {
        operand: Operand::Weight(weight),
        group_stride: (encoding.elements() as i64).into(),
        panel_stride: (encoding.panel_stride() as i64).into(),
        tap_stride: (encoding.block_stride() as i64).into(),
    })
}

fn pack_weights(
    lowering: &mut Lowering,
    group: &Group,
    w: ValueId,
    geometry: &Geometry,
) -> Result<Weights, LowerError> {
    let shape = lowering.graph.tensor(w).shape.clone();
    let Some(og) = shape.last() else {
        return Err(lowering.error(lowering.root(group), "weights need two channel axes"));
    };
    // Convolution weights are [k…, C/g, O], transposed ones [k…, C, O/g].
    let groups = if geometry.transposed { 1 } else { geometry.groups };
    let (cg, og) = (geometry.tap_channels(), og.floor_div(&groups.into()));
    let operand = dense(lowering, group, w)?;
    if let Operand::Weight(id) = operand
        && let Some(weights) = constant_weights(lowering, id, geometry, &cg, &og)
    {
        return Ok(weights);
    }
    let view = View {
        operand,
        base: 0.into(),
        batch: vec![cg.clone() * og.clone()],
        rows: og.clone(),
        cols: 1.into(),
        converted: false,
    };
    let k_group = PanelEncoding::group_of(lowering.dtype(operand)) as i64;
    let taps = [geometry.taps()];
    let operand = super::matmul::pack_batches(lowering, group, &view, &taps, &cg, &og)?;
    let width = PANEL_WIDTH as i64;
    let panel_stride = cg.ceil_div(&k_group.into()) * (k_group * width);
    let tap_stride = og.ceil_div(&width.into()) * panel_stride.clone();
    Ok(Weights { operand, group_stride: Dim::from(0), panel_stride, tap_stride })
}

/// What a convolution by GEMMs reads.
struct Operands {
    x: Operand,
    /// What stands for 0 in x: one u8.
    zero: Option<Operand>,
    bias: Option<Operand>,
    weights: Weights,
}

/// Blocks of rows × columns over channel groups.
fn gemm_conv(
    lowering: &mut Lowering,
    group: &Group,
    node: &Node,
    geometry: &Geometry,
    Operands { x, zero, bias, weights }: Operands,
) -> Result<(), LowerError> {
    let name = super::map::name(lowering, group);
    let mut body = Body::new(lowering, group);
    let (c, o) = (geometry.channels(), geometry.outputs());
    let groups = Dim::from(geometry.groups);
    let (cg, og) = (geometry.tap_channels(), o.floor_div(&groups));
    let pixels = geometry.y[..geometry.y.len() - 1].iter().fold(Dim::from(1), |n, d| n * d.clone());
    let cols = block_cols(&og, BLOCK_COLS);
    let blocks = row_blocks(&pixels, BLOCK_ROWS);
    let counts = [groups.clone(), og.ceil_div(&cols.into()), blocks.clone()];
    let outer: Vec<Axis> = ["g", "cb", "rb"]
        .into_iter()
        .zip(counts)
        .map(|(hint, extent)| Axis { var: body.index(hint, &extent), extent })
        .collect();
    let [g, cb, rb] = [0, 1, 2].map(|i| outer[i].at());
    let col = cb * cols;
    let (row0, rows) = block_rows(&rb, &pixels, &blocks);
    let block = Block {
        rows,
        cols: (og.clone() - col.clone()).minimum(&cols.into()),
        row0,
        col0: g.clone() * og.clone() + col.clone(),
    };
    let fused = body.fused_epilogue(node.outputs[0], &o, bias.is_some());
    let target = body.target(&fused, group.outputs[0], &block, (BLOCK_ROWS.into(), cols.into()))?;
    let bias = bias_place(&mut body, bias, fused.bias, &block.col0);
    let base = Place { buffer: body.input(x), at: g.clone() * cg.clone() };
    let mut stmts = Vec::new();
    let a = if geometry.is_pointwise() {
        let first = base.at.clone() + block.row0.clone() * c.clone();
        Rows::Strided {
            base: Place { buffer: base.buffer, at: first },
            row_stride: c.clone(),
            batch_stride: Dim::from(0),
        }
    } else {
        let offsets = body.scratch("offsets", DType::I32, geometry.taps() * BLOCK_ROWS);
        stmts.extend(offset_table(&mut body, geometry, offsets, &block));
        Rows::Indirect { base, offsets: Place { buffer: offsets, at: Dim::from(0) } }
    };
    let panel = col.floor_div(&(PANEL_WIDTH as i64).into());
    stmts.push(Stmt::Gemm(Box::new(Gemm {
        a,
        a_zero: zero.map(|zero| Place::new(body.input(zero), 0)),
        scales: None,
        b: Place {
            buffer: body.input(weights.operand),
            at: g * weights.group_stride + panel * weights.panel_stride.clone(),
        },
        b_panel_stride: weights.panel_stride,
        b_batch_stride: weights.tap_stride,
        c: Place { buffer: target.buffer, at: target.at.clone() },
        c_row_stride: target.row_stride.clone(),
        bias,
        m: block.rows.clone(),
        n: block.cols.clone(),
        k: cg.clone(),
        k_last: cg.clone(),
        batch: geometry.taps(),
        accumulate: false,
        clamp: fused.clamp,
    })));
    let all = geometry.y.iter().fold(geometry.taps() * cg.clone() * 2, |n, d| n * d.clone());
    body.flops = all;
    let work = estimate(&(geometry.taps() * cg * block.rows * (2 * cols)), &body.symbols);
    finish(body, &name, &outer, work, stmts, target)
}

/// The op's own bias, else the one that its epilogue adds.
fn bias_place(
    body: &mut Body,
    own: Option<Operand>,
    added: Option<ValueId>,
    col0: &Dim,
) -> Option<Place> {
    let operand = own.or_else(|| added.map(|v| body.operand_of(v)))?;
    Some(Place { buffer: body.input(operand), at: col0.clone() })
}

fn finish(
    mut body: Body,
    name: &str,
    outer: &[Axis],
    work: i64,
    mut stmts: Vec<Stmt>,
    target: Target,
) -> Result<(), LowerError> {
    let (mut grid, binds) = body.grid(outer, 1);
    grid.min_tiles = (PARALLEL_FLOPS / work.max(1)).max(1);
    stmts.extend(target.finish);
    let stmts = binds.into_iter().chain(stmts).collect();
    body.finish(name, grid, stmts);
    Ok(())
}

/// Channels are few enough to stay whole; blocks are rows of pixels.
fn depthwise_conv(
    lowering: &mut Lowering,
    group: &Group,
    node: &Node,
    geometry: &Geometry,
    x: Operand,
    bias: Option<Operand>,
) -> Result<(), LowerError> {
    let name = format!("dw_{}", super::map::name(lowering, group));
    let w = dense(lowering, group, node.inputs[1])?;
    let mut body = Body::new(lowering, group);
    let c = geometry.channels();
    let pixels = geometry.y[..geometry.y.len() - 1].iter().fold(Dim::from(1), |n, d| n * d.clone());
    let most = body.lowering.machine.depthwise_rows();
    let blocks = row_blocks(&pixels, most);
    let outer = vec![Axis { var: body.index("rb", &blocks), extent: blocks.clone() }];
    let (row0, rows) = block_rows(&Dim::sym(outer[0].var), &pixels, &blocks);
    let block = Block { rows, cols: c.clone(), row0, col0: Dim::from(0) };
    let fused = body.fused_epilogue(node.outputs[0], &c, bias.is_some());
    let target = body.target(&fused, group.outputs[0], &block, (most.into(), c.clone()))?;
    let bias = bias_place(&mut body, bias, fused.bias, &block.col0);
    let offsets = body.scratch("offsets", DType::I32, geometry.taps() * most);
    let mut stmts = offset_table(&mut body, geometry, offsets, &block);
    stmts.push(Stmt::DwConv(Box::new(DwConv {
        base: Place { buffer: body.input(x), at: Dim::from(0) },
        offsets: Place { buffer: offsets, at: Dim::from(0) },
        w: Place { buffer: body.input(w), at: Dim::from(0) },
        w_stride: c.clone(),
        bias,
        c: Place { buffer: target.buffer, at: target.at.clone() },
        c_row_stride: target.row_stride.clone(),
        m: block.rows.clone(),
        channels: c.clone(),
        taps: geometry.taps(),
        clamp: fused.clamp,
    })));
    body.flops = geometry.y.iter().fold(geometry.taps() * 2, |n, d| n * d.clone());
    // Depthwise runs at a fraction of the GEMM rate: its operations weigh more.
    let work = estimate(&(geometry.taps() * c * block.rows * 8), &body.symbols);
    finish(body, &name, &outer, work, stmts, target)
}
