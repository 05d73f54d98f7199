//! Contractions of dtypes without a micro-kernel: plain loops.

use super::*;

/// `y[.., m, n] = Σ_k a[.., m, k]·b[.., k, n]`.
pub(in super::super) fn naive_matmul(
    lowering: &mut Lowering,
    group: &Group,
) -> Result<(), LowerError> {
    let node = lowering.graph.nodes[lowering.root(group)].clone();
    let name = super::super::map::name(lowering, group);
    let mut body = Body::new(lowering, group);
    let y = node.outputs[0];
    let (shape, dtype) = (body.shape(y), body.graph.tensor(y).dtype);
    let (a, b) = (node.inputs[0], node.inputs[1]);
    let (a_shape, b_shape) = (body.shape(a), body.shape(b));
    let axes = body.axes(&shape);
    let idx: Vec<Dim> = axes.iter().map(|a| Dim::sym(a.var)).collect();
    let rank = shape.len();
    let depth = a_shape[a_shape.len() - 1].clone();
    let k = body.index("k", &depth);
    let from = |operand: &[Dim], row: Dim, col: Dim| {
        let lead = &operand[..operand.len() - 2];
        let mut at =
            super::super::access::broadcast_index(lead, &shape[..rank - 2], &idx[..rank - 2]);
        at.extend([row, col]);
        at
    };
    let a_at = from(&a_shape, idx[rank - 2].clone(), Dim::sym(k));
    let b_at = from(&b_shape, Dim::sym(k), idx[rank - 1].clone());
    let product = binary(BinaryOp::Mul, body.value_at(a, &a_at)?, body.value_at(b, &b_at)?);
    let sum = body.local("sum", dtype);
    let add = Stmt::assign(sum, binary(BinaryOp::Add, Expr::Local(sum), product));
    let head = vec![
        Stmt::declare(sum, Expr::Const(Scalar::from_i64(dtype, 0))),
        Stmt::serial(k, depth.clone(), vec![add]),
    ];
    body.flops = shape.iter().fold(depth * 2, |n, d| n * d.clone());
    store(body, &name, group, y, axes, head, sum)
}

/// A convolution's window; a transposed one reads where a plain one would write.
struct Window<'a> {
    strides: &'a [i64],
    pads: &'a [(i64, i64)],
    dilations: &'a [i64],
    groups: i64,
    transposed: bool,
}

impl<'a> Window<'a> {
    fn of(op: &'a Op) -> Option<Self> {
        Some(match op {
            Op::Conv(a) => Window {
                strides: &a.strides,
                pads: &a.pads,
                dilations: &a.dilations,
                groups: a.groups,
                transposed: false,
            },
            Op::ConvTranspose(a) => Window {
                strides: &a.strides,
                pads: &a.pads,
                dilations: &a.dilations,
                groups: a.groups,
                transposed: true,
            },
            _ => return None,
        })
    }

    /// The operand's place along spatial axis `d` for a result's place and a tap, and
    /// whether there is one.
    fn place(&self, d: usize, at: Dim, tap: Dim, size: &Dim) -> (Dim, Expr) {
        let (stride, (before, _)) = (self.strides[d], self.pads[d]);
        let within = |at: &Dim| {
            let low = compare(BinaryOp::Ge, at.clone(), 0.into());
            and(low, compare(BinaryOp::Lt, at.clone(), size.clone()))
        };
        if !self.transposed {
            let at = at * stride - before + tap * self.dilations[d];
            let inside = within(&at);
            return (at, inside);
        }
        let spread = at + before - tap * self.dilations[d];
        let at = spread.floor_div(&stride.into());
        let whole = compare(BinaryOp::Eq, spread.modulo(&stride.into()), 0.into());
        let inside = and(whole, within(&at));
        (at, inside)
    }
}

/// Channels-last convolution, plain or transposed, with loops over taps and channels.
pub(in super::super) fn naive_conv(
    lowering: &mut Lowering,
    group: &Group,
) -> Result<(), LowerError> {
    let node = lowering.graph.nodes[lowering.root(group)].clone();
    let Some(window) = Window::of(&node.op) else {
        return Err(lowering.error(lowering.root(group), "it is not a convolution"));
    };
    let name = super::super::map::name(lowering, group);
    let mut body = Body::new(lowering, group);
    let y = node.outputs[0];
    let (shape, dtype) = (body.shape(y), body.graph.tensor(y).dtype);
    let (x_shape, w_shape) = (body.shape(node.inputs[0]), body.shape(node.inputs[1]));
    let axes = body.axes(&shape);
    let mut walked = w_shape[..w_shape.len() - 1].to_vec();
    // Weights are [k…, C/g, O] or, transposed, [k…, C, O/g].
    if window.transposed
        && let Some(channels) = walked.last_mut()
    {
        *channels = channels.floor_div(&window.groups.into());
    }
    let taps = body.axes(&walked);
    let (x_at, w_at, inside) = taps_at(&window, &axes, &taps, (&x_shape, &shape));
    let product = binary(
        BinaryOp::Mul,
        body.value_at(node.inputs[0], &x_at)?,
        body.value_at(node.inputs[1], &w_at)?,
    );
    let sum = body.local("sum", dtype);
    let add = Stmt::assign(sum, binary(BinaryOp::Add, Expr::Local(sum), product));
    let mut walk = vec![Stmt::when(inside, vec![add])];
    for tap in taps.into_iter().rev() {
        walk = vec![Stmt::serial(tap.var, tap.extent, walk)];
    }
    let start = match node.inputs.get(2) {
        Some(bias) => body.value_at(*bias, &[Dim::sym(axes[axes.len() - 1].var)])?,
        None => Expr::Const(Scalar::from_i64(dtype, 0)),
    };
    let mut head = vec![Stmt::declare(sum, start)];
    head.extend(walk);
    let work = walked.iter().fold(Dim::from(2), |n, d| n * d.clone());
    body.flops = shape.iter().fold(work, |n, d| n * d.clone());
    store(body, &name, group, y, axes, head, sum)
}

/// Where a tap reads the operand and the weights, and whether it is inside.
fn taps_at(
    window: &Window,
    axes: &[Axis],
    taps: &[Axis],
    (x, y): (&[Dim], &[Dim]),
) -> (Vec<Dim>, Vec<Dim>, Expr) {
    let spatial = taps.len() - 1;
    let out = Dim::sym(axes[axes.len() - 1].var);
    let channel = Dim::sym(taps[spatial].var);
    let per_group = y[y.len() - 1].floor_div(&window.groups.into());
    let group = out.floor_div(&per_group);
    let mut x_at = vec![Dim::sym(axes[0].var)];
    let mut inside = Expr::bool(true);
    for d in 0..spatial {
        let (at, here) =
            window.place(d, Dim::sym(axes[d + 1].var), Dim::sym(taps[d].var), &x[d + 1]);
        inside = and(inside, here);
        x_at.push(at);
    }
    let read = group.clone() * taps[spatial].extent.clone() + channel.clone();
    x_at.push(read.clone());
    let mut w_at: Vec<Dim> = taps[..spatial].iter().map(|t| Dim::sym(t.var)).collect();
    w_at.extend(match window.transposed {
        true => [read, out - group * per_group],
        false => [channel, out],
    });
    (x_at, w_at, inside)
}

pub(super) fn store(
    mut body: Body,
    name: &str,
    group: &Group,
    computed: cascata_ir::graph::ValueId,
    axes: Vec<Axis>,
    head: Vec<Stmt>,
    sum: cascata_ir::kernel::LocalId,
) -> Result<(), LowerError> {
    if !body.prelude.is_empty() {
        return Err(body.error("an operand read through an index"));
    }
    let vars: Vec<_> = axes.iter().map(|a| a.var).collect();
    body.know(computed, &vars, Expr::Local(sum));
    let (last, strides) = body.store_strides(body.results()[0]);
    let idx: Vec<Dim> = vars.iter().map(|v| Dim::sym(*v)).collect();
    let value = body.value_at(last, &idx)?;
    let buffer = body.output(Operand::Value(group.outputs[0]));
    let mut stmts = head;
    stmts.append(&mut body.prelude);
    stmts.push(Stmt::store(buffer, dot(&idx, &strides), value));
    let (grid, mut binds) = body.grid(&axes, 16);
    binds.extend(stmts);
    body.finish(name, grid, binds);
    Ok(())
}
