//! What a rewrite rule is: a row of data.

use crate::egraph::pattern::{Pattern, PatternError};
use crate::egraph::site::Site;
use egg::Id;
use serde::Serialize;

/// How close the right side is to the left.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Exactness {
    /// The same bits (NaN payloads and the sign of zero aside).
    Bitwise,
    /// The same real function in another order of rounding.
    Reassociates,
    /// Within this relative error of the real function of the left side.
    Approx(f64),
}

/// A named condition on a match.
#[derive(Clone, Copy)]
pub struct Guard {
    /// Shown in reports and named by [`Rule::refutes`].
    pub name: &'static str,
    /// The condition.
    pub holds: fn(&Site) -> bool,
}

/// The right side of a rule.
#[derive(Clone, Copy)]
pub enum Rhs {
    /// A pattern; bound attributes are reused by name, numbers take the root's dtype.
    Text(&'static str),
    /// A named function, where attributes or shapes must be computed. `None` where the
    /// match turns out not to fit.
    Build(fn(&mut Site) -> Option<Id>),
}

/// One rewrite rule. Sides are patterns ([`crate::egraph::pattern`]); examples are
/// expressions in the language of `rules/check.rs` and drive the rule's test.
#[derive(Clone, Copy)]
pub struct Rule {
    /// Unique; what reports and `explain` show.
    pub name: &'static str,
    /// Spellings of the left side.
    pub lhs: &'static [&'static str],
    /// The right side.
    pub rhs: Rhs,
    /// What must hold for the sides to be equal; the types of both sides are always
    /// compared, so a guard is about values.
    pub sound_when: &'static [Guard],
    /// Where the rule is worth its e-nodes.
    pub worth_when: &'static [Guard],
    /// The left side's root is never chosen again: it is numerically worse, whatever it costs.
    pub subsumes: bool,
    /// How close the sides are.
    pub class: Exactness,
    /// Where it comes from, or why it holds.
    pub source: &'static str,
    /// Instances on which it must fire and be right.
    pub examples: &'static [&'static str],
    /// `(guard, instance)`: without the guard the rule fires there and is wrong.
    pub refutes: &'static [(&'static str, &'static str)],
}

/// Defaults for the optional columns of a row.
pub const ROW: Rule = Rule {
    name: "",
    lhs: &[],
    rhs: Rhs::Text(""),
    sound_when: &[],
    worth_when: &[],
    subsumes: false,
    class: Exactness::Bitwise,
    source: "",
    examples: &[],
    refutes: &[],
};

/// A rule with its patterns parsed.
pub struct CompiledRule {
    /// The row.
    pub rule: &'static Rule,
    /// Parsed spellings of the left side.
    pub lhs: Vec<Pattern>,
    /// The parsed right side, when it is text.
    pub rhs: Option<Pattern>,
}

impl CompiledRule {
    /// Parses the row's patterns.
    ///
    /// # Errors
    /// A side is not a pattern, or the right side uses a name that a left side lacks.
    pub fn new(rule: &'static Rule) -> Result<Self, PatternError> {
        let lhs = rule.lhs.iter().map(|t| Pattern::parse(t)).collect::<Result<Vec<_>, _>>()?;
        let rhs = match rule.rhs {
            Rhs::Text(text) => Some(Pattern::parse(text)?),
            Rhs::Build(_) => None,
        };
        if let Some(rhs) = &rhs {
            for side in &lhs {
                rhs.check_names(side)?;
            }
        }
        Ok(Self { rule, lhs, rhs })
    }
}
