//! Inputs of a run: arrays from a file, or random ones of given sizes.

use super::arrays::{self, Arrays};
use super::exit::Usage;
use anyhow::{Context, Result, ensure};
use cascata::artifact::manifest::Port;
use cascata::ir::interp;
use cascata::ir::types::{Dim, Entity, SymbolId, SymbolTable};
use cascata::{DType, Tensor};
use clap::Args;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a run's inputs come from.
#[derive(Args, Debug, Clone)]
#[group(id = "source", required = true, multiple = false)]
pub struct Source {
    /// Arrays by input name, as numpy.savez writes them
    #[arg(long, value_name = "FILE.npz")]
    pub input: Option<PathBuf>,
    /// Random inputs from this seed: floats in -1..1, integers and booleans 0 or 1
    #[arg(long, value_name = "SEED")]
    pub random: Option<u64>,
}

/// The inputs of one run.
#[derive(Args, Debug, Clone)]
pub struct InputArgs {
    #[command(flatten)]
    pub source: Source,
    /// Size of a dim for --random: a symbol, or INPUT:AXIS; the default is its least, but not 0
    #[arg(long, value_name = "NAME=SIZE")]
    pub dim: Vec<Size>,
    /// Values of one input for --random, both ends included
    #[arg(long, value_name = "INPUT=MIN..MAX")]
    pub range: Vec<Range>,
}

/// `batch=8`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Size {
    /// A symbol, or `input:axis`.
    pub target: String,
    /// The size.
    pub size: i64,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (target, size) = text.rsplit_once('=').ok_or("expected NAME=SIZE")?;
        let size = size.trim().parse().ok().filter(|n| *n >= 0);
        let size = size.ok_or("the size must be a number from 0")?;
        Ok(Size { target: target.trim().into(), size })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.target, self.size)
    }
}

/// `input_ids=0..30000`.
#[derive(Debug, Clone, PartialEq)]
pub struct Range {
    input: String,
    min: f64,
    max: f64,
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected INPUT=MIN..MAX";
        let (input, range) = text.rsplit_once('=').ok_or(expected)?;
        let (min, max) = range.split_once("..").ok_or(expected)?;
        let number =
            |s: &str| s.trim().parse::<f64>().map_err(|_| format!("'{s}' is not a number"));
        let (min, max) = (number(min)?, number(max)?);
        if !min.is_finite() || !max.is_finite() || min > max {
            return Err("both must be finite, MIN not above MAX".into());
        }
        Ok(Range { input: input.trim().into(), min, max })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}..{}", self.input, self.min, self.max)
    }
}

/// What a run takes.
pub struct Signature<'a> {
    /// Inputs in order.
    pub inputs: Vec<Port>,
    /// Their symbols.
    pub symbols: &'a SymbolTable,
}

impl InputArgs {
    /// The arrays for a signature.
    pub fn arrays(&self, signature: &Signature<'_>) -> Result<Arrays> {
        if let Some(path) = &self.source.input {
            return Ok(arrays::read(path)?);
        }
        let sizes = sizes(&self.dim, signature)?;
        let unknown =
            self.range.iter().find(|r| !signature.inputs.iter().any(|p| p.name == r.input));
        if let Some(r) = unknown {
            return Err(no_such(
                "input",
                &r.input,
                signature.inputs.iter().map(|p| p.name.as_str()),
            )
            .into());
        }
        let mut random = Random(self.source.random.unwrap_or(0));
        let input = |port: &Port| {
            let range = self.range.iter().find(|r| r.input == port.name);
            let tensor = random_tensor(port, &sizes, range, &mut random);
            Ok((port.name.clone(), tensor.with_context(|| format!("input '{}'", port.name))?))
        };
        // An input with a default is one that people replace by something of their own.
        signature.inputs.iter().filter(|p| p.default.is_none()).map(input).collect()
    }
}

/// The value of every symbol, by index; what is not given is its least value, but not 0.
pub fn sizes(given: &[Size], signature: &Signature<'_>) -> Result<Vec<i64>, Usage> {
    let symbols = signature.symbols;
    let mut sizes: Vec<i64> = symbols.iter().map(|(_, s)| s.min.max(1).min(s.max)).collect();
    for Size { target, size } in given {
        let id = symbols.lookup(target).or_else(|| axis(target, signature)).ok_or_else(|| {
            no_such("symbolic dim", target, symbols.iter().map(|(_, s)| s.name.as_str()))
        })?;
        let (min, max) = symbols.range(id);
        if !(min..=max).contains(size) {
            return Err(Usage(format!("--dim {target}={size} is outside {min}..={max}")));
        }
        sizes[id.index()] = *size;
    }
    Ok(sizes)
}

/// The symbols with their sizes, for messages: `batch=1, seq=16`.
pub fn sizes_text(sizes: &[i64], symbols: &SymbolTable) -> String {
    let fixed = symbols.iter().zip(sizes).filter(|((_, s), _)| !s.data_dependent);
    fixed.map(|((_, s), n)| format!("{}={n}", s.name)).collect::<Vec<_>>().join(", ")
}

/// The symbol at `input:axis`.
fn axis(target: &str, signature: &Signature<'_>) -> Option<SymbolId> {
    let (input, axis) = target.rsplit_once(':')?;
    let port = signature.inputs.iter().find(|p| p.name == input)?;
    port.ty.as_tensor()?.shape.get(axis.parse::<usize>().ok()?)?.as_sym()
}

fn no_such<'a>(kind: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Usage {
    let known: Vec<&str> = known.collect();
    let known =
        if known.is_empty() { "it has none".into() } else { format!("only {}", known.join(", ")) };
    Usage(format!("the model has no {kind} '{name}', {known}"))
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    /// In 0..1.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn random_tensor(
    port: &Port,
    sizes: &[i64],
    range: Option<&Range>,
    random: &mut Random,
) -> Result<Tensor> {
    let ty = port.ty.as_tensor().context("only tensors can be random")?;
    ensure!(ty.dtype != DType::Str, "input '{}' is strings: give it with --input", port.name);
    let size = |d: &Dim| d.eval(&|s| sizes.get(s.index()).copied());
    let dims: Vec<i64> = ty.shape.iter().map(size).collect::<Result<_, _>>()?;
    let mut tensor = Tensor::zeros(ty.dtype, &dims)?;
    let count = tensor.bytes().len() / ty.dtype.size_bytes().unwrap_or(1);
    let whole = !ty.dtype.is_float();
    let (min, max) = range.map_or(if whole { (0.0, 1.0) } else { (-1.0, 1.0) }, |r| (r.min, r.max));
    let mut value = || match whole {
        true => min + (random.unit() * (max - min + 1.0)).floor(),
        false => min + random.unit() * (max - min),
    };
    let values: Vec<f64> = (0..count).map(|_| value()).collect();
    let values = match ty.dtype {
        DType::Bool => values.iter().map(|x| u8::from(*x != 0.0)).collect(),
        dtype => interp::Tensor::from_f64(dtype, &[count], values)?.to_le_bytes(),
    };
    tensor.bytes_mut().copy_from_slice(&values);
    Ok(tensor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cascata::ir::types::TensorType;

    fn port(name: &str, dtype: DType, shape: Vec<Dim>) -> Port {
        Port { name: name.into(), ty: TensorType::dense(dtype, shape).into(), default: None }
    }

    #[test]
    fn random_inputs_have_the_sizes_and_ranges_asked_for() {
        let mut symbols = SymbolTable::default();
        let b = symbols.intern("B");
        let inputs = vec![
            port("x", DType::F32, vec![Dim::sym(b), Dim::from(3)]),
            port("ids", DType::I64, vec![Dim::sym(b)]),
            port("m", DType::Bool, vec![Dim::sym(b)]),
        ];
        let signature = Signature { inputs, symbols: &symbols };
        let args = InputArgs {
            source: Source { input: None, random: Some(7) },
            dim: vec!["x:0=500".parse().unwrap()],
            range: vec!["ids=10..12".parse().unwrap()],
        };
        let arrays = args.arrays(&signature).unwrap();
        assert_eq!(arrays[0].1.dims(), [500, 3]);
        assert!(arrays[0].1.as_slice::<f32>().unwrap().iter().all(|x| (-1.0..1.0).contains(x)));
        let ids = arrays[1].1.as_slice::<i64>().unwrap();
        assert!((10..=12).all(|x| ids.contains(&x)) && ids.iter().all(|x| (10..=12).contains(x)));
        assert_eq!(arrays[2].1.to_vec::<bool>().unwrap().len(), 500);
        let again = args.arrays(&signature).unwrap();
        assert_eq!(arrays[0].1.bytes(), again[0].1.bytes());
    }

    #[test]
    fn wrong_names_are_said() {
        let mut symbols = SymbolTable::default();
        symbols.intern("batch");
        let signature = Signature { inputs: vec![], symbols: &symbols };
        let e = sizes(&["bach=1".parse().unwrap()], &signature).unwrap_err();
        assert_eq!(e.to_string(), "the model has no symbolic dim 'bach', only batch");
        assert!("a=1..".parse::<Range>().is_err() && "a=2..1".parse::<Range>().is_err());
        assert!("a=-1".parse::<Size>().is_err());
    }
}
