//! Every value that is computed has a name and a source node, on real models too.

mod encoder;

use cascata_frontends::onnx::{ImportOptions, import};
use cascata_ir::graph::Graph;
use cascata_ir::op::Op;
use cascata_passes::pipeline::{OptLevel, Options, optimise};
use encoder::Encoder;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

fn optimised(mut graph: Graph, level: OptLevel) -> Graph {
    let options = Options { level, ..Options::default() };
    optimise(&mut graph, &options, &mut |_, _| {}).expect("the pipeline runs");
    graph
}

/// Names of what the body computes; fails where one is missing or two are the same.
fn names(graph: &Graph) -> HashSet<String> {
    let mut names = HashSet::new();
    for id in &graph.root().nodes {
        let node = &graph.nodes[*id];
        if matches!(node.op, Op::Const(_)) {
            continue;
        }
        assert!(!node.source.is_empty(), "{}: a {} without a source", graph.name, node.op.name());
        for v in &node.outputs {
            let name = graph.values[*v].name.clone();
            assert!(!name.is_empty(), "{}: a {} without a name", graph.name, node.op.name());
            assert!(names.insert(name.clone()), "{}: two values are called {name}", graph.name);
        }
    }
    names
}

#[test]
fn made_values_are_called_after_what_they_are_for() {
    let names = names(&optimised(Encoder::default().graph(), OptLevel::O2));
    // Moved data keeps the name of what it is; a part is named after the whole.
    for name in ["layer.0/attention#transpose", "layer.0/attention#add", "layer.0/gelu"] {
        assert!(names.contains(name), "{name} is not in {names:?}");
    }
}

#[test]
fn names_of_the_source_stay() {
    let source = Encoder { layers: 2, ..Encoder::default() }.graph();
    let given: HashSet<&str> = source.values.values().map(|v| v.name.as_str()).collect();
    for name in names(&optimised(source.clone(), OptLevel::O2)) {
        let base = name.split('#').next().unwrap_or_default();
        let base = base.trim_end_matches(".copy");
        let known = given.contains(base) || source.nodes.values().any(|n| n.source == base);
        assert!(known, "'{name}' is made up");
    }
}

fn model(id: &str) -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cache = std::env::var_os("CASCATA_CACHE").map_or(here.join("../.cache"), PathBuf::from);
    let path = cache.join("models").join(id).join("model.onnx");
    path.is_file().then_some(path)
}

#[test]
fn every_launch_of_a_real_model_has_a_name() {
    let models =
        ["magika", "minilm_int8", "minilm_l3", "nsfw", "nudenet", "ocr_cls", "ocr_det", "ocr_rec"];
    for id in models {
        let Some(path) = model(id) else {
            println!("skipped: {id} is not in the cache");
            continue;
        };
        for level in [OptLevel::O0, OptLevel::O2] {
            let graph = import(&path, &ImportOptions::default()).expect("it imports").graph;
            assert!(!names(&optimised(graph, level)).is_empty(), "{id}");
        }
    }
}
