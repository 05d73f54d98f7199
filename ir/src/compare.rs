//! Structural equality of graphs: equal up to the numbering of entities.

use crate::graph::{ConstId, Graph, NodeId, RegionId, ValueId};
use crate::op::Op;
use std::collections::HashMap;

/// The first difference between two graphs, or `None` when they are equal up to the
/// ids of values, nodes, regions and constants. Dead nodes are not compared; names,
/// sources, types, checks and symbols (in order) are.
///
/// # Panics
/// If a graph uses ids that it does not have; run [`crate::verify::verify`] first.
pub fn difference(a: &Graph, b: &Graph) -> Option<String> {
    let mut c = Compare { a, b, values: HashMap::new() };
    c.graph().err()
}

struct Compare<'g> {
    a: &'g Graph,
    b: &'g Graph,
    values: HashMap<ValueId, ValueId>,
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, a: T, b: T) -> Result<(), String> {
    if a == b { Ok(()) } else { Err(format!("{what}: {a:?} and {b:?}")) }
}

impl Compare<'_> {
    fn graph(&mut self) -> Result<(), String> {
        same("name", &self.a.name, &self.b.name)?;
        let symbols = |g: &Graph| g.symbols.iter().map(|(_, s)| s.clone()).collect::<Vec<_>>();
        same("symbols", symbols(self.a), symbols(self.b))?;
        same("output names", &self.a.output_names, &self.b.output_names)?;
        self.region(Graph::ROOT, Graph::ROOT)
    }

    fn region(&mut self, a: RegionId, b: RegionId) -> Result<(), String> {
        let (x, y) = (&self.a.regions[a], &self.b.regions[b]);
        same("checks", &x.checks, &y.checks)?;
        same("number of parameters", x.params.len(), y.params.len())?;
        for (&p, &q) in x.params.iter().zip(&y.params) {
            self.define(p, q)?;
        }
        same("number of nodes", x.nodes.len(), y.nodes.len())?;
        for (&m, &n) in x.nodes.iter().zip(&y.nodes) {
            self.node(m, n)?;
        }
        self.uses("results of a region", &x.results, &y.results)
    }

    fn node(&mut self, a: NodeId, b: NodeId) -> Result<(), String> {
        let (x, y) = (&self.a.nodes[a], &self.b.nodes[b]);
        let at = format!("node '{}' ({a} and {b})", x.source);
        same(&at, &x.source, &y.source)?;
        self.uses(&format!("operands of {at}"), &x.inputs, &y.inputs)?;
        let (xs, ys) = (x.op.regions(), y.op.regions());
        same(&at, xs.len(), ys.len())?;
        same(&at, without_ids(&x.op), without_ids(&y.op))?;
        if let (Op::Const(c), Op::Const(d)) = (&x.op, &y.op) {
            self.constant(*c, *d)?;
        }
        for (r, s) in xs.into_iter().zip(ys) {
            self.region(r, s)?;
        }
        same(&format!("results of {at}"), x.outputs.len(), y.outputs.len())?;
        x.outputs.iter().zip(&y.outputs).try_for_each(|(&v, &w)| self.define(v, w))
    }

    fn constant(&self, a: ConstId, b: ConstId) -> Result<(), String> {
        let (x, y) = (&self.a.consts[a], &self.b.consts[b]);
        if x == y {
            return Ok(());
        }
        same(&format!("constant {a}"), (&x.name, &x.ty), (&y.name, &y.ty))?;
        Err(format!("constant {a} ('{}') has other bytes", x.name))
    }

    fn define(&mut self, a: ValueId, b: ValueId) -> Result<(), String> {
        let (x, y) = (&self.a.values[a], &self.b.values[b]);
        same(&format!("{a} and {b}"), (&x.name, &x.ty), (&y.name, &y.ty))?;
        self.values.insert(a, b);
        Ok(())
    }

    fn uses(&self, what: &str, a: &[ValueId], b: &[ValueId]) -> Result<(), String> {
        let mapped: Vec<_> = a.iter().map(|v| self.values.get(v).copied()).collect();
        same(what, mapped, b.iter().copied().map(Some).collect())
    }
}

/// The op with its region and constant ids blanked.
fn without_ids(op: &Op) -> Op {
    let mut op = op.clone();
    for region in op.regions_mut() {
        *region = RegionId(0);
    }
    match op {
        Op::Const(_) => Op::Const(ConstId(0)),
        op => op,
    }
}
