//! Rules that move elements.

use super::super::cx::{Cx, axes, axis};
use super::super::facts::{Elem, Facts, MAX_ELEMENTS};

/// NumPy broadcast of static dims.
pub fn broadcast_dims(a: &[i64], b: &[i64]) -> Option<Vec<i64>> {
    let rank = a.len().max(b.len());
    let at = |s: &[i64], i: usize| if i + s.len() < rank { 1 } else { s[i + s.len() - rank] };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

/// Number of elements, if it is small.
fn count(dims: &[i64]) -> Option<usize> {
    let product = |n: usize, d: &i64| n.checked_mul(usize::try_from(*d).ok()?);
    dims.iter().try_fold(1, product).filter(|n| *n <= MAX_ELEMENTS)
}

/// The product of dims, checked.
fn product(dims: &[i64]) -> Option<i64> {
    dims.iter().try_fold(1i64, |n, d| n.checked_mul(*d))
}

/// Row-major strides; those of an empty tensor are never used.
fn strides(dims: &[i64]) -> Vec<usize> {
    let mut out = vec![1usize; dims.len()];
    for i in (1..dims.len()).rev() {
        out[i - 1] = out[i].saturating_mul(dims[i].max(0) as usize);
    }
    out
}

impl Facts {
    /// A tensor of `dims` whose element at some coordinates is this one's at `from(coordinates)`.
    fn gathered(&self, dims: Vec<i64>, from: impl Fn(&[usize]) -> Option<usize>) -> Option<Facts> {
        let n = count(&dims)?;
        let mut at = vec![0usize; dims.len()];
        let mut elems = Vec::with_capacity(n);
        for _ in 0..n {
            elems.push(self.elems.get(from(&at)?)?.clone());
            for i in (0..dims.len()).rev() {
                at[i] += 1;
                if at[i] < dims[i] as usize {
                    break;
                }
                at[i] = 0;
            }
        }
        Some(Facts { dtype: self.dtype, dims, elems })
    }

    /// Broadcast to `dims`.
    pub fn expand(&self, dims: &[i64]) -> Option<Facts> {
        if self.dims == dims {
            return Some(self.clone());
        }
        let lead = dims.len().checked_sub(self.dims.len())?;
        let strides = strides(&self.dims);
        let own = self.dims.clone();
        self.gathered(dims.to_vec(), move |at| {
            let coordinate = |i: usize| if own[i] == 1 { 0 } else { at[lead + i] };
            Some((0..own.len()).map(|i| coordinate(i) * strides[i]).sum())
        })
    }

    fn along(&self, axis: usize, indices: &[usize]) -> Option<Facts> {
        let strides = strides(&self.dims);
        let mut dims = self.dims.clone();
        dims[axis] = indices.len() as i64;
        self.gathered(dims, |at| {
            let coordinate = |i: usize| if i == axis { indices[at[i]] } else { at[i] };
            Some((0..at.len()).map(|i| coordinate(i) * strides[i]).sum())
        })
    }
}

/// Reshape, Squeeze, Unsqueeze, Flatten: the same elements under other dims.
pub fn reshaped(cx: &Cx<'_>) -> Option<Vec<Facts>> {
    let x = cx.facts(0)?;
    let list = || match cx.facts(1) {
        Some(f) => f.as_ints(),
        None if cx.has(1) => None,
        None => cx.ints("axes").ok()?,
    };
    let rank = x.dims.len();
    let dims = match cx.node.op_type() {
        "Reshape" => reshape_dims(&x.dims, &list()?, cx.flag("allowzero", false).ok()?)?,
        "Squeeze" if !cx.has(1) && !cx.has_attribute("axes") => {
            x.dims.iter().copied().filter(|d| *d != 1).collect()
        }
        "Squeeze" => {
            let gone = axes(&list()?, rank).ok()?;
            if gone.iter().any(|&a| x.dims[a] != 1) {
                return None;
            }
            (0..rank).filter(|a| !gone.contains(a)).map(|a| x.dims[a]).collect()
        }
        "Unsqueeze" => {
            let list = list()?;
            let mut dims = x.dims.clone();
            for a in axes(&list, rank + list.len()).ok()? {
                dims.insert(a, 1);
            }
            dims
        }
        _ => {
            let a = cx.int("axis", 1).ok()?;
            let a = if a == rank as i64 { rank } else { axis(a, rank).ok()? };
            vec![product(&x.dims[..a])?, product(&x.dims[a..])?]
        }
    };
    (count(&dims)? == x.elems.len())
        .then(|| vec![Facts { dtype: x.dtype, dims, elems: x.elems.clone() }])
}

fn reshape_dims(from: &[i64], target: &[i64], allow_zero: bool) -> Option<Vec<i64>> {
    let copy = |(i, &t): (usize, &i64)| match t {
        0 if !allow_zero => from.get(i).copied(),
        t => Some(t),
    };
    let mut dims = target.iter().enumerate().map(copy).collect::<Option<Vec<i64>>>()?;
    if let Some(open) = dims.iter().position(|d| *d == -1) {
        let others: Vec<i64> = dims.iter().copied().filter(|d| *d != -1).collect();
        let (rest, all) = (product(&others)?, product(from)?);
        if rest <= 0 || all % rest != 0 {
            return None;
        }
        dims[open] = all / rest;
    }
    Some(dims)
}

pub fn concat(cx: &Cx<'_>) -> Option<Vec<Facts>> {
    let mut parts = Vec::new();
    for i in 0..cx.inputs.len() {
        parts.push(match cx.facts(i) {
            Some(f) => f.as_ref().clone(),
            None => {
                // Unknown parts keep the known ones useful.
                let ty = cx.input_type(i).ok()?;
                let dims = ty.static_shape()?;
                let elems = vec![Elem::unknown(); count(&dims)?];
                Facts { dtype: ty.dtype, dims, elems }
            }
        });
    }
    let first = parts.first()?.clone();
    let axis = axis(cx.int("axis", 0).ok()?, first.dims.len()).ok()?;
    let mut dims = first.dims.clone();
    for p in &parts[1..] {
        let fits = p.dims.len() == dims.len()
            && (0..dims.len()).all(|a| a == axis || p.dims[a] == dims[a]);
        if !fits {
            return None;
        }
        dims[axis] = dims[axis].checked_add(p.dims[axis])?;
    }
    count(&dims)?;
    // Rows before the axis; each part gives a run of its own length.
    let mut elems = Vec::new();
    if count(&dims)? > 0 {
        for row in 0..product(&dims[..axis])? as usize {
            for p in &parts {
                let run = product(&p.dims[axis..])? as usize;
                elems.extend_from_slice(p.elems.get(row * run..(row + 1) * run)?);
            }
        }
    }
    Some(vec![Facts { dtype: first.dtype, dims, elems }])
}

pub fn gather(cx: &Cx<'_>) -> Option<Vec<Facts>> {
    let (x, index) = (cx.facts(0)?, cx.facts(1)?);
    let axis = axis(cx.int("axis", 0).ok()?, x.dims.len()).ok()?;
    let size = x.dims[axis];
    let from_start = |i: i64| usize::try_from(if i < 0 { i.checked_add(size)? } else { i }).ok();
    let picked = index.as_ints()?.into_iter().map(from_start).collect::<Option<Vec<_>>>()?;
    if picked.iter().any(|&i| i as i64 >= size) {
        return None;
    }
    let mut facts = x.along(axis, &picked)?;
    facts.dims.splice(axis..=axis, index.dims.iter().copied());
    Some(vec![facts])
}

pub fn slice(cx: &Cx<'_>) -> Option<Vec<Facts>> {
    let mut x = cx.facts(0)?.as_ref().clone();
    let list = |i: usize, name: &str| match cx.facts(i) {
        Some(f) => f.as_ints(),
        None if cx.has(i) => None,
        None => cx.ints(name).ok()?,
    };
    let ends = |i: usize, name: &str| match cx.has(i) {
        true => cx.range_ends(i)?.iter().map(Elem::as_int).collect::<Option<Vec<i64>>>(),
        false => cx.ints(name).ok()?,
    };
    let (starts, ends) = (ends(1, "starts")?, ends(2, "ends")?);
    let all: Vec<i64> = (0..starts.len() as i64).collect();
    let which = if cx.has(3) || cx.has_attribute("axes") { list(3, "axes")? } else { all };
    let steps = if cx.has(4) { list(4, "steps")? } else { vec![1; starts.len()] };
    if [ends.len(), which.len(), steps.len()] != [starts.len(); 3] {
        return None;
    }
    for i in 0..starts.len() {
        let axis = axis(which[i], x.dims.len()).ok()?;
        // A huge dim beside an empty one.
        usize::try_from(x.dims[axis]).ok().filter(|d| *d <= MAX_ELEMENTS)?;
        let picked = slice_indices(x.dims[axis], starts[i], ends[i], steps[i])?;
        x = x.along(axis, &picked)?;
    }
    Some(vec![x])
}

/// Indices that a slice takes from an axis of `size` elements.
pub fn slice_indices(size: i64, start: i64, end: i64, step: i64) -> Option<Vec<usize>> {
    let from_start = |i: i64| if i < 0 { i.saturating_add(size) } else { i };
    let (start, end) = (from_start(start), from_start(end));
    let mut out = Vec::new();
    let (mut at, stop) = match step {
        0 => return None,
        s if s > 0 => (start.clamp(0, size), end.clamp(0, size)),
        _ => (start.clamp(-1, size - 1), end.clamp(-1, size - 1)),
    };
    while (step > 0 && at < stop) || (step < 0 && at > stop) {
        out.push(at as usize);
        at = at.saturating_add(step);
    }
    Some(out)
}

pub fn split(cx: &Cx<'_>) -> Option<Vec<Facts>> {
    let x = cx.facts(0)?;
    let axis = axis(cx.int("axis", 0).ok()?, x.dims.len()).ok()?;
    let parts = cx.node.output.len();
    let given = match cx.facts(1) {
        Some(f) => Some(f.as_ints()?),
        None if cx.has(1) => return None,
        None => cx.ints("split").ok()?,
    };
    let size = usize::try_from(x.dims[axis]).ok().filter(|s| *s <= MAX_ELEMENTS)? as i64;
    let chunk = (size as usize).div_ceil(parts.max(1)) as i64;
    let even = (0..parts as i64).map(|i| (size - i * chunk).clamp(0, chunk)).collect();
    let sizes: Vec<i64> = given.unwrap_or(even);
    let fits = sizes.iter().all(|s| (0..=size).contains(s));
    if sizes.len() != parts || !fits || sizes.iter().sum::<i64>() != size {
        return None;
    }
    let mut at = 0usize;
    let part = |n: &i64| {
        let picked: Vec<usize> = (at..at + *n as usize).collect();
        at += *n as usize;
        x.along(axis, &picked)
    };
    sizes.iter().map(part).collect()
}

pub fn transpose(cx: &Cx<'_>) -> Option<Vec<Facts>> {
    let x = cx.facts(0)?;
    let rank = x.dims.len();
    let reversed = || (0..rank as i64).rev().collect();
    let perm: Vec<i64> = cx.ints("perm").ok()?.unwrap_or_else(reversed);
    if axes(&perm, rank).ok()?.len() != rank {
        return None;
    }
    let perm: Vec<usize> = perm.iter().map(|&p| axis(p, rank).unwrap_or(0)).collect();
    let from = strides(&x.dims);
    let dims = perm.iter().map(|&p| x.dims[p]).collect();
    let facts = x.gathered(dims, |at| Some(at.iter().zip(&perm).map(|(c, &p)| c * from[p]).sum()));
    Some(vec![facts?])
}

pub fn expand(cx: &Cx<'_>) -> Option<Vec<Facts>> {
    let x = cx.facts(0)?;
    let target = cx.facts(1)?.as_ints()?;
    let dims = broadcast_dims(&x.dims, &target)?;
    Some(vec![x.expand(&dims)?])
}

pub fn tile(cx: &Cx<'_>) -> Option<Vec<Facts>> {
    let mut x = cx.facts(0)?.as_ref().clone();
    for (axis, repeats) in cx.facts(1)?.as_ints()?.into_iter().enumerate() {
        let size = usize::try_from(*x.dims.get(axis)?).ok()?;
        let total = size.checked_mul(usize::try_from(repeats).ok()?)?;
        if total > MAX_ELEMENTS {
            return None;
        }
        let picked: Vec<usize> = (0..total).map(|i| i % size).collect();
        x = x.along(axis, &picked)?;
    }
    Some(vec![x])
}
