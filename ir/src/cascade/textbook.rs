//! The cascades of the literature: softmax, norms, and attention in FuseMax's
//! three forms (arXiv 2406.10491, section 4).

use super::{Access, Cascade, Einsum, Index, Rank, RankId, Role, Tensor, TensorId};
use crate::graph::NodeId;
use cascata_types::Dim;

/// FuseMax's taxonomy of attention by passes over the keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttentionForm {
    /// Maximum; numerator and denominator; division and ·V (PyTorch, FLAT).
    #[default]
    ThreePass,
    /// Maximum; then numerator, denominator and ·V, with the division deferred.
    TwoPass,
    /// Running maximum, denominator and output, corrected tile by tile (FlashAttention).
    OnePass,
}

/// Adds Einsums to a cascade; every call gives the tensor that it defines.
pub(crate) struct Writer<'c> {
    pub(crate) cascade: &'c mut Cascade,
    /// Recorded with each Einsum.
    pub(crate) node: Option<NodeId>,
    pub(crate) element_bytes: i64,
}

impl Writer<'_> {
    pub(crate) fn rank(&mut self, name: &str, size: impl Into<Dim>) -> RankId {
        self.cascade.ranks.push(Rank { name: name.into(), size: size.into() })
    }

    pub(crate) fn tensor(&mut self, name: &str, ranks: &[RankId], role: Role) -> TensorId {
        self.cascade.tensors.push(Tensor {
            name: name.into(),
            ranks: ranks.to_vec(),
            element_bytes: self.element_bytes,
            stored_bytes: None,
            role,
            value: None,
        })
    }

    /// A read at the current coordinates.
    pub(crate) fn at(&self, tensor: TensorId) -> Access {
        let at = self.cascade.tensors[tensor].ranks.iter().map(|r| Index::At(*r)).collect();
        Access { tensor, at }
    }

    /// A read with one rank at another coordinate than the current one.
    fn with(&self, tensor: TensorId, index: Index) -> Access {
        let mut access = self.at(tensor);
        for at in access.at.iter_mut().filter(|i| i.rank() == index.rank()) {
            *at = index;
        }
        access
    }

    /// `name[ranks] = map(inputs)`, reduced when asked.
    pub(crate) fn define(
        &mut self,
        name: &str,
        ranks: &[RankId],
        map: (&str, i64),
        inputs: &[TensorId],
        reduce: Option<(&str, &[RankId])>,
    ) -> TensorId {
        let inputs = inputs.iter().map(|t| self.at(*t)).collect();
        let output = self.tensor(name, ranks, Role::Inner);
        self.statement(output, map, inputs, reduce)
    }

    fn statement(
        &mut self,
        output: TensorId,
        map: (&str, i64),
        inputs: Vec<Access>,
        reduce: Option<(&str, &[RankId])>,
    ) -> TensorId {
        self.cascade.einsums.push(Einsum {
            output,
            inputs,
            map: map.0.into(),
            map_ops: map.1,
            reduce: reduce.map(|(op, ranks)| (op.to_string(), ranks.to_vec())),
            node: self.node,
        });
        output
    }
}

fn except(ranks: &[RankId], gone: &[RankId]) -> Vec<RankId> {
    ranks.iter().copied().filter(|r| !gone.contains(r)).collect()
}

/// Softmax of `x` over `rank`: maximum, numerator, denominator, division: 3 passes.
pub(crate) fn softmax(w: &mut Writer<'_>, x: TensorId, rank: RankId) -> TensorId {
    let ranks = w.cascade.tensors[x].ranks.clone();
    let outer = except(&ranks, &[rank]);
    let m = w.define("max", &outer, ("id", 0), &[x], Some(("max", &[rank])));
    let e = w.define("num", &ranks, ("exp(a-b)", 2), &[x, m], None);
    let d = w.define("den", &outer, ("id", 0), &[e], Some(("sum", &[rank])));
    w.define("softmax", &ranks, ("div", 1), &[e, d], None)
}

/// LayerNorm (`mean`) or RMSNorm over `axes`: sums, then the result: 2 passes.
pub(crate) fn norm(
    w: &mut Writer<'_>,
    operands: &[TensorId],
    axes: &[RankId],
    mean: bool,
) -> TensorId {
    let x = operands[0];
    let ranks = w.cascade.tensors[x].ranks.clone();
    let outer = except(&ranks, axes);
    let mut inputs = operands.to_vec();
    if mean {
        inputs.push(w.define("sum", &outer, ("id", 0), &[x], Some(("sum", axes))));
    }
    inputs.push(w.define("squares", &outer, ("a*a", 1), &[x], Some(("sum", axes))));
    let map = if mean { ("(a-mean)*rsqrt(var)*scale+bias", 4) } else { ("a*rsqrt(ms)*scale", 2) };
    w.define("norm", &ranks, map, &inputs, None)
}

/// The operands and ranks of one attention.
pub(crate) struct AttentionRanks {
    /// Batch, head, query and whatever else the result shares with the scores.
    pub(crate) rows: Vec<RankId>,
    /// Keys: one rank, or tiles and keys of a tile in the 1-pass form.
    pub(crate) keys: Vec<RankId>,
    /// Head size of q and k.
    pub(crate) depth: RankId,
    /// Head size of v.
    pub(crate) width: RankId,
}

/// Attention of q, k, v (and a mask) with the division where the form puts it.
pub(crate) fn attention(
    w: &mut Writer<'_>,
    operands: &[TensorId],
    at: &AttentionRanks,
    form: AttentionForm,
) -> TensorId {
    let AttentionRanks { rows, keys, depth, width } = at;
    let scores: Vec<RankId> = rows.iter().chain(keys).copied().collect();
    let result: Vec<RankId> = rows.iter().copied().chain([*width]).collect();
    let qk = &operands[..2];
    let mut s = w.define("qk", &scores, ("mul", 1), qk, Some(("sum", &[*depth])));
    if let Some(mask) = operands.get(3) {
        s = w.define("masked", &scores, ("add", 1), &[s, *mask], None);
    }
    let v = operands[2];
    let over = keys.as_slice();
    if let (AttentionForm::OnePass, [tiles, inner]) = (form, over) {
        return one_pass(w, [s, v], rows, [*tiles, *inner], *width);
    }
    if let (AttentionForm::ThreePass, [key]) = (form, over) {
        let a = softmax(w, s, *key);
        return w.define("av", &result, ("mul", 1), &[a, v], Some(("sum", over)));
    }
    let m = w.define("max", rows, ("id", 0), &[s], Some(("max", over)));
    let e = w.define("num", &scores, ("exp(a-b)", 2), &[s, m], None);
    let d = w.define("den", rows, ("id", 0), &[e], Some(("sum", over)));
    let o = w.define("numv", &result, ("mul", 1), &[e, v], Some(("sum", over)));
    w.define("av", &result, ("div", 1), &[o, d], None)
}

/// The 1-pass cascade from scores and v on, with keys in `tiles` of `inner` keys.
fn one_pass(
    w: &mut Writer<'_>,
    [s, v]: [TensorId; 2],
    rows: &[RankId],
    [tiles, inner]: [RankId; 2],
    width: RankId,
) -> TensorId {
    let join = |more: &[RankId]| -> Vec<RankId> { rows.iter().chain(more).copied().collect() };
    let (scores, per_tile) = (join(&[tiles, inner]), join(&[tiles]));
    let (outs, result) = (join(&[tiles, width]), join(&[width]));
    let local = w.define("local_max", &per_tile, ("id", 0), &[s], Some(("max", &[inner])));
    let running = w.tensor("running_max", &per_tile, Role::Inner);
    let recurrence = vec![w.with(running, Index::Previous(tiles)), w.at(local)];
    w.statement(running, ("max", 1), recurrence, None);
    let e = w.define("num", &scores, ("exp(a-b)", 2), &[s, running], None);
    let den = w.define("local_den", &per_tile, ("id", 0), &[e], Some(("sum", &[inner])));
    let numv = w.define("local_numv", &outs, ("mul", 1), &[e, v], Some(("sum", &[inner])));
    let fix = w.tensor("correction", &per_tile, Role::Inner);
    let both = vec![w.with(running, Index::Previous(tiles)), w.at(running)];
    w.statement(fix, ("exp(a-b)", 2), both, None);
    let d = w.tensor("running_den", &per_tile, Role::Inner);
    let inputs = vec![w.with(d, Index::Previous(tiles)), w.at(fix), w.at(den)];
    w.statement(d, ("a*b+c", 2), inputs, None);
    let o = w.tensor("running_numv", &outs, Role::Inner);
    let inputs = vec![w.with(o, Index::Previous(tiles)), w.at(fix), w.at(numv)];
    w.statement(o, ("a*b+c", 2), inputs, None);
    let y = w.tensor("av", &result, Role::Inner);
    let last = vec![w.with(o, Index::Last(tiles)), w.with(d, Index::Last(tiles))];
    w.statement(y, ("div", 1), last, None)
}

fn writer(cascade: &mut Cascade) -> Writer<'_> {
    Writer { cascade, node: None, element_bytes: 4 }
}

/// Attention of one head: `q[p,e], k[m,e], v[m,f] → av[p,f]` in f32, with the rank of keys
/// along which its passes count (tiles of `tile` keys in the 1-pass form).
pub fn attention_cascade(
    queries: Dim,
    keys: Dim,
    tile: i64,
    head: i64,
    form: AttentionForm,
) -> (Cascade, RankId) {
    let mut cascade = Cascade::default();
    let mut w = writer(&mut cascade);
    let p = w.rank("p", queries);
    let (e, f) = (w.rank("e", head), w.rank("f", head));
    let q = w.tensor("q", &[p, e], Role::Input);
    let m = match form {
        AttentionForm::OnePass => {
            vec![w.rank("m1", keys.ceil_div(&tile.into())), w.rank("m0", tile)]
        }
        _ => vec![w.rank("m", keys)],
    };
    let k = w.tensor("k", &[m.as_slice(), &[e]].concat(), Role::Input);
    let v = w.tensor("v", &[m.as_slice(), &[f]].concat(), Role::Input);
    let counted = m[0];
    let at = AttentionRanks { rows: vec![p], keys: m, depth: e, width: f };
    let y = attention(&mut w, &[q, k, v], &at, form);
    cascade.tensors[y].role = Role::Output;
    (cascade, counted)
}

/// Softmax of `x[r,k]` over k as usually written (3 passes), or with the maximum and
/// the denominator found in one traversal (the online form, 2 passes).
pub fn softmax_cascade(rows: Dim, size: Dim, online: bool) -> (Cascade, RankId) {
    let mut cascade = Cascade::default();
    let mut w = writer(&mut cascade);
    let (r, k) = (w.rank("r", rows), w.rank("k", size));
    let x = w.tensor("x", &[r, k], Role::Input);
    if !online {
        let y = softmax(&mut w, x, k);
        cascade.tensors[y].role = Role::Output;
        return (cascade, k);
    }
    let m = w.tensor("running_max", &[r, k], Role::Inner);
    let inputs = vec![w.with(m, Index::Previous(k)), w.at(x)];
    w.statement(m, ("max", 1), inputs, None);
    let d = w.tensor("running_den", &[r, k], Role::Inner);
    let inputs =
        vec![w.with(d, Index::Previous(k)), w.with(m, Index::Previous(k)), w.at(m), w.at(x)];
    w.statement(d, ("a*exp(b-c)+exp(d-c)", 6), inputs, None);
    let y = w.tensor("softmax", &[r, k], Role::Output);
    let inputs = vec![w.at(x), w.with(m, Index::Last(k)), w.with(d, Index::Last(k))];
    w.statement(y, ("exp(a-b)/c", 3), inputs, None);
    (cascade, k)
}
