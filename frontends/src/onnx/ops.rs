//! Importers of the operators, by family.

use super::registry::Table;

mod activation;
mod attention;
mod contraction;
mod control;
mod conv;
mod convert;
mod detect;
mod einsum;
mod elementwise;
mod index;
mod layout;
mod loss;
mod norm;
mod pool;
mod quantize;
mod random;
mod recurrent;
mod reduce;
mod resize;
mod rotary;
mod sample;
mod slice;
mod source;
mod window;

/// Families by domain; the default one is `""`.
pub const DOMAINS: &[(&str, &[Table])] = &[("", STANDARD)];

/// Families of the default domain.
const STANDARD: &[Table] = &[
    activation::OPS,
    attention::OPS,
    detect::OPS,
    contraction::OPS,
    control::OPS,
    conv::OPS,
    convert::OPS,
    einsum::OPS,
    elementwise::OPS,
    index::OPS,
    layout::OPS,
    loss::OPS,
    norm::OPS,
    pool::OPS,
    quantize::OPS,
    random::OPS,
    recurrent::OPS,
    reduce::OPS,
    resize::OPS,
    rotary::OPS,
    sample::OPS,
    slice::OPS,
    source::OPS,
];
