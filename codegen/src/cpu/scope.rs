//! Index expressions, computed once, as far out as their symbols allow.
//!
//! A [`Scope`] is a region of straight-line control flow: the function, a loop body, an
//! arm of a branch. Each remembers the jump that enters it, so that an expression over
//! outer symbols is placed before that jump, at the end of the scope that binds the
//! innermost of its symbols. Sums are split by scope: `i·W + j` costs one addition in the
//! loop over `j`. Index arithmetic cannot fault, so computing it where a loop then runs
//! zero times is harmless.

use super::divide::{self, Operand};
use super::emit::{Emit, Result};
use cascata_artifact::abi::context_offset;
use cascata_ir::kernel::{BufferId, Place, Space};
use cascata_types::{Atom, Dim, Entity, Monomial, SymbolId};
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{Inst, InstBuilder, MemFlagsData, Value};
use std::collections::HashMap;

/// A term of a sum: a coefficient and what it multiplies.
type Term = (Monomial, i64);

/// An index computation with a place of its own.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Sum(Vec<Term>),
    Atom(Atom),
    Buffer(BufferId),
    Pointer(BufferId, Vec<Term>),
    Table(usize),
    Import(usize),
}

/// A region whose statements run one after another; see the module text.
pub(super) struct Scope {
    /// The jump in the enclosing scope that leads here; `None` for the function.
    entry: Option<Inst>,
    known: HashMap<Key, Value>,
}

/// An address: a base and a constant number of bytes.
#[derive(Clone, Copy)]
pub(super) struct Address {
    pub base: Value,
    pub offset: i32,
}

impl Emit<'_, '_> {
    /// Opens a scope that `entry` (`None` for the function itself) leads to.
    pub(super) fn open_scope(&mut self, entry: Option<Inst>) {
        self.scopes.push(Scope { entry, known: HashMap::new() });
    }

    /// Closes the innermost scope and forgets what was computed in it.
    pub(super) fn close_scope(&mut self) {
        self.scopes.pop();
        let open = self.scopes.len();
        self.symbols.retain(|_, (level, _)| *level < open);
    }

    /// Binds a symbol in the innermost scope.
    pub(super) fn bind_symbol(&mut self, symbol: SymbolId, value: Value) {
        self.symbols.insert(symbol, (self.scopes.len() - 1, value));
    }

    /// A cursor at the end of what is emitted so far in the current block.
    pub(super) fn here(&mut self) -> FuncCursor<'_> {
        self.fb.ensure_inserted_block();
        let block = self.fb.current_block().expect("emission starts in a block");
        FuncCursor::new(self.fb.func).at_bottom(block)
    }

    /// A cursor where values of scope `level` are computed.
    fn at_level(&mut self, level: usize) -> FuncCursor<'_> {
        match self.scopes.get(level + 1).and_then(|scope| scope.entry) {
            Some(entry) => FuncCursor::new(self.fb.func).at_inst(entry),
            None => self.here(),
        }
    }

    fn symbol_level(&self, symbol: SymbolId) -> Result<usize> {
        match self.symbols.get(&symbol) {
            Some((level, _)) => Ok(*level),
            None if symbol.index() < self.kernel.params => Ok(0),
            None => Err(self.invalid(format!(
                "symbol '{}' is used outside of its scope",
                self.kernel.symbols.name(symbol)
            ))),
        }
    }

    fn dim_level(&self, dim: &Dim) -> Result<usize> {
        dim.symbols().into_iter().try_fold(0, |max, s| Ok(max.max(self.symbol_level(s)?)))
    }

    fn atom_level(&self, atom: &Atom) -> Result<usize> {
        match atom {
            Atom::Sym(s) => self.symbol_level(*s),
            Atom::FloorDiv(a, b)
            | Atom::Mod(a, b)
            | Atom::Max(a, b)
            | Atom::Min(a, b)
            | Atom::Bcast(a, b) => Ok(self.dim_level(a)?.max(self.dim_level(b)?)),
        }
    }

    fn monomial_level(&self, m: &Monomial) -> Result<usize> {
        m.0.iter().try_fold(0, |max, (atom, _)| Ok(max.max(self.atom_level(atom)?)))
    }

    /// The value of `key` in scope `level`, computed by `make` when it is new there.
    fn once(
        &mut self,
        level: usize,
        key: Key,
        make: impl FnOnce(&mut Self) -> Result<Value>,
    ) -> Result<Value> {
        if let Some(known) = self.scopes[level].known.get(&key) {
            return Ok(*known);
        }
        let value = make(self)?;
        self.scopes[level].known.insert(key, value);
        Ok(value)
    }

    /// The value of an index expression.
    pub(super) fn dim(&mut self, dim: &Dim) -> Result<Value> {
        self.dim_for(dim, self.scopes.len() - 1)
    }

    /// The value of an index expression for a use in scope `level`, which binds all of
    /// its symbols.
    fn dim_for(&mut self, dim: &Dim, level: usize) -> Result<Value> {
        match dim.as_const() {
            Some(x) => Ok(self.at_level(level).ins().iconst(I64, x)),
            None => self.sum(dim.terms()),
        }
    }

    /// Terms ordered by the scope that they belong to, outermost first.
    fn by_level(&self, terms: &[Term]) -> Result<Vec<(usize, Term)>> {
        let mut out = Vec::with_capacity(terms.len());
        for term in terms {
            out.push((self.monomial_level(&term.0)?, term.clone()));
        }
        out.sort_by_key(|(level, _)| *level);
        Ok(out)
    }

    /// The sum of terms, with a partial sum kept in each scope on the way in.
    fn sum(&mut self, terms: &[Term]) -> Result<Value> {
        let mut total: Option<Value> = None;
        let mut prefix = Vec::with_capacity(terms.len());
        for (level, term) in self.by_level(terms)? {
            prefix.push(term.clone());
            total = Some(self.once(level, Key::Sum(prefix.clone()), |e| {
                let value = e.term(level, &term)?;
                Ok(match total {
                    Some(sum) => e.at_level(level).ins().iadd(sum, value),
                    None => value,
                })
            })?);
        }
        total.ok_or_else(|| self.invalid("an index without terms".into()))
    }

    fn term(&mut self, level: usize, (monomial, coefficient): &Term) -> Result<Value> {
        let Some(product) = self.product(level, monomial)? else {
            return Ok(self.at_level(level).ins().iconst(I64, *coefficient));
        };
        Ok(scale(&mut self.at_level(level), product, *coefficient))
    }

    /// The product of a monomial's atoms; `None` for the empty one.
    fn product(&mut self, level: usize, monomial: &Monomial) -> Result<Option<Value>> {
        let mut product = None;
        for (atom, power) in &monomial.0 {
            let x = self.atom(atom)?;
            for _ in 0..*power {
                product = Some(match product {
                    Some(p) => self.at_level(level).ins().imul(p, x),
                    None => x,
                });
            }
        }
        Ok(product)
    }

    fn atom(&mut self, atom: &Atom) -> Result<Value> {
        let level = self.atom_level(atom)?;
        let (a, b) = match atom {
            Atom::Sym(s) => return self.symbol(*s),
            Atom::FloorDiv(a, b)
            | Atom::Mod(a, b)
            | Atom::Max(a, b)
            | Atom::Min(a, b)
            | Atom::Bcast(a, b) => (a, b),
        };
        self.once(level, Key::Atom(atom.clone()), |e| {
            let (x, y) = (e.dim_for(a, level)?, e.dim_for(b, level)?);
            let (xr, yr) = (a.bounds(&e.kernel.symbols), b.bounds(&e.kernel.symbols));
            let (x, y) = (Operand { value: x, range: xr }, Operand { value: y, range: yr });
            let mut c = e.at_level(level);
            Ok(match atom {
                Atom::FloorDiv(..) => divide::floor_div(&mut c, x, y),
                Atom::Mod(..) => divide::floor_mod(&mut c, x, y),
                Atom::Max(..) => c.ins().smax(x.value, y.value),
                Atom::Min(..) => c.ins().smin(x.value, y.value),
                _ => {
                    let is_one = c.ins().icmp_imm_s(IntCC::Equal, x.value, 1);
                    c.ins().select(is_one, y.value, x.value)
                }
            })
        })
    }

    fn symbol(&mut self, symbol: SymbolId) -> Result<Value> {
        if let Some((_, value)) = self.symbols.get(&symbol) {
            return Ok(*value);
        }
        let index = self.symbol_level(symbol).map(|_| symbol.index())?;
        self.once(0, Key::Atom(Atom::Sym(symbol)), |e| {
            let dims = e.table(context_offset::DIMS)?;
            let offset = e.byte_offset(index, 8)?;
            Ok(e.at_level(0).ins().load(I64, MemFlagsData::trusted(), dims, offset))
        })
    }

    /// A field of the context, a pointer.
    pub(super) fn table(&mut self, field: usize) -> Result<Value> {
        self.once(0, Key::Table(field), |e| {
            let (context, offset) = (e.context, e.byte_offset(field, 1)?);
            Ok(e.at_level(0).ins().load(I64, MemFlagsData::trusted(), context, offset))
        })
    }

    /// An entry of the import table.
    pub(super) fn import_entry(&mut self, index: usize) -> Result<Value> {
        self.once(0, Key::Import(index), |e| {
            let table = e.table(context_offset::IMPORTS)?;
            let offset = e.byte_offset(index, 8)?;
            Ok(e.at_level(0).ins().load(I64, MemFlagsData::trusted(), table, offset))
        })
    }

    /// `index · size` as a constant address offset.
    pub(super) fn byte_offset(&self, index: usize, size: usize) -> Result<i32> {
        index
            .checked_mul(size)
            .and_then(|x| i32::try_from(x).ok())
            .ok_or_else(|| self.invalid("a table has more than 2^31 bytes".into()))
    }

    /// The first byte of a buffer.
    fn buffer(&mut self, id: BufferId) -> Result<Value> {
        let space = self.buffer_info(id)?.space;
        self.once(0, Key::Buffer(id), |e| match space {
            Space::Input | Space::Output => {
                let table = e.table(context_offset::BUFFERS)?;
                let offset = e.byte_offset(id.index(), 8)?;
                Ok(e.at_level(0).ins().load(I64, MemFlagsData::trusted(), table, offset))
            }
            Space::Scratch => {
                let offset = e.layout.offset(id);
                let offset = e.dim_for(&offset, 0)?;
                let scratch = e.scratch;
                Ok(e.at_level(0).ins().iadd(scratch, offset))
            }
            Space::Shared => Err(e.unsupported("a buffer shared by threads".into())),
        })
    }

    /// The address of an element.
    pub(super) fn address(&mut self, place: &Place) -> Result<Address> {
        self.address_of(place.buffer, &place.at)
    }

    /// The address of element `at` of `buffer`.
    pub(super) fn address_of(&mut self, buffer: BufferId, at: &Dim) -> Result<Address> {
        let size = self.element_bytes(buffer)?;
        let mut offset = 0;
        let mut terms = Vec::with_capacity(at.terms().len());
        for (m, c) in at.terms() {
            let bytes = c.checked_mul(size);
            let bytes = bytes.ok_or_else(|| self.invalid("an index does not fit".into()))?;
            match i32::try_from(bytes) {
                Ok(small) if m.0.is_empty() => offset = small,
                _ => terms.push((m.clone(), bytes)),
            }
        }
        let mut base = self.buffer(buffer)?;
        let mut prefix = Vec::with_capacity(terms.len());
        for (level, term) in self.by_level(&terms)? {
            prefix.push(term.clone());
            base = self.once(level, Key::Pointer(buffer, prefix.clone()), |e| {
                let value = e.term(level, &term)?;
                Ok(e.at_level(level).ins().iadd(base, value))
            })?;
        }
        Ok(Address { base, offset })
    }

    /// The address of an element as one value.
    pub(super) fn pointer(&mut self, place: &Place) -> Result<Value> {
        let address = self.address(place)?;
        Ok(match address.offset {
            0 => address.base,
            offset => self.here().ins().iadd_imm_s(address.base, i64::from(offset)),
        })
    }
}

/// `x · by`.
fn scale(c: &mut FuncCursor<'_>, x: Value, by: i64) -> Value {
    match by {
        1 => x,
        _ if by > 1 && by.count_ones() == 1 => {
            c.ins().ishl_imm_u(x, i64::from(by.trailing_zeros()))
        }
        _ => c.ins().imul_imm_s(x, by),
    }
}
