//! Walks over Kernel IR: every index expression and every place of a statement.

use cascata_ir::kernel::{Expr, Place, Rows, Stmt};
use cascata_types::Dim;

/// What a walk sees. Both kinds may be changed in place.
pub(super) trait Visitor {
    /// An index expression that is not part of a place.
    fn dim(&mut self, dim: &mut Dim);
    /// A place; its index is not seen by `dim`.
    fn place(&mut self, place: &mut Place);
}

/// Calls `f` on every index expression, those inside places too.
pub(crate) fn for_each_dim(stmts: &mut [Stmt], f: &mut dyn FnMut(&mut Dim)) {
    stmts.iter_mut().for_each(|s| visit_stmt(s, &mut Dims(f)));
}

/// Calls `f` on every index expression of an expression.
pub(super) fn for_each_dim_in(expr: &mut Expr, f: &mut dyn FnMut(&mut Dim)) {
    visit_expr(expr, &mut Dims(f));
}

struct Dims<'f>(&'f mut dyn FnMut(&mut Dim));

impl Visitor for Dims<'_> {
    fn dim(&mut self, dim: &mut Dim) {
        (self.0)(dim)
    }
    fn place(&mut self, place: &mut Place) {
        (self.0)(&mut place.at)
    }
}

fn visit_expr(expr: &mut Expr, v: &mut dyn Visitor) {
    match expr {
        Expr::Const(_) | Expr::Local(_) => {}
        Expr::Index(dim) => v.dim(dim),
        Expr::Load(place) => v.place(place),
        Expr::Unary(_, a) | Expr::Cast(_, a) | Expr::Bits(_, a) => visit_expr(a, v),
        Expr::Binary(_, a, b) => {
            visit_expr(a, v);
            visit_expr(b, v);
        }
        Expr::Select(c, a, b) => {
            visit_expr(c, v);
            visit_expr(a, v);
            visit_expr(b, v);
        }
    }
}

/// Long because it names every field of every statement once.
pub(super) fn visit_stmt(stmt: &mut Stmt, v: &mut dyn Visitor) {
    match stmt {
        Stmt::For { extent, body, .. } => {
            v.dim(extent);
            body.iter_mut().for_each(|s| visit_stmt(s, v));
        }
        Stmt::Bind { value, .. }
        | Stmt::Let { value, .. }
        | Stmt::Assign { value, .. }
        | Stmt::Reduce { value, .. }
        | Stmt::Check { cond: value, .. } => visit_expr(value, v),
        Stmt::Store { buffer, at, value } => {
            let mut place = Place { buffer: *buffer, at: std::mem::take(at) };
            v.place(&mut place);
            (*buffer, *at) = (place.buffer, place.at);
            visit_expr(value, v);
        }
        Stmt::If { cond, then, otherwise } => {
            visit_expr(cond, v);
            then.iter_mut().chain(otherwise).for_each(|s| visit_stmt(s, v));
        }
        Stmt::Gemm(g) => {
            match &mut g.a {
                Rows::Strided { base, row_stride, batch_stride } => {
                    v.place(base);
                    v.dim(row_stride);
                    v.dim(batch_stride);
                }
                Rows::Indirect { base, offsets } => {
                    v.place(base);
                    v.place(offsets);
                }
            }
            let places = [&mut g.b, &mut g.c].into_iter().chain(&mut g.a_zero);
            places.chain(&mut g.bias).for_each(|p| v.place(p));
            if let Some(scales) = &mut g.scales {
                v.place(&mut scales.place);
                v.dim(&mut scales.panel_stride);
            }
            let strides = [&mut g.b_panel_stride, &mut g.b_batch_stride, &mut g.c_row_stride];
            let sizes = [&mut g.m, &mut g.n, &mut g.k, &mut g.k_last, &mut g.batch];
            strides.into_iter().chain(sizes).for_each(|d| v.dim(d));
        }
        Stmt::DwConv(d) => {
            let places = [&mut d.base, &mut d.offsets, &mut d.w, &mut d.c];
            places.into_iter().chain(&mut d.bias).for_each(|p| v.place(p));
            let sizes = [&mut d.m, &mut d.channels, &mut d.taps];
            [&mut d.w_stride, &mut d.c_row_stride].into_iter().chain(sizes).for_each(|d| v.dim(d));
        }
        Stmt::PackB(p) => {
            [&mut p.src, &mut p.dst].into_iter().for_each(|p| v.place(p));
            [&mut p.row_stride, &mut p.col_stride, &mut p.panel_stride, &mut p.k, &mut p.n]
                .into_iter()
                .for_each(|d| v.dim(d));
        }
        Stmt::MapRow { dst, src, n, .. } => {
            v.place(dst);
            v.place(src);
            v.dim(n);
        }
        Stmt::ReduceRow { src, n, .. } => {
            v.place(src);
            v.dim(n);
        }
        Stmt::ExpSum { dst, src, n, bias, .. } => {
            v.place(dst);
            v.place(src);
            v.dim(n);
            visit_expr(bias, v);
        }
        Stmt::Barrier => {}
        Stmt::TileGemm(g) => {
            g.places_mut().into_iter().for_each(|p| v.place(p));
            g.dims_mut().into_iter().for_each(|d| v.dim(d));
        }
        Stmt::TileAttention(a) => {
            a.places_mut().into_iter().for_each(|p| v.place(p));
            a.dims_mut().into_iter().for_each(|d| v.dim(d));
        }
        Stmt::GroupReduce { value, .. } => visit_expr(value, v),
    }
}
