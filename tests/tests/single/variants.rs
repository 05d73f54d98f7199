//! Launches with several kernels, and entries with several graphs: a guard picks one when
//! symbols are bound, and each computes what the interpreter does.

use super::*;
use cascata_codegen::build::{BuildOptions, GraphVariant, build_variants};
use cascata_codegen::cpu::CpuTarget;
use cascata_codegen::lower::Machine;
use cascata_passes::pipeline::Options;
use cascata_runtime::format::manifest::Step;
use cascata_runtime::{Artifact, Session, TensorView};
use cascata_types::DType;

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
    let args =
        vec![Arg::Named(pattern(&[1, 37], 1), &["M", ""]), Arg::Const(pattern(&[37, 210], 2))];
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

/// `(a·b)·c` for M from 1 to 512: the order of the products depends on M.
fn chain() -> Graph {
    let mut graph = Graph::new("chain");
    let m = Dim::sym(graph.symbols.fresh("M", 1, 512));
    graph.symbols.get_mut(m.as_sym().unwrap()).data_dependent = false;
    let shapes: [Shape; 3] =
        [vec![m, 64.into()], vec![64.into(), 256.into()], vec![256.into(), 64.into()]];
    let mut x = |name: &str, shape: &Shape| {
        graph.add_param(Graph::ROOT, name, TensorType::dense(DType::F32, shape.clone()))
    };
    let [a, b, c] = [x("a", &shapes[0]), x("b", &shapes[1]), x("c", &shapes[2])];
    let ab = graph.add1(Graph::ROOT, Op::MatMul, vec![a, b], "ab").unwrap();
    let y = graph.add1(Graph::ROOT, Op::MatMul, vec![ab, c], "abc").unwrap();
    graph.add_output("y", y);
    graph
}

#[test]
fn sizes_choose_among_whole_graphs() {
    let source = chain();
    let found = cascata_passes::variants::variants(&source, &Options::default()).unwrap();
    let graphs: Vec<GraphVariant> = found.iter().map(|(guard, g)| (guard.as_slice(), g)).collect();
    assert_eq!(graphs.len(), 2);
    let options = BuildOptions {
        machine: Machine::Cpu,
        targets: vec![CpuTarget::new(CpuLevel::V3).unwrap()],
        gpu: vec![],
        keep_kernel_ir: false,
        provenance: Default::default(),
    };
    let bytes = build_variants(&graphs, &options).unwrap().to_bytes().unwrap();
    let artifact = Artifact::from_bytes(&bytes).unwrap();
    let names: Vec<&str> = artifact.entries().collect();
    assert_eq!(names, ["main", "main@1"]);
    let runtime = Runtime::builder().threads(2).build().unwrap();
    let session = artifact.session(&runtime).unwrap();
    let mut flops = Vec::new();
    for m in [1, 3, 150, 512] {
        let inputs: Inputs = [("a", [m, 64]), ("b", [64, 256]), ("c", [256, 64])]
            .iter()
            .map(|(name, dims)| (name.to_string(), pattern(dims, m)))
            .collect();
        let tensors: Vec<Tensor> = inputs.iter().map(|(_, t)| t.clone()).collect();
        let expected = run(&source, &tensors).unwrap();
        close(0, &pipeline::run(&session, &inputs).unwrap()[0], &expected[0], 1e-4);
        flops.push(work(&session, &inputs) / m as i64);
    }
    // One row goes through both products; 512 rows share b·c.
    assert!(flops[0] == flops[1] && flops[2] > flops[3], "operations a row: {flops:?}");
    assert!(flops[3] < flops[0], "operations a row: {flops:?}");
    assert!(session.memory_plan(&[("M", 1)]).is_ok() && session.memory_plan(&[("M", 512)]).is_ok());
}

/// Operations of one run.
fn work(session: &Session, inputs: &Inputs) -> i64 {
    let bytes: Vec<(Vec<i64>, Vec<u8>)> = inputs
        .iter()
        .map(|(_, t)| (t.dims().iter().map(|d| *d as i64).collect(), t.to_le_bytes()))
        .collect();
    let views: Vec<(&str, TensorView)> = inputs
        .iter()
        .zip(&bytes)
        .map(|((n, t), (dims, b))| (n.as_str(), TensorView::new(t.dtype(), dims, b).unwrap()))
        .collect();
    session.run_profiled(&views).unwrap().1.iter().map(|l| l.flops).sum()
}
