//! Fused groups to Kernel IR.
