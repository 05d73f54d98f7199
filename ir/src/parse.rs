//! Reads the text form of a [`Graph`] (see [`crate::print`]).
//!
//! The reader resolves names and builds the graph; it does not check types: run
//! [`crate::verify`] on text from outside. It never panics, and what it allocates
//! is bounded by the length of the text (and `SPLAT_BYTES` per constant).

use crate::graph::{Const, ConstId, DimCheck, Graph, RegionId, ValueId};
use crate::op::table::parse_op;
use crate::print::SPLAT_BYTES;
use bytes::Bytes;
use cascata_types::{Encoding, Symbol, TensorType, ValueType};

mod cursor;

pub(crate) use cursor::Parser;

/// What is wrong with the text, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What was expected.
    pub message: String,
}

/// Finds the bytes of a constant that was printed as a BLAKE3 hash (hex), if it can.
pub type Resolver<'a> = &'a dyn Fn(&str) -> Option<Bytes>;

/// Parses a graph whose constants are all in the text.
///
/// # Errors
/// Says what was expected at which line and column.
pub fn parse(text: &str) -> Result<Graph, ParseError> {
    parse_with(text, &|_| None)
}

/// Parses a graph; `resolve` finds constants that were printed as hashes.
///
/// # Errors
/// As [`parse`]; also for a hash that `resolve` does not know.
pub fn parse_with(text: &str, resolve: Resolver<'_>) -> Result<Graph, ParseError> {
    let mut p = Parser::new(text);
    p.expect("graph")?;
    p.graph = Graph::new(p.string()?);
    p.expect("{")?;
    loop {
        if p.eat("symbol") {
            p.symbol_def()?;
        } else if p.eat("const") {
            p.const_def(resolve)?;
        } else {
            break;
        }
    }
    p.expect("body")?;
    p.region_into(Graph::ROOT)?;
    p.expect("}")?;
    p.end()?;
    Ok(p.graph)
}

impl Parser<'_> {
    /// `NAME in MIN..=MAX [data_dependent]`.
    fn symbol_def(&mut self) -> Result<(), ParseError> {
        let name = self.symbol_name()?;
        self.expect("in")?;
        let min: i64 = self.integer()?;
        self.expect("..=")?;
        let max: i64 = self.integer()?;
        let data_dependent = self.eat("data_dependent");
        let symbol = Symbol { name, min, max, data_dependent };
        match self.graph.symbols.insert(symbol) {
            Some(_) => Ok(()),
            None => Err(self.error("the symbol is already declared")),
        }
    }

    /// `cN "name" : TYPE = DATA`.
    fn const_def(&mut self, resolve: Resolver<'_>) -> Result<(), ParseError> {
        let label = self.word()?;
        let name = self.string()?;
        self.expect(":")?;
        let ty = self.tensor_type()?;
        self.expect("=")?;
        let kind = self.word()?;
        self.expect("<")?;
        let data = match kind.as_str() {
            "dense" => self.dense(&ty)?,
            "splat" => self.splat(&ty)?,
            "hex" => self.hex()?,
            "hash" => {
                let hash = self.word()?;
                resolve(&hash)
                    .ok_or_else(|| self.error(format!("no constant with hash {hash} is at hand")))?
            }
            "elided" => {
                return Err(self.error("the constant was elided; print with ConstText::Full"));
            }
            _ => return Err(self.error("expected dense, splat, hex or hash")),
        };
        self.expect(">")?;
        let id = self.graph.consts.push(Const { name, ty, data });
        if self.consts.insert(label, id).is_some() {
            return Err(self.error("the constant is already declared"));
        }
        Ok(())
    }

    fn dense(&mut self, ty: &TensorType) -> Result<Bytes, ParseError> {
        let size = self.element_size(ty)?;
        let mut data = Vec::new();
        loop {
            let number = self.number_of(ty.dtype)?;
            data.extend_from_slice(&number.bits.to_le_bytes()[..size]);
            if !self.eat(",") {
                return Ok(data.into());
            }
        }
    }

    fn splat(&mut self, ty: &TensorType) -> Result<Bytes, ParseError> {
        let size = self.element_size(ty)?;
        let len = ty.stored_bytes().filter(|n| *n <= SPLAT_BYTES);
        let len =
            len.ok_or_else(|| self.error(format!("a splat is limited to {SPLAT_BYTES} bytes")))?;
        let number = self.number_of(ty.dtype)?;
        Ok(number.bits.to_le_bytes()[..size].repeat(len as usize / size).into())
    }

    fn element_size(&self, ty: &TensorType) -> Result<usize, ParseError> {
        let size = (ty.encoding == Encoding::Dense).then_some(ty.dtype.size_bytes()).flatten();
        size.ok_or_else(|| self.error("only dense numbers are written one by one; use hex"))
    }

    /// `DIM == DIM : "what"`.
    fn check_def(&mut self, region: RegionId) -> Result<(), ParseError> {
        let lhs = self.dim()?;
        self.expect("==")?;
        let rhs = self.dim()?;
        self.expect(":")?;
        let what = self.string()?;
        self.graph.regions[region].checks.push(DimCheck { lhs, rhs, what });
        Ok(())
    }

    pub(crate) fn const_ref(&mut self) -> Result<ConstId, ParseError> {
        let label = self.word()?;
        let id = self.consts.get(&label).copied();
        id.ok_or_else(|| self.error(format!("constant '{label}' is not declared")))
    }

    /// `(params) { checks; nodes; return results }` as a new region.
    pub(crate) fn region(&mut self) -> Result<RegionId, ParseError> {
        let id = self.graph.add_region();
        self.region_into(id)?;
        Ok(id)
    }

    fn region_into(&mut self, id: RegionId) -> Result<(), ParseError> {
        self.enter()?;
        self.expect("(")?;
        while !self.eat(")") {
            if !self.graph.regions[id].params.is_empty() {
                self.expect(",")?;
            }
            let (label, name) = self.value_def()?;
            self.expect(":")?;
            let ty = self.value_type()?;
            let value = self.graph.add_param(id, name, ty);
            self.define(label, value)?;
        }
        self.expect("{")?;
        while self.eat("check") {
            self.check_def(id)?;
        }
        while !self.eat("return") {
            self.node(id)?;
        }
        while !self.eat("}") {
            if !self.graph.regions[id].results.is_empty() {
                self.expect(",")?;
            }
            let value = self.value_ref()?;
            if id == Graph::ROOT {
                let name = self.string()?;
                self.graph.output_names.push(name);
            }
            self.graph.regions[id].results.push(value);
        }
        self.leave();
        Ok(())
    }

    /// `%N ["name"]`.
    fn value_def(&mut self) -> Result<(u64, String), ParseError> {
        self.expect("%")?;
        let label = self.integer()?;
        let name = if self.at("\"") { self.string()? } else { String::new() };
        Ok((label, name))
    }

    fn define(&mut self, label: u64, value: ValueId) -> Result<(), ParseError> {
        match self.values.insert(label, value) {
            None => Ok(()),
            Some(_) => Err(self.error(format!("%{label} is already defined"))),
        }
    }

    fn value_ref(&mut self) -> Result<ValueId, ParseError> {
        self.expect("%")?;
        let label: u64 = self.integer()?;
        let value = self.values.get(&label).copied();
        value.ok_or_else(|| self.error(format!("%{label} is not defined before this")))
    }

    /// `%R "name", … = op(%A, …) {attributes} : types from "source"`.
    fn node(&mut self, region: RegionId) -> Result<(), ParseError> {
        let mut results = Vec::new();
        while self.at("%") {
            results.push(self.value_def()?);
            if !self.eat(",") {
                break;
            }
        }
        if !results.is_empty() {
            self.expect("=")?;
        }
        let name = self.word()?;
        self.expect("(")?;
        let mut inputs = Vec::new();
        while !self.eat(")") {
            if !inputs.is_empty() {
                self.expect(",")?;
            }
            inputs.push(self.value_ref()?);
        }
        let outer = std::mem::take(&mut self.attrs);
        let op =
            parse_op(&name, self)?.ok_or_else(|| self.error(format!("there is no op '{name}'")))?;
        if std::mem::replace(&mut self.attrs, outer) > 0 {
            self.expect("}")?;
        }
        let mut types: Vec<ValueType> = Vec::new();
        for i in 0..results.len() {
            self.expect(if i == 0 { ":" } else { "," })?;
            types.push(self.value_type()?);
        }
        let source = if self.eat("from") { self.string()? } else { String::new() };
        let outputs = self.graph.add_node_typed(region, op, inputs, types, source);
        for ((label, name), value) in results.into_iter().zip(outputs) {
            self.graph.values[value].name = name;
            self.define(label, value)?;
        }
        Ok(())
    }
}
