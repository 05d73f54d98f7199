//! Runs compiled statements.

use super::error::{Fault, Step};
use super::index::Index;
use super::machine::Machine;
use super::program::{Action, GroupPlan, Node, Target};
use crate::kernel::{LoopKind, Stmt};

/// More than any device has in a block.
const MAX_THREADS: i64 = 1 << 16;

/// Why a tile ends early.
pub(super) enum Stop<'k> {
    /// A check did not hold.
    Check(usize),
    /// A statement did something wrong.
    Fault(&'k Stmt, Box<Fault>),
}

type Run<'k> = Result<(), Stop<'k>>;

impl Machine {
    pub(super) fn body<'k>(&mut self, body: &[Node<'k>]) -> Run<'k> {
        body.iter().try_for_each(|node| self.node(node))
    }

    fn node<'k>(&mut self, node: &Node<'k>) -> Run<'k> {
        let fault = |fault| Stop::Fault(node.source, fault);
        match &node.action {
            Action::For { kind: LoopKind::Threads, var, extent, body } => {
                return self.threads(node.source, var, extent, body);
            }
            Action::For { var, extent, kind, body } => {
                let extent = self.extent(var, extent).map_err(fault)?;
                let reverse = *kind == LoopKind::Vector && self.reverse_vector;
                for i in 0..extent {
                    self.set_register(var.register, if reverse { extent - 1 - i } else { i });
                    self.body(body)?;
                }
                return Ok(());
            }
            Action::If { cond, then, otherwise } => {
                let cond = cond.eval(self).map_err(fault)?;
                return self.body(if cond != 0 { then } else { otherwise });
            }
            Action::Check { cond, message } => {
                let holds = cond.eval(self).map_err(fault)? != 0;
                return if holds { Ok(()) } else { Err(Stop::Check(*message)) };
            }
            Action::Set { register, value } => {
                value.eval(self).map(|raw| self.set_register(*register, raw as i64))
            }
            Action::Bind { target, value } => {
                value.eval(self).and_then(|raw| self.bind(target, raw as i64))
            }
            Action::Store { access, value } => value.eval(self).and_then(|raw| {
                let at = self.index(&access.at)?;
                self.store(access.buffer, at, raw)
            }),
            Action::Gemm(plan) => plan.run(self),
            Action::DwConv(plan) => plan.run(self),
            Action::PackB(plan) => plan.run(self),
            Action::Row(plan) => plan.run(self),
            Action::Attention(plan) => plan.run(self),
            Action::TileGemm(plan) => plan.run(self),
            Action::Barrier => {
                self.barrier();
                Ok(())
            }
            Action::Group(_) => unreachable!("verified: it stands in a loop over threads"),
        }
        .map_err(fault)
    }

    fn bind(&mut self, target: &Target, value: i64) -> Step<()> {
        target.check(value)?;
        self.set_register(target.register, value);
        Ok(())
    }

    /// The number of iterations; the variable's declared range holds them.
    fn extent(&mut self, var: &Target, extent: &Index) -> Step<i64> {
        let extent = self.index(extent)?;
        if extent > 0 {
            var.check(0)?;
            var.check(extent - 1)?;
        }
        Ok(extent)
    }

    fn threads<'k>(
        &mut self,
        source: &'k Stmt,
        var: &Target,
        extent: &Index,
        body: &[Node<'k>],
    ) -> Run<'k> {
        let fault = |fault| Stop::Fault(source, fault);
        let count = self.extent(var, extent).map_err(fault)?;
        if count > MAX_THREADS {
            return Err(fault(Fault::TooManyThreads(count).into()));
        }
        let count = count.max(0) as usize;
        self.fork(count);
        for thread in 0..count {
            self.switch(thread);
            self.set_register(var.register, thread as i64);
        }
        self.in_step(body, count)?;
        self.join();
        Ok(())
    }

    /// Runs threads one after the other up to each barrier.
    fn in_step<'k>(&mut self, body: &[Node<'k>], count: usize) -> Run<'k> {
        for part in body.chunk_by(|a, b| a.has_barrier == b.has_barrier) {
            if part.iter().any(|node| node.has_barrier) {
                part.iter().try_for_each(|node| self.node_in_step(node, count))?;
                continue;
            }
            for thread in 0..count {
                self.switch(thread);
                self.body(part)?;
            }
        }
        Ok(())
    }

    /// A statement that holds a barrier, or is one: all threads take the same way.
    fn node_in_step<'k>(&mut self, node: &Node<'k>, count: usize) -> Run<'k> {
        let fault = |fault| Stop::Fault(node.source, fault);
        match &node.action {
            Action::For { var, extent, body, .. } => {
                let extent = self.agreed(count, |m| m.extent(var, extent)).map_err(fault)?;
                for i in 0..extent {
                    for thread in 0..count {
                        self.switch(thread);
                        self.set_register(var.register, i);
                    }
                    self.in_step(body, count)?;
                }
                Ok(())
            }
            Action::If { cond, then, otherwise } => {
                let raw = self.agreed(count, |m| cond.eval(m).map(|raw| raw as i64));
                let taken = if raw.map_err(fault)? != 0 { then } else { otherwise };
                self.in_step(taken, count)
            }
            Action::Group(plan) => self.group(plan, count).map_err(fault),
            _ => self.node(node),
        }
    }

    /// A butterfly over each group: after step `d` every thread has what `2·d` threads give.
    fn group(&mut self, plan: &GroupPlan, count: usize) -> Step<()> {
        let mut values = Vec::with_capacity(count);
        for thread in 0..count {
            self.switch(thread);
            values.push(plan.value.eval(self)? as i64);
        }
        let mut distance = 1;
        while distance < plan.width {
            let before = values.clone();
            for (thread, value) in values.iter_mut().enumerate() {
                self.switch(thread);
                self.set_register(plan.register, before[thread]);
                self.set_register(plan.other, before[thread ^ distance]);
                *value = plan.joined.eval(self)? as i64;
            }
            distance *= 2;
        }
        for (thread, value) in values.into_iter().enumerate() {
            self.switch(thread);
            self.set_register(plan.register, value);
        }
        Ok(())
    }

    /// The value that every thread gives; 0 when there are no threads.
    fn agreed(&mut self, count: usize, value: impl Fn(&mut Self) -> Step<i64>) -> Step<i64> {
        let mut first = 0;
        for thread in 0..count {
            self.switch(thread);
            let value = value(self)?;
            match thread {
                0 => first = value,
                _ if value == first => {}
                _ => return Err(Fault::Divergence { first: 0, second: thread as u32 }.into()),
            }
        }
        Ok(first)
    }
}

impl Target {
    /// The declared range is a promise to the back ends.
    pub(super) fn check(&self, value: i64) -> Step<()> {
        if (self.min..=self.max).contains(&value) {
            return Ok(());
        }
        let (symbol, min, max) = (self.name.clone(), self.min, self.max);
        Err(Fault::Range { symbol, value, min, max }.into())
    }
}
