//! One logic node on real loopback, with gateways that only pretend.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod bad_input;
mod durable;
mod fake;
mod fleet;
mod history;
mod http1_requirements;
mod keys;
mod limits;
mod link;
mod manage;
mod push;
mod redis;
mod rig;
