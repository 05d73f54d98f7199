//! Operators of the `com.microsoft` domain, decomposed to core ops.
//!
//! Semantics are ONNX Runtime's; `tests/models/contrib.py` makes its results for random
//! operands and `tests/tests/onnx_backend` compares. What is not decomposed is refused by
//! attribute or input name.

use super::super::cx::Cx;
use super::super::error::{R, unsupported};
use super::super::registry::Table;

pub mod attention;
pub mod dense;
pub mod group_query;
pub mod norm;
pub mod quantize;

/// Every family.
pub const FAMILIES: &[Table] =
    &[attention::OPS, dense::OPS, group_query::OPS, norm::OPS, quantize::OPS];

/// Refuses inputs that no decomposition reads.
fn without_inputs(cx: &Cx<'_>, inputs: &[(usize, &str)]) -> R<()> {
    match inputs.iter().find(|(i, _)| cx.has(*i)) {
        Some((_, name)) => unsupported!("input {name}"),
        None => Ok(()),
    }
}

/// Refuses attributes with another value than the one that they need not have.
fn only(cx: &Cx<'_>, attributes: &[(&str, i64)]) -> R<()> {
    for (name, value) in attributes {
        let given = cx.int(name, *value)?;
        if given != *value {
            return unsupported!("{name} = {given}");
        }
    }
    Ok(())
}
