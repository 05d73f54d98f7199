//! Loads and runs artifacts.
