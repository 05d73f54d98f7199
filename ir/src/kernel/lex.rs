//! Tokens of the kernel text form.

use super::names::{is_name_char, is_name_start};
use std::fmt;

/// Why a text is not a kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What was expected or refused.
    pub message: String,
}

/// Longest text that is read.
const MAX_BYTES: usize = 16 << 20;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// A name or keyword.
    Word(&'a str),
    /// `%name`.
    Buffer(&'a str),
    /// Digits, point and exponent, then what is attached to them: `1.5` and `f32`.
    Number(&'a str, &'a str),
    /// `0x…`.
    Hex(u64),
    /// A quoted text.
    Text(String),
    /// A sign of one to three characters.
    Sign(&'static str),
    /// The end.
    End,
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Word(w) => write!(f, "'{w}'"),
            Token::Buffer(w) => write!(f, "'%{w}'"),
            Token::Number(digits, suffix) => write!(f, "'{digits}{suffix}'"),
            Token::Hex(x) => write!(f, "'{x:#x}'"),
            Token::Text(t) => write!(f, "{t:?}"),
            Token::Sign(s) => write!(f, "'{s}'"),
            Token::End => f.write_str("the end of the text"),
        }
    }
}

/// Longest first where one starts another.
const SIGNS: &[&str] =
    &["..=", "..", "<-", "(", ")", "[", "]", "{", "}", ",", ":", "=", "+", "-", "*"];

/// Cuts a text into tokens on demand.
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Result<Self, ParseError> {
        let lexer = Self { text, at: 0 };
        if text.len() > MAX_BYTES {
            return Err(lexer.error(0, &format!("the text is longer than {MAX_BYTES} bytes")));
        }
        Ok(lexer)
    }

    /// An error at a byte offset of the text.
    pub(super) fn error(&self, at: usize, message: &str) -> ParseError {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        ParseError {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: message.to_string(),
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let len = rest.find(|c| !keep(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    fn skip_blanks(&mut self) {
        loop {
            self.take_while(char::is_whitespace);
            if !self.rest().starts_with(';') {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }

    /// The next token and where it starts.
    pub(super) fn next(&mut self) -> Result<(Token<'a>, usize), ParseError> {
        self.skip_blanks();
        let start = self.at;
        let token = match self.rest().chars().next() {
            None => Token::End,
            Some('"') => self.quoted(start)?,
            Some('%') => {
                self.at += 1;
                Token::Buffer(self.take_while(is_name_char))
            }
            Some(c) if c.is_ascii_digit() => self.number(start)?,
            Some(c) if is_name_start(c) => Token::Word(self.take_while(is_name_char)),
            Some(c) => {
                let sign = SIGNS.iter().find(|s| self.rest().starts_with(**s));
                let sign = sign.ok_or_else(|| self.error(start, &format!("unexpected {c:?}")))?;
                self.at += sign.len();
                Token::Sign(sign)
            }
        };
        Ok((token, start))
    }

    fn number(&mut self, start: usize) -> Result<Token<'a>, ParseError> {
        if let Some(hex) = self.rest().strip_prefix("0x") {
            let len = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
            self.at += 2 + len;
            return u64::from_str_radix(&hex[..len], 16)
                .map(Token::Hex)
                .map_err(|_| self.error(start, "expected at most 16 hexadecimal digits"));
        }
        let is_digit = |c: char| c.is_ascii_digit();
        self.take_while(is_digit);
        let mut following = self.rest().chars();
        if following.next() == Some('.') && following.next().is_some_and(is_digit) {
            self.at += 1;
            self.take_while(is_digit);
        }
        if let Some(exponent) = self.rest().strip_prefix('e') {
            let unsigned = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
            if unsigned.starts_with(is_digit) {
                self.at += 1 + exponent.len() - unsigned.len();
                self.take_while(is_digit);
            }
        }
        let digits = &self.text[start..self.at];
        Ok(Token::Number(digits, self.take_while(|c| c.is_ascii_alphanumeric())))
    }

    fn quoted(&mut self, start: usize) -> Result<Token<'a>, ParseError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            out.push_str(self.take_while(|c| !matches!(c, '"' | '\\' | '\n')));
            match self.rest().chars().next() {
                Some('"') => {
                    self.at += 1;
                    return Ok(Token::Text(out));
                }
                Some('\\') => out.push(self.escape()?),
                _ => return Err(self.error(start, "this text has no closing quote")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, ParseError> {
        let start = self.at;
        let unknown = |lexer: &Self| lexer.error(start, "unknown escape");
        let mut chars = self.rest().chars().skip(1);
        let simple = match chars.next() {
            Some('n') => Some('\n'),
            Some(c @ ('"' | '\\')) => Some(c),
            _ => None,
        };
        if let Some(c) = simple {
            self.at += 2;
            return Ok(c);
        }
        let body = self.rest().strip_prefix("\\u{").ok_or_else(|| unknown(self))?;
        let (digits, _) = body.split_once('}').ok_or_else(|| unknown(self))?;
        let c = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
        self.at += "\\u{}".len() + digits.len();
        c.ok_or_else(|| unknown(self))
    }
}
