//! Symbolic dims: names with inclusive ranges.

use crate::{PrimaryMap, entity};
use serde::{Deserialize, Serialize};

entity! {
    /// A symbol of one [`SymbolTable`].
    SymbolId, "s"
}

/// A symbolic integer, e.g. a batch size: `B in 1..=64`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symbol {
    /// The name a person sees; unique in its table.
    pub name: String,
    /// Smallest allowed value.
    pub min: i64,
    /// Largest allowed value.
    pub max: i64,
    /// Bound while the program runs (by the op that produces it), not by the input shapes.
    #[serde(default)]
    pub data_dependent: bool,
}

/// The symbols of one graph or artifact entry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SymbolTable {
    symbols: PrimaryMap<SymbolId, Symbol>,
}

impl SymbolTable {
    /// The largest value a dim may take unless a range says less: tensors of
    /// 2^31 or more rows do not fit one machine here.
    pub const DEFAULT_MAX: i64 = (1 << 31) - 1;

    /// The symbol called `name`, created in the range `0..=DEFAULT_MAX` when new.
    pub fn intern(&mut self, name: &str) -> SymbolId {
        self.lookup(name).unwrap_or_else(|| {
            self.symbols.push(Symbol {
                name: name.to_string(),
                min: 0,
                max: Self::DEFAULT_MAX,
                data_dependent: false,
            })
        })
    }

    /// A new data-dependent symbol with a fresh name starting with `hint`.
    pub fn fresh(&mut self, hint: &str, min: i64, max: i64) -> SymbolId {
        let name = (0..)
            .map(|i| if i == 0 { hint.to_string() } else { format!("{hint}_{i}") })
            .find(|n| self.lookup(n).is_none())
            .expect("names do not run out");
        self.symbols.push(Symbol { name, min, max, data_dependent: true })
    }

    /// Whether a name may contain `c`: letters, digits and `_ . $ @ #`. Symbols may be any
    /// ONNX `dim_param`; the importer replaces other characters by `_`.
    pub fn is_name_char(c: char) -> bool {
        c.is_alphanumeric() || matches!(c, '_' | '.' | '$' | '@' | '#')
    }

    /// Whether the text form can carry this name: name characters, no leading digit.
    pub fn is_valid_name(name: &str) -> bool {
        !name.starts_with(|c: char| c.is_ascii_digit())
            && !name.is_empty()
            && name.chars().all(Self::is_name_char)
    }

    /// Adds a symbol as it stands; `None` if its name is taken.
    pub fn insert(&mut self, symbol: Symbol) -> Option<SymbolId> {
        self.lookup(&symbol.name).is_none().then(|| self.symbols.push(symbol))
    }

    /// Finds a symbol by name.
    pub fn lookup(&self, name: &str) -> Option<SymbolId> {
        self.symbols.iter().find(|(_, s)| s.name == name).map(|(id, _)| id)
    }

    /// The symbol, or `None` for an id of another table.
    pub fn get(&self, id: SymbolId) -> Option<&Symbol> {
        self.symbols.get(id)
    }

    /// The symbol, to narrow its range.
    pub fn get_mut(&mut self, id: SymbolId) -> &mut Symbol {
        &mut self.symbols[id]
    }

    /// The symbol's name, or its raw id when it is not in this table.
    pub fn name(&self, id: SymbolId) -> String {
        self.get(id).map_or_else(|| id.to_string(), |s| s.name.clone())
    }

    /// The inclusive range; everything for an unknown id.
    pub fn range(&self, id: SymbolId) -> (i64, i64) {
        self.get(id).map_or((i64::MIN, i64::MAX), |s| (s.min, s.max))
    }

    /// All symbols in order of creation.
    pub fn iter(&self) -> impl Iterator<Item = (SymbolId, &Symbol)> {
        self.symbols.iter()
    }

    /// Number of symbols.
    pub fn len(&self) -> usize {
        self.symbols.len()
    }

    /// Whether there are no symbols.
    pub fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }
}
