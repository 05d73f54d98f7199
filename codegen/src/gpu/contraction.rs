//! Packing and depthwise contractions, an element a thread.

use super::{Mapper, less, moved};
use cascata_ir::kernel::{DwConv, Expr, PackB, Place, Stmt};
use cascata_ir::op::BinaryOp;
use cascata_types::{DType, Dim, PANEL_WIDTH, Scalar, SymbolId};

impl Mapper {
    /// An index in `0..extent`.
    pub(super) fn index(&mut self, hint: &str, extent: &Dim) -> SymbolId {
        let last = extent.bounds(&self.symbols).1.saturating_sub(1).max(0);
        self.symbols.fresh(hint, 0, last)
    }

    /// Element `(k, n)` of every panel, columns that are not there as zeros.
    pub(super) fn pack_b(&mut self, p: &PackB) -> Vec<Stmt> {
        let width = PANEL_WIDTH as i64;
        let total = p.n.ceil_div(&width.into()) * width * p.k.clone();
        let i = self.index("i", &total);
        let panel_elements = p.k.clone() * width;
        let panel = Dim::sym(i).floor_div(&panel_elements);
        let inside = Dim::sym(i) - panel.clone() * panel_elements;
        let (row, lane) = (inside.floor_div(&width.into()), Dim::sym(i).modulo(&width.into()));
        let column = panel.clone() * width + lane.clone();
        let from = row.clone() * p.row_stride.clone() + column.clone() * p.col_stride.clone();
        let to = moved(&p.dst, panel * p.panel_stride.clone() + row * width + lane);
        let store = |value| Stmt::store(to.buffer, to.at.clone(), value);
        let body = vec![Stmt::branch(
            less(column, p.n.clone()),
            vec![store(Expr::Load(moved(&p.src, from)))],
            vec![store(Expr::f32(0.0))],
        )];
        self.deal(i, &total, body)
    }

    /// Element `(i, c)` of the result, taps one after the other.
    pub(super) fn dw_conv(&mut self, d: &DwConv) -> Vec<Stmt> {
        let total = d.m.clone() * d.channels.clone();
        let i = self.index("i", &total);
        let (row, c) = (Dim::sym(i).floor_div(&d.channels), Dim::sym(i).modulo(&d.channels));
        let tap = self.index("tap", &d.taps);
        let sum = self.local("sum", DType::F32);
        let start = d.bias.as_ref().map_or(Expr::f32(0.0), |b| Expr::Load(moved(b, c.clone())));
        let at = moved(&d.offsets, Dim::sym(tap) * d.m.clone() + row.clone());
        let w = Expr::Load(moved(&d.w, Dim::sym(tap) * d.w_stride.clone() + c.clone()));
        let (bind, offset, present) = self.offset(at);
        let x = Expr::Load(moved(&d.base, offset + c.clone()));
        let step = Stmt::reduce(sum, BinaryOp::Add, x.binary(BinaryOp::Mul, w));
        let taps = vec![bind, Stmt::branch(present, vec![step], vec![])];
        let to = moved(&d.c, row * d.c_row_stride.clone() + c);
        let body = vec![
            Stmt::declare(sum, start),
            Stmt::serial(tap, d.taps.clone(), taps),
            Stmt::store(to.buffer, to.at, clamped(Expr::Local(sum), &d.clamp)),
        ];
        self.deal(i, &total, body)
    }

    /// Binds what an `i32` table holds: the statement, the offset, and whether it is one.
    pub(super) fn offset(&mut self, at: Place) -> (Stmt, Dim, Expr) {
        let bound = self.symbols.fresh("offset", i32::MIN.into(), i32::MAX.into());
        let value = Expr::Load(at).cast(DType::I64);
        let present = Expr::Index(Dim::sym(bound)).binary(BinaryOp::Ge, Expr::i64(0));
        (Stmt::bind(bound, value), Dim::sym(bound), present)
    }
}

/// Between finite bounds.
pub(super) fn clamped(value: Expr, (min, max): &(Scalar, Scalar)) -> Expr {
    let mut value = value;
    if min.to_f64() > f64::NEG_INFINITY {
        value = value.binary(BinaryOp::Max, Expr::Const(*min));
    }
    if max.to_f64() < f64::INFINITY {
        value = value.binary(BinaryOp::Min, Expr::Const(*max));
    }
    value
}
