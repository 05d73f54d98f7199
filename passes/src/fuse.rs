//! Fusion: every node joins a group, one kernel each.
//!
//! *Why*: memory traffic. A value that lives inside a group never reaches memory.
//!
//! *Precondition*: channels-last contractions and pools (after `layout`), softmax over the
//! last axis only. *Postcondition*: every region but those of groups holds `Const`, bare
//! `Reshape`s (views, no code), ops that bind symbols or own regions, and `Group`s; what
//! these ops read and what a region hands out is in memory (see `fuse/own.rs`). Each group
//! has at most one *anchor*
//! (an op that is not element by element); what follows the anchor is element-wise with
//! the anchor's shape, then transposes, then reshapes. *Cost*: linear in edges.
//!
//! Groups grow backwards from their result: a node joins the group that all of its
//! users are in, if computing it there repeats no work. Nothing leaves a group but its
//! result, so groups are convex and run in the order of their results.

use cascata_ir::graph::{Def, Graph, NodeId, RegionId, ValueId};
use cascata_ir::op::{BinaryOp, Effect, GroupKind, Op};
use cascata_types::{DType, Dim, Encoding, SecondaryMap};
use std::collections::{BTreeMap, HashMap};

mod factor;
mod own;

pub use factor::NarrowFactor;

/// Whether each result element is an expression of operand elements.
pub fn is_map_op(op: &Op) -> bool {
    matches!(op, Op::Concat { .. } | Op::Pad { .. })
        || is_elementwise(op)
        || is_movement(op)
        || is_leaf(op)
}

/// Computed where it is used, from nothing.
fn is_leaf(op: &Op) -> bool {
    matches!(op, Op::Fill { .. } | Op::DimValues { .. } | Op::Iota { .. })
}

fn is_elementwise(op: &Op) -> bool {
    matches!(op, Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Cast { .. } | Op::BitCast { .. })
}

/// Moves elements without computing.
fn is_movement(op: &Op) -> bool {
    is_view(op)
        || matches!(
            op,
            Op::Gather { .. } | Op::GatherElements { .. } | Op::GatherNd { .. } | Op::Resize(_)
        )
}

/// Moves elements by arithmetic on the index alone.
fn is_view(op: &Op) -> bool {
    matches!(
        op,
        Op::Reshape { .. } | Op::Transpose { .. } | Op::Broadcast { .. } | Op::Slice { .. }
    )
}

fn is_cast_constant(graph: &Graph, id: NodeId) -> bool {
    let node = &graph.nodes[id];
    matches!(node.op, Op::Cast { to: DType::F32 })
        && graph.as_const(memory_owner(graph, node.inputs[0])).is_some()
}

/// Whether a node widens 16-bit floats to f32.
fn is_widened_half(graph: &Graph, id: NodeId) -> bool {
    let node = &graph.nodes[id];
    let from = graph.ty(node.inputs[0]).as_tensor().map(|t| t.dtype);
    matches!(node.op, Op::Cast { to: DType::F32 }) && matches!(from, Some(DType::F16 | DType::BF16))
}

fn anchor_kind(op: &Op, rank: usize) -> GroupKind {
    match op {
        Op::Softmax { axis } if axis + 1 == rank => GroupKind::RowReduce,
        Op::LayerNorm { .. } | Op::RmsNorm { .. } | Op::Reduce { .. } => GroupKind::RowReduce,
        Op::MatMul | Op::Conv(_) | Op::ConvTranspose(_) => GroupKind::Contraction,
        Op::Attention(_) => GroupKind::Attention,
        _ => GroupKind::Single,
    }
}

/// Groups the nodes of every region; returns the number of groups.
pub fn fuse(graph: &mut Graph) -> usize {
    let regions = crate::walk::regions(graph);
    let owners = own::owners(graph, &regions);
    for &region in &regions {
        own::operands(graph, region);
        let plan = Plan::new(graph, region);
        plan.apply(graph);
        own::results(graph, region, owners.get(&region).copied());
    }
    let nodes = regions.iter().flat_map(|r| &graph.regions[*r].nodes);
    nodes.filter(|id| matches!(graph.nodes[**id].op, Op::Group { .. })).count()
}

/// The value whose memory a value lies in: bare reshapes are views, and what unpacks a
/// constant stands for the constant as code generation stores it.
pub fn memory_owner(graph: &Graph, mut v: ValueId) -> ValueId {
    while let Def::Node(id, _) = graph.values[v].def {
        let node = &graph.nodes[id];
        if !matches!(node.op, Op::Reshape { .. }) && !unpacks_constant(graph, id) {
            break;
        }
        v = node.inputs[0];
    }
    v
}

/// Whether a node gives the elements of a constant in another encoding. It is no kernel: the
/// artifact holds the elements.
pub fn unpacks_constant(graph: &Graph, id: NodeId) -> bool {
    let node = &graph.nodes[id];
    matches!(node.op, Op::Pack { encoding: Encoding::Dense })
        && graph
            .as_const(node.inputs[0])
            .is_some_and(|c| matches!(c.ty.encoding, Encoding::Quant(_)))
}

/// Index into `Plan::groups`.
type GroupIndex = usize;

#[derive(Default)]
struct Members {
    /// In reverse order of execution.
    nodes: Vec<NodeId>,
    anchor: Option<NodeId>,
}

struct Plan {
    region: RegionId,
    groups: Vec<Members>,
    of: SecondaryMap<NodeId, Option<GroupIndex>>,
    users: HashMap<ValueId, Vec<NodeId>>,
}

/// Everything that a region mentions; what it captures from outside is among it.
fn captured(graph: &Graph, region: RegionId, read: &mut Vec<ValueId>) {
    read.extend(&graph.regions[region].results);
    for id in &graph.regions[region].nodes {
        let node = &graph.nodes[*id];
        read.extend(&node.inputs);
        node.op.regions().into_iter().for_each(|r| captured(graph, r, read));
    }
}

impl Plan {
    fn new(graph: &Graph, region: RegionId) -> Self {
        let mut users: HashMap<ValueId, Vec<NodeId>> = HashMap::new();
        for id in &graph.regions[region].nodes {
            let node = &graph.nodes[*id];
            let mut read = node.inputs.clone();
            node.op.regions().into_iter().for_each(|r| captured(graph, r, &mut read));
            for v in read {
                users.entry(v).or_default().push(*id);
            }
        }
        let mut plan = Plan { region, groups: Vec::new(), of: SecondaryMap::new(), users };
        for id in graph.regions[region].nodes.iter().rev() {
            plan.place(graph, *id);
        }
        plan
    }

    fn place(&mut self, graph: &Graph, id: NodeId) {
        let node = &graph.nodes[id];
        let results = &graph.regions[self.region].results;
        let is_result = node.outputs.iter().any(|v| results.contains(v));
        if matches!(node.op, Op::Const(_)) || node.op.effect() != Effect::Pure {
            return;
        }
        if is_leaf(&node.op) && !is_result || unpacks_constant(graph, id) {
            return;
        }
        let host = if is_result { None } else { self.common_group(node.outputs[0]) };
        let joins = |host: &GroupIndex| {
            self.may_join(graph, id, *host) && !self.stays_with_contraction(graph, id, *host)
        };
        if let Some(host) = host.filter(joins) {
            self.join(id, host, !is_map_op(&node.op));
            return;
        }
        self.groups.push(Members::default());
        let fresh = self.groups.len() - 1;
        self.join(id, fresh, !is_map_op(&node.op));
    }

    fn join(&mut self, id: NodeId, group: GroupIndex, anchor: bool) {
        self.groups[group].nodes.push(id);
        self.of[id] = Some(group);
        if anchor {
            self.groups[group].anchor = Some(id);
        }
    }

    /// The group that every user of a value is in.
    fn common_group(&self, v: ValueId) -> Option<GroupIndex> {
        let users = self.users.get(&v)?;
        let first = self.of[*users.first()?]?;
        users.iter().all(|u| self.of[*u] == Some(first)).then_some(first)
    }

    fn may_join(&self, graph: &Graph, id: NodeId, host: GroupIndex) -> bool {
        let node = &graph.nodes[id];
        let users = &self.users[&node.outputs[0]];
        if !is_map_op(&node.op) {
            return node.outputs.len() == 1
                && self.groups[host].anchor.is_none()
                && self.fits_as_anchor(graph, id, host);
        }
        if matches!(node.op, Op::Concat { .. }) {
            return false;
        }
        users.iter().all(|user| self.may_feed(graph, id, *user, host))
    }

    /// Whether an op is what a contraction does on the way out for next to nothing (a bias,
    /// an activation), and the contraction cannot join `host` as well.
    fn stays_with_contraction(&self, graph: &Graph, id: NodeId, host: GroupIndex) -> bool {
        let fits = || self.fits_after(graph, graph.nodes[id].outputs[0], host);
        self.is_epilogue(graph, id) && (self.groups[host].anchor.is_some() || !fits())
    }

    /// Whether an op is a unary function of a contraction, or adds a vector to one, with
    /// nothing but such ops between, each the only user.
    fn is_epilogue(&self, graph: &Graph, id: NodeId) -> bool {
        let node = &graph.nodes[id];
        let is_vector = |v: ValueId| {
            let shape = &graph.tensor(v).shape;
            graph.as_const(v).is_some() && shape.iter().rev().skip(1).all(|d| d.is(1))
        };
        let x = match (&node.op, node.inputs.as_slice()) {
            (Op::Unary(_), [x]) => *x,
            (Op::Binary(BinaryOp::Add), [x, c]) if is_vector(*c) => *x,
            (Op::Binary(BinaryOp::Add), [c, x]) if is_vector(*c) => *x,
            _ => return false,
        };
        let Def::Node(before, _) = graph.values[x].def else { return false };
        let rank = graph.tensor(x).rank();
        let contraction = anchor_kind(&graph.nodes[before].op, rank) == GroupKind::Contraction;
        self.users[&x].len() == 1 && (contraction || self.is_epilogue(graph, before))
    }

    /// Whether a Map op may be computed where `user` reads it.
    fn may_feed(&self, graph: &Graph, id: NodeId, user: NodeId, host: GroupIndex) -> bool {
        let (node, reader) = (&graph.nodes[id], &graph.nodes[user]);
        let v = node.outputs[0];
        let slot = reader.inputs.iter().position(|i| *i == v).unwrap_or(0);
        if Some(user) == self.groups[host].anchor {
            let factor = slot < 2 && NarrowFactor::pair(graph, reader).is_some();
            return factor || self.may_feed_anchor(graph, id, &reader.op, slot);
        }
        if self.groups[host].anchor.is_some_and(|a| factor::is_read_by(graph, user, a)) {
            // Factors are in memory as they are multiplied.
            return false;
        }
        if let Op::Reshape { .. } = reader.op
            && self.is_result_view(graph, user, host)
        {
            // The kernel runs over the reshape's operand: nothing is repeated or divided.
            return self.groups[host].anchor.is_none();
        }
        match &reader.op {
            Op::Gather { .. } | Op::GatherElements { .. } | Op::GatherNd { .. } => slot > 0,
            Op::Resize(_) => false,
            Op::Reshape { shape } => splits(&graph.tensor(v).shape, shape),
            _ => is_view(&node.op) || !repeats(graph, v, reader.outputs[0]),
        }
    }

    fn may_feed_anchor(&self, graph: &Graph, id: NodeId, anchor: &Op, slot: usize) -> bool {
        let op = &graph.nodes[id].op;
        match anchor {
            // A constant is converted when it is packed.
            Op::MatMul => is_view(op) || slot == 1 && is_cast_constant(graph, id),
            // Tensor cores read 16 bits; a CPU converts as it copies.
            Op::Attention(_) => is_view(op) || slot < 3 && is_widened_half(graph, id),
            Op::Softmax { .. } | Op::LayerNorm { .. } | Op::RmsNorm { .. } | Op::Reduce { .. } => {
                slot == 0 && !matches!(op, Op::Reshape { .. })
            }
            _ => false,
        }
    }

    /// Whether `reshape` ends the group: only reshapes follow it.
    fn is_result_view(&self, graph: &Graph, reshape: NodeId, host: GroupIndex) -> bool {
        let result = self.groups[host].nodes[0];
        let mut at = result;
        while at != reshape {
            let node = &graph.nodes[at];
            match (&node.op, graph.values[node.inputs[0]].def) {
                (Op::Reshape { .. }, Def::Node(before, _)) => at = before,
                _ => return false,
            }
        }
        true
    }

    fn fits_as_anchor(&self, graph: &Graph, id: NodeId, host: GroupIndex) -> bool {
        let (op, v) = (&graph.nodes[id].op, graph.nodes[id].outputs[0]);
        let stays = matches!(op, Op::Pool(_))
            || anchor_kind(op, graph.tensor(v).rank()) != GroupKind::Single;
        let multi_step = matches!(op, Op::ArgReduce { .. } | Op::CumSum { .. });
        stays && !multi_step && self.fits_after(graph, v, host)
    }

    /// What follows the anchor, or `v` of its shape, must be element-wise with that shape,
    /// then transposes, then reshapes.
    fn fits_after(&self, graph: &Graph, v: ValueId, host: GroupIndex) -> bool {
        let members = &self.groups[host].nodes;
        let tail = movement_tail(graph, members);
        let shape = &graph.tensor(v).shape;
        let mut reached = vec![v];
        // Members are in reverse order: walking backwards visits producers first.
        for member in members.iter().rev() {
            let node = &graph.nodes[*member];
            if !node.inputs.iter().any(|i| reached.contains(i)) {
                continue;
            }
            reached.push(node.outputs[0]);
            let same = graph.tensor(node.outputs[0]).shape == *shape;
            if !(tail.contains(member) || is_elementwise(&node.op) && same) {
                return false;
            }
        }
        true
    }
}

/// The transposes, then reshapes that end a group.
fn movement_tail(graph: &Graph, members: &[NodeId]) -> Vec<NodeId> {
    let mut tail = Vec::new();
    let mut reshapes_allowed = true;
    let Some(mut at) = members.first().copied() else { return tail };
    loop {
        match graph.nodes[at].op {
            Op::Reshape { .. } if reshapes_allowed => {}
            Op::Transpose { .. } => reshapes_allowed = false,
            _ => return tail,
        }
        tail.push(at);
        match graph.values[graph.nodes[at].inputs[0]].def {
            Def::Node(before, _) if members.contains(&before) => at = before,
            _ => return tail,
        }
    }
}

/// Whether reading `v` for each element of `result` reads elements more than once.
fn repeats(graph: &Graph, v: ValueId, result: ValueId) -> bool {
    let (own, full) = (graph.tensor(v), graph.tensor(result));
    let smaller = own.elements() != full.elements();
    let moved = matches!(
        graph.def_node(result).map(|n| &n.op),
        Some(Op::Slice { .. } | Op::Pad { .. } | Op::Concat { .. })
    );
    smaller && !moved && !own.elements().is(1)
}

/// Whether `to` only splits axes of `from`, so that an index needs no division.
fn splits(from: &[Dim], to: &[Dim]) -> bool {
    let mut rest = to.iter();
    let whole = from.iter().all(|d| {
        let mut product = Dim::from(1);
        while product != *d {
            match rest.next() {
                Some(next) => product = product * next.clone(),
                None => return false,
            }
        }
        true
    });
    whole && rest.all(|d| d.is(1))
}

impl Plan {
    /// Moves members into the regions of new group nodes.
    fn apply(self, graph: &mut Graph) {
        let order = std::mem::take(&mut graph.regions[self.region].nodes);
        let region = self.region;
        let mut kept = Vec::with_capacity(order.len());
        for id in order {
            match self.of[id] {
                None => kept.push(id),
                Some(group) if self.groups[group].nodes[0] == id => {
                    kept.push(self.build(graph, group));
                }
                Some(_) => {}
            }
        }
        graph.regions[region].nodes = kept;
    }

    fn build(&self, graph: &mut Graph, group: GroupIndex) -> NodeId {
        let order: Vec<NodeId> = self.groups[group].nodes.iter().rev().copied().collect();
        if let [only] = order.as_slice()
            && let Op::Reshape { .. } = graph.nodes[*only].op
            && !graph.def_node(graph.nodes[*only].inputs[0]).is_some_and(|n| is_leaf(&n.op))
        {
            return *only;
        }
        let kind = match self.groups[group].anchor {
            None => GroupKind::Map,
            Some(a) => {
                let node = &graph.nodes[a];
                anchor_kind(&node.op, graph.tensor(node.outputs[0]).rank())
            }
        };
        enclose(graph, kind, &order)
    }
}

/// Wraps nodes (in execution order, the last one's results leave) into a group node.
fn enclose(graph: &mut Graph, kind: GroupKind, members: &[NodeId]) -> NodeId {
    let body = graph.add_region();
    let mut renamed: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    let mut inputs = Vec::new();
    for id in members {
        let operands = graph.nodes[*id].inputs.clone();
        let operands = operands
            .into_iter()
            .map(|v| {
                *renamed.entry(v).or_insert_with(|| enter(graph, body, members, v, &mut inputs))
            })
            .collect();
        graph.nodes[*id].inputs = operands;
        graph.regions[body].nodes.push(*id);
    }
    let last = *members.last().expect("a group has members");
    let outputs = graph.nodes[last].outputs.clone();
    let group = graph.nodes.next_id();
    let mut inner = Vec::new();
    for (i, v) in outputs.iter().enumerate() {
        let mut value = graph.values[*v].clone();
        value.def = Def::Node(last, i as u32);
        inner.push(graph.values.push(value));
        graph.values[*v].def = Def::Node(group, i as u32);
    }
    graph.nodes[last].outputs = inner.clone();
    graph.regions[body].results = inner;
    let source = graph.nodes[last].source.clone();
    let op = Op::Group { kind, body };
    graph.nodes.push(cascata_ir::graph::Node { op, inputs, outputs, source })
}

/// How a group reads a value: its own members' directly, leaves by a copy of their node,
/// anything else through a parameter.
fn enter(
    graph: &mut Graph,
    body: RegionId,
    members: &[NodeId],
    v: ValueId,
    inputs: &mut Vec<ValueId>,
) -> ValueId {
    if let Def::Node(def, _) = graph.values[v].def {
        if members.contains(&def) {
            return v;
        }
        if is_leaf(&graph.nodes[def].op) {
            let node = graph.nodes[def].clone();
            let ty = graph.ty(v).clone();
            return graph.add_node_typed(body, node.op, vec![], vec![ty], node.source)[0];
        }
    }
    let (name, ty) = (graph.values[v].name.clone(), graph.ty(v).clone());
    inputs.push(v);
    graph.add_param(body, name, ty)
}
