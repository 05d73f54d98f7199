//! Fused groups to Kernel IR ([`lower`]), Kernel IR to machine code ([`cpu`]), and the
//! artifact writer.

pub mod build;
pub mod cpu;
pub mod gpu;
pub mod lower;
