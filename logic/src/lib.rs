//! A logic node of Tidegate: takes pushes over HTTP/1, gives each its place in order, knows which gateway
//! holds whom, and fans out over one HTTP/2 link to each gateway.
//!
//! The way of a push: `api` (bounded body, parsed once) → `publish` (planned by `routing`, numbered and put
//! on the queues of all links at once) → `link` (one task for each gateway) → and back as receipts into the
//! `ledger`, which answers the caller and whoever asks later. What a rule says is kept, `engine` keeps. `fleet` says which gateways there are.

mod api;
mod counters;
mod engine;
mod fleet;
#[doc(hidden)]
pub mod fuzz;
mod idempotency;
mod keys;
mod ledger;
mod limits;
mod link;
mod node;
mod publish;
mod push;
mod query;
mod roster;
mod routing;
mod settings;
mod tune;

pub use engine::durable::check as check_data_dir;
pub use engine::redis::settings::{RedisBeside, RedisSettings, without_password};
pub use engine::rules::{AGE_MAX, HistoryRule, HistoryRules, ITEMS_MAX, RULES_MAX};
pub use keys::{Keys, Scope};
pub use limits::{CALL_BURST_SECS, Limits, Sizes};
pub use node::{Ended, Fallen, Node};
pub use settings::{EngineChoice, LinkTls, Settings};
pub use tune::Tuner;
