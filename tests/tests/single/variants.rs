//! Launches with several kernels: the guard picks one when symbols are bound, and each
//! computes what the interpreter does.

use super::*;
use cascata_runtime::format::manifest::Step;
use cascata_runtime::{Artifact, TensorView};

/// The names of the kernels that ran on `rows` rows, after comparing their results.
fn kernels_at(artifact: &Artifact, graph: &Graph, rows: usize) -> Vec<String> {
    let x = pattern(&[rows, 37], rows);
    let runtime = Runtime::builder().threads(2).build().unwrap();
    let session = artifact.session(&runtime).unwrap();
    let bytes = x.to_le_bytes();
    let dims = [rows as i64, 37];
    let view = TensorView::new(x.dtype(), &dims, &bytes).unwrap();
    let (found, launches) = session.run_profiled(&[("x0", view)]).unwrap();
    let expected = run(graph, std::slice::from_ref(&x)).unwrap();
    let found = Tensor::from_le_bytes(found[0].dtype(), &[rows, 210], found[0].bytes()).unwrap();
    close(0, &found, &expected[0], 1e-5);
    launches.into_iter().map(|l| l.kernel).collect()
}

#[test]
fn few_rows_run_a_kernel_of_their_own() {
    let args = vec![Arg::Named(pattern(&[1, 37], 1), &["M"]), Arg::Const(pattern(&[37, 210], 2))];
    let (graph, _) =
        graph_of(args, |g, v| vec![g.add1(Graph::ROOT, Op::MatMul, v, "product").unwrap()]);
    let artifact = Artifact::from_bytes(&artifact(graph.clone(), OptLevel::O2)).unwrap();
    let launches = artifact.manifest().entries[0].steps.iter().filter_map(|step| match step {
        Step::Launch(launch) => Some(launch),
        _ => None,
    });
    let guards: Vec<usize> = launches.flat_map(|l| &l.variants).map(|v| v.guard.len()).collect();
    assert_eq!(guards, [1, 0], "one guarded kernel, then one for the rest");
    let few = kernels_at(&artifact, &graph, 64);
    let many = kernels_at(&artifact, &graph, 65);
    assert_ne!(few, many);
    for (rows, same) in [(1, &few), (5, &few), (63, &few), (130, &many), (257, &many)] {
        assert_eq!(&kernels_at(&artifact, &graph, rows), same, "{rows} rows");
    }
}
