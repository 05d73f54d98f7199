//! Fused groups to Kernel IR ([`lower`]), Kernel IR to machine code ([`cpu`]), and the
//! artifact writer.

pub mod cpu;
pub mod lower;
