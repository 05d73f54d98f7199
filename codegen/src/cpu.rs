//! Kernel IR to x86-64 machine code through Cranelift.
