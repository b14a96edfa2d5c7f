//! Any bytes as a configuration file, for fuzzing (`deploy/fuzz`).

pub use crate::cli::fuzz::config;
