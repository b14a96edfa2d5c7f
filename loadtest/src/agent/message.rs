//! What a coordinator and its agents say to each other.
//!
//! The agent says `Join`, and is answered `Welcome` or `Refused`. It is given its `Share`, learns the run's clock by a
//! few `Ping`s, and says `Ready`. `Connect` starts its clients; from then on it says `Counts`, at least once a second.
//! `Begin` is answered `Begun`, and then is published. `Stop` ends its clients, `Stopped`. Then comes the ledger, and
//! `Judge` is answered by the `Verdict`. At any time `Failed` says why there will be none.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::judge::{Excuses, Slow};
use crate::latency::{Latency, Times};
use crate::plan::Verify;
use crate::reactor::{Arrivals, Connections, Manner, Ramp, SlowSeen};
use crate::report::Frames;
use crate::schedule::Draw;
use crate::target::Endpoint;
use crate::tracker::Counts;
use crate::world::World;

/// Both sides must speak the same: what is computed from numbers is computed on both.
pub(crate) const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "/1");

/// Longest text of an agent that a coordinator shows, and most examples of one.
pub(crate) const TEXT_BYTES_MAX: usize = 1_000;

/// From an agent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Said {
    Join(Join),
    /// What is the time? It is so much here, µs.
    Ping(u64),
    /// Its share is prepared.
    Ready,
    Counts(Box<Tick>),
    /// Intended times are known.
    Begun,
    /// Its clients have said good-bye.
    Stopped,
    Verdict(Box<Verdict>),
    Failed(String),
}

/// Who joins.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Join {
    pub(crate) version: String,
    pub(crate) secret: String,
    /// Of a process that the run started.
    pub(crate) number: Option<u32>,
    pub(crate) pid: u32,
    pub(crate) cores: u32,
    /// Connections that its descriptors allow.
    pub(crate) clients_max: u64,
}

/// What an agent has counted. Sums are since the beginning.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tick {
    pub(crate) connected: u64,
    pub(crate) received: u64,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    pub(crate) busy_us: u64,
    pub(crate) looped_us: u64,
    /// Since the last time.
    pub(crate) late_us: u64,
    /// Since the last time.
    pub(crate) times: Times,
    /// Clients that are targets, by their place among those, and their ids.
    pub(crate) ids: Vec<(u32, Box<str>)>,
    /// Why the last handshake failed, if one did since the last time.
    pub(crate) last_failure: Option<String>,
}

/// What an agent found.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// By gateway.
    pub(crate) counts: Vec<Counts>,
    /// By gateway, without those of slow clients.
    pub(crate) connections: Vec<Connections>,
    pub(crate) frames: Frames,
    pub(crate) slow: SlowSeen,
    /// What slow clients missed.
    pub(crate) missed: Slow,
    pub(crate) slow_received: u64,
    pub(crate) arrivals: Arrivals,
    pub(crate) latency: Latency,
    /// Intended to first receipt at each gateway, and the same of urgent ones.
    pub(crate) waits: (Times, Times),
    pub(crate) examples: Vec<String>,
    /// How wrong its clock is at the most, µs.
    pub(crate) clock_error_us: u64,
    /// What its process used; none where that is the coordinator's.
    pub(crate) used: Option<Used>,
}

/// What a process used over the run.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Used {
    pub(crate) cpu_secs: f64,
    pub(crate) rss_bytes: u64,
    /// By how much memory grew from before the first connect.
    pub(crate) grown_bytes: u64,
}

/// From the coordinator. Parts of the ledger come between them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    Welcome,
    /// And why.
    Refused(String),
    /// Asked at this time, µs on the agent's clock, and it was this on the run's.
    Pong(u64, u64),
    Share(Box<Share>),
    Connect(Ramp),
    /// Intended times count from here, µs on the run's clock.
    Begin(u64),
    Stop,
    Judge(Judge),
}

/// Everything that an agent needs to know of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Share {
    pub(crate) world: World,
    pub(crate) draw: Draw,
    #[serde(with = "crate::exact")]
    pub(crate) rate: f64,
    /// Names the payloads of this run.
    pub(crate) run: u64,
    pub(crate) size: usize,
    pub(crate) verify: Verify,
    pub(crate) gateways: Vec<(Endpoint, SocketAddr)>,
    pub(crate) manner: Manner,
    pub(crate) late_us: u64,
    pub(crate) settle_us: u64,
    /// How often it says what it has counted, if that has changed.
    pub(crate) tick: Duration,
}

/// How to judge.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Judge {
    pub(crate) excuses: Excuses,
    /// Gateways that did not take an item, by item.
    pub(crate) failures: BTreeMap<u32, Vec<u32>>,
}

impl Verdict {
    /// Whether it is about a run of so many gateways, and not longer than it may be.
    pub(crate) fn fits(&self, gateways: usize) -> bool {
        self.counts.len() == gateways
            && self.connections.len() == gateways
            && self.examples.len() <= crate::tracker::EXAMPLES_MAX
            && self.examples.iter().all(|example| example.len() <= TEXT_BYTES_MAX)
    }
}

/// A text of somebody else, short enough to be shown.
pub(crate) fn shorten(mut text: String) -> String {
    let end = (0..=TEXT_BYTES_MAX.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    text.truncate(end);
    text
}
