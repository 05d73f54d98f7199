//! Kernel IR to PTX through MLIR and LLVM.
#![cfg(feature = "llvm")]
