//! The loop-level form: one fused kernel.
