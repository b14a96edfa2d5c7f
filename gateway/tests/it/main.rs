//! One gateway on real loopback: foreign clients on one side, a small logic node of the test's own on the other.

// In a test a panic is the report, and memory is not the question.
#![allow(clippy::unwrap_used, clippy::large_futures)]

mod bad_frames;
mod bad_handshakes;
mod bad_links;
mod clients;
mod deflate;
mod edge;
mod limits;
mod logic;
mod node;
mod pushes;
mod questions;
mod sessions;
mod tokens;
mod windows;
