//! Holds the WebSocket connections of a part of the cluster's clients, and nothing that must survive.
//!
//! ```text
//! client ──► accept → handshake → session        logic ──► ingress → merger → frame → pusher ──► client
//!                        │   commands                         │ receipts          │ one writev each
//!                        ▼                                    ▼                   ▼
//!                     registry → bucket → connection ◄── directory, routes     tally
//! ```

mod accept;
mod admission;
mod announce;
mod bucket;
mod connection;
mod counters;
mod deflate;
mod directory;
mod door;
mod drain;
mod frame;
#[doc(hidden)]
pub mod fuzz;
mod handshake;
mod heartbeat;
mod history;
mod ingress;
mod limits;
mod merger;
mod node;
mod pusher;
mod query;
mod registry;
#[doc(hidden)]
pub mod rig;
mod routes;
mod session;
mod settings;
mod status;
mod tally;
mod transport;
mod tune;

pub use admission::Admission;
#[doc(hidden)]
pub use deflate::bench as deflate_bench;
pub use limits::{CLIENT_BURST_SECS, HANDSHAKE_BURST_SECS, Limits};
pub use node::{Ended, Fallen, Node};
pub use settings::{Settings, Slow, WindowMode};
pub use tune::Tuner;
