//! Ops on strings.

use super::compute::Operands;
use super::error::OpError;
use super::tensor::Tensor;
use crate::regex;
use crate::types::text;

fn strings<'a>(args: &Operands<'a>, i: usize) -> Result<(&'a Tensor, &'a [String]), OpError> {
    let x = args.at(i)?;
    let texts = x.as_slice::<String>().ok_or_else(|| OpError::dtype(i, "str", x.dtype()))?;
    Ok((x, texts))
}

pub(super) fn concat(args: &Operands<'_>) -> Result<Tensor, OpError> {
    let ((a, left), (b, right)) = (strings(args, 0)?, strings(args, 1)?);
    if a.dims() != b.dims() {
        let text = format!("operands of dims {:?} and {:?} must agree", a.dims(), b.dims());
        return Err(OpError::Shape(text));
    }
    let joined = |(a, b): (&String, &String)| match a.len().saturating_add(b.len()) {
        n if n > text::MAX_BYTES => Err(OpError::Unsupported(format!("a string of {n} bytes"))),
        _ => Ok(format!("{a}{b}")),
    };
    Tensor::new(a.dims(), left.iter().zip(right).map(joined).collect::<Result<_, _>>()?)
}

pub(super) fn case(args: &Operands<'_>, upper: bool) -> Result<Tensor, OpError> {
    let (x, texts) = strings(args, 0)?;
    Tensor::new(x.dims(), texts.iter().map(|t| text::cased(t, upper)).collect())
}

pub(super) fn matches(args: &Operands<'_>, pattern: &str) -> Result<Tensor, OpError> {
    let (x, texts) = strings(args, 0)?;
    let dfa = regex::full_match(pattern).map_err(OpError::Unsupported)?;
    Tensor::new(x.dims(), texts.iter().map(|t| dfa.accepts(t)).collect())
}

pub(super) fn count(args: &Operands<'_>, delimiter: &str, at_most: u64) -> Result<Tensor, OpError> {
    let (x, texts) = strings(args, 0)?;
    let count = |t: &String| text::parts(t, delimiter, at_most).len() as i64;
    Tensor::new(x.dims(), texts.iter().map(count).collect())
}

pub(super) fn split(
    args: &Operands<'_>,
    delimiter: &str,
    at_most: u64,
    parts: usize,
) -> Result<Tensor, OpError> {
    let (x, texts) = strings(args, 0)?;
    let dims = [x.dims(), &[parts]].concat();
    super::tensor::checked_elements(&dims)?;
    let row = |t: &String| {
        let found = text::parts(t, delimiter, at_most);
        let found: Vec<String> = found.into_iter().map(str::to_string).collect();
        found.into_iter().chain(std::iter::repeat(String::new())).take(parts)
    };
    Tensor::new(&dims, texts.iter().flat_map(row).collect())
}
