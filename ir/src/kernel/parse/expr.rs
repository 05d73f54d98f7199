//! Scalar expressions, constants and places.

use super::{ParseError, Parser, Token};
use crate::kernel::{Expr, Place};
use crate::op::{BinaryOp, UnaryOp};
use cascata_types::{DType, Scalar};

impl<'a> Parser<'a> {
    pub(super) fn expr(&mut self) -> Result<Expr, ParseError> {
        self.deeper(|p| match p.token {
            Token::Buffer(_) => Ok(Expr::Load(p.place()?)),
            Token::Word(word) if !is_constant(word) => p.name_or_function(word),
            _ => Ok(Expr::Const(p.scalar()?)),
        })
    }

    fn name_or_function(&mut self, word: &'a str) -> Result<Expr, ParseError> {
        let at = self.at;
        self.advance()?;
        if self.eat("(")? {
            let call = self.call(word, at)?;
            self.expect(")")?;
            return Ok(call);
        }
        let undeclared = || self.lexer.error(at, &format!("variable '{word}' is not declared"));
        self.names.local_ids.get(word).copied().map(Expr::Local).ok_or_else(undeclared)
    }

    fn call(&mut self, word: &str, at: usize) -> Result<Expr, ParseError> {
        if word == "index" {
            return Ok(Expr::Index(self.dim()?));
        }
        if word == "select" {
            let cond = self.expr()?;
            let (a, b) = (self.next_argument()?, self.next_argument()?);
            return Ok(cond.select(a, b));
        }
        if let Some(op) = UnaryOp::from_name(word) {
            return Ok(self.expr()?.unary(op));
        }
        if let Some(op) = BinaryOp::from_name(word) {
            let a = self.expr()?;
            return Ok(a.binary(op, self.next_argument()?));
        }
        if let Some(Ok(dtype)) = word.strip_prefix("as_").map(str::parse) {
            return Ok(Expr::Bits(dtype, Box::new(self.expr()?)));
        }
        match word.parse() {
            Ok(dtype) => Ok(self.expr()?.cast(dtype)),
            Err(_) => Err(self.lexer.error(at, &format!("unknown function '{word}'"))),
        }
    }

    fn next_argument(&mut self) -> Result<Expr, ParseError> {
        self.expect(",")?;
        self.expr()
    }

    pub(super) fn place(&mut self) -> Result<Place, ParseError> {
        let Token::Buffer(handle) = self.token else {
            return Err(self.expected("a buffer element such as %x[0]"));
        };
        let undeclared = || self.error(&format!("buffer '%{handle}' is not declared"));
        let buffer = self.names.buffer_ids.get(handle).copied().ok_or_else(undeclared)?;
        self.advance()?;
        self.expect("[")?;
        let at = self.dim()?;
        self.expect("]")?;
        Ok(Place { buffer, at })
    }

    /// A constant with its dtype.
    pub(super) fn scalar(&mut self) -> Result<Scalar, ParseError> {
        let at = self.at;
        let negative = self.eat("-")?;
        let token = self.advance_if(|t| matches!(t, Token::Number(..) | Token::Word(_)))?;
        let value = match token {
            Some(Token::Number(digits, suffix)) => number(digits, suffix, negative),
            Some(Token::Word(word)) => match word.strip_prefix("bits_") {
                Some(dtype) => return self.bits(dtype, at),
                None => special(word, negative),
            },
            _ => return Err(self.expected("a value")),
        };
        value.ok_or_else(|| self.lexer.error(at, "expected a constant such as 1.5f32 or 3i64"))
    }

    fn bits(&mut self, dtype: &str, at: usize) -> Result<Scalar, ParseError> {
        let dtype = dtype.parse().map_err(|e: String| self.lexer.error(at, &e))?;
        self.expect("(")?;
        let Token::Hex(bits) = self.token else {
            return Err(self.expected("bits such as 0x7fc00000"));
        };
        self.advance()?;
        self.expect(")")?;
        Ok(Scalar { dtype, bits })
    }
}

fn is_constant(word: &str) -> bool {
    matches!(word, "true" | "false")
        || ["inf_", "nan_", "bits_"].iter().any(|prefix| word.starts_with(prefix))
}

fn special(word: &str, negative: bool) -> Option<Scalar> {
    match word {
        "true" | "false" if !negative => return Some(Scalar::bool(word == "true")),
        _ => {}
    }
    let (value, dtype) = match word.split_once('_')? {
        ("inf", dtype) => (if negative { f64::NEG_INFINITY } else { f64::INFINITY }, dtype),
        ("nan", dtype) if !negative => (f64::NAN, dtype),
        _ => return None,
    };
    let dtype: DType = dtype.parse().ok()?;
    dtype.is_float().then(|| Scalar::from_f64(dtype, value))
}

fn number(digits: &str, suffix: &str, negative: bool) -> Option<Scalar> {
    let dtype: DType = suffix.parse().ok()?;
    let text = if negative { format!("-{digits}") } else { digits.to_string() };
    match dtype {
        DType::F32 => Some(Scalar::f32(text.parse().ok()?)),
        d if d.is_float() => Some(Scalar::from_f64(d, text.parse().ok()?)),
        DType::U64 => Some(Scalar { dtype, bits: text.parse().ok()? }),
        d if d.is_int() => integer(d, text.parse().ok()?),
        _ => None,
    }
}

fn integer(dtype: DType, value: i64) -> Option<Scalar> {
    let scalar = Scalar::from_i64(dtype, value);
    (scalar.to_i64() == value).then_some(scalar)
}
