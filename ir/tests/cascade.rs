//! Passes against brute force, and the cascades of the literature.

mod common;

use cascata_ir::cascade::textbook::{AttentionForm, attention_cascade, softmax_cascade};
use cascata_ir::cascade::{
    Access, Cascade, Einsum, Index, Rank, RankId, Role, Tensor, TensorId, cascade_of,
};
use cascata_ir::graph::Graph;
use cascata_ir::op::*;
use cascata_ir::types::*;
use common::{Rng, random_graph};
use std::collections::{HashMap, HashSet};

// ---- brute force ------------------------------------------------------------

/// Coordinates per rank: three, so that first, middle and last differ.
const N: usize = 3;

type Point = HashMap<RankId, usize>;

/// All points of a list of ranks, in order.
fn points(ranks: &[RankId]) -> Vec<Point> {
    let mut out = vec![Point::new()];
    for r in ranks {
        let grow = |p: &Point| {
            (0..N)
                .map(|i| p.iter().map(|(k, v)| (*k, *v)).chain([(*r, i)]).collect())
                .collect::<Vec<Point>>()
        };
        out = out.iter().flat_map(grow).collect();
    }
    out
}

/// Which elements exist, found by actually walking one rank again and again.
struct Walk<'c> {
    c: &'c Cascade,
    rank: RankId,
    done: HashSet<(TensorId, Vec<usize>)>,
    /// What was there before the current pass.
    before: HashSet<(TensorId, Vec<usize>)>,
    parts: HashSet<(TensorId, Vec<usize>, usize)>,
}

impl Walk<'_> {
    fn key(&self, t: TensorId, at: &Point) -> (TensorId, Vec<usize>) {
        (t, self.c.tensors[t].ranks.iter().map(|r| at[r]).collect())
    }

    /// Whether everything that `access` reads at `at` is there.
    fn there(&self, e: &Einsum, access: &Access, at: &Point) -> bool {
        let iterates = e.iteration(self.c).contains(&self.rank);
        let mut reads = vec![Point::new()];
        // Elements along the walked rank stream; all else must have been complete before.
        let mut streams = false;
        for index in &access.at {
            let r = index.rank();
            let coords: Vec<usize> = match index {
                Index::At(_) => vec![at[&r]],
                Index::Previous(_) if at[&r] == 0 => return true,
                Index::Previous(_) => vec![at[&r] - 1],
                Index::Last(_) => vec![N - 1],
                Index::Any(_) if r == self.rank && !iterates => vec![at[&r]],
                Index::Any(_) => (0..N).collect(),
            };
            let whole =
                matches!(index, Index::Last(_)) || (matches!(index, Index::Any(_)) && iterates);
            streams |= r == self.rank && !whole;
            let grow = |p: &Point| {
                coords
                    .iter()
                    .map(|i| p.iter().map(|(k, v)| (*k, *v)).chain([(r, *i)]).collect())
                    .collect::<Vec<Point>>()
            };
            reads = reads.iter().flat_map(grow).collect();
        }
        // Out of order, an input is read from memory.
        if self.c.tensors[access.tensor].role == Role::Input && !streams {
            return true;
        }
        let from = if streams { &self.done } else { &self.before };
        reads.iter().all(|p| from.contains(&self.key(access.tensor, p)))
    }

    fn touches(&self, e: &Einsum) -> bool {
        e.iteration(self.c).contains(&self.rank)
            || e.inputs.iter().any(|a| a.at.contains(&Index::Any(self.rank)))
    }

    /// Whether the element of `e` at `out` can be computed, seen from coordinate `i`.
    fn ready(&self, e: &Einsum, out: &Point, i: usize) -> bool {
        let reduced: Vec<RankId> =
            e.reduce.iter().flat_map(|(_, r)| r).copied().filter(|r| *r != self.rank).collect();
        points(&reduced).into_iter().all(|mut at| {
            at.extend(out.iter().map(|(k, v)| (*k, *v)));
            at.entry(self.rank).or_insert(i);
            e.inputs.iter().all(|a| self.there(e, a, &at))
        })
    }

    fn visit(&mut self, i: usize) {
        for (t, tensor) in self.c.tensors.iter().filter(|(_, t)| t.role == Role::Input) {
            for p in points(&tensor.ranks).iter().filter(|p| p.get(&self.rank) == Some(&i)) {
                let key = self.key(t, p);
                self.done.insert(key);
            }
        }
        for e in &self.c.einsums {
            if !self.touches(e) {
                continue;
            }
            for out in points(&self.c.tensors[e.output].ranks) {
                let along = out.get(&self.rank).copied();
                if along.is_some_and(|c| c != i) || !self.ready(e, &out, i) {
                    continue;
                }
                let (t, key) = self.key(e.output, &out);
                match along {
                    Some(_) => drop(self.done.insert((t, key))),
                    None => drop(self.parts.insert((t, key, i))),
                }
            }
        }
    }

    /// What is complete once nothing is being walked.
    fn settle(&mut self) {
        for (t, tensor) in self.c.tensors.iter().filter(|(_, t)| t.role == Role::Input) {
            if !tensor.ranks.contains(&self.rank) {
                let keys: Vec<_> = points(&tensor.ranks).iter().map(|p| self.key(t, p)).collect();
                self.done.extend(keys);
            }
        }
        self.before = self.done.clone();
        for e in &self.c.einsums {
            for out in points(&self.c.tensors[e.output].ranks) {
                let key = self.key(e.output, &out);
                let complete = match self.touches(e) {
                    true => (0..N).all(|i| self.parts.contains(&(key.0, key.1.clone(), i))),
                    false => self.ready(e, &out, 0),
                };
                if complete {
                    self.done.insert(key.clone());
                    self.before.insert(key);
                }
            }
        }
    }

    fn finished(&self) -> bool {
        let all = |e: &Einsum| {
            points(&self.c.tensors[e.output].ranks)
                .iter()
                .all(|p| self.done.contains(&self.key(e.output, p)))
        };
        self.c.einsums.iter().all(all)
    }
}

/// Traversals of `rank` until every element is computed.
fn brute_force(c: &Cascade, rank: RankId) -> usize {
    let mut w =
        Walk { c, rank, done: HashSet::new(), before: HashSet::new(), parts: HashSet::new() };
    w.settle();
    for passes in 0..20 {
        if w.finished() {
            return passes;
        }
        (0..N).for_each(|i| w.visit(i));
        w.settle();
    }
    panic!("never finishes:\n{}", c.display(&SymbolTable::default()));
}

fn random_cascade(seed: u64) -> Cascade {
    let mut r = Rng(seed);
    let mut c = Cascade::default();
    let ranks: Vec<RankId> = (0..3)
        .map(|i| c.ranks.push(Rank { name: format!("r{i}"), size: (N as i64).into() }))
        .collect();
    let subset = |r: &mut Rng, of: &[RankId]| {
        of.iter().copied().filter(|_| r.below(3) > 0).collect::<Vec<_>>()
    };
    let tensor = |c: &mut Cascade, name: String, ranks, role| {
        c.tensors.push(Tensor {
            name,
            ranks,
            element_bytes: 4,
            stored_bytes: None,
            role,
            value: None,
        })
    };
    for i in 0..2 {
        let has = subset(&mut r, &ranks);
        tensor(&mut c, format!("in{i}"), has, Role::Input);
    }
    for i in 0..2 + r.below(5) {
        let known: Vec<TensorId> = c.tensors.ids().collect();
        let mut inputs = Vec::new();
        let mut walked: Vec<RankId> = Vec::new();
        for _ in 0..1 + r.below(3) {
            let t = r.pick(&known);
            let at = c.tensors[t].ranks.iter().map(|k| match r.below(8) {
                0 => Index::Last(*k),
                1 => Index::Any(*k),
                _ => Index::At(*k),
            });
            let at: Vec<Index> = at.collect();
            walked.extend(at.iter().filter(|i| matches!(i, Index::At(_))).map(|i| i.rank()));
            inputs.push(Access { tensor: t, at });
        }
        walked.sort();
        walked.dedup();
        let out = subset(&mut r, &walked);
        let reduced: Vec<RankId> = walked.iter().copied().filter(|k| !out.contains(k)).collect();
        let output = tensor(&mut c, format!("t{i}"), out.clone(), Role::Inner);
        // A recurrence that also takes whole fibres of another rank makes one pass per fibre,
        // which the walk (one rank outermost) cannot tell from a pass per coordinate.
        let plain = reduced.is_empty()
            && inputs.iter().all(|a| !a.at.iter().any(|i| matches!(i, Index::Any(_))));
        if let (Some(k), true) = (out.first(), plain && r.below(3) == 0) {
            let at = out
                .iter()
                .map(|o| if o == k { Index::Previous(*o) } else { Index::At(*o) })
                .collect();
            inputs.push(Access { tensor: output, at });
        }
        let reduce = (!reduced.is_empty()).then(|| ("sum".to_string(), reduced));
        c.einsums.push(Einsum { output, inputs, map: "f".into(), map_ops: 1, reduce, node: None });
    }
    c
}

#[test]
fn passes_agree_with_brute_force() {
    let mut histogram = [0; 8];
    for seed in 0..3000 {
        let c = random_cascade(seed);
        for rank in c.ranks.ids() {
            let passes = c.passes(rank).passes;
            assert_eq!(
                passes,
                brute_force(&c, rank),
                "seed {seed} rank {rank}\n{}",
                c.display(&SymbolTable::default())
            );
            histogram[passes.min(7)] += 1;
        }
    }
    // The comparison means something only if many-pass cascades occur.
    assert!(histogram[2] > 500 && histogram[3] > 100 && histogram[4] > 5, "{histogram:?}");
}

// ---- the literature -----------------------------------------------------------

fn keys() -> (SymbolTable, Dim) {
    let mut symbols = SymbolTable::default();
    let m = symbols.intern("M").into();
    (symbols, m)
}

#[test]
fn attention_in_three_two_and_one_pass() {
    let (symbols, m) = keys();
    let build = |form| attention_cascade(7.into(), m.clone(), 128, 64, form);
    for (form, passes) in
        [(AttentionForm::ThreePass, 3), (AttentionForm::TwoPass, 2), (AttentionForm::OnePass, 1)]
    {
        let (c, rank) = build(form);
        assert_eq!(c.passes(rank).passes, passes, "{}", c.display(&symbols));
        let live = c.live_footprint(rank);
        assert_eq!(live.symbols().is_empty(), passes == 1, "{form:?}: {}", live.display(&symbols));
    }
    // One pass over tiles leaves two over the keys of a tile, whose footprint is the tile's.
    let (c, _) = build(AttentionForm::OnePass);
    let inner = c.ranks.iter().find(|(_, r)| r.name == "m0").expect("tiles").0;
    assert_eq!(c.passes(inner).passes, 2);
    assert!(c.live_footprint(inner).as_const().is_some());
    // Every form reads q, k and v and writes the result once.
    for form in [AttentionForm::ThreePass, AttentionForm::TwoPass] {
        assert_eq!(build(form).0.bytes(), (m.clone() * (2 * 64) + 2 * 7 * 64) * 4, "{form:?}");
    }
    // Deferring the division does 7·64 of them instead of 7·M.
    let saved = build(AttentionForm::ThreePass).0.flops() - build(AttentionForm::TwoPass).0.flops();
    assert_eq!(saved, m * 7 - 7 * 64);
}

#[test]
fn softmax_in_three_passes_and_online_in_two() {
    let (symbols, m) = keys();
    for (online, passes) in [(false, 3), (true, 2)] {
        let (c, rank) = softmax_cascade(5.into(), m.clone(), online);
        assert_eq!(c.passes(rank).passes, passes, "{}", c.display(&symbols));
    }
}

// ---- from graphs --------------------------------------------------------------

struct Model {
    g: Graph,
}

impl Model {
    fn new() -> Self {
        let mut g = Graph::new("model");
        for s in ["B", "S", "T"] {
            g.symbols.intern(s);
        }
        Model { g }
    }
    fn input(&mut self, name: &str, shape: &str) -> cascata_ir::graph::ValueId {
        let dims = shape.split(',').map(|d| Dim::parse(d, &mut self.g.symbols).expect("a dim"));
        let ty = TensorType::dense(DType::F32, dims.collect::<Shape>());
        self.g.add_param(Graph::ROOT, name, ty)
    }
    fn add(&mut self, op: Op, inputs: &[cascata_ir::graph::ValueId]) -> cascata_ir::graph::ValueId {
        self.g.add1(Graph::ROOT, op, inputs.to_vec(), "").expect("it types")
    }
    fn cascade(&mut self, y: cascata_ir::graph::ValueId, form: AttentionForm) -> Cascade {
        self.g.add_output("y", y);
        cascade_of(&self.g, Graph::ROOT, form)
    }
}

/// The most passes over any rank.
fn most_passes(c: &Cascade) -> usize {
    c.used_ranks().into_iter().map(|r| c.passes(r).passes).max().unwrap_or(0)
}

#[test]
fn softmax_is_the_same_composite_or_spelled_out() {
    let mut m = Model::new();
    let x = m.input("x", "B,S");
    let y = m.add(Op::Softmax { axis: 1 }, &[x]);
    let composite = m.cascade(y, AttentionForm::ThreePass);
    let mut m = Model::new();
    let x = m.input("x", "B,S");
    let reduce = |op| Op::Reduce { op, axes: vec![1], keep_dims: true };
    let max = m.add(reduce(ReduceOp::Max), &[x]);
    let diff = m.add(Op::Binary(BinaryOp::Sub), &[x, max]);
    let e = m.add(Op::Unary(UnaryOp::Exp), &[diff]);
    let d = m.add(reduce(ReduceOp::Sum), &[e]);
    let y = m.add(Op::Binary(BinaryOp::Div), &[e, d]);
    let spelled = m.cascade(y, AttentionForm::ThreePass);
    for c in [&composite, &spelled] {
        assert_eq!(c.used_ranks().len(), 2, "{}", c.display(&m.g.symbols));
        assert_eq!(most_passes(c), 3, "{}", c.display(&m.g.symbols));
    }
    assert_eq!(composite.flops(), spelled.flops());
    assert_eq!(composite.bytes(), spelled.bytes());
}

#[test]
fn layer_norm_takes_two_passes_over_the_normalised_axis_only() {
    let mut m = Model::new();
    let (x, scale, bias) = (m.input("x", "B,S,48"), m.input("scale", "48"), m.input("bias", "48"));
    let y = m.add(Op::LayerNorm { axis: 2, epsilon: Scalar::f32(1e-5) }, &[x, scale, bias]);
    let c = m.cascade(y, AttentionForm::ThreePass);
    let passes: Vec<(Dim, usize)> =
        c.used_ranks().into_iter().map(|r| (c.ranks[r].size.clone(), c.passes(r).passes)).collect();
    let (b, s) = (m.g.symbols.intern("B").into(), m.g.symbols.intern("S").into());
    assert_eq!(passes, [(b, 1), (s, 1), (48.into(), 2)], "{}", c.display(&m.g.symbols));
}

#[test]
fn contractions_count_multiply_and_add() {
    let mut m = Model::new();
    let (a, w) = (m.input("a", "B,S,48"), m.input("w", "48,96"));
    let y = m.add(Op::MatMul, &[a, w]);
    let c = m.cascade(y, AttentionForm::ThreePass);
    let (b, s): (Dim, Dim) = (m.g.symbols.intern("B").into(), m.g.symbols.intern("S").into());
    assert_eq!(c.flops(), b.clone() * s.clone() * (2 * 48 * 96));
    assert_eq!(c.bytes(), (b * s * (48 + 96) + 48 * 96) * 4);
    let mut m = Model::new();
    let (x, w) = (m.input("x", "B,6,17,19"), m.input("w", "8,3,3,5"));
    let attrs = ConvAttrs {
        strides: vec![1, 1],
        pads: vec![(1, 1), (0, 0)],
        dilations: vec![1, 1],
        groups: 2,
        layout: ChannelLayout::First,
    };
    let y = m.add(Op::Conv(attrs), &[x, w]);
    let c = m.cascade(y, AttentionForm::ThreePass);
    let b: Dim = m.g.symbols.intern("B").into();
    assert_eq!(c.flops(), b * (8 * 17 * 15) * (2 * 3 * 3 * 5));
}

#[test]
fn queries_and_keys_of_one_axis_are_two_ranks() {
    let mut m = Model::new();
    let (x, wq, wk, wv) = (
        m.input("x", "B,S,48"),
        m.input("wq", "48,16"),
        m.input("wk", "48,16"),
        m.input("wv", "48,24"),
    );
    let [q, k, v] = [wq, wk, wv].map(|w| m.add(Op::MatMul, &[x, w]));
    let kt = m.add(Op::Transpose { perm: vec![0, 2, 1] }, &[k]);
    let scores = m.add(Op::MatMul, &[q, kt]);
    let p = m.add(Op::Softmax { axis: 2 }, &[scores]);
    let y = m.add(Op::MatMul, &[p, v]);
    let c = m.cascade(y, AttentionForm::ThreePass);
    let s: Dim = m.g.symbols.intern("S").into();
    let of_s: Vec<usize> = c
        .used_ranks()
        .into_iter()
        .filter(|r| c.ranks[*r].size == s)
        .map(|r| c.passes(r).passes)
        .collect();
    // Over queries: k and v must be complete before the first row. Over keys: softmax.
    assert_eq!(of_s, [2, 3], "{}", c.display(&m.g.symbols));
    for t in c.tensors.values() {
        let distinct: HashSet<_> = t.ranks.iter().collect();
        assert_eq!(distinct.len(), t.ranks.len(), "{} repeats a rank", t.name);
    }
}

#[test]
fn the_attention_op_is_shown_in_the_form_asked_for() {
    for (form, passes) in
        [(AttentionForm::ThreePass, 3), (AttentionForm::TwoPass, 2), (AttentionForm::OnePass, 1)]
    {
        let mut m = Model::new();
        let (q, k, v, mask) = (
            m.input("q", "B,8,S,16"),
            m.input("k", "B,2,T,16"),
            m.input("v", "B,2,T,24"),
            m.input("mask", "B,1,S,T"),
        );
        let attrs =
            AttentionAttrs { scale: Scalar::f32(0.25), causal: false, zero_masked_rows: false };
        let y = m.add(Op::Attention(attrs), &[q, k, v, mask]);
        let c = m.cascade(y, form);
        let t: Dim = m.g.symbols.intern("T").into();
        let along = |r: &RankId| c.ranks[*r].size.symbols() == t.symbols();
        let most = c.used_ranks().iter().filter(|r| along(r)).map(|r| c.passes(*r).passes).max();
        assert_eq!(most, Some(passes), "{}", c.display(&m.g.symbols));
    }
}

#[test]
fn groups_are_transparent() {
    let mut m = Model::new();
    let x = m.input("x", "B,S");
    let body = m.g.add_region();
    let ty = m.g.tensor(x).clone();
    let p = m.g.add_param(body, "", ty);
    let y = m.g.add1(body, Op::Softmax { axis: 1 }, vec![p], "").expect("it types");
    m.g.regions[body].results = vec![y];
    let y = m.add(Op::Group { kind: GroupKind::RowReduce, body }, &[x]);
    let c = m.cascade(y, AttentionForm::ThreePass);
    assert_eq!(most_passes(&c), 3, "{}", c.display(&m.g.symbols));
    let text = c.display(&m.g.symbols);
    assert!(text.contains("num[a,b] = exp(a-b)(x[a,b], max[a])  // pass b 2"), "{text}");
    assert!(text.contains("rank b = S: 3 passes, live 2*S elements per fibre (x, num)"), "{text}");
}

/// Any graph has a cascade whose ranks are distinct in each tensor.
#[test]
fn random_graphs_have_cascades() {
    for seed in 0..300 {
        let g = random_graph(seed, 40);
        let c = cascade_of(&g, Graph::ROOT, AttentionForm::TwoPass);
        for t in c.tensors.values() {
            let distinct: HashSet<_> = t.ranks.iter().collect();
            assert_eq!(distinct.len(), t.ranks.len(), "seed {seed}: {} repeats a rank", t.name);
        }
        for e in &c.einsums {
            let ranks = e.iteration(&c);
            let distinct: HashSet<_> = ranks.iter().collect();
            assert_eq!(distinct.len(), ranks.len(), "seed {seed}\n{}", c.display(&g.symbols));
            for a in &e.inputs {
                let own = |i: &Index| !matches!(i, Index::At(_)) || ranks.contains(&i.rank());
                assert!(a.at.iter().all(own), "seed {seed}\n{}", c.display(&g.symbols));
                assert_eq!(a.at.len(), c.tensors[a.tensor].ranks.len());
            }
        }
        let _ = c.display(&g.symbols);
    }
}
