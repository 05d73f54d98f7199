//! Linear use of resources: one use consumes a version, nothing reads it afterwards.
//!
//! Appending, passing to an op with regions and returning consume; reading does
//! not. The branches of an `if` each may consume what is outside of them, since
//! one of them runs; the body of a loop may not, since it runs many times.

use super::Verifier;
use crate::graph::{Node, RegionId, ValueId};
use crate::op::Op;
use cascata_types::ValueType;

fn holds_resource(ty: &ValueType) -> bool {
    match ty {
        ValueType::Resource(_) => true,
        ValueType::Optional(inner) => holds_resource(inner),
        ValueType::Tensor(_) | ValueType::Sequence(_) => false,
    }
}

impl Verifier<'_> {
    pub(super) fn is_resource(&self, v: ValueId) -> bool {
        self.graph.values.get(v).is_some_and(|v| holds_resource(&v.ty))
    }

    pub(super) fn consume_operands(&mut self, node: &Node) {
        let reads = matches!(node.op, Op::StateRead { .. });
        for &v in &node.inputs {
            if !self.is_resource(v) {
                continue;
            }
            if reads { self.still_there(v) } else { self.consume(v) }
        }
    }

    fn still_there(&mut self, v: ValueId) {
        if let Some(by) = self.used_up.get(&v) {
            let message = format!("uses resource {}, which {by} has used up", self.named(v));
            self.report(message);
        }
    }

    pub(super) fn consume(&mut self, v: ValueId) {
        self.still_there(v);
        if self.visible.get(&v).is_some_and(|depth| *depth < self.loop_depth) {
            let name = self.named(v);
            self.report(format!("uses up resource {name} of outside its loop: carry it through"));
        }
        self.used_up.insert(v, self.place.clone());
    }

    /// Walks the regions of `op` under the rules for consuming what is outside of them.
    pub(super) fn inner_regions(&mut self, op: &Op, regions: Vec<RegionId>) {
        if let Op::If { .. } = op {
            // Each branch starts from before the `if`; what either has used up is gone after it.
            let before = self.used_up.clone();
            let mut after = before.clone();
            for region in regions {
                self.used_up.clone_from(&before);
                self.region(region, &[]);
                after.extend(std::mem::take(&mut self.used_up));
            }
            self.used_up = after;
            return;
        }
        for region in regions {
            let outer = std::mem::replace(&mut self.loop_depth, self.depth + 1);
            self.region(region, &op.binds_inside());
            self.loop_depth = outer;
        }
    }
}
