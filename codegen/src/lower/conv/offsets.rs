//! Where each tap of each output pixel starts: `offsets[tap·rows + i]`, for the pixels of a block.
//!
//! Versions (ocr_cls 1 × 48 × 192, one AVX-512 thread, the whole model: `cascata bench`):
//! 1. pixel by pixel, each with all of its taps: 650 µs.
//! 2. first what depends on a pixel alone, then tap by tap, four pixels at a time: 580 µs.
//!    Transposed convolutions, where a tap may lie between two pixels, and GPUs, whose threads
//!    have a pixel each, keep to 1.

use super::super::access::{self, and, compare};
use super::super::body::{Body, strides};
use super::super::epilogue::{Block, bind_axes};
use super::super::machine::Machine;
use super::super::matmul::BLOCK_ROWS;
use super::super::nest::Axis;
use super::Geometry;
use cascata_ir::kernel::{BufferId, Expr, LocalId, Stmt};
use cascata_ir::op::BinaryOp;
use cascata_types::{DType, Dim, Scalar, Shape, SymbolId};

/// Fills the table: the element where the tap's input pixel starts, or −1 outside of the operand.
pub(super) fn offset_table(
    body: &mut Body,
    geometry: &Geometry,
    offsets: BufferId,
    block: &Block,
) -> Vec<Stmt> {
    let pixel_shape = geometry.y[..geometry.y.len() - 1].to_vec();
    let pixels = body.axes(&pixel_shape);
    match body.lowering.machine {
        Machine::Cpu if !geometry.transposed => tap_by_tap(body, geometry, offsets, block, &pixels),
        _ => pixel_by_pixel(body, geometry, offsets, block, &pixels),
    }
}

/// All taps of a pixel; what depends on one kernel axis is computed once per step of that axis.
fn pixel_by_pixel(
    body: &mut Body,
    geometry: &Geometry,
    offsets: BufferId,
    block: &Block,
    pixels: &[Axis],
) -> Vec<Stmt> {
    let i = body.index("row", &BLOCK_ROWS.into());
    let x_strides = strides(&geometry.x);
    let at = Dim::sym(pixels[0].var) * x_strides[0].clone();
    let start = Partial { axis: 0, at: Expr::Index(at), valid: None, tap: Dim::from(0) };
    let table = Table { geometry, offsets, rows: &block.rows, row: Dim::sym(i), pixels };
    let taps = table.taps(body, &x_strides, start);
    match body.lowering.machine {
        Machine::Cpu => counted_rows(body, i, block, pixels, taps),
        Machine::Gpu => {
            let mut row = bind_axes(pixels, &(block.row0.clone() + Dim::sym(i)));
            row.extend(taps);
            vec![Stmt::vector(i, block.rows.clone(), row)]
        }
    }
}

/// All pixels of a tap, whose positions lie in tables of their own.
fn tap_by_tap(
    body: &mut Body,
    geometry: &Geometry,
    offsets: BufferId,
    block: &Block,
    pixels: &[Axis],
) -> Vec<Stmt> {
    let starts = Starts {
        first: body.scratch("first", DType::I32, BLOCK_ROWS.into()),
        positions: geometry
            .kernel
            .iter()
            .map(|_| body.scratch("position", DType::I32, BLOCK_ROWS.into()))
            .collect(),
        strides: strides(&geometry.x),
    };
    let i = body.index("row", &BLOCK_ROWS.into());
    let pixel = starts.of_pixel(geometry, pixels, &Dim::sym(i));
    let mut stmts = counted_rows(body, i, block, pixels, pixel);
    stmts.extend(starts.taps(body, geometry, offsets, block));
    stmts
}

/// What depends on a pixel alone, a table of i32 each.
struct Starts {
    /// The element where the first tap starts, whether it is inside or not.
    first: BufferId,
    /// The input position of the first tap along each spatial axis.
    positions: Vec<BufferId>,
    /// Of the operand.
    strides: Shape,
}

impl Starts {
    fn of_pixel(&self, geometry: &Geometry, pixels: &[Axis], row: &Dim) -> Vec<Stmt> {
        let mut first = Dim::sym(pixels[0].var) * self.strides[0].clone();
        let mut stmts = vec![];
        for (d, table) in self.positions.iter().enumerate() {
            let at = Dim::sym(pixels[d + 1].var) * geometry.strides[d] - geometry.begin[d];
            first = first + at.clone() * self.strides[d + 1].clone();
            stmts.push(Stmt::store(*table, row.clone(), narrow(at)));
        }
        stmts.push(Stmt::store(self.first, row.clone(), narrow(first)));
        stmts
    }

    fn taps(
        &self,
        body: &mut Body,
        geometry: &Geometry,
        offsets: BufferId,
        block: &Block,
    ) -> Vec<Stmt> {
        let row = body.index("row", &BLOCK_ROWS.into());
        let (mut tap, mut step) = (Dim::from(0), Dim::from(0));
        let (mut axes, mut stmts, mut inside) = (vec![], vec![], None::<Expr>);
        for (d, extent) in geometry.kernel.iter().enumerate() {
            let k = Axis { var: body.index("tap", extent), extent: extent.clone() };
            let along = k.at() * geometry.dilations[d];
            step = step + along.clone() * self.strides[d + 1].clone();
            tap = tap * extent.clone() + k.at();
            let at = body.local("at", DType::I32);
            let start = Expr::load(self.positions[d], Dim::sym(row));
            stmts.push(Stmt::declare(at, start + narrow(along)));
            let here = within(at, geometry.x[d + 1].clone());
            inside = Some(inside.map_or(here.clone(), |outer| and(outer, here)));
            axes.push(k);
        }
        let offset = Expr::load(self.first, Dim::sym(row)) + narrow(step);
        let outside = Expr::Const(Scalar::from_i64(DType::I32, -1));
        let value = match inside {
            Some(inside) => inside.select(offset, outside),
            None => offset,
        };
        stmts.push(Stmt::store(offsets, tap * block.rows.clone() + Dim::sym(row), value));
        let pixels = vec![Stmt::vector(row, block.rows.clone(), stmts)];
        let axes = axes.into_iter().rev().filter(|k| !k.extent.is(1));
        axes.fold(pixels, |inner, k| vec![Stmt::serial(k.var, k.extent, inner)])
    }
}

/// An index as i32, which the table holds.
fn narrow(at: Dim) -> Expr {
    Expr::index(at).cast(DType::I32)
}

/// Whether a position lies in an axis of `n`.
fn within(at: LocalId, n: Dim) -> Expr {
    let zero = Expr::Const(Scalar::from_i64(DType::I32, 0));
    and(Expr::Local(at).ge(zero), Expr::Local(at).lt(narrow(n)))
}

/// Rows one after the other: a pixel's position is divided out once per block and then
/// counted on.
fn counted_rows(
    body: &mut Body,
    i: SymbolId,
    block: &Block,
    pixels: &[Axis],
    taps: Vec<Stmt>,
) -> Vec<Stmt> {
    let pixel_shape: Vec<Dim> = pixels.iter().map(|a| a.extent.clone()).collect();
    let first = access::delinearise(&block.row0, &pixel_shape);
    let counters: Vec<LocalId> = pixel_shape.iter().map(|_| body.local("at", DType::I64)).collect();
    let mut stmts: Vec<Stmt> = counters
        .iter()
        .zip(first)
        .map(|(local, at)| Stmt::declare(*local, Expr::Index(at)))
        .collect();
    let bind = |(axis, local): (&Axis, &LocalId)| Stmt::bind(axis.var, Expr::Local(*local));
    let mut row: Vec<Stmt> = pixels.iter().zip(&counters).map(bind).collect();
    row.extend(taps);
    row.extend(count_on(&pixel_shape, &counters));
    stmts.push(Stmt::serial(i, block.rows.clone(), row));
    stmts
}

/// Moves the counters to the next pixel in row-major order.
fn count_on(shape: &[Dim], counters: &[LocalId]) -> Vec<Stmt> {
    let (Some((n, outer_shape)), Some((counter, outer))) =
        (shape.split_last(), counters.split_last())
    else {
        return vec![];
    };
    let next = Expr::Local(*counter) + Expr::i64(1);
    let mut carry = vec![Stmt::assign(*counter, Expr::i64(0))];
    carry.extend(count_on(outer_shape, outer));
    let past = Expr::Local(*counter).ge(Expr::Index(n.clone()));
    vec![Stmt::assign(*counter, next), Stmt::when(past, carry)]
}

/// The table being filled for one pixel.
struct Table<'a> {
    geometry: &'a Geometry,
    offsets: BufferId,
    rows: &'a Dim,
    row: Dim,
    pixels: &'a [Axis],
}

/// What the outer kernel axes contribute.
struct Partial {
    axis: usize,
    at: Expr,
    valid: Option<Expr>,
    tap: Dim,
}

impl Table<'_> {
    fn taps(&self, body: &mut Body, strides: &[Dim], outer: Partial) -> Vec<Stmt> {
        let d = outer.axis;
        if d == self.geometry.kernel.len() {
            let offset = access::cast(DType::I32, DType::I64, outer.at);
            let outside = Expr::Const(Scalar::from_i64(DType::I32, -1));
            let value = match outer.valid {
                Some(valid) => valid.select(offset, outside),
                None => offset,
            };
            let at = outer.tap * self.rows.clone() + self.row.clone();
            return vec![Stmt::store(self.offsets, at, value)];
        }
        let extent = self.geometry.kernel[d].clone();
        let k = Axis { var: body.index("tap", &extent), extent };
        let o = Dim::sym(self.pixels[d + 1].var);
        let (position, inside) = self.geometry.tap_position(d, &o, &k.at());
        let step = Expr::Index(position * strides[d + 1].clone());
        let (at, valid) = (body.local("offset", DType::I64), body.local("valid", DType::Bool));
        let inside = match outer.valid {
            Some(valid) => and(valid, inside),
            None => inside,
        };
        let mut stmts = vec![Stmt::declare(at, outer.at + step), Stmt::declare(valid, inside)];
        let next = Partial {
            axis: d + 1,
            at: Expr::Local(at),
            valid: Some(Expr::Local(valid)),
            tap: outer.tap * k.extent.clone() + k.at(),
        };
        stmts.extend(self.taps(body, strides, next));
        if k.extent.is(1) { stmts } else { vec![Stmt::serial(k.var, k.extent, stmts)] }
    }
}

impl Geometry {
    /// Along spatial axis `d`: the input position that tap `k` of output position `o`
    /// reads, and whether there is one.
    fn tap_position(&self, d: usize, o: &Dim, k: &Dim) -> (Dim, Expr) {
        let n = self.x[d + 1].clone();
        let (stride, step) = (self.strides[d], k.clone() * self.dilations[d]);
        if !self.transposed {
            let at = o.clone() * stride - self.begin[d] + step;
            let low = compare(BinaryOp::Ge, at.clone(), 0.into());
            let high = compare(BinaryOp::Lt, at.clone(), n);
            return (at, and(low, high));
        }
        // o = i·stride − begin + k·dilation, solved for i.
        let scaled = o.clone() + self.begin[d] - step;
        let at = scaled.floor_div(&stride.into());
        let whole = compare(BinaryOp::Eq, scaled.modulo(&stride.into()), 0.into());
        let low = compare(BinaryOp::Ge, at.clone(), 0.into());
        let high = compare(BinaryOp::Lt, at.clone(), n);
        (at, and(whole, and(low, high)))
    }
}
