//! Tests of the whole: the built program, as people and scripts use it.
#![allow(clippy::unwrap_used, reason = "what fails here fails a test, and says where")]

mod activation;
mod attacks;
#[path = "../../../common/tests/support/authority.rs"]
mod authority;
mod cli;
mod cluster;
mod debian;
mod dev;
mod discovery;
mod doors;
mod durable;
mod history;
mod ledger;
mod lifecycle;
mod load_tool;
mod manage;
mod overload;
mod process;
mod reload;
mod secured;
mod strangers;
mod tls;
mod trace;
mod whole;
