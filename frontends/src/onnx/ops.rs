//! Importers of the operators, by family.

use super::registry::Table;

mod activation;
mod attention;
mod branch;
mod contraction;
mod contrib;
mod control;
mod conv;
mod convert;
mod det;
mod detect;
mod einsum;
mod elementwise;
mod flex_attention;
mod index;
mod labels;
mod layout;
mod linear_attention;
mod loss;
mod ml;
mod ngrams;
mod norm;
mod place;
mod pool;
mod quantize;
mod random;
mod recurrent;
mod recurrent_scan;
mod reduce;
mod resize;
mod roi;
mod rotary;
mod sample;
mod sequence;
mod signal;
mod slice;
mod source;
mod text;
mod unique;
mod unroll;
mod window;

/// Families by domain; the default one is `""`.
pub const DOMAINS: &[(&str, &[Table])] = &[
    ("", STANDARD),
    ("ai.onnx.ml", &[labels::OPS, ml::OPS]),
    ("ai.onnx.preview", &[flex_attention::OPS]),
    ("com.microsoft", contrib::FAMILIES),
];

/// Families of the default domain.
const STANDARD: &[Table] = &[
    activation::OPS,
    attention::OPS,
    branch::OPS,
    detect::OPS,
    contraction::OPS,
    control::OPS,
    conv::OPS,
    convert::OPS,
    det::OPS,
    einsum::OPS,
    elementwise::OPS,
    index::OPS,
    layout::OPS,
    ngrams::OPS,
    place::OPS,
    linear_attention::OPS,
    loss::OPS,
    norm::OPS,
    contrib::norm::DEFAULT_DOMAIN,
    pool::OPS,
    quantize::OPS,
    random::OPS,
    recurrent::OPS,
    reduce::OPS,
    resize::OPS,
    rotary::OPS,
    sample::OPS,
    roi::OPS,
    sequence::OPS,
    signal::OPS,
    slice::OPS,
    source::OPS,
    text::OPS,
    unique::OPS,
];
