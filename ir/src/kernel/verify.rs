//! Checks a kernel and reports every error.
//!
//! What is checked: references, scopes, dtypes, what may be written, what vector loops
//! and threads may depend on, where barriers stand. What depends on values (bounds,
//! races, reads before writes) the interpreter checks.
//!
//! Beyond the module text of [`crate::kernel`]: a `Threads` loop stands outside of vector
//! and other `Threads` loops, and a variable from outside of it does not change in it.

use super::{Buffer, BufferId, Expr, Kernel, LocalId, LoopKind, Place, Space, Stmt};
use cascata_types::{DType, Dim, Entity as _, SymbolId};

mod attention;
mod block;
mod error;
mod expr;
mod scope;
mod stmt;
mod tile_gemm;

pub use error::{Problem, VerifyError};
use scope::Scope;

/// Checks a kernel.
///
/// # Errors
/// Everything that is wrong, in the order of the text.
pub fn verify(kernel: &Kernel) -> Result<(), Vec<VerifyError>> {
    let mut v = Verifier {
        kernel,
        errors: Vec::new(),
        place: At::Declaration("declarations".to_string()),
        scope: Scope::new(kernel),
    };
    v.declarations();
    v.body(&kernel.body);
    if v.errors.is_empty() { Ok(()) } else { Err(v.errors) }
}

struct Verifier<'k> {
    kernel: &'k Kernel,
    errors: Vec<VerifyError>,
    place: At<'k>,
    scope: Scope,
}

/// What is being checked; printed only for a report.
#[derive(Clone)]
enum At<'k> {
    Declaration(String),
    Stmt(&'k Stmt),
}

impl<'k> Verifier<'k> {
    fn report(&mut self, problem: Problem) {
        let kernel = self.kernel.name.clone();
        let place = match &self.place {
            At::Declaration(text) => text.clone(),
            At::Stmt(stmt) => format!("'{}'", self.kernel.stmt_headline(stmt)),
        };
        self.errors.push(VerifyError { kernel, place, problem });
    }

    fn symbol_name(&self, id: SymbolId) -> String {
        self.kernel.symbols.name(id)
    }

    fn local_name(&self, id: LocalId) -> String {
        self.kernel.locals.get(id).map_or_else(|| id.to_string(), |l| l.name.clone())
    }

    fn declarations(&mut self) {
        let kernel = self.kernel;
        let symbols = kernel.symbols.len();
        if kernel.params > symbols {
            self.report(Problem::Params { params: kernel.params, symbols });
        }
        if kernel.symbols.get(kernel.tile).is_none() {
            self.report(Problem::UndefinedSymbol(kernel.tile.to_string()));
        } else if kernel.tile.index() < kernel.params {
            self.report(Problem::TileIsParam(self.symbol_name(kernel.tile)));
        }
        let mut launch_ended = false;
        for buffer in kernel.buffers.values() {
            self.place = At::Declaration(format!("buffer '%{}'", buffer.name));
            let in_launch = matches!(buffer.space, Space::Input | Space::Output);
            if in_launch && launch_ended {
                self.report(Problem::BufferOrder);
            }
            launch_ended |= !in_launch;
            if buffer.dtype == DType::Str {
                self.report(Problem::StringDtype);
            }
            self.over_params(&buffer.len);
        }
        for local in kernel.locals.values().filter(|l| l.dtype == DType::Str) {
            self.place = At::Declaration(format!("variable '{}'", local.name));
            self.report(Problem::StringDtype);
        }
        self.place = At::Declaration("grid".to_string());
        self.over_params(&kernel.grid);
        self.loop_range(kernel.tile, &kernel.grid);
    }

    fn over_params(&mut self, dim: &Dim) {
        for symbol in dim.symbols() {
            if self.kernel.symbols.get(symbol).is_none() {
                self.report(Problem::UndefinedSymbol(symbol.to_string()));
            } else if symbol.index() >= self.kernel.params {
                self.report(Problem::NotParam(self.symbol_name(symbol)));
            }
        }
    }

    /// The declared range of a loop variable holds, where that can be told.
    fn loop_range(&mut self, var: SymbolId, extent: &Dim) {
        let (Some(extent), Some(symbol)) = (extent.as_const(), self.kernel.symbols.get(var)) else {
            return;
        };
        let (min, max, last) = (symbol.min, symbol.max, extent.saturating_sub(1));
        if extent > 0 && (min > 0 || max < last) {
            let symbol = symbol.name.clone();
            self.report(Problem::LoopRange { symbol, min, max, last });
        }
    }

    /// Checks a dim; returns the loops that it depends on.
    fn dim(&mut self, dim: &Dim) -> u64 {
        let mut loops = 0;
        for symbol in dim.symbols() {
            if self.kernel.symbols.get(symbol).is_none() {
                self.report(Problem::UndefinedSymbol(symbol.to_string()));
                continue;
            }
            match self.scope.symbol(symbol) {
                Some(bound) => loops |= bound.loops,
                None => self.report(Problem::SymbolOutOfScope(self.symbol_name(symbol))),
            }
        }
        loops
    }

    fn buffer(&mut self, id: BufferId) -> Option<&'k Buffer> {
        let buffer = self.kernel.buffers.get(id);
        if buffer.is_none() {
            self.report(Problem::UndefinedBuffer(id.to_string()));
        }
        buffer
    }

    /// Checks an element that is read; returns its dtype and the loops it depends on.
    fn read(&mut self, place: &Place) -> (Option<DType>, u64) {
        let mut loops = self.dim(&place.at);
        let buffer = self.buffer(place.buffer);
        if buffer.is_some_and(|b| b.space == Space::Scratch) {
            loops |= self.scope.thread_loops();
        }
        (buffer.map(|b| b.dtype), loops)
    }

    /// Checks an element that is written; returns its dtype.
    fn write(&mut self, buffer: BufferId, at: &Dim) -> Option<DType> {
        self.dim(at);
        let declared = self.buffer(buffer)?;
        if declared.space == Space::Input {
            self.report(Problem::NotWritable(declared.name.clone()));
        }
        for var in self.scope.vector_loops_writing_one_element(at) {
            let (buffer, symbol) = (declared.name.clone(), self.symbol_name(var));
            self.report(Problem::SameElement { buffer, symbol });
        }
        Some(declared.dtype)
    }

    fn expect_dtype(&mut self, what: &str, expected: DType, found: Option<DType>) {
        if let Some(found) = found.filter(|found| *found != expected) {
            let what = what.to_string();
            self.report(Problem::Dtype { what, expected, found });
        }
    }

    fn expect_expr(&mut self, what: &str, expected: DType, expr: &Expr) -> u64 {
        let (found, loops) = self.expr(expr);
        self.expect_dtype(what, expected, found);
        loops
    }
}
