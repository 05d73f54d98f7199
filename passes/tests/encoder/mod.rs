//! Transformer encoders spelled out in elementary ops, as exporters write them.
#![allow(dead_code, reason = "each test file uses its own part")]

use bytes::Bytes;
use cascata_ir::graph::{Graph, ValueId};
use cascata_ir::interp::Tensor;
use cascata_ir::op::{BinaryOp, Op, ReduceOp, UnaryOp};
use cascata_ir::types::{DType, Dim, Scalar, TensorType};

/// A stack of post-norm encoder layers.
#[derive(Clone, Copy)]
pub struct Encoder {
    /// How many.
    pub layers: usize,
    /// Features.
    pub hidden: i64,
    /// Attention heads.
    pub heads: i64,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { layers: 1, hidden: 12, heads: 3 }
    }
}

/// Nodes with this op, inside fused groups too.
pub fn count(graph: &Graph, op: &str) -> usize {
    let nodes = graph.regions.values().flat_map(|r| &r.nodes);
    nodes.filter(|n| graph.nodes[**n].op.name() == op).count()
}

struct Build {
    graph: Graph,
    state: u64,
}

impl Encoder {
    /// `x: f32[B,S,hidden], mask: f32[B,S]` to `y: f32[B,S,hidden]`.
    pub fn graph(&self) -> Graph {
        let mut graph = Graph::new("encoder");
        let dims: Vec<Dim> = ["B", "S"].map(|n| graph.symbols.intern(n).into()).to_vec();
        for d in ["B", "S"] {
            let id = graph.symbols.intern(d);
            graph.symbols.get_mut(id).min = 1;
        }
        let x_ty = TensorType::dense(DType::F32, [dims.clone(), vec![self.hidden.into()]].concat());
        let mut x = graph.add_param(Graph::ROOT, "x", x_ty);
        let mask =
            graph.add_param(Graph::ROOT, "mask", TensorType::dense(DType::F32, dims.clone()));
        let mut b = Build { graph, state: 7 };
        let shape = vec![dims[0].clone(), 1.into(), 1.into(), dims[1].clone()];
        let mask = b.op(Op::Reshape { shape }, &[mask]);
        for layer in 0..self.layers {
            x = self.layer(&mut b, layer, x, mask, &dims);
        }
        b.graph.add_output("y", x);
        b.graph
    }

    /// Data for batch `b` and length `s`; the last position is masked.
    pub fn inputs(&self, b: usize, s: usize) -> Vec<Tensor> {
        let mut noise = Build { graph: Graph::new(""), state: 3 };
        let n = b * s * self.hidden as usize;
        let x = (0..n).map(|_| noise.number()).collect();
        let mask = (0..b * s).map(|i| if i % s + 1 == s { -1e4 } else { 0.0 }).collect();
        vec![
            Tensor::from_f64(DType::F32, &[b, s, self.hidden as usize], x).expect("sizes agree"),
            Tensor::from_f64(DType::F32, &[b, s], mask).expect("sizes agree"),
        ]
    }

    fn layer(&self, b: &mut Build, n: usize, x: ValueId, mask: ValueId, dims: &[Dim]) -> ValueId {
        let h = self.hidden;
        let [q, k, v] = [[0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]].map(|perm| {
            let y = b.linear(x, h, h);
            let shape =
                vec![dims[0].clone(), dims[1].clone(), self.heads.into(), (h / self.heads).into()];
            let y = b.op(Op::Reshape { shape }, &[y]);
            b.op(Op::Transpose { perm: perm.to_vec() }, &[y])
        });
        let scores = b.op(Op::MatMul, &[q, k]);
        let scale = b.scalar(((h / self.heads) as f64).sqrt());
        let scores = b.binary(BinaryOp::Div, scores, scale);
        let scores = b.binary(BinaryOp::Add, scores, mask);
        let p = b.op(Op::Softmax { axis: 3 }, &[scores]);
        let y = b.op(Op::MatMul, &[p, v]);
        b.graph.values[y].name = format!("layer.{n}/attention");
        let y = b.op(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[y]);
        let shape = vec![dims[0].clone(), dims[1].clone(), h.into()];
        let y = b.op(Op::Reshape { shape }, &[y]);
        let y = b.linear(y, h, h);
        let y = b.binary(BinaryOp::Add, y, x);
        let x = b.norm(y, h);
        b.graph.values[x].name = format!("layer.{n}/norm1");
        let y = b.linear(x, h, 2 * h);
        let y = b.gelu(y);
        b.graph.values[y].name = format!("layer.{n}/gelu");
        let y = b.linear(y, 2 * h, h);
        let y = b.binary(BinaryOp::Add, y, x);
        b.norm(y, h)
    }
}

impl Build {
    fn number(&mut self) -> f64 {
        self.state = self.state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.state >> 40) as f64 / (1u64 << 23) as f64 - 1.0
    }

    fn op(&mut self, op: Op, operands: &[ValueId]) -> ValueId {
        self.graph.add1(Graph::ROOT, op, operands.to_vec(), "").expect("well-typed")
    }

    fn binary(&mut self, op: BinaryOp, a: ValueId, b: ValueId) -> ValueId {
        self.op(Op::Binary(op), &[a, b])
    }

    fn scalar(&mut self, x: f64) -> ValueId {
        self.op(Op::Fill { value: Scalar::from_f64(DType::F32, x), shape: vec![] }, &[])
    }

    fn weight(&mut self, dims: &[i64]) -> ValueId {
        let n: i64 = dims.iter().product();
        let data: Vec<u8> =
            (0..n).flat_map(|_| (self.number() as f32 * 0.4).to_le_bytes()).collect();
        self.graph.add_const(
            Graph::ROOT,
            "",
            TensorType::fixed(DType::F32, dims),
            Bytes::from(data),
        )
    }

    fn linear(&mut self, x: ValueId, k: i64, n: i64) -> ValueId {
        let (w, bias) = (self.weight(&[k, n]), self.weight(&[n]));
        let y = self.op(Op::MatMul, &[x, w]);
        self.binary(BinaryOp::Add, bias, y)
    }

    fn norm(&mut self, x: ValueId, n: i64) -> ValueId {
        let mean = Op::Reduce { op: ReduceOp::Mean, axes: vec![2], keep_dims: true };
        let m = self.op(mean.clone(), &[x]);
        let d = self.binary(BinaryOp::Sub, x, m);
        let (two, eps) = (self.scalar(2.0), self.scalar(1e-5));
        let square = self.binary(BinaryOp::Pow, d, two);
        let var = self.op(mean, &[square]);
        let shifted = self.binary(BinaryOp::Add, var, eps);
        let root = self.op(Op::Unary(UnaryOp::Sqrt), &[shifted]);
        let y = self.binary(BinaryOp::Div, d, root);
        let (gamma, beta) = (self.weight(&[n]), self.weight(&[n]));
        let y = self.binary(BinaryOp::Mul, y, gamma);
        self.binary(BinaryOp::Add, y, beta)
    }

    fn gelu(&mut self, x: ValueId) -> ValueId {
        let (root2, one, half) = (self.scalar(2f64.sqrt()), self.scalar(1.0), self.scalar(0.5));
        let y = self.binary(BinaryOp::Div, x, root2);
        let y = self.op(Op::Unary(UnaryOp::Erf), &[y]);
        let y = self.binary(BinaryOp::Add, y, one);
        let y = self.binary(BinaryOp::Mul, x, y);
        self.binary(BinaryOp::Mul, y, half)
    }
}
