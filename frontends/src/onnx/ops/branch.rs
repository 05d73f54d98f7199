//! If: a decided condition leaves one branch, inlined; else both become regions.
//!
//! Results whose dtypes or ranks differ are not results of the graph's `If`: what follows
//! moves into the branches ([`super::super::sink`]). A branch in which that cannot be valid
//! cannot be taken: the other one is inlined, with a check that it is the one.

use super::super::cx::Cx;
use super::super::error::{Problem, R, Refusal, malformed};
use super::super::facts::Elem;
use super::super::form::Form;
use super::super::proto::GraphProto;
use super::super::registry::{Importer::*, Table};
use super::super::scope::Slot;
use super::control::Params;
use cascata_ir::graph::{DimCheck, RegionId, ValueId};
use cascata_ir::op::{BinaryOp, Op};
use cascata_ir::types::{DType, Dim, SymbolId};

pub const OPS: Table = &[("If", Many(branch))];

/// A branch that was imported into a region of its own.
struct Imported {
    region: RegionId,
    results: Vec<Slot>,
}

/// A branch that was not.
struct Refused {
    refusal: Refusal,
    problems: Vec<Problem>,
}

fn branch(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let condition = cx.facts(0).and_then(|f| f.elems.first().cloned());
    let (then, other) = (cx.body("then_branch")?, cx.body("else_branch")?);
    if let Some(decided) = condition.as_ref().and_then(Elem::as_int) {
        return inlined(cx, if decided != 0 { &then } else { &other });
    }
    let undecided = undecided(cx, condition.as_ref());
    // Both are walked even if the first fails, so that all problems are reported.
    match (attempt(cx, &then), attempt(cx, &other)) {
        (Ok(a), Ok(b)) => joined(cx, &a, &b, &undecided),
        (Ok(_), Err(no)) if cx.continued && no.is_invalid() => only(cx, &then, true, &no),
        (Err(no), Ok(_)) if cx.continued && no.is_invalid() => only(cx, &other, false, &no),
        (a, b) => {
            let refused = [a.err(), b.err()].into_iter().flatten();
            let mut refusals = Vec::new();
            for no in refused {
                cx.imp.problems.extend(no.problems);
                refusals.push(no.refusal);
            }
            match refusals.into_iter().next() {
                Some(Refusal::Reported) | None => Err(Refusal::Unsupported(format!(
                    "{undecided}, and a branch cannot be imported without that (see its nodes)"
                ))),
                Some(refusal) => Err(refusal),
            }
        }
    }
}

fn inlined(cx: &mut Cx<'_>, body: &GraphProto) -> R<Vec<Slot>> {
    let frame = cx.frame.nested(cx.frame.region, cx.frame.opsets.clone())?;
    cx.imp.scopes.push(false);
    let results = cx.imp.body(body, &frame);
    cx.imp.scopes.pop();
    results
}

/// Imports a branch into a region; its problems are kept apart.
fn attempt(cx: &mut Cx<'_>, body: &GraphProto) -> Result<Imported, Box<Refused>> {
    let seen = cx.imp.problems.len();
    match cx.region(body, &Params::default()) {
        Ok((region, results)) => Ok(Imported { region, results }),
        Err(refusal) => {
            let problems = cx.imp.problems.split_off(seen);
            Err(Box::new(Refused { refusal, problems }))
        }
    }
}

impl Refused {
    /// The first node that is wrong by ONNX's own rules, if one is.
    fn invalid(&self) -> Option<&Problem> {
        self.problems.iter().find(|p| p.invalid)
    }

    fn is_invalid(&self) -> bool {
        self.invalid().is_some()
    }
}

/// The only branch that can be taken, inlined.
fn only(cx: &mut Cx<'_>, body: &GraphProto, taken: bool, other: &Refused) -> R<Vec<Slot>> {
    let why = other.invalid().map_or_else(String::new, Problem::to_string);
    let other = if taken { "else_branch" } else { "then_branch" };
    let what = format!("{}: its {other} is taken, in which {why}", cx.source);
    let condition = cx.input(0)?;
    must_be(cx, condition, taken, what)?;
    inlined(cx, body)
}

/// Requires, whenever this region runs, that a condition has this value.
fn must_be(cx: &mut Cx<'_>, condition: ValueId, wanted: bool, what: String) -> R<()> {
    let (lhs, rhs) = match equal_dims(cx, condition).filter(|_| wanted) {
        Some(dims) => dims,
        None => {
            let number = cx.cast(condition, DType::I64)?;
            let number = cx.reshape(number, vec![1.into()])?;
            (cx.bind_vector(number, 1)?.swap_remove(0), Dim::from(i64::from(wanted)))
        }
    };
    cx.imp.graph.add_check(cx.frame.region, DimCheck { lhs, rhs, what });
    Ok(())
}

/// The dims whose equality a condition is, if it is that.
fn equal_dims(cx: &Cx<'_>, condition: ValueId) -> Option<(Dim, Dim)> {
    let node = cx.imp.graph.def_node(condition)?;
    match node.op {
        Op::Reshape { .. } | Op::Cast { .. } => equal_dims(cx, node.inputs[0]),
        Op::Binary(BinaryOp::Eq) => {
            let dim = |v: ValueId| match cx.imp.facts.get(&v)?.elems.as_slice() {
                [elem] => elem.as_dim().cloned(),
                _ => None,
            };
            Some((dim(node.inputs[0])?, dim(node.inputs[1])?))
        }
        _ => None,
    }
}

/// Both branches as regions, with what they agree on as results.
fn joined(cx: &mut Cx<'_>, then: &Imported, other: &Imported, undecided: &str) -> R<Vec<Slot>> {
    if then.results.len() != other.results.len() {
        let (a, b) = (then.results.len(), other.results.len());
        return malformed!("the branches have {a} and {b} outputs");
    }
    let mut outputs = Vec::new();
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for (i, pair) in then.results.iter().zip(&other.results).enumerate() {
        outputs.push(match agreed(cx, i, (*pair.0, *pair.1), undecided)? {
            Ok(pairs) => {
                a.extend(pairs.iter().map(|(x, _)| *x));
                b.extend(pairs.iter().map(|(_, y)| *y));
                Output::Joined(cx.imp.form(*pair.0))
            }
            Err(words) => Output::Differs(cx.imp.difference(words)),
        });
    }
    let dims = decided_by_branch(cx, &a, &b);
    let nothing = a.is_empty();
    cx.imp.graph.regions[then.region].results = a;
    cx.imp.graph.regions[other.region].results = b;
    let mut results = Vec::new();
    if !nothing {
        let condition = cx.input(0)?;
        let condition = cx.reshape(condition, vec![])?;
        let op = Op::If { then_region: then.region, else_region: other.region, dims };
        results = cx.emit_all(op, &[condition])?;
    }
    let mut results = results.into_iter().map(Slot::Value);
    let slot = |output| match output {
        Output::Joined(form) => cx.imp.formed(form, &mut results),
        Output::Differs(slot) => Ok(slot),
    };
    outputs.into_iter().map(slot).collect()
}

/// What becomes of an output.
enum Output {
    /// It is made of the next results of the graph's `If`.
    Joined(Form),
    /// The branches give different types.
    Differs(Slot),
}

/// The values that result `i` is made of, in both branches, if values of the graph can stand
/// for them, else words for why not.
fn agreed(
    cx: &Cx<'_>,
    i: usize,
    (a, b): (Slot, Slot),
    undecided: &str,
) -> R<Result<Vec<(ValueId, ValueId)>, String>> {
    let (x, y) = (cx.imp.form(a), cx.imp.form(b));
    if x != y {
        let (x, y) = (x.words(), y.words());
        return Ok(Err(format!("{undecided}; its branches give {x} and {y} for output {i}")));
    }
    let mut pairs = Vec::new();
    for (a, b) in cx.imp.tensors(a).into_iter().zip(cx.imp.tensors(b)) {
        match alike(cx, i, (a, b), undecided)? {
            Ok(pair) => pairs.push(pair),
            Err(words) => return Ok(Err(words)),
        }
    }
    Ok(Ok(pairs))
}

/// The two tensors as values, if one value of the graph can stand for both.
fn alike(
    cx: &Cx<'_>,
    i: usize,
    pair: (Slot, Slot),
    undecided: &str,
) -> R<Result<(ValueId, ValueId), String>> {
    let (a, b) = match pair {
        (Slot::Value(a), Slot::Value(b)) => (a, b),
        (differs @ Slot::Differs(_), _) | (_, differs) => match cx.imp.slot_type(differs) {
            Err(Refusal::Unsupported(words)) => return Ok(Err(words)),
            other => return other.and(Err(Refusal::Poisoned)),
        },
    };
    let (x, y) = (cx.imp.graph.ty(a), cx.imp.graph.ty(b));
    let fits = match (x.as_tensor(), y.as_tensor()) {
        (Some(x), Some(y)) => x.dtype == y.dtype && x.rank() == y.rank(),
        _ => x == y,
    };
    if fits {
        return Ok(Ok((a, b)));
    }
    let (x, y) = (x.display(cx.symbols()), y.display(cx.symbols()));
    Ok(Err(format!("{undecided}; its branches give {x} and {y} for output {i}")))
}

/// A dim of a result, as [`Op::If`] names it.
type ResultDim = ((usize, usize), SymbolId);

/// A symbol for each dim in which the branches' results differ.
fn decided_by_branch(cx: &mut Cx<'_>, then: &[ValueId], other: &[ValueId]) -> Vec<ResultDim> {
    let mut dims = Vec::new();
    for (i, (&a, &b)) in then.iter().zip(other).enumerate() {
        let (a, b) = (cx.imp.graph.ty(a).clone(), cx.imp.graph.ty(b).clone());
        let (Some(a), Some(b)) = (a.as_tensor(), b.as_tensor()) else { continue };
        for (axis, _) in a.shape.iter().zip(&b.shape).enumerate().filter(|(_, (a, b))| a != b) {
            dims.push(((i, axis), cx.fresh("dim")));
        }
    }
    dims
}

/// Why a condition is not decided, and what would decide it.
fn undecided(cx: &Cx<'_>, condition: Option<&Elem>) -> String {
    let symbols = condition.map(Elem::symbols).unwrap_or_default();
    let names: Vec<String> = symbols
        .iter()
        .filter(|s| cx.symbols().get(**s).is_some_and(|s| !s.data_dependent))
        .map(|s| cx.symbols().name(*s))
        .collect();
    if names.is_empty() {
        return "the condition depends on the values of inputs (fix the input that decides it \
                with a value option)"
            .into();
    }
    format!("the condition depends on {}: bind it with --dim", names.join(", "))
}
