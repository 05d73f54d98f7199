//! Scans become loops, states tensors, and branches that are always taken are inlined:
//! the interpreter gives the same before and after.

use cascata_ir::graph::Graph;
use cascata_ir::interp::{Tensor, run};
use cascata_ir::op::Op;
use cascata_ir::parse::parse;
use cascata_ir::types::ValueType;
use cascata_ir::verify::verify;
use cascata_passes::control::{inline, lower};

fn count(graph: &Graph, is: fn(&Op) -> bool) -> usize {
    let nodes = graph.regions.values().flat_map(|r| &r.nodes);
    nodes.filter(|n| is(&graph.nodes[**n].op)).count()
}

/// The graph after `pass`, which must verify and compute the same.
fn same(text: &str, inputs: &[&[Tensor]], pass: fn(&mut Graph) -> usize) -> Graph {
    let before = parse(text).unwrap();
    verify(&before).unwrap();
    let mut after = before.clone();
    assert!(pass(&mut after) > 0, "nothing was replaced");
    verify(&after).unwrap_or_else(|e| panic!("{e:#?}"));
    for inputs in inputs {
        assert_eq!(run(&before, inputs).unwrap(), run(&after, inputs).unwrap());
    }
    after
}

fn lowered(graph: &mut Graph) -> usize {
    lower(graph).unwrap()
}

fn inlined(graph: &mut Graph) -> usize {
    inline(graph).unwrap()
}

fn matrix(rows: usize, columns: usize) -> Tensor {
    let values: Vec<f32> = (0..rows * columns).map(|i| i as f32 * 0.5 - 1.0).collect();
    Tensor::new(&[rows, columns], values).unwrap()
}

#[test]
fn a_scan_is_a_loop_over_slices() {
    for (input, output) in [("(0, false)", "(0, false)"), ("(1, true)", "(1, true)")] {
        let forward = input.starts_with("(0");
        let (x, rows) = if forward { ("f32[S,3]", "f32[S,3]") } else { ("f32[3,S]", "f32[3,S]") };
        let text = format!(
            "graph \"g\" {{ symbol S in 0..=9 body(%0 \"s\" : f32[3], %1 \"x\" : {x}) {{
               %6, %7 = scan(%0, %1) {{body = region(%2 : f32[3], %3 : f32[3]) {{
                 %4 = add(%2, %3) : f32[3]
                 %5 = neg(%4) : f32[3]
                 return %4, %5
               }}, states = 1, inputs = [{input}], outputs = [{output}]}} : f32[3], {rows}
               return %6 \"s\", %7 \"y\" }} }}"
        );
        let start = Tensor::vector(vec![1f32, 2., 3.]);
        let sequences = [0, 1, 4].map(|n| if forward { matrix(n, 3) } else { matrix(3, n) });
        let inputs = sequences.map(|x| [start.clone(), x]);
        let inputs: Vec<&[Tensor]> = inputs.iter().map(|i| i.as_slice()).collect();
        let after = same(&text, &inputs, lowered);
        assert_eq!(count(&after, |op| matches!(op, Op::Scan(_))), 0);
        assert_eq!(count(&after, |op| matches!(op, Op::Loop { .. })), 1);
    }
}

#[test]
fn a_state_is_a_tensor_whose_dim_changes() {
    let text = "graph \"g\" {
      symbol len in 0..=64 data_dependent
      symbol total in 0..=64 data_dependent
      symbol trips in 0..=64 data_dependent
      body(%0 \"n\" : i64[], %1 \"go\" : bool[], %2 \"x\" : f32[2,1]) {
        %3 = state_empty() {ty = f32[2,0], axis = 1} : resource<state>
        %4 = if(%1) {then_region = region() {
          %5 = state_append(%3, %2) : resource<state>
          return %5
        }, else_region = region() { return %3 }, dims = []} : resource<state>
        %12, %13 = loop(%0, %1, %4) {body = region(%6 : i64[], %7 : bool[], %8 : resource<state>) {
          %9 = state_append(%8, %2) : resource<state>
          %10 = state_read(%9) {ty = f32[2,len], length = len} : f32[2,len]
          %11 = reduce(%10) {op = sum, axes = [1], keep_dims = false} : f32[2]
          return %7, %9, %11
        }, carried = 1, count = trips, dims = []} : resource<state>, f32[trips,2]
        %14 = state_read(%12) {ty = f32[2,total], length = total} : f32[2,total]
        return %14 \"held\", %13 \"sums\" } }";
    let given = [(3i64, true), (0, true), (2, false)]
        .map(|(n, go)| [Tensor::scalar(n), Tensor::scalar(go), matrix(2, 1)]);
    let inputs: Vec<&[Tensor]> = given.iter().map(|i| i.as_slice()).collect();
    let after = same(text, &inputs, lowered);
    assert!(!after.values.values().any(|v| matches!(v.ty, ValueType::Resource(_))));
}

/// A branch on `cond`, where `%2` is a constant of this value.
fn branch(cond: &str, value: bool) -> String {
    format!(
        "graph \"g\" {{
          symbol N in 1..=9
          symbol n in 0..=18 data_dependent
          body(%0 \"c\" : bool[], %1 \"x\" : f32[N]) {{
            %2 = fill() {{value = bool({value}), shape = []}} : bool[]
            %5 = if({cond}) {{then_region = region() {{
              check N == 2 : \"two\"
              %3 = concat(%1, %1) {{axis = 0}} : f32[2*N]
              return %3
            }}, else_region = region() {{
              %4 = neg(%1) : f32[N]
              return %4
            }}, dims = [((0, 0), n)]}} : f32[n]
            %6 = exp(%5) : f32[n]
            return %6 \"y\" }} }}"
    )
}

#[test]
fn a_branch_that_is_always_taken_is_inlined_with_its_checks() {
    let x = |n: usize| Tensor::vector((0..n).map(|i| i as f32).collect());
    let go = Tensor::scalar(true);
    let after = same(&branch("%2", true), &[&[go.clone(), x(2)]], inlined);
    assert_eq!(count(&after, |op| matches!(op, Op::If { .. })), 0);
    let refused = run(&after, &[go.clone(), x(3)]).unwrap_err().to_string();
    assert!(refused.contains("two"), "{refused}");
    let after = same(&branch("%2", false), &[&[go.clone(), x(3)]], inlined);
    assert!(after.root().checks.iter().all(|c| c.what != "two"));
    // A condition that is not a constant stays.
    assert_eq!(inlined(&mut parse(&branch("%0", true)).unwrap()), 0);
}

/// The symbol of an unused result may be needed.
#[test]
fn a_branch_that_decides_a_dim_is_not_dead() {
    let text = branch("%0", true)
        .replace("%6 = exp(%5) : f32[n]", "%6 = fill() {value = f32(1.0), shape = [n]} : f32[n]");
    let go = Tensor::scalar(false);
    let x = Tensor::vector(vec![1f32, 2., 3.]);
    let after = same(&text, &[&[go, x]], |g| cascata_passes::canonicalise::canonicalise(g) + 1);
    assert_eq!(count(&after, |op| matches!(op, Op::If { .. })), 1);
}
