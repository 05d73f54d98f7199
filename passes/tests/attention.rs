//! Attention as exporters write it, with symbolic sizes: one op is left, and it computes the same.

mod encoder;

use cascata_ir::graph::Graph;
use cascata_ir::interp::{self, Tensor};
use cascata_ir::op::{AttentionAttrs, Op};
use cascata_ir::parse::parse;
use cascata_ir::types::{DType, SymbolId};
use cascata_ir::verify::verify;
use cascata_passes::pipeline::{Options, optimise};
use encoder::count;

const SYMBOLS: &str = "symbol B in 1..=8\n symbol P in 0..=16\n symbol S in 1..=16\n";

/// Data for B = 2 and the sizes of past and present that are given.
fn inputs(graph: &Graph, past: i64, present: i64) -> Vec<Tensor> {
    let bind = |s: SymbolId| Some([2, past, present][s.0 as usize]);
    let mut state = 5u64;
    let mut number = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f64 / (1u64 << 23) as f64 - 1.0
    };
    let tensor = |v: &_| {
        let ty = graph.tensor(*v);
        let dims = ty.shape.iter().map(|d| d.eval(&bind).expect("bound") as usize);
        let dims: Vec<usize> = dims.collect();
        let n: usize = dims.iter().product();
        match ty.dtype {
            DType::Bool => {
                let bits: Vec<i128> = (0..n).map(|_| (number() > -0.3) as i128).collect();
                Tensor::from_i128(DType::Bool, &dims, &bits).expect("sizes agree")
            }
            dtype => {
                let values = (0..n).map(|_| number()).collect();
                Tensor::from_f64(dtype, &dims, values).expect("sizes agree")
            }
        }
    };
    graph.inputs().iter().map(tensor).collect()
}

/// Optimises, compares on several sizes, and gives the one attention op that is left, the
/// number of its operands and the heads of its keys.
fn recognised(constants: &str, body: &str) -> (AttentionAttrs, usize, i64) {
    let text = format!("graph \"attention\" {{\n {SYMBOLS} {constants}\n {body}\n}}");
    let source = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    verify(&source).unwrap_or_else(|e| panic!("{}\n{text}", e[0]));
    let mut graph = source.clone();
    let options = Options { verify: true, ..Options::default() };
    optimise(&mut graph, &options, &mut |_, _| {}).expect("the pipeline runs");
    for (past, present) in [(0, 1), (0, 5), (4, 1), (3, 4)] {
        let data = inputs(&source, past, present);
        let (a, b) = (interp::run(&source, &data).unwrap(), interp::run(&graph, &data).unwrap());
        assert_eq!(a[0].dims(), b[0].dims());
        for (x, y) in a[0].to_f64().unwrap().iter().zip(b[0].to_f64().unwrap()) {
            assert!((x - y).abs() < 1e-5 || x.is_nan() && y.is_nan(), "{x} and {y}");
        }
    }
    assert_eq!((count(&graph, "softmax"), count(&graph, "matmul")), (0, 0));
    let nodes = graph.regions.values().flat_map(|r| &r.nodes).map(|n| &graph.nodes[*n]);
    let all: Vec<_> = nodes.filter(|n| matches!(n.op, Op::Attention(_))).collect();
    let [node] = all[..] else { panic!("{} attentions", all.len()) };
    let Op::Attention(attrs) = &node.op else { unreachable!() };
    let heads = graph.tensor(node.inputs[1]).shape[1].as_const().expect("a number");
    (attrs.clone(), node.inputs.len(), heads)
}

/// `true` on and below the diagonal.
fn triangle(n: usize) -> String {
    let bits: Vec<&str> =
        (0..n * n).map(|i| if i % n <= i / n { "true" } else { "false" }).collect();
    format!("const c0 \"bias\" : bool[1,1,{n},{n}] = dense<{}>", bits.join(", "))
}

#[test]
fn gpt2_cuts_a_window_out_of_a_constant_triangle() {
    let (attrs, operands, _) = recognised(
        &triangle(32),
        r#"body(%0 "q" : f32[B,4,S,8], %1 "past_k" : f32[B,4,P,8], %2 "k" : f32[B,4,S,8], %3 "v" : f32[B,4,P+S,8]) {
            %4 = concat(%1, %2) {axis = 2} : f32[B,4,P+S,8]
            %5 = transpose(%4) {perm = [0, 1, 3, 2]} : f32[B,4,8,P+S]
            %6 = matmul(%0, %5) : f32[B,4,S,P+S]
            %7 = fill() {value = f32(2.828427), shape = []} : f32[]
            %8 = div(%6, %7) : f32[B,4,S,P+S]
            %9 = const() {value = c0} : bool[1,1,32,32]
            %10 = slice(%9) {ranges = [(2, P, S, 1), (3, 0, P+S, 1)]} : bool[1,1,S,P+S]
            %11 = fill() {value = f32(-3.4028235e38), shape = []} : f32[]
            %12 = select(%10, %8, %11) : f32[B,4,S,P+S]
            %13 = softmax(%12) {axis = 3} : f32[B,4,S,P+S]
            %14 = matmul(%13, %3) : f32[B,4,S,8]
            return %14 "y"
        }"#,
    );
    assert!(attrs.causal);
    assert_eq!(operands, 3, "no mask is left");
}

#[test]
fn llama_repeats_heads_and_compares_positions() {
    let (attrs, operands, heads) = recognised(
        "",
        r#"body(%0 "q" : f32[B,4,S,8], %1 "k" : f32[B,2,P+S,8], %2 "v" : f32[B,2,P+S,8], %99 "past" : f32[P]) {
            %3 = reshape(%1) {shape = [B, 2, 1, P+S, 8]} : f32[B,2,1,P+S,8]
            %4 = broadcast(%3) {shape = [B, 2, 2, P+S, 8]} : f32[B,2,2,P+S,8]
            %5 = reshape(%4) {shape = [B, 4, P+S, 8]} : f32[B,4,P+S,8]
            %6 = reshape(%2) {shape = [B, 2, 1, P+S, 8]} : f32[B,2,1,P+S,8]
            %7 = concat(%6, %6) {axis = 2} : f32[B,2,2,P+S,8]
            %8 = reshape(%7) {shape = [B, 4, P+S, 8]} : f32[B,4,P+S,8]
            %9 = transpose(%5) {perm = [0, 1, 3, 2]} : f32[B,4,8,P+S]
            %10 = matmul(%0, %9) : f32[B,4,S,P+S]
            %11 = fill() {value = f32(0.35355338), shape = []} : f32[]
            %12 = mul(%10, %11) : f32[B,4,S,P+S]
            %13 = iota() {dtype = i64, shape = [P+S], axis = 0} : i64[P+S]
            %14 = iota() {dtype = i64, shape = [S], axis = 0} : i64[S]
            %15 = dim_values() {dims = [P], scalar = true} : i64[]
            %16 = add(%14, %15) : i64[S]
            %17 = reshape(%16) {shape = [S, 1]} : i64[S,1]
            %18 = gt(%13, %17) : bool[S,P+S]
            %19 = fill() {value = f32(-3.4028235e38), shape = []} : f32[]
            %20 = fill() {value = f32(0.0), shape = []} : f32[]
            %21 = select(%18, %19, %20) : f32[S,P+S]
            %22 = reshape(%21) {shape = [1, 1, S, P+S]} : f32[1,1,S,P+S]
            %23 = add(%12, %22) : f32[B,4,S,P+S]
            %24 = softmax(%23) {axis = 3} : f32[B,4,S,P+S]
            %25 = matmul(%24, %8) : f32[B,4,S,8]
            return %25 "y"
        }"#,
    );
    assert!(attrs.causal);
    assert_eq!((operands, heads), (3, 2));
}

#[test]
fn opt_merges_batch_and_heads_around_the_mask() {
    let (_, operands, _) = recognised(
        "",
        r#"body(%0 "q" : f32[4*B,S,8], %1 "k" : f32[4*B,S,8], %2 "v" : f32[4*B,S,8], %3 "mask" : f32[B,1,S,S]) {
            %4 = fill() {value = f32(0.5), shape = []} : f32[]
            %5 = mul(%0, %4) : f32[4*B,S,8]
            %6 = transpose(%1) {perm = [0, 2, 1]} : f32[4*B,8,S]
            %7 = matmul(%5, %6) : f32[4*B,S,S]
            %8 = reshape(%7) {shape = [B, 4, S, S]} : f32[B,4,S,S]
            %9 = add(%8, %3) : f32[B,4,S,S]
            %10 = reshape(%9) {shape = [4*B, S, S]} : f32[4*B,S,S]
            %11 = softmax(%10) {axis = 2} : f32[4*B,S,S]
            %12 = matmul(%11, %2) : f32[4*B,S,8]
            %13 = reshape(%12) {shape = [B, 4, S, 8]} : f32[B,4,S,8]
            return %13 "y"
        }"#,
    );
    assert_eq!(operands, 4);
}

#[test]
fn sdpa_scales_both_sides_and_guards_empty_rows() {
    let (attrs, operands, _) = recognised(
        "",
        r#"body(%0 "q" : f32[B,4,S,8], %1 "k" : f32[B,4,P+S,8], %2 "v" : f32[B,4,P+S,8], %3 "mask" : bool[B,1,S,P+S], %99 "past" : f32[P]) {
            %4 = fill() {value = f32(0.59460354), shape = []} : f32[]
            %5 = mul(%0, %4) : f32[B,4,S,8]
            %6 = transpose(%1) {perm = [0, 1, 3, 2]} : f32[B,4,8,P+S]
            %7 = mul(%6, %4) : f32[B,4,8,P+S]
            %8 = matmul(%5, %7) : f32[B,4,S,P+S]
            %9 = fill() {value = f32(0.0), shape = []} : f32[]
            %10 = fill() {value = f32(-inf), shape = []} : f32[]
            %11 = select(%3, %9, %10) : f32[B,1,S,P+S]
            %12 = add(%8, %11) : f32[B,4,S,P+S]
            %13 = softmax(%12) {axis = 3} : f32[B,4,S,P+S]
            %14 = is_nan(%13) : bool[B,4,S,P+S]
            %15 = select(%14, %9, %13) : f32[B,4,S,P+S]
            %16 = matmul(%15, %2) : f32[B,4,S,8]
            return %16 "y"
        }"#,
    );
    assert!(attrs.zero_masked_rows && !attrs.causal);
    assert!((attrs.scale.to_f64() - 0.35355338).abs() < 1e-6, "{:?}", attrs.scale);
    assert_eq!(operands, 4);
}

#[test]
fn alibi_and_padding_are_one_mask() {
    let (attrs, operands, _) = recognised(
        "",
        r#"body(%0 "q" : f32[B,4,S,8], %1 "k" : f32[B,4,8,S], %2 "v" : f32[B,4,S,8], %3 "alibi" : f32[1,4,1,S], %4 "shown" : bool[B,1,1,S]) {
            %5 = matmul(%0, %1) : f32[B,4,S,S]
            %6 = add(%5, %3) : f32[B,4,S,S]
            %7 = fill() {value = f32(-inf), shape = []} : f32[]
            %8 = select(%4, %6, %7) : f32[B,4,S,S]
            %9 = softmax(%8) {axis = 3} : f32[B,4,S,S]
            %10 = matmul(%9, %2) : f32[B,4,S,8]
            return %10 "y"
        }"#,
    );
    assert!(!attrs.causal);
    assert_eq!(operands, 4);
}
