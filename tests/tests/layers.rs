//! Deep models: the e-graph stage's time grows no faster than the number of layers, and
//! identical layers share their kernels.

use anyhow::Result;
use cascata_codegen::build::{BuildOptions, build};
use cascata_ir::graph::{Graph, ValueId};
use cascata_ir::op::{BinaryOp, Op, UnaryOp};
use cascata_passes::pipeline::{OptLevel, Options, optimise};
use cascata_passes::report::Rewriting;
use cascata_types::{DType, Dim, Scalar, TensorType};

const HIDDEN: i64 = 96;
const HEADS: i64 = 3;
const FEED_FORWARD: i64 = 200;

/// Writes a transformer encoder the way exporters spell it; each layer has its own weights.
struct Encoder {
    graph: Graph,
    batch: Dim,
    length: Dim,
    state: u64,
}

impl Encoder {
    fn stack(layers: usize) -> Result<Graph> {
        let mut graph = Graph::new("encoder");
        let batch = Dim::sym(graph.symbols.fresh("B", 1, 64));
        let length = Dim::sym(graph.symbols.fresh("S", 1, 512));
        let shape = [batch.clone(), length.clone(), HIDDEN.into()];
        let ty = TensorType::dense(DType::F32, shape.into_iter().collect::<Vec<Dim>>());
        let mut x = graph.add_param(Graph::ROOT, "x", ty);
        let mut encoder = Encoder { graph, batch, length, state: 1 };
        for _ in 0..layers {
            x = encoder.layer(x)?;
        }
        encoder.graph.add_output("y", x);
        Ok(encoder.graph)
    }

    fn layer(&mut self, x: ValueId) -> Result<ValueId> {
        let attended = self.attention(x)?;
        let sum = self.binary(BinaryOp::Add, x, attended)?;
        let x = self.layer_norm(sum)?;
        let wide = self.linear(x, HIDDEN, FEED_FORWARD)?;
        let active = self.gelu(wide)?;
        let narrow = self.linear(active, FEED_FORWARD, HIDDEN)?;
        let sum = self.binary(BinaryOp::Add, x, narrow)?;
        self.layer_norm(sum)
    }

    fn attention(&mut self, x: ValueId) -> Result<ValueId> {
        let q = self.heads(x, [0, 2, 1, 3])?;
        let k = self.heads(x, [0, 2, 3, 1])?;
        let v = self.heads(x, [0, 2, 1, 3])?;
        let scores = self.add(Op::MatMul, vec![q, k])?;
        let root = self.number(((HIDDEN / HEADS) as f32).sqrt());
        let scaled = self.binary(BinaryOp::Div, scores, root)?;
        let weights = self.add(Op::Softmax { axis: 3 }, vec![scaled])?;
        let mixed = self.add(Op::MatMul, vec![weights, v])?;
        let back = self.add(Op::Transpose { perm: vec![0, 2, 1, 3] }, vec![mixed])?;
        let shape = vec![self.batch.clone(), self.length.clone(), HIDDEN.into()];
        let joined = self.add(Op::Reshape { shape: shape.into_iter().collect() }, vec![back])?;
        self.linear(joined, HIDDEN, HIDDEN)
    }

    fn heads(&mut self, x: ValueId, perm: [usize; 4]) -> Result<ValueId> {
        let y = self.linear(x, HIDDEN, HIDDEN)?;
        let dims =
            vec![self.batch.clone(), self.length.clone(), HEADS.into(), (HIDDEN / HEADS).into()];
        let split = self.add(Op::Reshape { shape: dims.into_iter().collect() }, vec![y])?;
        self.add(Op::Transpose { perm: perm.to_vec() }, vec![split])
    }

    /// `x·(erf(x/√2) + 1)·½`.
    fn gelu(&mut self, x: ValueId) -> Result<ValueId> {
        let (root, one, half) = (self.number(2f32.sqrt()), self.number(1.0), self.number(0.5));
        let scaled = self.binary(BinaryOp::Div, x, root)?;
        let erf = self.add(Op::Unary(UnaryOp::Erf), vec![scaled])?;
        let sum = self.binary(BinaryOp::Add, erf, one)?;
        let product = self.binary(BinaryOp::Mul, x, sum)?;
        self.binary(BinaryOp::Mul, product, half)
    }

    fn layer_norm(&mut self, x: ValueId) -> Result<ValueId> {
        let (scale, bias) = (self.weight(&[HIDDEN]), self.weight(&[HIDDEN]));
        let epsilon = Scalar::from_f64(DType::F32, 1e-5);
        self.add(Op::LayerNorm { axis: 2, epsilon }, vec![x, scale, bias])
    }

    fn linear(&mut self, x: ValueId, from: i64, to: i64) -> Result<ValueId> {
        let (w, b) = (self.weight(&[from, to]), self.weight(&[to]));
        let product = self.add(Op::MatMul, vec![x, w])?;
        self.binary(BinaryOp::Add, product, b)
    }

    fn number(&mut self, value: f32) -> ValueId {
        self.constant(&[], &[value])
    }

    fn weight(&mut self, dims: &[i64]) -> ValueId {
        let count = dims.iter().product::<i64>();
        let values: Vec<f32> = (0..count).map(|_| self.random()).collect();
        self.constant(dims, &values)
    }

    fn constant(&mut self, dims: &[i64], values: &[f32]) -> ValueId {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.graph.add_const(Graph::ROOT, "", TensorType::fixed(DType::F32, dims), bytes.into())
    }

    fn random(&mut self) -> f32 {
        self.state = self.state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.state >> 40) as f32 / (1 << 24) as f32 - 0.5
    }

    fn binary(&mut self, op: BinaryOp, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.add(Op::Binary(op), vec![a, b])
    }

    fn add(&mut self, op: Op, inputs: Vec<ValueId>) -> Result<ValueId> {
        Ok(self.graph.add1(Graph::ROOT, op, inputs, "")?)
    }
}

/// What one depth costs.
struct Row {
    layers: usize,
    seconds: f64,
    slices: usize,
    distinct: usize,
    kernels: usize,
}

fn measure(layers: usize) -> Result<Row> {
    let source = Encoder::stack(layers)?;
    let options = Options { level: OptLevel::O2, ..Options::default() };
    let mut best: Option<(f64, Graph, Rewriting)> = None;
    for _ in 0..3 {
        let mut graph = source.clone();
        let report = optimise(&mut graph, &options, &mut |_, _| ())?;
        let stages = report.phases.iter().filter(|p| p.name.starts_with("egraph"));
        let seconds: f64 = stages.map(|p| p.seconds).sum();
        if best.as_ref().is_none_or(|(s, ..)| seconds < *s) {
            best = Some((seconds, graph, report.rewriting));
        }
    }
    let (seconds, graph, rewriting) = best.expect("a run");
    let options = BuildOptions {
        targets: vec![],
        gpu: vec![],
        keep_kernel_ir: false,
        provenance: Default::default(),
    };
    let kernels = build(&graph, &options)?.manifest.kernels.len();
    let (slices, distinct) = (rewriting.slices, rewriting.distinct);
    Ok(Row { layers, seconds, slices, distinct, kernels })
}

#[test]
fn depth_costs_linearly_and_layers_share_kernels() {
    let rows: Vec<Row> =
        [1, 2, 4, 8, 16, 32].into_iter().map(|n| measure(n).expect("a layer stack")).collect();
    println!("layers  e-graph s  slices  distinct  kernels");
    for r in &rows {
        let Row { layers, seconds, slices, distinct, kernels } = r;
        println!("{layers:6}  {seconds:9.3}  {slices:6}  {distinct:8}  {kernels:7}");
    }
    let (one, most) = (&rows[0], &rows[rows.len() - 1]);
    // The slack is for the linear part's small factor at one layer and a busy machine.
    let limit = most.layers as f64 * 1.5 * one.seconds + 0.25;
    assert!(most.seconds <= limit, "{} s, at most {limit} s", most.seconds);
    assert_eq!(rows[1].kernels, most.kernels, "identical layers have kernels of their own");
}
