//! Index expressions: `4*i+j`, `floordiv(N+3,4)`.

use super::{ParseError, Parser, Token};
use cascata_types::{Dim, SymbolId};

/// Most terms of one polynomial; products of sums grow fast.
const MAX_TERMS: usize = 256;

impl Parser<'_> {
    /// `[-] product (± product)*`.
    pub(super) fn sum(&mut self) -> Result<Dim, ParseError> {
        self.deeper(|p| {
            let mut total = p.signed_product()?;
            loop {
                if p.eat("+")? {
                    total = total + p.product(false)?;
                } else if p.at_sign("-") {
                    total = total + p.signed_product()?;
                } else {
                    return Ok(total);
                }
                p.limit(total.terms().len())?;
            }
        })
    }

    fn limit(&self, terms: usize) -> Result<(), ParseError> {
        if terms <= MAX_TERMS {
            return Ok(());
        }
        Err(self.error(&format!("this index expression has more than {MAX_TERMS} terms")))
    }

    fn signed_product(&mut self) -> Result<Dim, ParseError> {
        let negative = self.eat("-")?;
        self.product(negative)
    }

    fn product(&mut self, negative: bool) -> Result<Dim, ParseError> {
        let mut total = self.factor(negative)?;
        while self.eat("*")? {
            let factor = self.factor(false)?;
            self.limit(total.terms().len().saturating_mul(factor.terms().len()))?;
            total = total * factor;
        }
        Ok(total)
    }

    /// A negative number is read as one, so that the smallest one can be.
    fn factor(&mut self, negative: bool) -> Result<Dim, ParseError> {
        let value = match self.token {
            Token::Number(digits, "") => return self.number(digits, negative),
            Token::Word(name) => self.name_or_call(name)?,
            Token::Sign("(") => {
                self.advance()?;
                let inner = self.sum()?;
                self.expect(")")?;
                inner
            }
            _ => return Err(self.expected("a number, a symbol or '('")),
        };
        Ok(if negative { -value } else { value })
    }

    fn number(&mut self, digits: &str, negative: bool) -> Result<Dim, ParseError> {
        let value = digits.parse::<i128>().ok().map(|x| if negative { -x } else { x });
        let value = value.and_then(|x| i64::try_from(x).ok());
        let value = value.ok_or_else(|| self.expected("an integer of 64 bits"))?;
        self.advance()?;
        Ok(value.into())
    }

    fn name_or_call(&mut self, name: &str) -> Result<Dim, ParseError> {
        let at = self.at;
        self.advance()?;
        if !self.eat("(")? {
            return self.known(name, at).map(Dim::sym);
        }
        let a = self.sum()?;
        self.expect(",")?;
        let b = self.sum()?;
        self.expect(")")?;
        match name {
            "floordiv" | "mod" if b.is(0) => Err(self.lexer.error(at, "division by zero")),
            "floordiv" => Ok(a.floor_div(&b)),
            "mod" => Ok(a.modulo(&b)),
            "max" => Ok(a.maximum(&b)),
            "min" => Ok(a.minimum(&b)),
            "bcast" => {
                let never = || self.lexer.error(at, "these dims never broadcast");
                a.broadcast(&b).ok_or_else(never)
            }
            _ => Err(self.lexer.error(at, &format!("unknown index function '{name}'"))),
        }
    }

    fn known(&self, name: &str, at: usize) -> Result<SymbolId, ParseError> {
        let undeclared = || self.lexer.error(at, &format!("symbol '{name}' is not declared"));
        self.names.symbol_ids.get(name).copied().ok_or_else(undeclared)
    }
}
