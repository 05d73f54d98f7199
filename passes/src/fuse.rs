//! stub
use cascata_ir::op::Op;
/// Is it a map op
pub fn is_map_op(op: &Op) -> bool { matches!(op, Op::Unary(_)) }
