//! Checks of one entry point.

use super::{Errors, Program, flow, tensor_type, unique, verify_dim};
use crate::CacheAttentionStep;
use crate::manifest::{
    Branch, Buffer, Entry, Launch, Loop, Port, Step, Storage, TextOp, TextStep, Variant,
};
use cascata_types::{DType, Dim, Encoding, Symbol, SymbolId};

/// Blocks may nest this deep: each level takes some of the stack.
const MAX_DEPTH: usize = 64;

/// Checks one entry; `at` is its path.
pub(super) fn verify(errors: &mut Errors, program: &Program, at: &str, entry: &Entry) {
    let before = errors.0.len();
    unique(errors, &format!("{at}.symbols"), entry.symbols.iter().map(|(_, s)| &s.name));
    for (_, s) in entry.symbols.iter().filter(|(_, s)| s.min > s.max) {
        errors.push(
            format!("{at}.symbols"),
            format!("'{}' has the empty range {}..={}", s.name, s.min, s.max),
        );
    }
    let mut c = Checker { errors, program, entry, sizes: vec![1; entry.symbols.len()] };
    c.derived(at);
    c.variants(at);
    c.ports(&format!("{at}.inputs"), &entry.inputs);
    c.ports(&format!("{at}.outputs"), &entry.outputs);
    c.buffers(at);
    c.step_indices(at);
    c.block_tree(at);
    // What follows uses the indices, so it needs them all to be right.
    if c.errors.0.len() > before {
        return;
    }
    flow::verify(c.errors, program, at, entry);
}

struct Checker<'a, 'e> {
    errors: &'e mut Errors,
    program: &'a Program<'a>,
    entry: &'a Entry,
    /// How many factors each symbol has when written out, derived ones last.
    sizes: Vec<u64>,
}

/// How the fields of a step of a block are called in reports.
pub(super) fn step_path(at: &str, block: u32, step: usize) -> String {
    match block {
        0 => format!("{at}.steps[{step}]"),
        b => format!("{at}.blocks[{}].steps[{step}]", b - 1),
    }
}

impl Checker<'_, '_> {
    fn dim(&mut self, at: &str, dim: &Dim) {
        verify_dim(self.errors, at, dim, &self.sizes);
    }

    /// Each is over the symbols before it, so that none is defined by itself.
    fn derived(&mut self, at: &str) {
        for (i, dim) in self.entry.derived.iter().enumerate() {
            let at = format!("{at}.derived[{i}]");
            let size = verify_dim(self.errors, &at, dim, &self.sizes);
            self.sizes.push(size.max(1));
        }
    }

    /// A variant can run in the entry's place: it takes and gives the same.
    fn variants(&mut self, at: &str) {
        let entry = self.entry;
        let own = |e: &Entry| -> Vec<Symbol> {
            e.symbols.iter().filter(|(_, s)| !s.data_dependent).map(|(_, s)| s.clone()).collect()
        };
        for (i, variant) in entry.variants.iter().enumerate() {
            let at = format!("{at}.variants[{i}]");
            variant.guard.iter().for_each(|dim| self.dim(&at, dim));
            let entries = self.program.entries;
            if !self.errors.index(&at, "entry", variant.entry, entries.len()) {
                continue;
            }
            let other = &entries[variant.entry as usize];
            if !other.variants.is_empty() {
                self.errors.push(&at, format!("entry '{}' has variants itself", other.name));
            }
            let same = other.inputs == entry.inputs
                && other.outputs == entry.outputs
                && own(other) == own(entry);
            if !same {
                let text = format!("entry '{}' has other inputs, outputs or symbols", other.name);
                self.errors.push(&at, text);
            }
        }
    }

    fn ports(&mut self, at: &str, ports: &[Port]) {
        unique(self.errors, at, ports.iter().map(|p| &p.name));
        for port in ports {
            let at = format!("{at} ('{}')", port.name);
            if let Some(weight) = port.default {
                self.default(&at, port, weight);
            }
            let Some(ty) = tensor_type(&port.ty) else { continue };
            if ty.encoding != Encoding::Dense {
                self.errors.push(&at, format!("the encoding is {}; ports are dense", ty.encoding));
            }
            for dim in &ty.shape {
                self.dim(&at, dim);
            }
        }
    }

    /// A default is what a caller could have given.
    fn default(&mut self, at: &str, port: &Port, weight: u32) {
        if !self.errors.index(at, "weight", weight, self.program.weights.len()) {
            return;
        }
        let w = &self.program.weights[weight as usize];
        let fits = port.ty.as_tensor().is_some_and(|t| {
            let size = t.dtype.size_bytes().unwrap_or(0) as i64;
            let bytes = (t.elements() * size).as_const();
            t.dtype == w.dtype && bytes == Some(w.bytes as i64)
        });
        if !fits || !w.param {
            let text = format!("its default is weight '{}', which is no param of its type", w.name);
            self.errors.push(at, text);
        }
    }

    fn buffers(&mut self, at: &str) {
        let entry = self.entry;
        for (i, buffer) in entry.buffers.iter().enumerate() {
            let at = format!("{at}.buffers[{i}] ('{}')", buffer.name);
            self.dim(&at, &buffer.bytes);
            for dim in &buffer.ty.shape {
                self.dim(&at, dim);
            }
            match &buffer.storage {
                Storage::Input(n) => {
                    self.errors.index(&at, "input", *n, entry.inputs.len());
                    self.strings_agree(&at, buffer, entry.inputs.get(*n as usize));
                }
                Storage::Output(n) => {
                    self.errors.index(&at, "output", *n, entry.outputs.len());
                    self.strings_agree(&at, buffer, entry.outputs.get(*n as usize));
                }
                Storage::Weight(n) => {
                    self.errors.index(&at, "weight", *n, self.program.weights.len());
                }
                Storage::Slot => {
                    if buffer.ty.encoding != Encoding::Dense {
                        self.errors.push(&at, "what moves between blocks must be dense");
                    }
                }
                Storage::Arena { first, last } => {
                    let n = entry.steps_of(buffer.block).len();
                    if first > last || *last as usize >= n {
                        self.errors
                            .push(&at, format!("live from step {first} to {last}, of {n} steps"));
                    }
                }
                Storage::Alias { of, offset_bytes } => {
                    self.dim(&at, offset_bytes);
                    self.errors.index(&at, "buffer", *of, entry.buffers.len());
                    let target = entry.buffers.get(*of as usize);
                    if target.is_some_and(|b| matches!(b.storage, Storage::Alias { .. })) {
                        self.errors.push(
                            &at,
                            format!("it is an alias of buffer {of}, which is an alias itself"),
                        );
                    }
                    if target.is_some_and(|b| b.storage == Storage::Slot) {
                        let text = format!("it is an alias of buffer {of}, which moves");
                        self.errors.push(&at, text);
                    }
                }
            }
            let of_block = matches!(buffer.storage, Storage::Arena { .. } | Storage::Slot);
            if of_block {
                self.errors.index(&at, "block", buffer.block, entry.blocks.len() + 1);
            } else if buffer.block != 0 {
                self.errors.push(&at, "only arena buffers and slots belong to a block");
            }
        }
    }

    /// A port of strings is ids in a run, and nothing else is.
    fn strings_agree(&mut self, at: &str, buffer: &Buffer, port: Option<&Port>) {
        let Some(ty) = port.and_then(|p| p.ty.as_tensor()) else { return };
        if (ty.dtype == DType::Str) != (buffer.ty.dtype == DType::Str) {
            let (a, b) = (buffer.ty.dtype, ty.dtype);
            self.errors.push(at, format!("its elements are {a}, those of the port {b}"));
        }
    }

    fn step_indices(&mut self, at: &str) {
        let entry = self.entry;
        for (block, i, step) in entry.all_steps() {
            let at = step_path(at, block, i);
            match step {
                Step::Launch(launch) => self.launch(&at, launch),
                Step::Bind { buffer, symbols } => self.bind(&at, *buffer, symbols),
                Step::Text(text) => self.text(&at, text),
                Step::CacheAttention(attention) => self.cache_attention(&at, attention),
                Step::If(branch) => self.branch(&at, branch),
                Step::Loop(l) => self.repeat(&at, l),
            }
        }
        for block in 0..=entry.blocks.len() as u32 {
            for check in entry.checks_of(block) {
                self.dim(&format!("{at}.checks ('{}')", check.what), &check.lhs);
                self.dim(&format!("{at}.checks ('{}')", check.what), &check.rhs);
            }
        }
    }

    /// Every block is run by one step, of a block with a lower number, so that none runs
    /// itself.
    fn block_tree(&mut self, at: &str) {
        let n = self.entry.blocks.len();
        let mut depth: Vec<Option<usize>> = vec![None; n + 1];
        depth[0] = Some(0);
        for (block, i, step) in self.entry.all_steps() {
            let owned = match step {
                Step::If(b) => vec![b.then_block, b.else_block],
                Step::Loop(l) => vec![l.body],
                Step::Launch(_) | Step::Bind { .. } | Step::Text(_) | Step::CacheAttention(_) => {
                    continue;
                }
            };
            let at = step_path(at, block, i);
            for inner in owned {
                let below = depth[block as usize].map_or(1, |d| d + 1);
                match depth.get(inner as usize) {
                    None => self.errors.push(&at, format!("there is no block {inner}")),
                    Some(_) if inner <= block => {
                        self.errors.push(&at, format!("it runs block {inner} from block {block}"));
                    }
                    Some(Some(_)) => {
                        self.errors.push(&at, format!("another step runs block {inner}, too"));
                    }
                    Some(None) if below > MAX_DEPTH => {
                        self.errors.push(&at, format!("blocks nest more than {MAX_DEPTH} deep"));
                    }
                    Some(None) => depth[inner as usize] = Some(below),
                }
            }
        }
        for (i, _) in depth.iter().enumerate().filter(|(_, d)| d.is_none()) {
            self.errors.push(format!("{at}.blocks[{}]", i - 1), "no step runs it");
        }
    }

    fn branch(&mut self, at: &str, branch: &Branch) {
        self.host_reads(at, branch.cond, DType::Bool);
        for r in &branch.results {
            self.slots(at, [r.then, r.other, r.result]);
        }
        let all = branch.results.iter().flat_map(|r| [r.then, r.other, r.result]);
        unique(self.errors, at, all);
        for d in &branch.dims {
            self.data_dependent(at, d.symbol);
            self.dim(at, &d.then);
            self.dim(at, &d.other);
        }
    }

    fn launch(&mut self, at: &str, launch: &Launch) {
        for b in &launch.buffers {
            self.errors.index(at, "buffer", *b, self.entry.buffers.len());
        }
        self.dim(at, &launch.flops);
        self.dim(at, &launch.bytes);
        match launch.variants.last() {
            None => self.errors.push(at, "there is no variant"),
            Some(last) if !last.guard.is_empty() => {
                self.errors.push(at, "the last variant has a guard, so that none may fit");
            }
            Some(_) => {}
        }
        for (i, variant) in launch.variants.iter().enumerate() {
            self.variant(&format!("{at}.variants[{i}]"), launch, variant);
        }
    }

    fn text(&mut self, at: &str, text: &TextStep) {
        let (given, takes) = (text.operands.len(), text.op.operands());
        if given != takes {
            self.errors.push(at, format!("{given} operands of strings, must be {takes}"));
        }
        if let TextOp::Match { dfa } = &text.op
            && !dfa.is_sound()
        {
            self.errors.push(at, "its automaton has classes, states or rows that do not exist");
        }
        let operands = text.operands.iter().map(|b| (*b, DType::Str));
        for (buffer, dtype) in operands.chain([(text.result, text.op.result())]) {
            if !self.errors.index(at, "buffer", buffer, self.entry.buffers.len()) {
                continue;
            }
            let b = &self.entry.buffers[buffer as usize];
            if b.ty.dtype != dtype || b.ty.encoding != Encoding::Dense {
                self.errors.push(at, format!("'{}' is not dense {dtype}", b.name));
            }
        }
    }

    /// Rows of dense f32, as many in each buffer, that hold the heads.
    fn cache_attention(&mut self, at: &str, step: &CacheAttentionStep) {
        let counts = [step.heads, step.kv_heads, step.head_dim, step.max_positions];
        let counts = counts.into_iter().chain(step.window);
        if counts.min() == Some(0) || !step.heads.is_multiple_of(step.kv_heads.max(1)) {
            self.errors.push(at, "its heads, sizes and window are no counts that go together");
        }
        let buffers = &self.entry.buffers;
        let rows = buffers.get(step.result as usize).and_then(|b| b.ty.shape.first());
        for (buffer, length) in step.row_lengths() {
            if !self.errors.index(at, "buffer", buffer, buffers.len()) {
                continue;
            }
            let b = &buffers[buffer as usize];
            let dense = b.ty.dtype == DType::F32 && b.ty.encoding == Encoding::Dense;
            let bytes = i64::try_from(length).ok().and_then(|n| n.checked_mul(4));
            let whole = rows.zip(bytes).is_some_and(|(n, bytes)| b.bytes == n.clone() * bytes);
            if !dense || !whole || b.ty.shape.first() != rows {
                self.errors.push(at, format!("'{}' is not dense f32[rows,{length}]", b.name));
            }
        }
    }

    fn variant(&mut self, at: &str, launch: &Launch, variant: &Variant) {
        let all = variant.guard.iter().chain(&variant.dims);
        for dim in all.chain([&variant.tiles, &variant.scratch_bytes, &variant.min_tiles]) {
            self.dim(at, dim);
        }
        if !self.errors.index(at, "kernel", variant.kernel, self.program.kernels.len()) {
            return;
        }
        let kernel = self.program.kernels[variant.kernel as usize];
        for (what, given, taken) in [
            ("dims", variant.dims.len(), kernel.dims),
            ("buffers", launch.buffers.len(), kernel.buffers),
        ] {
            if given != taken as usize {
                self.errors
                    .push(at, format!("{given} {what} for '{}', which takes {taken}", kernel.name));
            }
        }
    }

    fn repeat(&mut self, at: &str, l: &Loop) {
        self.host_reads(at, l.trip, DType::I64);
        self.host_reads(at, l.cond, DType::Bool);
        self.host_reads(at, l.next_cond, DType::Bool);
        let given = [(l.iteration, DType::I64), (l.going, DType::Bool)];
        for (slot, dtype) in given {
            if let Some(b) = slot {
                self.host_reads(at, b, dtype);
                self.slots(at, [b]);
            }
        }
        for c in &l.carried {
            if self.errors.index(at, "buffer", c.initial, self.entry.buffers.len()) {
                self.slots(at, [c.param, c.next.unwrap_or(c.param), c.result]);
                self.same_type(at, c.initial, c.param);
            }
        }
        for r in &l.scanned {
            self.errors.index(at, "buffer", r.row, self.entry.buffers.len());
            self.slots(at, [r.result]);
            self.same_type(at, r.row, r.result);
        }
        let moved = l.carried.iter().flat_map(|c| [Some(c.param), c.next, Some(c.result)]);
        let rest = l.scanned.iter().map(|r| Some(r.result)).chain([l.iteration, l.going]);
        unique(self.errors, at, moved.chain(rest).flatten());
        self.data_dependent(at, l.count);
        for d in &l.dims {
            self.data_dependent(at, d.inside);
            self.data_dependent(at, d.after);
            self.dim(at, &d.initial);
            self.dim(at, &d.next);
        }
    }

    /// Slots of one type: what one holds, the others may take over.
    fn slots<const N: usize>(&mut self, at: &str, slots: [u32; N]) {
        for b in slots {
            if self.errors.index(at, "buffer", b, self.entry.buffers.len())
                && self.entry.buffers[b as usize].storage != Storage::Slot
            {
                let name = &self.entry.buffers[b as usize].name;
                self.errors.push(at, format!("'{name}' (buffer {b}) is not a slot"));
            }
            self.same_type(at, slots[0], b);
        }
    }

    fn same_type(&mut self, at: &str, a: u32, b: u32) {
        let buffer = |i: u32| self.entry.buffers.get(i as usize);
        let (Some(a), Some(b)) = (buffer(a), buffer(b)) else { return };
        if a.ty.dtype != b.ty.dtype {
            let (x, y) = (a.ty.dtype, b.ty.dtype);
            self.errors.push(at, format!("'{}' is {x} and '{}' is {y}", a.name, b.name));
        }
    }

    /// A buffer with one element that the host reads or writes.
    fn host_reads(&mut self, at: &str, buffer: u32, dtype: DType) {
        if !self.errors.index(at, "buffer", buffer, self.entry.buffers.len()) {
            return;
        }
        let b = &self.entry.buffers[buffer as usize];
        let bytes = dtype.size_bytes().unwrap_or(0) as i64;
        if b.ty.dtype != dtype || b.ty.encoding != Encoding::Dense || !b.bytes.is(bytes) {
            self.errors.push(at, format!("'{}' is not one {dtype}", b.name));
        }
    }

    fn data_dependent(&mut self, at: &str, symbol: SymbolId) {
        match self.entry.symbols.get(symbol) {
            None => self.errors.push(at, format!("symbol {symbol} is not in the entry's table")),
            Some(s) if !s.data_dependent => {
                self.errors.push(at, format!("it binds '{}', which is not data-dependent", s.name));
            }
            Some(_) => {}
        }
    }

    fn bind(&mut self, at: &str, buffer: u32, symbols: &[SymbolId]) {
        if symbols.is_empty() {
            self.errors.push(at, "it binds no symbol");
        }
        for s in symbols {
            self.data_dependent(at, *s);
        }
        if self.errors.index(at, "buffer", buffer, self.entry.buffers.len()) {
            let b = &self.entry.buffers[buffer as usize];
            if b.ty.dtype != DType::I64 || b.ty.encoding != Encoding::Dense {
                self.errors.push(at, format!("it reads '{}', which is not dense i64", b.name));
            }
            let expected = 8 * symbols.len() as i64;
            if b.bytes.as_const().is_some_and(|n| n < expected) {
                self.errors.push(
                    at,
                    format!("it reads {expected} bytes of '{}', which is smaller", b.name),
                );
            }
        }
    }
}
