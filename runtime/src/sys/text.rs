//! Strings on their way into a run, through the host's steps and out of it.

use super::exec::DoesNotFit;
use super::run::{OutputSet, Run};
use crate::bind::InputSet;
use crate::error::RunError;
use crate::tensor::Tensor;
use cascata_artifact::manifest::{Port, TextStep};
use cascata_types::DType;

fn is_text(port: &Port) -> bool {
    port.ty.as_tensor().is_some_and(|t| t.dtype == DType::Str)
}

impl<I: InputSet + ?Sized, O: OutputSet> Run<'_, I, O> {
    /// Gives the inputs' strings ids.
    pub(super) fn take_strings(&mut self) -> Result<(), RunError> {
        self.ctx.texts.reset();
        for (i, port) in self.exe.entry().inputs.iter().enumerate().filter(|(_, p)| is_text(p)) {
            if let Some(view) = self.inputs.tensor(i, &port.name) {
                self.ctx.texts.take(i, &view)?;
            }
        }
        Ok(())
    }

    /// Hands the outputs' strings out.
    pub(super) fn give_strings(&mut self) -> Result<(), RunError> {
        for (i, _) in self.exe.entry().outputs.iter().enumerate().filter(|(_, p)| is_text(p)) {
            let (dims, texts) = self.ctx.texts.finished(i)?;
            let made = Tensor::from_strings(dims, &texts);
            let made =
                made.map_err(|e| RunError::Text { problem: e.to_string(), source_nodes: vec![] })?;
            self.outputs.give(i, made)?;
        }
        Ok(())
    }

    /// Computes strings.
    pub(super) fn text(&mut self, text: &TextStep, step: usize) -> Result<(), RunError> {
        self.go_on(step)?;
        let operands: Vec<Vec<u8>> =
            text.operands.iter().map(|b| self.whole(*b)).collect::<Result<_, _>>()?;
        let needs = self.ctx.frame.bytes(text.result);
        let made = self.ctx.texts.compute(&text.op, &operands, needs as usize);
        let made = made.map_err(|e| match e {
            RunError::Text { problem, .. } => {
                RunError::Text { problem, source_nodes: text.source.clone() }
            }
            e => e,
        })?;
        let misfit = DoesNotFit { needs, has: made.len() as u64 };
        if misfit.needs != misfit.has {
            return Err(self.exe.misfit(text.result, &misfit));
        }
        // SAFETY: the buffer was placed in this run (see `Run::launch`); the verifier has
        // checked that it is no input and no constant; no kernel runs now.
        match unsafe { self.ctx.frame.write(text.result, &made)? } {
            Some(()) => Ok(()),
            None => Err(self.exe.misfit(text.result, &misfit)),
        }
    }

    /// All bytes of a buffer.
    fn whole(&self, buffer: u32) -> Result<Vec<u8>, RunError> {
        let mut bytes = vec![0; self.ctx.frame.bytes(buffer) as usize];
        // SAFETY: the buffer was placed in this run (see `Run::launch`) and written by an
        // earlier step (the verifier has checked), and no kernel runs now.
        match unsafe { self.ctx.frame.read(buffer, 0, &mut bytes)? } {
            Some(()) => Ok(bytes),
            None => Err(self.exe.misfit(buffer, &DoesNotFit { needs: bytes.len() as u64, has: 0 })),
        }
    }
}
