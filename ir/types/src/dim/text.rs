//! Printing and parsing of dims: `2*B+1`, `floordiv(H+1,2)`, `max(a,b)`.

use super::{Atom, Dim, Monomial};
use crate::SymbolTable;
use std::fmt::Write as _;

/// Deepest nesting that the parser accepts; deeper text is hostile.
const MAX_DEPTH: u32 = 64;

/// Most terms of a product that the parser multiplies out.
const MAX_TERMS: usize = 1024;

impl Dim {
    /// The text form with symbol names from `symbols`; parses back to an equal dim.
    pub fn display(&self, symbols: &SymbolTable) -> String {
        if self.terms.is_empty() {
            return "0".into();
        }
        let mut out = String::new();
        // Highest monomials first, the constant last: `2*B+1`.
        for (m, c) in self.terms.iter().rev() {
            if *c >= 0 && !out.is_empty() {
                out.push('+');
            }
            let body = m.display(symbols);
            let _ = match (body.is_empty(), *c) {
                (true, c) => write!(out, "{c}"),
                (false, 1) => write!(out, "{body}"),
                (false, -1) => write!(out, "-{body}"),
                (false, c) => write!(out, "{c}*{body}"),
            };
        }
        out
    }

    /// Parses the text form; unknown names become new symbols.
    ///
    /// # Errors
    /// Says what was expected and where.
    pub fn parse(text: &str, symbols: &mut SymbolTable) -> Result<Dim, String> {
        let mut p = Parser { text, at: 0, depth: 0, symbols };
        let dim = p.sum()?;
        match p.peek() {
            None => Ok(dim),
            Some(c) => Err(p.error(&format!("unexpected '{c}'"))),
        }
    }
}

impl Monomial {
    fn display(&self, symbols: &SymbolTable) -> String {
        let factors: Vec<String> = self
            .0
            .iter()
            .flat_map(|(a, p)| std::iter::repeat_n(a.display(symbols), *p as usize))
            .collect();
        factors.join("*")
    }
}

impl Atom {
    fn display(&self, symbols: &SymbolTable) -> String {
        let (name, a, b) = match self {
            Atom::Sym(id) => return symbols.name(*id),
            Atom::FloorDiv(a, b) => ("floordiv", a, b),
            Atom::Mod(a, b) => ("mod", a, b),
            Atom::Max(a, b) => ("max", a, b),
            Atom::Min(a, b) => ("min", a, b),
            Atom::Bcast(a, b) => ("bcast", a, b),
        };
        format!("{name}({},{})", a.display(symbols), b.display(symbols))
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
    symbols: &'a mut SymbolTable,
}

impl Parser<'_> {
    fn error(&self, what: &str) -> String {
        format!("{what} at column {} of '{}'", self.at + 1, self.text)
    }

    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed.chars().next()
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    fn expect(&mut self, c: char) -> Result<(), String> {
        if self.eat(c) { Ok(()) } else { Err(self.error(&format!("expected '{c}'"))) }
    }

    fn enter(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(self.error("nested too deeply")) } else { Ok(()) }
    }

    fn sum(&mut self) -> Result<Dim, String> {
        self.enter()?;
        let mut total = if self.eat('-') { -self.product()? } else { self.product()? };
        loop {
            if self.eat('+') {
                total = total + self.product()?;
            } else if self.eat('-') {
                total = total - self.product()?;
            } else {
                self.depth -= 1;
                return Ok(total);
            }
        }
    }

    fn product(&mut self) -> Result<Dim, String> {
        let mut total = self.factor()?;
        while self.eat('*') {
            let factor = self.factor()?;
            if total.terms.len() * factor.terms.len() > MAX_TERMS {
                return Err(self.error("the product has too many terms"));
            }
            total = total * factor;
        }
        Ok(total)
    }

    fn factor(&mut self) -> Result<Dim, String> {
        match self.peek() {
            Some('(') => {
                self.at += 1;
                let inner = self.sum()?;
                self.expect(')')?;
                Ok(inner)
            }
            Some('-') => {
                self.at += 1;
                self.enter()?;
                let inner = self.factor()?;
                self.depth -= 1;
                Ok(-inner)
            }
            Some(c) if c.is_ascii_digit() => self.number(),
            Some(c) if SymbolTable::is_name_char(c) => self.name_or_call(),
            _ => Err(self.error("expected a number, a symbol or '('")),
        }
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> &str {
        let rest = &self.text[self.at..];
        let len = rest.find(|c| !keep(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    fn number(&mut self) -> Result<Dim, String> {
        let digits = self.take_while(|c| c.is_ascii_digit()).to_string();
        // The magnitude of i64::MIN saturates like every other coefficient.
        digits
            .parse::<u64>()
            .map(|x| Dim::from(x.min(i64::MAX as u64) as i64))
            .map_err(|_| self.error("the number does not fit 64 bits"))
    }

    fn name_or_call(&mut self) -> Result<Dim, String> {
        let name = self.take_while(SymbolTable::is_name_char).to_string();
        if !self.eat('(') {
            return Ok(Dim::sym(self.symbols.intern(&name)));
        }
        let a = self.sum()?;
        self.expect(',')?;
        let b = self.sum()?;
        self.expect(')')?;
        match name.as_str() {
            "floordiv" => Ok(a.floor_div(&b)),
            "mod" => Ok(a.modulo(&b)),
            "max" => Ok(a.maximum(&b)),
            "min" => Ok(a.minimum(&b)),
            // Like a division by zero, dims that never agree are an error of evaluation.
            "bcast" => {
                Ok(a.broadcast(&b).unwrap_or_else(|| Dim::atom(Atom::Bcast(a.into(), b.into()))))
            }
            _ => Err(self.error(&format!("unknown function '{name}'"))),
        }
    }
}
