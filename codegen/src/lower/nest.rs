//! Loop nests: axes are merged where memory allows, then cut into tiles.
//!
//! The prelude (statements that an expression needs first) runs at the outermost
//! loop that defines all that it uses.

use super::body::{Body, Grid};
use super::epilogue::bind_axes;
use super::machine::Machine;
use super::visit::for_each_dim;
use cascata_ir::kernel::{Expr, LoopKind, Stmt};
use cascata_types::{Dim, SymbolId, SymbolTable};

/// A launch smaller than this (in elements) is not worth waking a thread for.
const PARALLEL_ELEMENTS: i64 = 32768;
/// What a dim that nothing is known of is taken for.
const UNKNOWN_DIM: i64 = 64;

/// One loop: a variable and its number of iterations.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub var: SymbolId,
    pub extent: Dim,
}

/// Axes cut into a grid and the loops inside a tile.
struct Tiling {
    grid: Grid,
    /// Binds the variables of the axes that the grid covers.
    head: Vec<Stmt>,
    loops: Vec<Axis>,
    /// The variable of the axis that was cut in two, and what it stands for.
    cut: Option<(SymbolId, Dim)>,
}

impl Axis {
    /// The variable, or 0 where it can have no other value.
    pub fn at(&self) -> Dim {
        if self.extent.is(1) { Dim::from(0) } else { Dim::sym(self.var) }
    }
}

/// A typical value of a dim, for cost decisions only.
pub(super) fn estimate(dim: &Dim, symbols: &SymbolTable) -> i64 {
    let typical = |id| {
        let (min, max) = symbols.range(id);
        Some(UNKNOWN_DIM.clamp(min.max(1), max.max(1)))
    };
    dim.eval(&typical).unwrap_or(UNKNOWN_DIM).max(1)
}

impl Body<'_, '_> {
    /// New loop variables for a shape.
    pub fn axes(&mut self, shape: &[Dim]) -> Vec<Axis> {
        const NAMES: [&str; 6] = ["i", "j", "k", "l", "m", "n"];
        let named = shape.iter().enumerate();
        named
            .map(|(i, extent)| Axis {
                var: self.index(NAMES[i.min(5)], extent),
                extent: extent.clone(),
            })
            .collect()
    }

    /// Loops over `axes` around `inner`, as a whole kernel: the grid covers the
    /// outer part, the innermost loop is a vector loop.
    pub fn finish_nest(mut self, name: &str, mut axes: Vec<Axis>, inner: Vec<Stmt>) {
        let mut prelude = self.take_prelude();
        let mut inner = inner;
        merge_axes(&mut axes, &mut prelude, &mut inner);
        if axes.is_empty() {
            let extent = Dim::from(1);
            axes.push(Axis { var: self.index("i", &extent), extent });
        }
        match self.lowering.machine {
            Machine::Cpu => prefer_long_inner(&mut axes, &self.symbols),
            Machine::Gpu => prelude = self.flatten(&mut axes, prelude),
        }
        let Tiling { grid, mut head, loops, cut } = self.tile(axes);
        if let Some((var, with)) = cut {
            super::epilogue::replace(&mut prelude, &mut inner, var, &with);
        }
        let last = loops.len() - 1;
        let loops = loops
            .into_iter()
            .enumerate()
            .map(|(i, axis)| (axis, if i == last { LoopKind::Vector } else { LoopKind::Serial }));
        head.extend(nest(loops.collect(), prelude, inner));
        self.finish(name, grid, head);
    }

    /// Makes the axes one, whose number theirs are divided out of.
    fn flatten(&mut self, axes: &mut Vec<Axis>, prelude: Vec<Stmt>) -> Vec<Stmt> {
        if axes.len() == 1 {
            return prelude;
        }
        let extent = axes.iter().fold(Dim::from(1), |n, a| n * a.extent.clone());
        let flat = Axis { var: self.index("flat", &extent), extent };
        let mut all = bind_axes(axes, &Dim::sym(flat.var));
        all.extend(prelude);
        *axes = vec![flat];
        all
    }

    /// Cuts axes into a grid and the loops inside a tile.
    fn tile(&mut self, axes: Vec<Axis>) -> Tiling {
        let machine = self.lowering.machine;
        let tile_elements = machine.map_tile();
        let size = |a: &Axis| match (machine, a.extent.as_const()) {
            // A block that has too much to do costs more there than one that has little.
            (Machine::Gpu, None) => i64::MAX,
            _ => estimate(&a.extent, &self.symbols),
        };
        let sizes: Vec<i64> = axes.iter().map(size).collect();
        let mut inside = 1i64;
        let mut cut = axes.len();
        while cut > 0 && inside.saturating_mul(sizes[cut - 1]) <= tile_elements {
            inside = inside.saturating_mul(sizes[cut - 1]);
            cut -= 1;
        }
        let mut outer: Vec<Axis> = axes[..cut].to_vec();
        let mut loops: Vec<Axis> = axes[cut..].to_vec();
        let mut cut_axis = None;
        if let Some(split) = outer.pop() {
            let chunk = (tile_elements / inside).max(1);
            let chunk = if cut == axes.len() { (chunk / 16 * 16).max(16) } else { chunk };
            let blocks = split.extent.ceil_div(&chunk.into());
            let block = Axis { var: self.index("block", &blocks), extent: blocks };
            let start = Dim::sym(block.var) * chunk;
            let len = Dim::from(chunk).minimum(&(split.extent.clone() - start.clone()));
            let step = Axis { var: self.index("step", &chunk.into()), extent: len };
            cut_axis = Some((split.var, start + Dim::sym(step.var)));
            outer.push(block);
            loops.insert(0, step);
            inside = inside.saturating_mul(chunk);
        }
        let (grid, head) = self.grid(&outer, inside);
        Tiling { grid, head, loops, cut: cut_axis }
    }

    /// A grid over axes; the statements bind their variables from the tile's number.
    pub fn grid(&mut self, outer: &[Axis], tile_elements: i64) -> (Grid, Vec<Stmt>) {
        let tiles = outer.iter().fold(Dim::from(1), |n, a| n * a.extent.clone());
        let tile = self.index("tile", &tiles);
        let mut stride = Dim::from(1);
        let mut binds = Vec::new();
        for (i, axis) in outer.iter().enumerate().rev() {
            let at = Dim::sym(tile).floor_div(&stride);
            let at = if i == 0 { at } else { at.modulo(&axis.extent) };
            binds.push(Stmt::Bind { symbol: axis.var, value: Expr::Index(at) });
            stride = stride * axis.extent.clone();
        }
        let min_tiles = (PARALLEL_ELEMENTS / tile_elements.max(1)).max(1);
        (Grid { tile, tiles, min_tiles }, binds)
    }
}

/// Puts a longer axis innermost where the last one is too short to amortise a loop:
/// channels-first images become channels-last one plane at a time.
fn prefer_long_inner(axes: &mut [Axis], symbols: &SymbolTable) {
    let n = axes.len();
    if n >= 2
        && axes[n - 1].extent.as_const().is_some_and(|d| d < 8)
        && estimate(&axes[n - 2].extent, symbols) >= 32
    {
        axes.swap(n - 2, n - 1);
    }
}

/// Loops around `inner`, outermost first; every prelude statement runs at the
/// outermost level that defines what it uses.
pub(super) fn nest(
    loops: Vec<(Axis, LoopKind)>,
    prelude: Vec<Stmt>,
    inner: Vec<Stmt>,
) -> Vec<Stmt> {
    let vars: Vec<SymbolId> = loops.iter().map(|(a, _)| a.var).collect();
    let mut levels: Vec<Vec<Stmt>> = vec![Vec::new(); loops.len() + 1];
    let mut place =
        Placement { vars: &vars, bound: Default::default(), locals: Default::default() };
    for mut stmt in prelude {
        let level = place.level(&mut stmt);
        levels[level].push(stmt);
    }
    let mut body = levels.pop().unwrap_or_default();
    body.extend(inner);
    for (axis, kind) in loops.into_iter().rev() {
        let mut outer = levels.pop().unwrap_or_default();
        outer.push(Stmt::For { var: axis.var, extent: axis.extent, kind, body });
        body = outer;
    }
    body
}

/// Finds how many loops must be open for a statement.
struct Placement<'a> {
    vars: &'a [SymbolId],
    bound: std::collections::HashMap<SymbolId, usize>,
    locals: std::collections::HashMap<cascata_ir::kernel::LocalId, usize>,
}

impl Placement<'_> {
    fn level(&mut self, stmt: &mut Stmt) -> usize {
        let mut symbols = Vec::new();
        for_each_dim(std::slice::from_mut(stmt), &mut |d| symbols.extend(d.symbols()));
        let mut level = 0;
        for s in symbols {
            let of_loop = self.vars.iter().position(|v| *v == s).map_or(0, |i| i + 1);
            level = level.max(of_loop).max(self.bound.get(&s).copied().unwrap_or(0));
        }
        match stmt {
            Stmt::Bind { value, .. }
            | Stmt::Let { value, .. }
            | Stmt::Check { cond: value, .. } => {
                level = level.max(self.deepest_local(value));
            }
            _ => {}
        }
        match stmt {
            Stmt::Bind { symbol, .. } => drop(self.bound.insert(*symbol, level)),
            Stmt::Let { local, .. } => drop(self.locals.insert(*local, level)),
            _ => {}
        }
        level
    }

    fn deepest_local(&self, expr: &Expr) -> usize {
        match expr {
            Expr::Const(_) | Expr::Index(_) | Expr::Load(_) => 0,
            Expr::Local(local) => self.locals.get(local).copied().unwrap_or(0),
            Expr::Unary(_, a) | Expr::Cast(_, a) | Expr::Bits(_, a) => self.deepest_local(a),
            Expr::Binary(_, a, b) => self.deepest_local(a).max(self.deepest_local(b)),
            Expr::Select(c, a, b) => {
                let sides = self.deepest_local(a).max(self.deepest_local(b));
                self.deepest_local(c).max(sides)
            }
        }
    }
}

/// Merges neighbouring axes `(a, b)` where every index expression steps along `a`
/// exactly `b`'s extent times as far as along `b`: one longer loop then does both.
pub(super) fn merge_axes(axes: &mut Vec<Axis>, prelude: &mut [Stmt], inner: &mut [Stmt]) {
    for axis in axes.iter().filter(|a| a.extent.is(1)) {
        drop_var(axis.var, prelude, inner);
    }
    axes.retain(|a| !a.extent.is(1));
    let mut i = axes.len();
    while i >= 2 {
        i -= 1;
        let (a, b) = (axes[i - 1].clone(), axes[i].clone());
        let mut mergeable = true;
        let mut look = |d: &mut Dim| mergeable &= steps_together(d, &a, &b);
        for_each_dim(prelude, &mut look);
        for_each_dim(inner, &mut look);
        if !mergeable {
            continue;
        }
        drop_var(a.var, prelude, inner);
        axes[i].extent = a.extent * b.extent;
        axes.remove(i - 1);
    }
}

fn drop_var(var: SymbolId, prelude: &mut [Stmt], inner: &mut [Stmt]) {
    let mut zero = |d: &mut Dim| *d = d.substitute(&|s| (s == var).then(|| Dim::from(0)));
    for_each_dim(prelude, &mut zero);
    for_each_dim(inner, &mut zero);
}

fn steps_together(d: &Dim, a: &Axis, b: &Axis) -> bool {
    match (d.linear_in(a.var), d.linear_in(b.var)) {
        (Some((along_a, _)), Some((along_b, _))) => along_a == along_b * b.extent.clone(),
        _ => false,
    }
}
