//! Branches, loops, scans and states: nested, capturing, with dims that the data decide.

use super::*;
use cascata_ir::graph::RegionId;
use cascata_ir::op::{BinaryOp, BindMode, ReduceOp, ScanAttrs, UnaryOp};
use cascata_types::{DType, Scalar, SymbolTable};

const ROOT: RegionId = Graph::ROOT;

fn unary(g: &mut Graph, r: RegionId, op: UnaryOp, x: ValueId) -> ValueId {
    g.add1(r, Op::Unary(op), vec![x], "unary").unwrap()
}

fn binary(g: &mut Graph, r: RegionId, op: BinaryOp, a: ValueId, b: ValueId) -> ValueId {
    g.add1(r, Op::Binary(op), vec![a, b], "binary").unwrap()
}

fn number(g: &mut Graph, r: RegionId, x: f32) -> ValueId {
    g.add1(r, Op::Fill { value: Scalar::f32(x), shape: vec![] }, vec![], "number").unwrap()
}

fn dynamic(g: &mut Graph, name: &str) -> SymbolId {
    g.symbols.fresh(name, 0, SymbolTable::DEFAULT_MAX)
}

/// `if cond` with branches that `f(graph, region, taken)` fills.
fn branch(
    g: &mut Graph,
    r: RegionId,
    cond: ValueId,
    dims: Vec<((usize, usize), SymbolId)>,
    mut f: impl FnMut(&mut Graph, RegionId, bool) -> Vec<ValueId>,
) -> Vec<ValueId> {
    let (then_region, else_region) = (g.add_region(), g.add_region());
    for (region, taken) in [(then_region, true), (else_region, false)] {
        g.regions[region].results = f(g, region, taken);
    }
    g.add(r, Op::If { then_region, else_region, dims }, vec![cond], "if").unwrap()
}

/// Iteration number, condition and carried values of a loop's body.
struct Params(Vec<ValueId>);

/// A loop over `trip`, whose body `f(graph, region, params)` gives condition, carried and
/// scanned results; `changing` lists carried axes with a dim of their own.
fn repeat(
    g: &mut Graph,
    r: RegionId,
    (trip, cond): (ValueId, ValueId),
    carried: &[ValueId],
    changing: &[(usize, usize)],
    f: impl FnOnce(&mut Graph, RegionId, Params) -> Vec<ValueId>,
) -> Vec<ValueId> {
    let body = g.add_region();
    let mut types: Vec<TensorType> = carried.iter().map(|v| g.tensor(*v).clone()).collect();
    let mut dims = vec![];
    for &(i, axis) in changing {
        let (inside, after) = (dynamic(g, "inside"), dynamic(g, "after"));
        types[i].shape[axis] = Dim::sym(inside);
        dims.push((inside, after));
    }
    let mut params = vec![
        g.add_param(body, "i", TensorType::fixed(DType::I64, &[])),
        g.add_param(body, "go", TensorType::fixed(DType::Bool, &[])),
    ];
    params.extend(types.into_iter().map(|ty| g.add_param(body, "c", ty)));
    g.regions[body].results = f(g, body, Params(params));
    let count = g.symbols.fresh("count", 0, 1000);
    let op = Op::Loop { body, carried: carried.len(), count, dims };
    let inputs = [trip, cond].into_iter().chain(carried.iter().copied()).collect();
    g.add(r, op, inputs, "loop").unwrap()
}

fn flag(x: bool) -> Arg {
    Arg::Input(t(&[], [x]))
}

fn trip(n: i64) -> Arg {
    Arg::Input(t(&[], [n]))
}

#[test]
fn branches_capture_values() {
    for taken in [true, false] {
        let args = vec![flag(taken), Arg::Named(pattern(&[3, 5], 1), &["B", ""])];
        check_graph(args, 1e-6, |g, v| {
            let before = unary(g, ROOT, UnaryOp::Exp, v[1]);
            let y = branch(g, ROOT, v[0], vec![], |g, r, then| {
                let op = if then { BinaryOp::Add } else { BinaryOp::Mul };
                let a = binary(g, r, op, before, v[1]);
                vec![unary(g, r, UnaryOp::Tanh, a), a]
            });
            vec![binary(g, ROOT, BinaryOp::Sub, y[0], before), y[1]]
        });
    }
}

/// What a branch hands out is an input, a constant, a formula, the same value twice.
#[test]
fn branches_hand_out_what_they_did_not_compute() {
    for taken in [true, false] {
        let args = vec![flag(taken), Arg::Input(pattern(&[4], 1)), Arg::Const(pattern(&[4], 2))];
        check_graph(args, 0.0, |g, v| {
            let twice = binary(g, ROOT, BinaryOp::Add, v[1], v[1]);
            branch(g, ROOT, v[0], vec![], |g, r, then| match then {
                true => vec![v[1], v[2], twice],
                false => {
                    let fill = Op::Fill { value: Scalar::f32(7.0), shape: vec![4.into()] };
                    let fill = g.add1(r, fill, vec![], "fill").unwrap();
                    let neg = unary(g, r, UnaryOp::Neg, v[1]);
                    let _ = fill;
                    vec![neg, neg, fill]
                }
            })
        });
    }
}

#[test]
fn branches_of_other_dims() {
    for taken in [true, false] {
        let args = vec![flag(taken), Arg::Named(pattern(&[3, 2], 1), &["B", ""])];
        check_graph(args, 1e-6, |g, v| {
            let n = dynamic(g, "n");
            let y = branch(g, ROOT, v[0], vec![((0, 0), n)], |g, r, then| match then {
                true => vec![g.add1(r, Op::Concat { axis: 0 }, vec![v[1], v[1]], "").unwrap()],
                false => vec![unary(g, r, UnaryOp::Neg, v[1])],
            });
            vec![unary(g, ROOT, UnaryOp::Exp, y[0]), y[0]]
        });
    }
}

#[test]
fn branches_inside_of_branches() {
    for (a, b) in [(true, true), (true, false), (false, true)] {
        let args = vec![flag(a), flag(b), Arg::Input(pattern(&[5], 1))];
        check_graph(args, 1e-6, |g, v| {
            branch(g, ROOT, v[0], vec![], |g, r, then| match then {
                true => branch(g, r, v[1], vec![], |g, r, then| {
                    let op = if then { UnaryOp::Exp } else { UnaryOp::Neg };
                    vec![unary(g, r, op, v[2])]
                }),
                false => vec![unary(g, r, UnaryOp::Tanh, v[2])],
            })
        });
    }
}

#[test]
fn a_constant_condition_leaves_one_branch() {
    for taken in [true, false] {
        let args = vec![Arg::Const(t(&[], [taken])), Arg::Named(pattern(&[3], 1), &["B"])];
        check_graph(args, 1e-6, |g, v| {
            let n = dynamic(g, "n");
            let y = branch(g, ROOT, v[0], vec![((0, 0), n)], |g, r, then| match then {
                true => vec![g.add1(r, Op::Concat { axis: 0 }, vec![v[1], v[1]], "").unwrap()],
                false => vec![unary(g, r, UnaryOp::Neg, v[1])],
            });
            vec![unary(g, ROOT, UnaryOp::Exp, y[0])]
        });
    }
}

/// `x ← tanh(x·w)`, its sums scanned; ends by count or by the sum.
#[test]
fn loops_carry_and_scan() {
    for (n, go) in [(0, true), (1, true), (4, true), (7, false), (1000, true)] {
        let args = vec![
            trip(n),
            flag(go),
            Arg::Named(pattern(&[3, 4], 1), &["B", ""]),
            Arg::Const(pattern(&[4, 4], 2)),
        ];
        check_graph(args, 1e-4, |g, v| {
            repeat(g, ROOT, (v[0], v[1]), &v[2..3], &[], |g, r, p| {
                let x = g.add1(r, Op::MatMul, vec![p.0[2], v[3]], "mm").unwrap();
                let x = unary(g, r, UnaryOp::Tanh, x);
                let sum = Op::Reduce { op: ReduceOp::Sum, axes: vec![1], keep_dims: false };
                let sum = g.add1(r, sum, vec![x], "sum").unwrap();
                let all = Op::Reduce { op: ReduceOp::Sum, axes: vec![0, 1], keep_dims: false };
                let size = unary(g, r, UnaryOp::Abs, x);
                let size = g.add1(r, all, vec![size], "all").unwrap();
                let least = number(g, r, 0.5);
                let go = binary(g, r, BinaryOp::Gt, size, least);
                let i = g.add1(r, Op::Cast { to: DType::F32 }, vec![p.0[0]], "i").unwrap();
                vec![go, x, sum, i, x]
            })
        });
    }
}

/// Carried values that change places, that stay, and rows that the body did not compute.
#[test]
fn loops_move_values() {
    for n in [0, 1, 2, 5] {
        let args = vec![
            trip(n),
            Arg::Input(pattern(&[4], 1)),
            Arg::Input(pattern(&[4], 2)),
            Arg::Const(pattern(&[2], 3)),
        ];
        check_graph(args, 0.0, |g, v| {
            let go = Op::Fill { value: Scalar::bool(true), shape: vec![] };
            let go = g.add1(ROOT, go, vec![], "go").unwrap();
            let zero = number(g, ROOT, 0.25);
            let carried = [v[1], v[2], v[1], zero];
            repeat(g, ROOT, (v[0], go), &carried, &[], |g, r, p| {
                let more = binary(g, r, BinaryOp::Add, p.0[5], p.0[5]);
                vec![p.0[1], p.0[3], p.0[2], p.0[4], more, v[3], p.0[0], p.0[2]]
            })
        });
    }
}

#[test]
fn carried_values_grow() {
    for n in [0, 1, 4] {
        let args = vec![trip(n), flag(true), Arg::Named(pattern(&[2, 3], 1), &["", "B"])];
        check_graph(args, 1e-6, |g, v| {
            let y = repeat(g, ROOT, (v[0], v[1]), &v[2..3], &[(0, 0)], |g, r, p| {
                let half = number(g, r, 0.5);
                let x = binary(g, r, BinaryOp::Mul, p.0[2], half);
                let longer = g.add1(r, Op::Concat { axis: 0 }, vec![x, v[2]], "cat").unwrap();
                let sum = Op::Reduce { op: ReduceOp::Sum, axes: vec![0], keep_dims: false };
                let sum = g.add1(r, sum, vec![longer], "sum").unwrap();
                vec![p.0[1], longer, sum]
            });
            vec![unary(g, ROOT, UnaryOp::Exp, y[0]), y[0], y[1]]
        });
    }
}

/// The elements above zero are counted anew in each iteration.
#[test]
fn data_dependent_dims_in_a_body() {
    for n in [0, 1, 3] {
        let args = vec![trip(n), flag(true), Arg::Named(pattern(&[11], 1), &["N"])];
        check_graph(args, 1e-6, |g, v| {
            repeat(g, ROOT, (v[0], v[1]), &v[2..3], &[(0, 0)], |g, r, p| {
                let zero = number(g, r, 0.0);
                let above = binary(g, r, BinaryOp::Gt, p.0[2], zero);
                let hits = dynamic(g, "hits");
                let at = g.add1(r, Op::NonZero { count: hits }, vec![above], "hits").unwrap();
                let flat = Op::Reshape { shape: vec![Dim::sym(hits)] };
                let at = g.add1(r, flat, vec![at], "flat").unwrap();
                let x = g.add1(r, Op::Gather { axis: 0 }, vec![p.0[2], at], "pick").unwrap();
                let less = number(g, r, 0.375);
                let x = binary(g, r, BinaryOp::Sub, x, less);
                let sum = Op::Reduce { op: ReduceOp::Sum, axes: vec![0], keep_dims: true };
                vec![p.0[1], x, g.add1(r, sum, vec![x], "sum").unwrap()]
            })
        });
    }
}

/// A loop in a loop, with a branch inside that reads all levels.
#[test]
fn loops_and_branches_inside_of_loops() {
    for (n, m) in [(3, 2), (2, 0), (0, 4)] {
        let args = vec![trip(n), trip(m), flag(true), Arg::Named(pattern(&[3], 1), &["B"])];
        check_graph(args, 1e-5, |g, v| {
            repeat(g, ROOT, (v[0], v[2]), &v[3..4], &[], |g, r, outer| {
                let scaled = unary(g, r, UnaryOp::Tanh, outer.0[2]);
                let inner = repeat(g, r, (v[1], outer.0[1]), &[scaled], &[], |g, r, p| {
                    let odd = binary(g, r, BinaryOp::Lt, p.0[0], outer.0[0]);
                    let y = branch(g, r, odd, vec![], |g, r, then| {
                        let other = if then { scaled } else { v[3] };
                        vec![binary(g, r, BinaryOp::Add, p.0[2], other)]
                    });
                    vec![p.0[1], y[0], y[0]]
                });
                let sum = Op::Reduce { op: ReduceOp::Sum, axes: vec![0], keep_dims: false };
                let rows = g.add1(r, sum, vec![inner[1]], "rows").unwrap();
                vec![outer.0[1], inner[0], rows]
            })
        });
    }
}

#[test]
fn a_loop_beyond_its_range_ends() {
    let e = refused(vec![trip(i64::MAX), flag(true), Arg::Input(pattern(&[2], 1))], |g, v| {
        repeat(g, ROOT, (v[0], v[1]), &v[2..], &[], |g, r, p| {
            vec![p.0[1], unary(g, r, UnaryOp::Tanh, p.0[2])]
        })
    });
    assert!(e.contains("'count' = 1001") && e.contains("0..=1000"), "{e}");
}

/// A check of a branch concerns only runs that take it.
#[test]
fn checks_of_a_branch_wait_for_it() {
    let build = |g: &mut Graph, v: Vec<ValueId>| {
        branch(g, ROOT, v[0], vec![], |g, r, then| match then {
            true => {
                let shape = vec![2.into(), 3.into()];
                let x = g.add1(r, Op::Reshape { shape }, vec![v[1]], "six").unwrap();
                let sum = Op::Reduce { op: ReduceOp::Sum, axes: vec![0], keep_dims: false };
                vec![g.add1(r, sum, vec![x], "sum").unwrap()]
            }
            false => {
                let fill = Op::Fill { value: Scalar::f32(1.0), shape: vec![3.into()] };
                vec![g.add1(r, fill, vec![], "ones").unwrap()]
            }
        })
    };
    let args = |taken, n: usize| vec![flag(taken), Arg::Named(pattern(&[n], 1), &["N"])];
    check_graph(args(true, 6), 1e-6, build);
    check_graph(args(false, 5), 1e-6, build);
    let e = refused(args(true, 5), build);
    assert!(e.contains("must equal"), "{e}");
}

#[test]
fn scans_in_both_directions_and_along_any_axis() {
    for len in [0usize, 1, 4] {
        for (axis, from_end, at, backwards) in
            [(0, false, 0, false), (1, true, 1, true), (2, false, 2, true)]
        {
            let mut dims = vec![3, 2];
            dims.insert(axis, len);
            let names: [&'static [&'static str]; 3] =
                [&["S", "", ""], &["", "S", ""], &["", "", "S"]];
            let x = Arg::Named(pattern(&dims, 1), names[axis]);
            check_graph(vec![Arg::Input(pattern(&[3, 2], 2)), x], 1e-5, |g, v| {
                let body = g.add_region();
                let ty = TensorType::fixed(DType::F32, &[3, 2]);
                let s = g.add_param(body, "s", ty.clone());
                let row = g.add_param(body, "row", ty);
                let next = binary(g, body, BinaryOp::Add, s, row);
                let out = unary(g, body, UnaryOp::Tanh, next);
                g.regions[body].results = vec![next, out];
                let (inputs, outputs) = (vec![(axis, from_end)], vec![(at, backwards)]);
                let attrs = ScanAttrs { body, states: 1, inputs, outputs };
                g.add(ROOT, Op::Scan(attrs), vec![v[0], v[1]], "scan").unwrap()
            });
        }
    }
}

/// A cache that a loop appends to.
#[test]
fn states_grow() {
    for n in [0, 1, 3] {
        let x = Arg::Named(pattern(&[2, 1, 3], 1), &["B", "", ""]);
        check_graph(vec![trip(n), flag(true), x], 1e-6, |g, v| {
            let mut ty = g.tensor(v[2]).clone();
            ty.shape[1] = 0.into();
            let s = Op::StateEmpty { ty: ty.clone(), axis: 1 };
            let s = g.add1(ROOT, s, vec![], "empty").unwrap();
            let body = g.add_region();
            let [_, go] = [DType::I64, DType::Bool]
                .map(|d| g.add_param(body, "p", TensorType::fixed(d, &[])));
            let kind = g.ty(s).clone();
            let p = g.add_param(body, "s", kind);
            let appended = g.add1(body, Op::StateAppend, vec![p, v[2]], "append").unwrap();
            let read = |g: &mut Graph, r, s, name: &str| {
                let length = g.symbols.fresh(name, 0, 64);
                let mut ty = ty.clone();
                ty.shape[1] = Dim::sym(length);
                g.add1(r, Op::StateRead { ty, length }, vec![s], "read").unwrap()
            };
            let held = read(g, body, appended, "len");
            let sum = Op::Reduce { op: ReduceOp::Sum, axes: vec![1], keep_dims: false };
            let row = g.add1(body, sum, vec![held], "sum").unwrap();
            g.regions[body].results = vec![go, appended, row];
            let count = g.symbols.fresh("count", 0, 1000);
            let op = Op::Loop { body, carried: 1, count, dims: vec![] };
            let out = g.add(ROOT, op, vec![v[0], v[1], s], "loop").unwrap();
            vec![read(g, ROOT, out[0], "total"), out[1]]
        });
    }
}

/// The branches read shapes from data.
#[test]
fn dims_bound_in_a_branch() {
    for taken in [true, false] {
        let args = vec![flag(taken), Arg::Input(pattern(&[6], 1)), Arg::Input(t(&[2], [2i64, 3]))];
        check_graph(args, 1e-6, |g, v| {
            let (a, b) = (dynamic(g, "a"), dynamic(g, "b"));
            let y =
                branch(g, ROOT, v[0], vec![((0, 0), a), ((0, 1), b)], |g, r, then| match then {
                    true => {
                        let (c, d) = (dynamic(g, "c"), dynamic(g, "d"));
                        let op = Op::BindDims { symbols: vec![c, d], mode: BindMode::Raw };
                        g.add(r, op, vec![v[2]], "bind").unwrap();
                        let shape = vec![Dim::sym(c), Dim::sym(d)];
                        vec![g.add1(r, Op::Reshape { shape }, vec![v[1]], "reshape").unwrap()]
                    }
                    false => {
                        let shape = vec![6.into(), 1.into()];
                        vec![g.add1(r, Op::Reshape { shape }, vec![v[1]], "reshape").unwrap()]
                    }
                });
            vec![unary(g, ROOT, UnaryOp::Exp, y[0])]
        });
    }
}
