//! Tokens: a cursor over the text, and the pieces that attributes share.

use super::ParseError;
use crate::graph::{ConstId, Graph, ValueId};
use crate::op::attr_text::AttrText;
use crate::print::{MAX_DEPTH, number_from};
use cascata_types::{DType, Dim, Encoding, Scalar, SymbolId, SymbolTable, TensorType, ValueType};
use std::collections::HashMap;
use std::str::FromStr;

/// The text, where the reader stands in it, and the graph so far.
pub(crate) struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    pub(crate) graph: Graph,
    pub(crate) values: HashMap<u64, ValueId>,
    pub(crate) consts: HashMap<String, ConstId>,
    /// Attributes read so far for the current node.
    pub(crate) attrs: usize,
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

impl<'t> Parser<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Parser {
            text,
            at: 0,
            depth: 0,
            graph: Graph::default(),
            values: HashMap::new(),
            consts: HashMap::new(),
            attrs: 0,
        }
    }

    pub(crate) fn error(&self, message: impl Into<String>) -> ParseError {
        let before = &self.text[..self.at];
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |i| i + 1);
        let column = before[start..].chars().count() + 1;
        ParseError { line, column, message: message.into() }
    }

    pub(crate) fn enter(&mut self) -> Result<(), ParseError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(format!("nested more than {MAX_DEPTH} deep")));
        }
        Ok(())
    }

    pub(crate) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// The text from the next token on; skips spaces and `//` comments.
    fn rest(&mut self) -> &'t str {
        loop {
            let rest = &self.text[self.at..];
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            match trimmed.strip_prefix("//") {
                Some(comment) => self.at += 2 + comment.find('\n').unwrap_or(comment.len()),
                None => return trimmed,
            }
        }
    }

    /// Whether the next token is `token`; a word only matches a whole word.
    pub(crate) fn at(&mut self, token: &str) -> bool {
        let Some(after) = self.rest().strip_prefix(token) else { return false };
        !(token.ends_with(is_word) && after.starts_with(is_word))
    }

    pub(crate) fn eat(&mut self, token: &str) -> bool {
        let found = self.at(token);
        if found {
            self.at += token.len();
        }
        found
    }

    pub(crate) fn expect(&mut self, token: &str) -> Result<(), ParseError> {
        if self.eat(token) {
            return Ok(());
        }
        let got: String = self.rest().chars().take(12).take_while(|c| *c != '\n').collect();
        let got = if got.is_empty() { "the end".into() } else { format!("'{got}'") };
        Err(self.error(format!("expected '{token}', got {got}")))
    }

    pub(crate) fn end(&mut self) -> Result<(), ParseError> {
        if self.rest().is_empty() { Ok(()) } else { Err(self.error("text after the graph")) }
    }

    fn take(&mut self, keep: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let len = rest.find(|c| !keep(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    /// Letters, digits and `_`.
    pub(crate) fn word(&mut self) -> Result<String, ParseError> {
        match self.take(is_word) {
            "" => Err(self.error("expected a word")),
            w => Ok(w.to_string()),
        }
    }

    pub(crate) fn integer<T: FromStr>(&mut self) -> Result<T, ParseError> {
        let start = self.at;
        let sign = if self.eat("-") { "-" } else { "" };
        let digits = self.take(|c| c.is_ascii_digit());
        format!("{sign}{digits}").parse().map_err(|_| {
            self.at = start;
            self.error("expected an integer in range")
        })
    }

    pub(crate) fn number_of(&mut self, dtype: DType) -> Result<Scalar, ParseError> {
        let text = self.take(|c| is_word(c) || matches!(c, '.' | '-' | '+'));
        number_from(dtype, text)
            .ok_or_else(|| self.error(format!("'{text}' is not a number of dtype {dtype}")))
    }

    /// A quoted string with `\"`, `\\` and `\u{…}`.
    pub(crate) fn string(&mut self) -> Result<String, ParseError> {
        self.expect("\"")?;
        let mut out = String::new();
        let mut chars = self.text[self.at..].char_indices();
        while let Some((i, c)) = chars.next() {
            match c {
                '"' => {
                    self.at += i + 1;
                    return Ok(out);
                }
                '\\' => match chars.next().map(|(_, c)| c) {
                    Some(c @ ('"' | '\\')) => out.push(c),
                    Some('u') => {
                        let code: String = chars
                            .by_ref()
                            .map(|(_, c)| c)
                            .take_while(|c| *c != '}')
                            .take(8)
                            .collect();
                        let code =
                            code.strip_prefix('{').and_then(|h| u32::from_str_radix(h, 16).ok());
                        let c = code.and_then(char::from_u32);
                        out.push(c.ok_or_else(|| self.error("bad \\u{…} in a string"))?);
                    }
                    _ => return Err(self.error("bad escape in a string")),
                },
                c => out.push(c),
            }
        }
        Err(self.error("the string does not end"))
    }

    /// Hex digits; spaces and line ends are allowed between them.
    pub(crate) fn hex(&mut self) -> Result<bytes::Bytes, ParseError> {
        let mut data = Vec::new();
        loop {
            let digits = self.take(|c| c.is_ascii_hexdigit()).as_bytes();
            if digits.is_empty() {
                return Ok(data.into());
            }
            if digits.len() % 2 == 1 {
                return Err(self.error("an odd number of hex digits"));
            }
            let nibble = |c: u8| (c as char).to_digit(16).unwrap_or(0) as u8;
            data.extend(digits.chunks_exact(2).map(|d| nibble(d[0]) << 4 | nibble(d[1])));
        }
    }

    /// `name = value` of the current node.
    pub(crate) fn attr<T: AttrText>(&mut self, name: &str) -> Result<T, ParseError> {
        self.expect(if self.attrs == 0 { "{" } else { "," })?;
        self.expect(name)?;
        self.expect("=")?;
        let count = std::mem::take(&mut self.attrs);
        let value = T::parse(self)?;
        self.attrs = count + 1;
        Ok(value)
    }

    pub(crate) fn symbol_name(&mut self) -> Result<String, ParseError> {
        let name = self.take(SymbolTable::is_name_char);
        if SymbolTable::is_valid_name(name) {
            Ok(name.to_string())
        } else {
            Err(self.error(format!("'{name}' is not a symbol name")))
        }
    }

    pub(crate) fn symbol(&mut self) -> Result<SymbolId, ParseError> {
        let name = self.symbol_name()?;
        let id = self.graph.symbols.lookup(&name);
        id.ok_or_else(|| self.error(format!("symbol '{name}' is not declared")))
    }

    /// A dim expression without spaces outside of parentheses.
    pub(crate) fn dim(&mut self) -> Result<Dim, ParseError> {
        let rest = self.rest();
        let mut depth = 0usize;
        let mut len = rest.len();
        for (i, c) in rest.char_indices() {
            match c {
                '(' => depth += 1,
                ')' if depth > 0 => depth -= 1,
                ',' | ' ' if depth > 0 => {}
                c if SymbolTable::is_name_char(c) || "+-*".contains(c) => {}
                _ => {
                    len = i;
                    break;
                }
            }
        }
        let known = self.graph.symbols.len();
        let parsed = Dim::parse(&rest[..len], &mut self.graph.symbols);
        let dim = parsed.map_err(|message| self.error(message))?;
        if self.graph.symbols.len() > known {
            return Err(
                self.error(format!("'{}' uses a symbol that is not declared", &rest[..len]))
            );
        }
        self.at += len;
        Ok(dim)
    }

    pub(crate) fn dtype(&mut self) -> Result<DType, ParseError> {
        let word = self.word()?;
        word.parse().map_err(|message: String| self.error(message))
    }

    pub(crate) fn encoding(&mut self) -> Result<Encoding, ParseError> {
        let mut text = self.word()?;
        if self.eat("(") {
            let inner = self.take(|c| c.is_ascii_digit() || matches!(c, 'x' | '/'));
            text = format!("{text}({inner})");
            self.expect(")")?;
        }
        text.parse().map_err(|message: String| self.error(message))
    }

    /// `f32[B,128]:q4_1`.
    pub(crate) fn tensor_type(&mut self) -> Result<TensorType, ParseError> {
        let dtype = self.dtype()?;
        let shape = AttrText::parse(self)?;
        let encoding = if self.eat(":") { self.encoding()? } else { Encoding::Dense };
        Ok(TensorType { dtype, shape, encoding })
    }

    /// `f32[2]`, `seq<f32>`, `opt<…>` or `resource<kind>`.
    pub(crate) fn value_type(&mut self) -> Result<ValueType, ParseError> {
        let mut optionals = 0;
        while self.eat("opt") {
            self.expect("<")?;
            optionals += 1;
            if optionals > MAX_DEPTH {
                return Err(self.error(format!("nested more than {MAX_DEPTH} deep")));
            }
        }
        let mut ty = self.plain_type()?;
        for _ in 0..optionals {
            self.expect(">")?;
            ty = ValueType::Optional(Box::new(ty));
        }
        Ok(ty)
    }

    fn plain_type(&mut self) -> Result<ValueType, ParseError> {
        let ty = if self.eat("seq") {
            self.expect("<")?;
            ValueType::Sequence(self.dtype()?)
        } else if self.eat("resource") {
            self.expect("<")?;
            ValueType::Resource(self.word()?)
        } else {
            return Ok(self.tensor_type()?.into());
        };
        self.expect(">")?;
        Ok(ty)
    }
}
