//! Each rule of the verifier has a graph that breaks it, and all breaks are reported.

use cascata_ir::graph::{Const, Def, Graph, RegionId, ValueId};
use cascata_ir::op::*;
use cascata_ir::parse::parse;
use cascata_ir::types::*;
use cascata_ir::verify::verify;

fn errors(g: &Graph) -> Vec<String> {
    verify(g).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

/// Exactly one error, which contains every part.
fn one_error(g: &Graph, parts: &[&str]) {
    let found = errors(g);
    assert_eq!(found.len(), 1, "{found:#?}");
    for part in parts {
        assert!(found[0].contains(part), "'{part}' is not in: {}", found[0]);
    }
}

fn read(body: &str) -> Graph {
    let head = "graph \"g\" { symbol B in 1..=64 symbol n in 0..=9 data_dependent symbol m in 0..=9 data_dependent symbol t in 0..=9 data_dependent ";
    parse(&format!("{head}{body} }}")).expect("the text is a graph")
}

fn small() -> Graph {
    read(
        "body(%0 \"x\" : f32[B,3]) { %1 \"h\" = exp(%0) : f32[B,3] from \"Exp_1\" %2 = neg(%1) : f32[B,3] return %2 \"y\" }",
    )
}

#[test]
fn a_good_graph_passes() {
    assert_eq!(errors(&small()), Vec::<String>::new());
}

#[test]
fn use_before_definition_and_of_nothing() {
    let mut g = small();
    g.regions[Graph::ROOT].nodes.swap(0, 1);
    one_error(&g, &["neg n1", "%1 \"h\"", "before it is defined"]);
    let mut g = small();
    let (id, _) = g.nodes.iter().next().expect("a node");
    g.nodes[id].inputs = vec![ValueId(99)];
    one_error(&g, &["exp n0 'Exp_1'", "%99, which does not exist"]);
}

#[test]
fn scopes_end() {
    let g = read(
        "body(%0 : bool[], %1 : f32[B]) { %4 = if(%0) {then_region = region() { %2 \"inner\" = exp(%1) : f32[B] return %2 }, else_region = region() { return %1 }, dims = []} : f32[B] %3 = neg(%2) : f32[B] return %3 \"y\", %4 \"z\" }",
    );
    one_error(&g, &["neg", "\"inner\"", "region that has ended"]);
}

#[test]
fn definitions_are_single_and_agree() {
    let mut g = small();
    let (id, _) = g.nodes.iter().nth(1).expect("a node");
    g.nodes[id].outputs = vec![ValueId(1)];
    let found = errors(&g);
    assert!(found.iter().any(|e| e.contains("again")), "{found:#?}");
    assert!(found.iter().any(|e| e.contains("but the value says")), "{found:#?}");
    let mut g = small();
    g.values[ValueId(0)].def = Def::Param(RegionId(7), 0);
    one_error(&g, &["defines %0", "but the value says"]);
    let mut g = small();
    let first = g.root().nodes[0];
    g.regions[Graph::ROOT].nodes.push(first);
    one_error(&g, &["listed twice"]);
}

#[test]
fn types_are_the_inferred_ones() {
    let mut g = small();
    g.values[ValueId(1)].ty = TensorType::fixed(DType::F32, &[4, 3]).into();
    let found = errors(&g);
    assert!(found[0].contains("%1 \"h\" has type f32[4,3], inferred is f32[B,3]"), "{found:#?}");
    let mut g = small();
    let (id, _) = g.nodes.iter().next().expect("a node");
    g.nodes[id].op = Op::Binary(BinaryOp::Add);
    one_error(&g, &["takes 2 operands, got 1"]);
}

#[test]
fn everything_is_reported_at_once() {
    let mut g = small();
    g.output_names.push("y".into());
    g.values[ValueId(1)].ty = TensorType::fixed(DType::F16, &[4]).into();
    g.symbols.get_mut(SymbolId(0)).min = 100;
    g.symbols.intern("not a name");
    let found = errors(&g);
    for part in ["empty", "'not a name'", "2 names for 1 results", "'y' is used twice", "f16[4]"] {
        assert!(found.iter().any(|e| e.contains(part)), "'{part}' is not in {found:#?}");
    }
}

#[test]
fn symbols_are_bound_before_use_and_once() {
    let g = read(
        "body(%0 : f32[B]) { %1 = fill() {value = f32(0.0), shape = [n]} : f32[n] %2 = non_zero(%0) {count = n} : i64[1,n] return %2 \"y\" }",
    );
    let found = errors(&g);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        found.iter().all(|e| e.contains("fill") && e.contains("symbol n, which is not bound here")),
        "{found:#?}"
    );
    let g = read(
        "body(%0 : f32[B]) { %1 = non_zero(%0) {count = n} : i64[1,n] %2 = non_zero(%0) {count = n} : i64[1,n] return %2 \"y\" }",
    );
    one_error(&g, &["binds symbol n, which is bound already"]);
    let g = read("body(%0 : f32[n]) { return %0 \"y\" }");
    one_error(&g, &["symbol n, which is not bound here"]);
    // Bound in a branch, used after it.
    let g = read(
        "body(%0 : bool[], %1 : f32[B], %2 : i64[1]) { %5 = if(%0) {then_region = region() { bind_dims(%2) {symbols = [n], mode = raw} %3 = fill() {value = f32(0.0), shape = [n]} : f32[n] return %3 }, else_region = region() { bind_dims(%2) {symbols = [m], mode = raw} %4 = fill() {value = f32(0.0), shape = [m]} : f32[m] return %4 }, dims = []} : f32[n] return %5 \"y\" }",
    );
    let found = errors(&g);
    assert!(found.iter().any(|e| e.contains("results of the branches")), "{found:#?}");
    assert!(found.iter().any(|e| e.contains("symbol n, which is not bound here")), "{found:#?}");
}

fn state(body: &str) -> Graph {
    read(&format!(
        "body(%0 : bool[], %1 : f32[B,1,4], %2 : i64[]) {{ %3 \"s\" = state_empty() {{ty = f32[B,0,4], axis = 1}} : resource<state> {body} }}"
    ))
}

#[test]
fn resources_are_linear() {
    let g = state(
        "%4 = state_append(%3, %1) : resource<state> %5 = state_append(%3, %1) : resource<state> return",
    );
    one_error(&g, &["%3 \"s\"", "has used up"]);
    let g = state(
        "%4 = state_append(%3, %1) : resource<state> %5 = state_read(%3) {ty = f32[B,n,4], length = n} : f32[B,n,4] return",
    );
    one_error(&g, &["state_read", "has used up"]);
    let g = state(
        "%5 = state_read(%3) {ty = f32[B,n,4], length = n} : f32[B,n,4] %4 = state_append(%3, %1) : resource<state> return",
    );
    assert_eq!(errors(&g), Vec::<String>::new());
    // One of two branches runs: both may consume.
    let branch = "region() { %A = state_append(%3, %1) : resource<state> return %A }";
    let both = format!(
        "%8 = if(%0) {{then_region = {}, else_region = {}, dims = []}} : resource<state> return %8 \"s\"",
        branch.replace("%A", "%6"),
        branch.replace("%A", "%7")
    );
    assert_eq!(errors(&state(&both)), Vec::<String>::new());
    let g =
        state(&both.replace("return %8", "%9 = state_append(%3, %1) : resource<state> return %8"));
    one_error(&g, &["has used up"]);
    // A loop runs more than once: it may not.
    let g = state(
        "%9 = loop(%2, %0, %1) {body = region(%5 : i64[], %6 : bool[], %7 : f32[B,1,4]) { %8 = state_append(%3, %7) : resource<state> return %6, %7 }, carried = 1, count = n, dims = []} : f32[B,1,4] return %9 \"y\"",
    );
    one_error(&g, &["%3 \"s\" of outside its loop", "carry it through"]);
}

#[test]
fn what_is_appended_fits_the_state() {
    let g = state(
        "%4 = fill() {value = f32(0.0), shape = [B, 1, 5]} : f32[B,1,5] %5 = state_append(%3, %4) : resource<state> return %5 \"s\"",
    );
    one_error(&g, &["f32[B,1,5] does not fit the state f32[B,0,4]"]);
    let g = state("%5 = state_read(%3) {ty = f32[n,7,4], length = n} : f32[n,7,4] return %5 \"s\"");
    let found = errors(&g);
    assert!(found.iter().any(|e| e.contains("the dim at axis 1")), "{found:#?}");
}

#[test]
fn regions_have_one_owner() {
    let (mut g, cond) = (Graph::new("g"), TensorType::fixed(DType::Bool, &[]));
    let c = g.add_param(Graph::ROOT, "c", cond);
    let r = g.add_region();
    g.add_node_typed(
        Graph::ROOT,
        Op::If { then_region: r, else_region: r, dims: vec![] },
        vec![c],
        vec![],
        "twice",
    );
    one_error(&g, &["if n0 'twice'", "owns region r1, which n0 owns"]);
    let mut g2 = g.clone();
    let id = g2.root().nodes[0];
    g2.nodes[id].op = Op::Group { kind: GroupKind::Map, body: Graph::ROOT };
    one_error(&g2, &["owns the body of the graph"]);
    g2.nodes[id].op = Op::Group { kind: GroupKind::Map, body: RegionId(77) };
    one_error(&g2, &["r77, which does not exist"]);
    // A region that owns itself is met once.
    g2.nodes[id].op = Op::Group { kind: GroupKind::Map, body: r };
    g2.nodes[id].inputs.clear();
    g2.regions[r].nodes.push(id);
    one_error(&g2, &["listed twice"]);
}

#[test]
fn constants_have_their_bytes() {
    let mut g = small();
    let mut push = |ty: TensorType, len: usize| {
        g.consts.push(Const { name: "w".into(), ty, data: vec![0; len].into() });
    };
    push(TensorType::fixed(DType::F32, &[2, 3]), 23);
    push(TensorType::dense(DType::F32, vec![Dim::sym(SymbolId(0))]), 4);
    push(
        TensorType {
            encoding: Encoding::Quant(QuantFormat::Q4_0),
            ..TensorType::fixed(DType::F32, &[31])
        },
        18,
    );
    push(TensorType::fixed(DType::F64, &[2, 3]), 48);
    let found = errors(&g);
    assert_eq!(found.len(), 4, "{found:#?}");
    for part in ["takes 24 bytes, the data has 23", "known number", "multiple of 32"] {
        assert!(found.iter().any(|e| e.contains(part)), "'{part}' is not in {found:#?}");
    }
}

#[test]
fn deep_nesting_is_an_error_not_a_crash() {
    let mut g = Graph::new("deep");
    let mut at = Graph::ROOT;
    for _ in 0..100_000 {
        let body = g.add_region();
        g.add_node_typed(at, Op::Group { kind: GroupKind::Map, body }, vec![], vec![], "");
        at = body;
    }
    assert!(errors(&g).iter().any(|e| e.contains("nested more than")));
    let _ = cascata_ir::print::print(&g, Default::default());
}

#[test]
fn dims_of_branches_and_loops() {
    let branch = |dims: &str, ty: &str| {
        read(&format!(
            "body(%0 : bool[], %1 : f32[B], %2 : f32[3]) {{ %4 = if(%0) {{then_region = region() {{ return %1 }}, else_region = region() {{ return %2 }}, dims = [{dims}]}} : {ty} return %4 \"y\" }}"
        ))
    };
    assert_eq!(errors(&branch("((0, 0), n)", "f32[n]")), Vec::<String>::new());
    one_error(&branch("", "f32[B]"), &["results of the branches", "f32[B]", "f32[3]"]);
    one_error(&branch("((0, 1), n)", "f32[n]"), &["result 0 has no axis 1"]);
    one_error(&branch("((1, 0), n)", "f32[n]"), &["result 1 has no axis 0"]);
    one_error(&branch("((0, 0), n)", "f32[3]"), &["inferred is f32[n]"]);
    let found = errors(&branch("((0, 0), B)", "f32[B]"));
    assert!(found.iter().any(|e| e.contains("not data-dependent")), "{found:#?}");
    let repeat = |param: &str, dims: &str| {
        read(&format!(
            "body(%0 : i64[], %1 : bool[], %2 : f32[B,B]) {{ %7 = loop(%0, %1, %2) {{body = region(%3 : i64[], %4 : bool[], %5 : {param}) {{ %6 = concat(%5, %5) {{axis = 0}} : f32[2*n,B] return %4, %6 }}, carried = 1, count = t, dims = [{dims}]}} : f32[m,B] return %7 \"y\" }}"
        ))
    };
    assert_eq!(errors(&repeat("f32[n,B]", "(n, m)")), Vec::<String>::new());
    let found = errors(&repeat("f32[B,B]", "(n, m)"));
    assert!(found.iter().any(|e| e.contains("n is not one dim of one carried")), "{found:#?}");
    let found = errors(&repeat("f32[n,n]", "(n, m)"));
    assert!(found.iter().any(|e| e.contains("n is not one dim of one carried")), "{found:#?}");
    let found = errors(&repeat("f32[n,B]", ""));
    assert!(found.iter().any(|e| e.contains("which is not bound here")), "{found:#?}");
}

#[test]
fn checks_are_over_symbols_of_their_region() {
    let g = read(
        "body(%0 : bool[], %1 : f32[B]) { check n == 3 : \"outside\" %3 = if(%0) {then_region = region() { %2 = non_zero(%1) {count = n} : i64[1,n] return %1 }, else_region = region() { return %1 }, dims = []} : f32[B] return %3 \"y\" }",
    );
    one_error(&g, &["body", "a check uses symbol n, which is not bound here"]);
}
