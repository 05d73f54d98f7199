//! Strings: moved and compared as ids, computed on the host, through branches and loops.

use super::*;
use cascata_ir::op::{BinaryOp, BindMode, ReduceOp};
use cascata_types::{DType, Scalar};

fn texts(dims: &[usize], values: &[&str]) -> Tensor {
    t(dims, values.iter().map(|s| s.to_string()).collect::<Vec<String>>())
}

/// Empty, equal, with letters of several bytes.
fn words() -> Tensor {
    texts(&[2, 3], &["one", "", "two  three", "ÉTÉ", "one", "漢字 x"])
}

fn other_words() -> Tensor {
    texts(&[2, 3], &["one", "", "two", "été", "x", "漢字 x"])
}

#[test]
fn moved_and_compared() {
    for constant in [false, true] {
        let (a, b) = (words(), other_words());
        let a = if constant { Arg::Const(a) } else { Arg::Named(a, &["n", ""]) };
        let index = t(&[2], [-1i64, 0]);
        check_graph(vec![a, Arg::Input(b), Arg::Input(index)], 0.0, |g, v| {
            let one = |g: &mut Graph, op, inputs| g.add1(Graph::ROOT, op, inputs, "op").unwrap();
            let same = one(g, Op::Binary(BinaryOp::Eq), vec![v[0], v[1]]);
            let different = one(g, Op::Binary(BinaryOp::Ne), vec![v[0], v[1]]);
            let chosen = one(g, Op::Select, vec![same, v[0], v[1]]);
            let turned = one(g, Op::Transpose { perm: vec![1, 0] }, vec![v[0]]);
            let both = one(g, Op::Concat { axis: 1 }, vec![v[0], v[1]]);
            let picked = one(g, Op::Gather { axis: 1 }, vec![both, v[2]]);
            vec![same, different, chosen, turned, picked, v[1]]
        });
    }
}

#[test]
fn of_one_element() {
    let number = || texts(&[], &["one"]);
    check_graph(vec![Arg::Const(number()), Arg::Input(words())], 0.0, |g, v| {
        let same = Op::Binary(BinaryOp::Eq);
        let same = g.add1(Graph::ROOT, same, vec![v[0], v[1]], "same").unwrap();
        vec![same, v[0]]
    });
}

#[test]
fn computed() {
    let pattern = r"[a-z]+|(\w*\s*)+".to_string();
    let ops = [
        Op::TextCase { upper: true },
        Op::TextCase { upper: false },
        Op::TextMatch { pattern },
        Op::TextCount { delimiter: String::new(), at_most: u64::MAX },
        Op::TextCount { delimiter: "e".into(), at_most: 1 },
        Op::TextSplit { delimiter: " ".into(), at_most: u64::MAX, parts: 2.into() },
    ];
    for op in ops {
        check(op.clone(), vec![Arg::Named(words(), &["n", "m"])], 0.0);
        check(op, vec![Arg::Const(words())], 0.0);
    }
    check(Op::TextConcat, vec![Arg::Input(words()), Arg::Const(other_words())], 0.0);
    let none = || texts(&[0, 3], &[]);
    check(
        Op::TextConcat,
        vec![Arg::Named(none(), &["n", ""]), Arg::Named(none(), &["n", ""])],
        0.0,
    );
}

/// As many parts as the string with the most has.
#[test]
fn split_into_what_the_data_say() {
    check_graph(vec![Arg::Named(words(), &["n", ""])], 0.0, |g, v| {
        let r = Graph::ROOT;
        let (delimiter, at_most) = (String::new(), u64::MAX);
        let count = Op::TextCount { delimiter: delimiter.clone(), at_most };
        let counts = g.add1(r, count, vec![v[0]], "count").unwrap();
        let most = Op::Reduce { op: ReduceOp::Max, axes: vec![0, 1], keep_dims: false };
        let most = g.add1(r, most, vec![counts], "most").unwrap();
        let most = g.add1(r, Op::Reshape { shape: vec![1.into()] }, vec![most], "one").unwrap();
        let parts = bound(&mut g.symbols, "parts", 1 << 20);
        let bind = Op::BindDims { symbols: vec![parts], mode: BindMode::Raw };
        g.add(r, bind, vec![most], "bind").unwrap();
        let split = Op::TextSplit { delimiter, at_most, parts: Dim::sym(parts) };
        vec![g.add1(r, split, vec![v[0]], "split").unwrap(), counts]
    });
}

/// `if c { a + b } else { b }`, then `s + b` three times in a loop.
#[test]
fn through_branches_and_loops() {
    for c in [true, false] {
        let args = vec![Arg::Input(words()), Arg::Input(other_words()), Arg::Input(t(&[], [c]))];
        check_graph(args, 0.0, |g, v| {
            let r = Graph::ROOT;
            let (then_region, else_region) = (g.add_region(), g.add_region());
            let joined = g.add1(then_region, Op::TextConcat, vec![v[0], v[1]], "join").unwrap();
            g.regions[then_region].results = vec![joined];
            g.regions[else_region].results = vec![v[1]];
            let op = Op::If { then_region, else_region, dims: vec![] };
            let chosen = g.add1(r, op, vec![v[2]], "if").unwrap();
            let number = |g: &mut Graph, value| {
                g.add1(r, Op::Fill { value, shape: vec![] }, vec![], "number").unwrap()
            };
            let trip = number(g, Scalar::i64(3));
            let go = number(g, Scalar::bool(true));
            let body = g.add_region();
            g.add_param(body, "i", TensorType::fixed(DType::I64, &[]));
            let going = g.add_param(body, "going", TensorType::fixed(DType::Bool, &[]));
            let s = g.add_param(body, "s", g.tensor(chosen).clone());
            let next = g.add1(body, Op::TextConcat, vec![s, v[1]], "next").unwrap();
            g.regions[body].results = vec![going, next, s];
            let count = bound(&mut g.symbols, "count", 1 << 20);
            let op = Op::Loop { body, carried: 1, count, dims: vec![] };
            let mut results = g.add(r, op, vec![trip, go, chosen], "loop").unwrap();
            results.push(chosen);
            results
        });
    }
}
