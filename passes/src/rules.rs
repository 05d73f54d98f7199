//! The rewrite rules: tables of rows, by subject.
//!
//! Adding a rule is adding a row with an example; its test is automatic (`check`).

mod activation;
mod algebra;
mod attention;
mod linear;
mod lookup;
mod movement;
mod norm;
mod positions;
mod quantised;
mod rule;

#[cfg(test)]
mod check;

pub use rule::{CompiledRule, Exactness, Guard, ROW, Rhs, Rule};

/// All rules, in the order in which they are tried.
pub const ALL: &[&[Rule]] = &[
    algebra::RULES,
    movement::RULES,
    activation::RULES,
    norm::RULES,
    attention::RULES,
    linear::RULES,
    lookup::RULES,
    quantised::RULES,
];
