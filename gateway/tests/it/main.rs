//! One gateway on real loopback: foreign clients on one side, a small logic node of the test's own on the other.

// In a test a panic is the report, and memory is not the question.
#![allow(clippy::unwrap_used, clippy::large_futures)]

#[path = "../../../common/tests/support/authority.rs"]
mod authority;
mod bad_frames;
mod bad_handshakes;
mod bad_links;
mod clients;
mod deflate;
mod echo;
mod edge;
mod h2_requirements;
mod handshake_matrix;
mod history;
mod limits;
mod logic;
mod negotiation_matrix;
mod node;
mod nodes;
mod pushes;
mod questions;
mod sessions;
mod tls;
mod tokens;
mod windows;
