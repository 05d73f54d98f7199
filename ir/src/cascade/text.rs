//! The printed cascade (`inspect --cascade`).

use super::{Access, Cascade, Einsum, Index, RankId, Role};
use cascata_types::SymbolTable;
use std::fmt::Write as _;

impl Cascade {
    /// One line per Einsum with the pass over each rank in which it runs, then ranks
    /// with their passes and live footprint, then totals.
    pub fn display(&self, symbols: &SymbolTable) -> String {
        let ranks = self.used_ranks();
        let passes: Vec<_> = ranks.iter().map(|r| self.passes(*r)).collect();
        let mut out = String::new();
        for (i, e) in self.einsums.iter().enumerate() {
            let in_pass: Vec<String> = ranks
                .iter()
                .zip(&passes)
                .filter(|(_, p)| p.passes > 1 && p.pass_of[i] > 0)
                .map(|(r, p)| format!("{} {}", self.ranks[*r].name, p.pass_of[i]))
                .collect();
            let note = if in_pass.is_empty() {
                String::new()
            } else {
                format!("  // pass {}", in_pass.join(", "))
            };
            let _ = writeln!(out, "{}{note}", self.statement(e));
        }
        for (r, p) in ranks.iter().zip(&passes) {
            let (name, size) = (&self.ranks[*r].name, self.ranks[*r].size.display(symbols));
            let _ = write!(out, "rank {name} = {size}: {} passes", p.passes);
            if !p.crossing.is_empty() {
                let names: Vec<&str> =
                    p.crossing.iter().map(|t| self.tensors[*t].name.as_str()).collect();
                let live = self.live_footprint(*r).display(symbols);
                let _ = write!(out, ", live {live} elements per fibre ({})", names.join(", "));
            }
            out.push('\n');
        }
        let (flops, bytes) = (self.flops().display(symbols), self.bytes().display(symbols));
        let _ = writeln!(out, "flops {flops}\nbytes {bytes}");
        out
    }

    /// `y[m,n] = mul(a[m,k], b[k,n]) :: sum(k)`.
    fn statement(&self, e: &Einsum) -> String {
        let output = &self.tensors[e.output];
        let inputs: Vec<String> = e.inputs.iter().map(|a| self.access(a)).collect();
        let mut line = format!("{}[{}] = ", output.name, self.names(&output.ranks));
        let _ = write!(line, "{}({})", e.map, inputs.join(", "));
        if let Some((op, ranks)) = &e.reduce {
            let _ = write!(line, " :: {op}({})", self.names(ranks));
        }
        if output.role == Role::Output {
            line.push_str(" -> memory");
        }
        line
    }

    fn names(&self, ranks: &[RankId]) -> String {
        let names: Vec<&str> = ranks.iter().map(|r| self.ranks[*r].name.as_str()).collect();
        names.join(",")
    }

    fn access(&self, a: &Access) -> String {
        let index = |i: &Index| {
            let name = &self.ranks[i.rank()].name;
            match i {
                Index::At(_) => name.clone(),
                Index::Previous(_) => format!("{name}-1"),
                Index::Last(_) => format!("last {name}"),
                Index::Any(_) => format!("any {name}"),
            }
        };
        let at: Vec<String> = a.at.iter().map(index).collect();
        format!("{}[{}]", self.tensors[a.tensor].name, at.join(","))
    }
}
