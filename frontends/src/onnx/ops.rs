//! Importers of the operators, by family.

use super::registry::Table;

mod activation;
mod attention;
mod contraction;
mod control;
mod conv;
mod detect;
mod einsum;
mod elementwise;
mod index;
mod layout;
mod norm;
mod pool;
mod quantize;
mod random;
mod recurrent;
mod reduce;
mod resize;
mod rotary;
mod slice;
mod source;
mod window;

/// Every family.
pub const FAMILIES: &[Table] = &[
    activation::OPS,
    attention::OPS,
    detect::OPS,
    contraction::OPS,
    control::OPS,
    conv::OPS,
    einsum::OPS,
    elementwise::OPS,
    index::OPS,
    layout::OPS,
    norm::OPS,
    pool::OPS,
    quantize::OPS,
    random::OPS,
    recurrent::OPS,
    reduce::OPS,
    resize::OPS,
    rotary::OPS,
    slice::OPS,
    source::OPS,
];
