//! Every parser that meets the outside, given any bytes. A target takes them and panics where something that is promised
//! does not hold; no bytes may make it run long or use much memory.
//!
//! `deploy/fuzz/run` mutates what is in `corpus/` with libFuzzer, led by what the code does with it; the tests here only give
//! each target what the corpora hold.

mod commands;
mod config;
mod edge;
mod link;
mod tokens;

pub use commands::commands;
pub use config::config;
pub use edge::edge;
pub use gateway::fuzz::{deflate, frames, handshake};
pub use link::link;
pub use logic::fuzz::{call as calls, push};
pub use tokens::tokens;

/// A target: its name, and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All targets; a folder of `corpus` and a program of `fuzz_targets` have the name of each.
pub const TARGETS: [Target; 10] = [
    ("calls", calls),
    ("commands", commands),
    ("config", config),
    ("deflate", deflate),
    ("edge", edge),
    ("frames", frames),
    ("handshake", handshake),
    ("link", link),
    ("push", push),
    ("tokens", tokens),
];
