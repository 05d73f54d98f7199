//! Checks of one entry point.

use super::{Errors, tensor_type, unique, verify_dim};
use crate::manifest::{Entry, Launch, Manifest, Port, Step, Storage, Variant};
use cascata_types::{DType, Dim, Encoding, SymbolId};
use std::collections::HashSet;

/// Checks one entry; `at` is its path.
pub(super) fn verify(errors: &mut Errors, manifest: &Manifest, at: &str, entry: &Entry) {
    let before = errors.0.len();
    unique(errors, &format!("{at}.symbols"), entry.symbols.iter().map(|(_, s)| &s.name));
    for (_, s) in entry.symbols.iter().filter(|(_, s)| s.min > s.max) {
        errors.push(
            format!("{at}.symbols"),
            format!("'{}' has the empty range {}..={}", s.name, s.min, s.max),
        );
    }
    let mut c = Checker { errors, manifest, entry, bound: HashSet::new() };
    c.ports(&format!("{at}.inputs"), &entry.inputs);
    c.ports(&format!("{at}.outputs"), &entry.outputs);
    c.buffers(at);
    c.step_indices(at);
    // What follows uses the indices, so it needs them all to be right.
    if c.errors.0.len() > before {
        return;
    }
    c.binding(at);
    c.liveness(at);
}

struct Checker<'a, 'e> {
    errors: &'e mut Errors,
    manifest: &'a Manifest,
    entry: &'a Entry,
    /// Symbols that have a value at the step under consideration.
    bound: HashSet<SymbolId>,
}

impl Checker<'_, '_> {
    fn dim(&mut self, at: &str, dim: &Dim) {
        verify_dim(self.errors, at, dim, &self.entry.symbols);
    }

    fn ports(&mut self, at: &str, ports: &[Port]) {
        unique(self.errors, at, ports.iter().map(|p| &p.name));
        for port in ports {
            let at = format!("{at} ('{}')", port.name);
            let Some(ty) = tensor_type(&port.ty) else { continue };
            if ty.encoding != Encoding::Dense {
                self.errors.push(&at, format!("the encoding is {}; ports are dense", ty.encoding));
            }
            for dim in &ty.shape {
                self.dim(&at, dim);
            }
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
                }
                Storage::Output(n) => {
                    self.errors.index(&at, "output", *n, entry.outputs.len());
                }
                Storage::Weight(n) => {
                    self.errors.index(&at, "weight", *n, self.manifest.weights.len());
                }
                Storage::Arena { first, last } => {
                    if first > last || *last as usize >= entry.steps.len() {
                        let n = entry.steps.len();
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
                }
            }
        }
    }

    fn step_indices(&mut self, at: &str) {
        let entry = self.entry;
        for (i, step) in entry.steps.iter().enumerate() {
            let at = format!("{at}.steps[{i}]");
            match step {
                Step::Launch(launch) => self.launch(&at, launch),
                Step::Bind { buffer, symbols } => self.bind(&at, *buffer, symbols),
            }
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

    fn variant(&mut self, at: &str, launch: &Launch, variant: &Variant) {
        let all = variant.guard.iter().chain(&variant.dims);
        for dim in all.chain([&variant.tiles, &variant.scratch_bytes, &variant.min_tiles]) {
            self.dim(at, dim);
        }
        if !self.errors.index(at, "kernel", variant.kernel, self.manifest.kernels.len()) {
            return;
        }
        let kernel = &self.manifest.kernels[variant.kernel as usize];
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

    fn bind(&mut self, at: &str, buffer: u32, symbols: &[SymbolId]) {
        if symbols.is_empty() {
            self.errors.push(at, "it binds no symbol");
        }
        for s in symbols {
            match self.entry.symbols.get(*s) {
                None => self.errors.push(at, format!("symbol {s} is not in the entry's table")),
                Some(s) if !s.data_dependent => {
                    self.errors
                        .push(at, format!("it binds '{}', which is not data-dependent", s.name));
                }
                Some(_) => {}
            }
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

    /// Every dim is over symbols that are bound where it is evaluated.
    fn binding(&mut self, at: &str) {
        let entry = self.entry;
        let inputs = entry.inputs.iter().filter_map(|p| tensor_type(&p.ty));
        self.bound = inputs.clone().flat_map(|t| &t.shape).filter_map(Dim::as_sym).collect();
        for dim in inputs.flat_map(|t| &t.shape) {
            self.known(&format!("{at}.inputs"), dim);
        }
        for (i, step) in entry.steps.iter().enumerate() {
            let at = format!("{at}.steps[{i}]");
            match step {
                Step::Launch(launch) => self.launch_binding(&at, launch),
                Step::Bind { buffer, symbols } => {
                    self.buffer_binding(&at, *buffer);
                    for s in symbols {
                        if !self.bound.insert(*s) {
                            let name = entry.symbols.name(*s);
                            self.errors.push(&at, format!("'{name}' is bound already"));
                        }
                    }
                }
            }
        }
        for (i, check) in entry.checks.iter().enumerate() {
            let at = format!("{at}.checks[{i}]");
            for dim in [&check.lhs, &check.rhs] {
                if verify_dim(self.errors, &at, dim, &entry.symbols) {
                    self.known(&at, dim);
                }
            }
        }
        for dim in entry.outputs.iter().filter_map(|p| tensor_type(&p.ty)).flat_map(|t| &t.shape) {
            self.known(&format!("{at}.outputs"), dim);
        }
    }

    fn launch_binding(&mut self, at: &str, launch: &Launch) {
        for v in &launch.variants {
            let all = v.guard.iter().chain(&v.dims);
            for dim in all.chain([&v.tiles, &v.scratch_bytes, &v.min_tiles]) {
                self.known(at, dim);
            }
        }
        self.known(at, &launch.flops);
        self.known(at, &launch.bytes);
        for b in &launch.buffers {
            self.buffer_binding(at, *b);
        }
    }

    fn buffer_binding(&mut self, at: &str, buffer: u32) {
        let entry = self.entry;
        let b = &entry.buffers[buffer as usize];
        self.known(at, &b.bytes);
        if let Storage::Alias { of, offset_bytes } = &b.storage {
            self.known(at, offset_bytes);
            self.known(at, &entry.buffers[*of as usize].bytes);
        }
        if let Storage::Output(n) = entry.buffers[self.root(buffer) as usize].storage
            && let Some(ty) = tensor_type(&entry.outputs[n as usize].ty)
        {
            for dim in &ty.shape {
                self.known(at, dim);
            }
        }
    }

    fn known(&mut self, at: &str, dim: &Dim) {
        if dim.as_const().is_some() {
            return; // PERF: most dims of a static model; `symbols` allocates.
        }
        for s in dim.symbols() {
            if !self.bound.contains(&s) {
                let (text, name) = (dim.display(&self.entry.symbols), self.entry.symbols.name(s));
                self.errors.push(at, format!("'{text}' needs '{name}', which has no value there: no input has it as a whole dim and no earlier step binds it"));
            }
        }
    }

    /// The buffer whose memory this one is.
    fn root(&self, buffer: u32) -> u32 {
        match self.entry.buffers[buffer as usize].storage {
            Storage::Alias { of, .. } => of,
            _ => buffer,
        }
    }

    /// Buffers are touched while they live, written before they are read, and only
    /// where writing is allowed.
    fn liveness(&mut self, at: &str) {
        let entry = self.entry;
        let mut written = vec![false; entry.buffers.len()];
        for (i, step) in entry.steps.iter().enumerate() {
            let at = format!("{at}.steps[{i}]");
            match step {
                Step::Launch(launch) => {
                    for &b in &launch.buffers {
                        self.alive(&at, i, b);
                    }
                    self.writes(&at, launch, &mut written);
                    self.reads(&at, &launch.buffers, &mut written);
                }
                Step::Bind { buffer, .. } => {
                    self.alive(&at, i, *buffer);
                    self.reads(&at, &[*buffer], &mut written);
                }
            }
        }
        for (i, port) in entry.outputs.iter().enumerate() {
            let mine = Storage::Output(i as u32);
            let done = entry.buffers.iter().zip(&written).any(|(b, w)| *w && b.storage == mine);
            if port.ty.as_tensor().is_some() && !done {
                self.errors
                    .push(format!("{at}.outputs[{i}] ('{}')", port.name), "no step writes it");
            }
        }
    }

    fn alive(&mut self, at: &str, step: usize, buffer: u32) {
        let b = &self.entry.buffers[self.root(buffer) as usize];
        if let Storage::Arena { first, last } = b.storage
            && !(first as usize..=last as usize).contains(&step)
        {
            self.errors.push(
                at,
                format!("it touches '{}', which lives from step {first} to {last}", b.name),
            );
        }
    }

    fn writes(&mut self, at: &str, launch: &Launch, written: &mut [bool]) {
        let kernels = launch.variants.iter().map(|v| &self.manifest.kernels[v.kernel as usize]);
        let common = |slot: &u32| kernels.clone().all(|k| k.writes.contains(slot));
        let slots: HashSet<u32> = kernels.clone().flat_map(|k| k.writes.iter().copied()).collect();
        let mut slots: Vec<u32> = slots.into_iter().collect();
        slots.sort_unstable();
        for slot in slots {
            // A slot out of range is the kernel's fault and reported there.
            let Some(&buffer) = launch.buffers.get(slot as usize) else { continue };
            let root = self.root(buffer) as usize;
            let b = &self.entry.buffers[root];
            if matches!(b.storage, Storage::Input(_) | Storage::Weight(_)) {
                self.errors.push(at, format!("it writes '{}', which is read-only", b.name));
            }
            written[root] |= common(&slot);
        }
    }

    fn reads(&mut self, at: &str, buffers: &[u32], written: &mut [bool]) {
        for &b in buffers {
            let root = self.root(b) as usize;
            let b = &self.entry.buffers[root];
            let fresh = matches!(b.storage, Storage::Arena { .. } | Storage::Output(_));
            if fresh && !written[root] {
                self.errors.push(at, format!("it reads '{}', which no step has written", b.name));
                written[root] = true; // Reported once.
            }
        }
    }
}
