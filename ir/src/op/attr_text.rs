//! Text form of attribute values: `[1, 2]` lists, `(a, b)` tuples, lower-case
//! words, `f32(0.5)` numbers with their dtype.

use super::*;
use crate::parse::{ParseError, Parser};
use crate::print::Printer;

/// An attribute value that prints and parses back to itself.
pub(crate) trait AttrText: Sized {
    /// What the value looks like, for the op table.
    const KIND: &'static str;
    fn print(&self, p: &mut Printer<'_>);
    fn parse(p: &mut Parser<'_>) -> Result<Self, ParseError>;

    /// Calls `f` for every dim inside.
    fn dims(&self, _f: &mut dyn FnMut(&Dim)) {}

    /// Calls `f` for every dim inside.
    fn dims_mut(&mut self, _f: &mut dyn FnMut(&mut Dim)) {}
}

macro_rules! integers {
    ($($ty:ty),*) => { $(
        impl AttrText for $ty {
            const KIND: &'static str = "integer";
            fn print(&self, p: &mut Printer<'_>) {
                p.text(&self.to_string());
            }
            fn parse(p: &mut Parser<'_>) -> Result<Self, ParseError> {
                p.integer()
            }
        }
    )* };
}
integers!(i64, u64, usize);

/// Enums without fields, by lower-case words.
macro_rules! words {
    ($( $ty:ident: $kind:literal { $($variant:ident = $word:literal),* $(,)? } )*) => { $(
        impl AttrText for $ty {
            const KIND: &'static str = $kind;
            fn print(&self, p: &mut Printer<'_>) {
                p.text(match self { $($ty::$variant => $word,)* });
            }
            fn parse(p: &mut Parser<'_>) -> Result<Self, ParseError> {
                let word = p.word()?;
                match word.as_str() {
                    $($word => Ok($ty::$variant),)*
                    _ => Err(p.error(format!("'{word}' is not one of {}", $kind))),
                }
            }
        }
    )* };
}
words! {
    PadMode: "constant|reflect|edge|wrap" {
        Constant = "constant", Reflect = "reflect", Edge = "edge", Wrap = "wrap",
    }
    ScatterReduce: "none|add|mul|max|min" {
        None = "none", Add = "add", Mul = "mul", Max = "max", Min = "min",
    }
    ReduceOp: "sum|mean|max|min|prod" {
        Sum = "sum", Mean = "mean", Max = "max", Min = "min", Prod = "prod",
    }
    ChannelLayout: "first|last" { First = "first", Last = "last" }
    ResizeMode: "nearest|linear|cubic" { Nearest = "nearest", Linear = "linear", Cubic = "cubic" }
    ResizeCoordinates: "half_pixel|half_pixel_symmetric|pytorch_half_pixel|align_corners|asymmetric|tf_crop_and_resize" {
        HalfPixel = "half_pixel", HalfPixelSymmetric = "half_pixel_symmetric",
        PytorchHalfPixel = "pytorch_half_pixel", AlignCorners = "align_corners",
        Asymmetric = "asymmetric", TfCropAndResize = "tf_crop_and_resize",
    }
    NearestMode: "round_prefer_floor|round_prefer_ceil|floor|ceil" {
        RoundPreferFloor = "round_prefer_floor", RoundPreferCeil = "round_prefer_ceil",
        Floor = "floor", Ceil = "ceil",
    }
    Direction: "forward|reverse|bidirectional" {
        Forward = "forward", Reverse = "reverse", Bidirectional = "bidirectional",
    }
    ActivationKind: "activation" {
        Relu = "relu", Tanh = "tanh", Sigmoid = "sigmoid", Affine = "affine",
        LeakyRelu = "leaky_relu", ThresholdedRelu = "thresholded_relu",
        ScaledTanh = "scaled_tanh", HardSigmoid = "hard_sigmoid", Elu = "elu",
        Softsign = "softsign", Softplus = "softplus",
    }
    GroupKind: "map|row_reduce|contraction|attention|single" {
        Map = "map", RowReduce = "row_reduce", Contraction = "contraction",
        Attention = "attention", Single = "single",
    }
}

impl AttrText for bool {
    const KIND: &'static str = "bool";
    fn print(&self, p: &mut Printer<'_>) {
        p.text(if *self { "true" } else { "false" });
    }
    fn parse(p: &mut Parser<'_>) -> Result<Self, ParseError> {
        match p.word()?.as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            w => Err(p.error(format!("expected true or false, got '{w}'"))),
        }
    }
}

impl AttrText for String {
    const KIND: &'static str = "string";
    fn print(&self, p: &mut Printer<'_>) {
        p.quoted(self);
    }
    fn parse(p: &mut Parser<'_>) -> Result<Self, ParseError> {
        p.string()
    }
}

impl AttrText for DType {
    const KIND: &'static str = "dtype";
    fn print(&self, p: &mut Printer<'_>) {
        p.text(self.name());
    }
    fn parse(p: &mut Parser<'_>) -> Result<Self, ParseError> {
        p.dtype()
    }
}

impl AttrText for Encoding {
    const KIND: &'static str = "encoding";
    fn print(&self, p: &mut Printer<'_>) {
        p.text(&self.to_string());
    }
    fn parse(p: &mut Parser<'_>) -> Result<Self, ParseError> {
        p.encoding()
    }
}

impl AttrText for Scalar {
    const KIND: &'static str = "dtype(number)";
    fn print(&self, p: &mut Printer<'_>) {
        let text = format!("{}({})", self.dtype, crate::print::number_text(*self));
        p.text(&text);
    }
    fn parse(p: &mut Parser<'_>) -> Result<Self, ParseError> {
        let dtype = p.dtype()?;
        p.expect("(")?;
        let value = p.number_of(dtype)?;
        p.expect(")")?;
        Ok(value)
    }
}

impl AttrText for Dim {
    const KIND: &'static str = "dim";
    fn print(&self, p: &mut Printer<'_>) {
        p.dim(self);
    }
    fn parse(p: &mut Parser<'_>) -> Result<Self, ParseError> {
        p.dim()
    }
    fn dims(&self, f: &mut dyn FnMut(&Dim)) {
        f(self);
    }
    fn dims_mut(&mut self, f: &mut dyn FnMut(&mut Dim)) {
        f(self);
    }
}

impl AttrText for TensorType {
    const KIND: &'static str = "type";
    fn print(&self, p: &mut Printer<'_>) {
        p.tensor_type(self);
    }
    fn parse(p: &mut Parser<'_>) -> Result<Self, ParseError> {
        p.tensor_type()
    }
    fn dims(&self, f: &mut dyn FnMut(&Dim)) {
        self.shape.dims(f);
    }
    fn dims_mut(&mut self, f: &mut dyn FnMut(&mut Dim)) {
        self.shape.dims_mut(f);
    }
}

impl AttrText for SymbolId {
    const KIND: &'static str = "symbol";
    fn print(&self, p: &mut Printer<'_>) {
        p.symbol(*self);
    }
    fn parse(p: &mut Parser<'_>) -> Result<Self, ParseError> {
        p.symbol()
    }
}

impl AttrText for ConstId {
    const KIND: &'static str = "constant";
    fn print(&self, p: &mut Printer<'_>) {
        p.text(&self.to_string());
    }
    fn parse(p: &mut Parser<'_>) -> Result<Self, ParseError> {
        p.const_ref()
    }
}

impl AttrText for RegionId {
    const KIND: &'static str = "region";
    fn print(&self, p: &mut Printer<'_>) {
        p.text("region");
        p.region(*self);
    }
    fn parse(p: &mut Parser<'_>) -> Result<Self, ParseError> {
        p.expect("region")?;
        p.region()
    }
}

impl<T: AttrText> AttrText for Vec<T> {
    const KIND: &'static str = "list";
    fn print(&self, p: &mut Printer<'_>) {
        p.text("[");
        for (i, x) in self.iter().enumerate() {
            p.text(if i > 0 { ", " } else { "" });
            x.print(p);
        }
        p.text("]");
    }
    fn parse(p: &mut Parser<'_>) -> Result<Self, ParseError> {
        p.expect("[")?;
        let mut out = Vec::new();
        while !p.eat("]") {
            if !out.is_empty() {
                p.expect(",")?;
            }
            out.push(T::parse(p)?);
        }
        Ok(out)
    }
    fn dims(&self, f: &mut dyn FnMut(&Dim)) {
        self.iter().for_each(|x| x.dims(f));
    }
    fn dims_mut(&mut self, f: &mut dyn FnMut(&mut Dim)) {
        self.iter_mut().for_each(|x| x.dims_mut(f));
    }
}

impl<T: AttrText> AttrText for Option<T> {
    const KIND: &'static str = T::KIND;
    fn print(&self, p: &mut Printer<'_>) {
        match self {
            Some(x) => x.print(p),
            None => p.text("none"),
        }
    }
    fn parse(p: &mut Parser<'_>) -> Result<Self, ParseError> {
        if p.eat("none") { Ok(None) } else { T::parse(p).map(Some) }
    }
}

impl<T: AttrText, U: AttrText> AttrText for (T, U) {
    const KIND: &'static str = "pair";
    fn print(&self, p: &mut Printer<'_>) {
        tuple(p, &[&|p| self.0.print(p), &|p| self.1.print(p)]);
    }
    fn parse(p: &mut Parser<'_>) -> Result<Self, ParseError> {
        p.expect("(")?;
        let a = T::parse(p)?;
        let b = last(p)?;
        Ok((a, b))
    }
    fn dims(&self, f: &mut dyn FnMut(&Dim)) {
        self.0.dims(f);
        self.1.dims(f);
    }
    fn dims_mut(&mut self, f: &mut dyn FnMut(&mut Dim)) {
        self.0.dims_mut(f);
        self.1.dims_mut(f);
    }
}

/// Prints `(a, b, …)`.
fn tuple(p: &mut Printer<'_>, items: &[&dyn Fn(&mut Printer<'_>)]) {
    p.text("(");
    for (i, item) in items.iter().enumerate() {
        p.text(if i > 0 { ", " } else { "" });
        item(p);
    }
    p.text(")");
}

/// `, item` of a tuple.
fn next<T: AttrText>(p: &mut Parser<'_>) -> Result<T, ParseError> {
    p.expect(",")?;
    T::parse(p)
}

/// `, item)` of a tuple.
fn last<T: AttrText>(p: &mut Parser<'_>) -> Result<T, ParseError> {
    let item = next(p)?;
    p.expect(")")?;
    Ok(item)
}

impl AttrText for SliceRange {
    const KIND: &'static str = "(axis, start, len, step)";
    fn print(&self, p: &mut Printer<'_>) {
        let SliceRange { axis, start, len, step } = self;
        tuple(p, &[&|p| axis.print(p), &|p| start.print(p), &|p| len.print(p), &|p| step.print(p)]);
    }
    fn parse(p: &mut Parser<'_>) -> Result<Self, ParseError> {
        p.expect("(")?;
        let axis = usize::parse(p)?;
        Ok(SliceRange { axis, start: next(p)?, len: next(p)?, step: last(p)? })
    }
    fn dims(&self, f: &mut dyn FnMut(&Dim)) {
        f(&self.start);
        f(&self.len);
    }
    fn dims_mut(&mut self, f: &mut dyn FnMut(&mut Dim)) {
        f(&mut self.start);
        f(&mut self.len);
    }
}

impl AttrText for Activation {
    const KIND: &'static str = "(activation, alpha, beta)";
    fn print(&self, p: &mut Printer<'_>) {
        let Activation { kind, alpha, beta } = self;
        tuple(p, &[&|p| kind.print(p), &|p| alpha.print(p), &|p| beta.print(p)]);
    }
    fn parse(p: &mut Parser<'_>) -> Result<Self, ParseError> {
        p.expect("(")?;
        let kind = ActivationKind::parse(p)?;
        Ok(Activation { kind, alpha: next(p)?, beta: last(p)? })
    }
}

impl AttrText for PoolKind {
    const KIND: &'static str = "max(indices, column_major)|average(count_pad)|lp(p)";
    fn print(&self, p: &mut Printer<'_>) {
        match self {
            PoolKind::Max { indices, column_major } => {
                p.text("max");
                tuple(p, &[&|p| indices.print(p), &|p| column_major.print(p)]);
            }
            PoolKind::Average { count_pad } => {
                p.text("average");
                tuple(p, &[&|p| count_pad.print(p)]);
            }
            PoolKind::Lp { p: exponent } => {
                p.text("lp");
                tuple(p, &[&|p| exponent.print(p)]);
            }
        }
    }
    fn parse(p: &mut Parser<'_>) -> Result<Self, ParseError> {
        let word = p.word()?;
        p.expect("(")?;
        let kind = match word.as_str() {
            "max" => return Ok(PoolKind::Max { indices: bool::parse(p)?, column_major: last(p)? }),
            "average" => PoolKind::Average { count_pad: bool::parse(p)? },
            "lp" => PoolKind::Lp { p: i64::parse(p)? },
            _ => return Err(p.error(format!("'{word}' is not one of {}", Self::KIND))),
        };
        p.expect(")")?;
        Ok(kind)
    }
}

impl AttrText for Distribution {
    const KIND: &'static str = "normal(mean, scale)|uniform(low, high)";
    fn print(&self, p: &mut Printer<'_>) {
        let (word, a, b) = match self {
            Distribution::Normal { mean, scale } => ("normal", mean, scale),
            Distribution::Uniform { low, high } => ("uniform", low, high),
        };
        p.text(word);
        tuple(p, &[&|p| a.print(p), &|p| b.print(p)]);
    }
    fn parse(p: &mut Parser<'_>) -> Result<Self, ParseError> {
        let word = p.word()?;
        p.expect("(")?;
        let a = Scalar::parse(p)?;
        let b = last(p)?;
        match word.as_str() {
            "normal" => Ok(Distribution::Normal { mean: a, scale: b }),
            "uniform" => Ok(Distribution::Uniform { low: a, high: b }),
            _ => Err(p.error(format!("'{word}' is not one of {}", Self::KIND))),
        }
    }
}

impl AttrText for BindMode {
    const KIND: &'static str = "raw|reshape(shape, allow_zero)";
    fn print(&self, p: &mut Printer<'_>) {
        match self {
            BindMode::Raw => p.text("raw"),
            BindMode::Reshape { operand, allow_zero } => {
                p.text("reshape");
                tuple(p, &[&|p| operand.print(p), &|p| allow_zero.print(p)]);
            }
        }
    }
    fn parse(p: &mut Parser<'_>) -> Result<Self, ParseError> {
        match p.word()?.as_str() {
            "raw" => Ok(BindMode::Raw),
            "reshape" => {
                p.expect("(")?;
                Ok(BindMode::Reshape { operand: Shape::parse(p)?, allow_zero: last(p)? })
            }
            w => Err(p.error(format!("'{w}' is not one of {}", Self::KIND))),
        }
    }
    fn dims(&self, f: &mut dyn FnMut(&Dim)) {
        if let BindMode::Reshape { operand, .. } = self {
            operand.dims(f);
        }
    }
    fn dims_mut(&mut self, f: &mut dyn FnMut(&mut Dim)) {
        if let BindMode::Reshape { operand, .. } = self {
            operand.dims_mut(f);
        }
    }
}
