//! Reads the text form that [`super::print`] writes.
//!
//! Never panics: sizes, nesting and number ranges are limited, and names must be
//! declared. What the text says is not checked further; see [`super::verify()`].

use super::lex::{Lexer, ParseError, Token};
use super::{Buffer, BufferId, Kernel, Local, LocalId, Space};
use cascata_types::{DType, Dim, PrimaryMap, SymbolId, SymbolTable};
use std::collections::HashMap;

mod attention;
mod block;
mod dim;
mod expr;
mod stmt;
mod tile_gemm;

/// Deepest nesting of expressions and statements together.
const MAX_DEPTH: usize = 256;

/// Most symbols of one kernel: the table finds a name by search.
const MAX_SYMBOLS: usize = 4096;

/// Reads one kernel.
///
/// # Errors
/// Says what was expected and where.
pub fn parse_kernel(text: &str) -> Result<Kernel, ParseError> {
    let mut p = Parser::new(text)?;
    let kernel = p.kernel()?;
    match p.token {
        Token::End => Ok(kernel),
        _ => Err(p.expected("the end of the text")),
    }
}

/// Reads any number of kernels.
///
/// # Errors
/// As [`parse_kernel`].
pub fn parse_kernels(text: &str) -> Result<Vec<Kernel>, ParseError> {
    let mut p = Parser::new(text)?;
    let mut kernels = Vec::new();
    while p.token != Token::End {
        kernels.push(p.kernel()?);
    }
    Ok(kernels)
}

impl std::str::FromStr for Kernel {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        parse_kernel(text)
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The next token.
    token: Token<'a>,
    /// Where it starts.
    at: usize,
    depth: usize,
    names: Declared<'a>,
}

/// What the kernel being read has declared; the maps are from handles.
#[derive(Default)]
struct Declared<'a> {
    symbols: SymbolTable,
    buffers: PrimaryMap<BufferId, Buffer>,
    locals: PrimaryMap<LocalId, Local>,
    symbol_ids: HashMap<&'a str, SymbolId>,
    buffer_ids: HashMap<&'a str, BufferId>,
    local_ids: HashMap<&'a str, LocalId>,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Self, ParseError> {
        let mut lexer = Lexer::new(text)?;
        let (token, at) = lexer.next()?;
        Ok(Self { lexer, token, at, depth: 0, names: Declared::default() })
    }

    fn error(&self, message: &str) -> ParseError {
        self.lexer.error(self.at, message)
    }

    fn expected(&self, what: &str) -> ParseError {
        self.error(&format!("expected {what}, found {}", self.token))
    }

    /// Takes the next token.
    fn advance(&mut self) -> Result<Token<'a>, ParseError> {
        let (token, at) = self.lexer.next()?;
        self.at = at;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn at_sign(&self, sign: &str) -> bool {
        matches!(self.token, Token::Sign(s) if s == sign)
    }

    fn at_word(&self, word: &str) -> bool {
        matches!(self.token, Token::Word(w) if w == word)
    }

    fn eat(&mut self, sign: &str) -> Result<bool, ParseError> {
        let found = self.at_sign(sign);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn eat_word(&mut self, word: &str) -> Result<bool, ParseError> {
        let found = self.at_word(word);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, sign: &str) -> Result<(), ParseError> {
        if self.eat(sign)? { Ok(()) } else { Err(self.expected(&format!("'{sign}'"))) }
    }

    fn expect_word(&mut self, word: &str) -> Result<(), ParseError> {
        if self.eat_word(word)? { Ok(()) } else { Err(self.expected(&format!("'{word}'"))) }
    }

    fn word(&mut self, what: &str) -> Result<&'a str, ParseError> {
        match self.token {
            Token::Word(w) => {
                self.advance()?;
                Ok(w)
            }
            _ => Err(self.expected(what)),
        }
    }

    fn quoted(&mut self, what: &str) -> Result<String, ParseError> {
        match self.advance_if(|t| matches!(t, Token::Text(_)))? {
            Some(Token::Text(text)) => Ok(text),
            _ => Err(self.expected(what)),
        }
    }

    fn advance_if(
        &mut self,
        wanted: impl Fn(&Token) -> bool,
    ) -> Result<Option<Token<'a>>, ParseError> {
        if wanted(&self.token) { self.advance().map(Some) } else { Ok(None) }
    }

    /// Runs `read` one level deeper.
    fn deeper<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        if self.depth == MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn kernel(&mut self) -> Result<Kernel, ParseError> {
        self.names = Declared::default();
        self.expect_word("kernel")?;
        let name = match &self.token {
            Token::Text(_) => self.quoted("a name")?,
            _ => self.word("the kernel's name")?.to_string(),
        };
        self.expect("(")?;
        if !self.at_sign(")") {
            self.symbols(false)?;
        }
        self.expect(")")?;
        let params = self.names.symbols.len();
        self.expect("{")?;
        let messages = self.declarations()?;
        self.expect_word("grid")?;
        let tile = self.symbol()?;
        self.expect_word("in")?;
        let grid = self.dim()?;
        let body = self.body()?;
        self.expect("}")?;
        let Declared { symbols, buffers, locals, .. } = std::mem::take(&mut self.names);
        Ok(Kernel { name, symbols, params, buffers, locals, grid, tile, body, messages })
    }

    /// Everything before `grid`; returns the messages.
    fn declarations(&mut self) -> Result<Vec<String>, ParseError> {
        let mut messages = Vec::new();
        loop {
            if let Some(space) = self.space()? {
                self.buffer(space)?;
            } else if self.eat_word("index")? {
                self.symbols(true)?;
            } else if self.eat_word("local")? {
                self.locals()?;
            } else if self.eat_word("message")? {
                let label = format!("m{}", messages.len());
                self.expect_word(&label)?;
                messages.push(self.quoted("the message in quotes")?);
            } else {
                return Ok(messages);
            }
        }
    }

    fn space(&mut self) -> Result<Option<Space>, ParseError> {
        let all = [Space::Input, Space::Output, Space::Scratch, Space::Shared];
        let found = all.into_iter().find(|s| self.at_word(super::print::space_name(*s)));
        if found.is_some() {
            self.advance()?;
        }
        Ok(found)
    }

    /// The original name in quotes, where the handle is another.
    fn original(&mut self, handle: &str) -> Result<String, ParseError> {
        match &self.token {
            Token::Text(_) => self.quoted("a name"),
            _ => Ok(handle.to_string()),
        }
    }

    fn dtype(&mut self) -> Result<DType, ParseError> {
        let dtype = match self.token {
            Token::Word(w) => w.parse().ok(),
            _ => None,
        };
        let dtype = dtype.ok_or_else(|| self.expected("an element type"))?;
        self.advance()?;
        Ok(dtype)
    }

    fn buffer(&mut self, space: Space) -> Result<(), ParseError> {
        let Token::Buffer(handle) = self.token else {
            return Err(self.expected("a buffer such as %x"));
        };
        if self.names.buffer_ids.insert(handle, self.names.buffers.next_id()).is_some() {
            return Err(self.error(&format!("buffer '%{handle}' is declared twice")));
        }
        self.advance()?;
        let name = self.original(handle)?;
        self.expect(":")?;
        let dtype = self.dtype()?;
        self.expect("[")?;
        let len = self.dim()?;
        self.expect("]")?;
        self.names.buffers.push(Buffer { name, dtype, len, space });
        Ok(())
    }

    fn locals(&mut self) -> Result<(), ParseError> {
        loop {
            let at = self.at;
            let handle = self.word("a variable")?;
            if self.names.local_ids.insert(handle, self.names.locals.next_id()).is_some() {
                let message = format!("variable '{handle}' is declared twice");
                return Err(self.lexer.error(at, &message));
            }
            let name = self.original(handle)?;
            self.expect(":")?;
            let dtype = self.dtype()?;
            self.names.locals.push(Local { name, dtype });
            if !self.eat(",")? {
                return Ok(());
            }
        }
    }

    fn symbols(&mut self, from_run: bool) -> Result<(), ParseError> {
        loop {
            self.symbol_declaration(from_run)?;
            if !self.eat(",")? {
                return Ok(());
            }
        }
    }

    fn symbol_declaration(&mut self, from_run: bool) -> Result<(), ParseError> {
        let at = self.at;
        let handle = self.word("a symbol")?;
        if self.names.symbols.len() == MAX_SYMBOLS {
            let message = format!("a kernel has at most {MAX_SYMBOLS} symbols");
            return Err(self.lexer.error(at, &message));
        }
        if self.names.symbol_ids.contains_key(handle) {
            return Err(self.lexer.error(at, &format!("symbol '{handle}' is declared twice")));
        }
        let id = self.names.symbols.fresh(handle, 0, SymbolTable::DEFAULT_MAX);
        self.names.symbol_ids.insert(handle, id);
        let name = self.original(handle)?;
        let (min, max) = match self.eat_word("in")? {
            true => self.range()?,
            false => (0, SymbolTable::DEFAULT_MAX),
        };
        let data_dependent = match from_run {
            true => !self.eat_word("shape")?,
            false => self.eat_word("data")?,
        };
        *self.names.symbols.get_mut(id) = cascata_types::Symbol { name, min, max, data_dependent };
        Ok(())
    }

    fn range(&mut self) -> Result<(i64, i64), ParseError> {
        let min = self.integer()?;
        self.expect("..=")?;
        Ok((min, self.integer()?))
    }

    fn integer(&mut self) -> Result<i64, ParseError> {
        let negative = self.eat("-")?;
        let value = match self.token {
            Token::Number(digits, "") => digits.parse::<i128>().ok(),
            _ => None,
        };
        let value = value.map(|x| if negative { -x } else { x });
        let value = value.and_then(|x| i64::try_from(x).ok());
        let value = value.ok_or_else(|| self.expected("an integer of 64 bits"))?;
        self.advance()?;
        Ok(value)
    }

    /// The symbol that the next word names.
    fn symbol(&mut self) -> Result<SymbolId, ParseError> {
        let known = match self.token {
            Token::Word(w) => self.names.symbol_ids.get(w).copied(),
            _ => None,
        };
        let id = known.ok_or_else(|| self.expected("a declared symbol"))?;
        self.advance()?;
        Ok(id)
    }

    /// As [`Parser::symbol`], of a local.
    fn local(&mut self) -> Result<LocalId, ParseError> {
        let known = match self.token {
            Token::Word(w) => self.names.local_ids.get(w).copied(),
            _ => None,
        };
        let id = known.ok_or_else(|| self.expected("a declared variable"))?;
        self.advance()?;
        Ok(id)
    }

    /// The length of a buffer and other dims.
    fn dim(&mut self) -> Result<Dim, ParseError> {
        self.sum()
    }
}
