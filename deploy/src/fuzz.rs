//! Any bytes as a configuration file, for fuzzing (`fuzz/`).

pub use crate::cli::fuzz::config;
