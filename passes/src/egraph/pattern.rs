//! Patterns: the text in which rules state their sides, and the matcher.
//!
//! ```text
//! pattern := '?' name [':' sort] ['=' pattern]    a class; a repeated name is the same class
//!          | '#' number                           a uniform constant with exactly this element
//!          | '~' number                           … within a relative 2⁻¹⁸
//!          | '(' op [':' name] pattern* ')'       a node; the name binds its attributes
//! sort    := 'const'                              known when compiling
//!          | 'scalar'                             a constant whose elements are all the same
//! ```
//! The op `unary` (`binary`) stands for any unary (binary) element-wise op; its name must be bound.
//! Operands of commutative binary ops match in both orders, so that no commutativity
//! rule has to blow up the e-graph.

use super::facts::{EGraph, uniform};
use super::language::{ENode, Kind, Origin, Payload, SOURCE};
use super::site::Site;
use cascata_ir::op::{BinaryOp, Op, UnaryOp};
use egg::Id;

/// Which classes a variable matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// All.
    Any,
    /// Known when compiling.
    Const,
    /// A constant whose elements are all the same.
    Scalar,
}

/// A parsed pattern node.
#[derive(Clone, Debug, PartialEq)]
pub enum Pat {
    /// A class, optionally refined.
    Var(usize, Sort, Option<Box<Pat>>),
    /// A uniform constant and its relative tolerance.
    Number(f64, f64),
    /// A node.
    Node {
        /// Name per `op_name`.
        op: &'static str,
        /// Where its attributes are bound.
        attr: Option<usize>,
        /// Operands.
        args: Vec<Pat>,
    },
}

/// A pattern with the names that it binds.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    /// The root.
    pub pat: Pat,
    /// Names of variables, by number.
    pub vars: Vec<&'static str>,
    /// Names of bound attributes, by number.
    pub attrs: Vec<&'static str>,
    /// The source.
    pub text: &'static str,
}

/// One way in which a pattern matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Match {
    /// The matched class.
    pub root: Id,
    /// Classes of the variables.
    pub vars: Vec<Option<Id>>,
    /// Interned ops whose attributes are bound.
    pub attrs: Vec<Option<Payload>>,
    /// Origins of the matched nodes, for provenance.
    pub premises: Vec<Origin>,
    /// The matched node of the root class.
    pub node: Option<ENode>,
}

const TOLERANCE: f64 = 1.0 / (1 << 18) as f64;

/// Why a rule's text is not a pattern; a bug in the rule table, found by its tests.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pattern '{text}': {what}")]
pub struct PatternError {
    text: &'static str,
    what: String,
}

impl Pattern {
    /// Parses the text form.
    ///
    /// # Errors
    /// The text is not a pattern.
    pub fn parse(text: &'static str) -> Result<Self, PatternError> {
        let mut parser = Parser { text, rest: tokens(text), vars: vec![], attrs: vec![] };
        let pat = parser.pattern()?;
        match parser.rest.first() {
            None => Ok(Self { pat, vars: parser.vars, attrs: parser.attrs, text }),
            Some(t) => Err(parser.error(format!("'{t}' after the end"))),
        }
    }

    /// Checks that every name of this right side is bound by the left side.
    ///
    /// # Errors
    /// A name is not bound.
    pub fn check_names(&self, left: &Pattern) -> Result<(), PatternError> {
        let unbound = |mine: &[&'static str], theirs: &[&'static str]| {
            mine.iter().find(|n| !theirs.contains(n)).copied()
        };
        match unbound(&self.vars, &left.vars).or(unbound(&self.attrs, &left.attrs)) {
            Some(name) => {
                let what = format!("'{name}' is not bound by '{}'", left.text);
                Err(PatternError { text: self.text, what })
            }
            None => Ok(()),
        }
    }

    /// Builds this right side at a site; `None` when some node is ill-typed.
    pub fn build(&self, site: &mut Site) -> Option<Id> {
        self.build_pat(&self.pat, site)
    }

    fn build_pat(&self, pat: &Pat, site: &mut Site) -> Option<Id> {
        match pat {
            Pat::Var(n, ..) => site.get(self.vars[*n]),
            Pat::Number(x, _) => site.number(site.dtype(site.root()), *x),
            Pat::Node { op, attr, args } => {
                let args =
                    args.iter().map(|a| self.build_pat(a, site)).collect::<Option<Vec<_>>>()?;
                let op = match (attr, UnaryOp::from_name(op), BinaryOp::from_name(op)) {
                    (Some(a), _, _) => site.attr(self.attrs[*a]),
                    (None, Some(op), _) => Op::Unary(op),
                    (None, _, Some(op)) => return site.binary(op, args[0], args[1]),
                    _ if *op == "matmul" => Op::MatMul,
                    _ => Op::Select,
                };
                site.add(op, &args)
            }
        }
    }

    /// Every match rooted in any class, in the order of class ids.
    pub fn search(&self, egraph: &EGraph) -> Vec<Match> {
        let Pat::Node { op, .. } = &self.pat else { return vec![] };
        let mut roots: Vec<Id> = members(op)
            .iter()
            .filter_map(|op| egraph.classes_for_op(&Kind::Op(op)))
            .flatten()
            .collect();
        roots.sort_unstable();
        roots.dedup();
        roots.into_iter().flat_map(|root| self.search_class(egraph, root)).collect()
    }

    /// Every match rooted in one class.
    pub fn search_class(&self, egraph: &EGraph, root: Id) -> Vec<Match> {
        let start = Match {
            root,
            vars: vec![None; self.vars.len()],
            attrs: vec![None; self.attrs.len()],
            premises: vec![],
            node: None,
        };
        let mut out = match_class(egraph, &self.pat, root, start);
        out.dedup();
        out
    }
}

fn match_class(egraph: &EGraph, pat: &Pat, id: Id, state: Match) -> Vec<Match> {
    let id = egraph.find(id);
    match pat {
        Pat::Number(x, tolerance) => match uniform(egraph, id) {
            Some(s) if close(s.to_f64(), *x, *tolerance) => vec![state],
            _ => vec![],
        },
        Pat::Var(n, sort, inner) => {
            let fits = match (state.vars[*n], sort) {
                (Some(bound), _) => bound == id,
                (None, Sort::Any) => true,
                (None, Sort::Const) => egraph[id].data.constant,
                (None, Sort::Scalar) => uniform(egraph, id).is_some(),
            };
            if !fits {
                return vec![];
            }
            let mut state = state;
            state.vars[*n] = Some(id);
            match inner {
                Some(inner) => match_class(egraph, inner, id, state),
                None => vec![state],
            }
        }
        Pat::Node { op, .. } => egraph[id]
            .nodes
            .iter()
            .filter(|n| matches!(n.kind, Kind::Op(name) if is_member(op, name)))
            .flat_map(|n| match_node(egraph, pat, n, &state))
            .collect(),
    }
}

fn match_node(egraph: &EGraph, pat: &Pat, node: &ENode, state: &Match) -> Vec<Match> {
    let Pat::Node { op, attr, args } = pat else { return vec![] };
    if args.len() != node.children.len() {
        return vec![];
    }
    let mut state = state.clone();
    state.node.get_or_insert_with(|| node.clone());
    if let Some(a) = attr {
        if state.attrs[*a].is_some_and(|bound| bound != node.payload) {
            return vec![];
        }
        state.attrs[*a] = Some(node.payload);
    }
    if node.origin != SOURCE && !state.premises.contains(&node.origin) {
        state.premises.push(node.origin);
    }
    let mut out = match_args(egraph, args, node.children.iter().copied(), state.clone());
    let commutes = match node.kind {
        // Under `binary` both orders are spelled out, because the sides may differ in kind.
        Kind::Op(name) => {
            *op != "binary" && BinaryOp::from_name(name).is_some_and(BinaryOp::is_commutative)
        }
        _ => false,
    };
    if commutes && node.children[0] != node.children[1] {
        out.extend(match_args(egraph, args, node.children.iter().rev().copied(), state));
    }
    out
}

fn match_args(
    egraph: &EGraph,
    args: &[Pat],
    children: impl Iterator<Item = Id>,
    state: Match,
) -> Vec<Match> {
    let mut states = vec![state];
    for (arg, child) in args.iter().zip(children) {
        states = states.into_iter().flat_map(|s| match_class(egraph, arg, child, s)).collect();
        if states.is_empty() {
            break;
        }
    }
    states
}

/// Names of the ops that an op of a pattern stands for.
fn members(op: &'static str) -> Vec<&'static str> {
    match op {
        "unary" => UnaryOp::ALL.iter().map(|u| u.name()).collect(),
        "binary" => BinaryOp::ALL.iter().map(|b| b.name()).collect(),
        op => vec![op],
    }
}

fn is_member(op: &str, name: &str) -> bool {
    match op {
        "unary" => UnaryOp::from_name(name).is_some(),
        "binary" => BinaryOp::from_name(name).is_some(),
        op => op == name,
    }
}

fn close(a: f64, b: f64, tolerance: f64) -> bool {
    a == b || (a - b).abs() <= tolerance * b.abs()
}

// ---- parser -----------------------------------------------------------------

struct Parser {
    text: &'static str,
    rest: Vec<&'static str>,
    vars: Vec<&'static str>,
    attrs: Vec<&'static str>,
}

fn tokens(text: &'static str) -> Vec<&'static str> {
    let mut out = vec![];
    for word in text.split_whitespace() {
        let mut start = 0;
        for (i, c) in word.char_indices() {
            if matches!(c, '(' | ')' | '=') {
                if start < i {
                    out.push(&word[start..i]);
                }
                out.push(&word[i..i + 1]);
                start = i + 1;
            }
        }
        if start < word.len() {
            out.push(&word[start..]);
        }
    }
    out
}

impl Parser {
    fn error(&self, what: impl Into<String>) -> PatternError {
        PatternError { text: self.text, what: what.into() }
    }

    fn next(&mut self) -> Result<&'static str, PatternError> {
        if self.rest.is_empty() {
            return Err(self.error("ends too early"));
        }
        Ok(self.rest.remove(0))
    }

    fn pattern(&mut self) -> Result<Pat, PatternError> {
        let token = self.next()?;
        match token.as_bytes()[0] {
            b'(' => self.node(),
            b'?' => self.var(&token[1..]),
            b'#' => Ok(Pat::Number(self.number(&token[1..])?, 0.0)),
            b'~' => Ok(Pat::Number(self.number(&token[1..])?, TOLERANCE)),
            _ => Err(self.error(format!("'{token}' starts no pattern"))),
        }
    }

    fn number(&self, text: &str) -> Result<f64, PatternError> {
        text.parse().map_err(|_| self.error(format!("'{text}' is not a number")))
    }

    fn var(&mut self, token: &'static str) -> Result<Pat, PatternError> {
        let (name, sort) = token.split_once(':').unwrap_or((token, "any"));
        let sort = match sort {
            "any" => Sort::Any,
            "const" => Sort::Const,
            "scalar" => Sort::Scalar,
            other => return Err(self.error(format!("'{other}' is not a sort"))),
        };
        let number = intern(&mut self.vars, name);
        if self.rest.first() != Some(&"=") {
            return Ok(Pat::Var(number, sort, None));
        }
        self.next()?;
        Ok(Pat::Var(number, sort, Some(Box::new(self.pattern()?))))
    }

    fn node(&mut self) -> Result<Pat, PatternError> {
        let token = self.next()?;
        let (op, attr) = match token.split_once(':') {
            Some((op, attr)) => (op, Some(intern(&mut self.attrs, attr))),
            None => (token, None),
        };
        let mut args = vec![];
        while self.rest.first() != Some(&")") {
            args.push(self.pattern()?);
        }
        self.next()?;
        let arity = match op {
            _ if op == "unary" || UnaryOp::from_name(op).is_some() => Some(1),
            _ if op == "binary" || BinaryOp::from_name(op).is_some() => Some(2),
            _ => None,
        };
        if arity.is_some_and(|n| n != args.len()) {
            return Err(self.error(format!("'{op}' with {} operands", args.len())));
        }
        Ok(Pat::Node { op, attr, args })
    }
}

fn intern(names: &mut Vec<&'static str>, name: &'static str) -> usize {
    names.iter().position(|n| *n == name).unwrap_or_else(|| {
        names.push(name);
        names.len() - 1
    })
}
