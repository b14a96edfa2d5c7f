//! What a run is asked to do, and which questions of it make no sense.

mod event;
mod mix;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use common::limits::{DATA_BYTES_MAX, ROOMS_PER_CLIENT_MAX};

use serde::{Deserialize, Serialize};

pub use event::{Event, Events, Remote};
pub use mix::{Mix, Order};

use crate::account::Watched;
use crate::payload;
use crate::reactor::SOURCES_MAX;
use crate::target::{Endpoint, Scheme};

/// Most items of one run. The coordinator's ledger of it takes 52 B an item; an agent's 52 B an item that concerns its
/// clients, and 8 B an item and gateway that its clients use: with three gateways and one agent 20,000,000 ×
/// (52 + 52 + 24) B = 2.6 GB.
pub(crate) const ITEMS_MAX: u64 = 20_000_000;

/// Most processes that hold clients: 512 × 20,000 clients are beyond [`CLIENTS_MAX`].
const PROCESSES_MAX: u32 = 512;

/// Most clients of one run: the numbers of clients times targets and streams fit in 32 bits.
const CLIENTS_MAX: u32 = 4_000_000;

/// What a run is asked to do. Built from [`Plan::default`] by changing fields.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Clients to open.
    pub clients: u32,
    /// Where clients connect: `ws://host:port[/path]`; client `k` uses the one at `k` modulo their number.
    /// None: all gateways that the logic nodes have links to.
    pub gateways: Vec<String>,
    /// Where pushes go: `http://host:port`.
    pub logics: Vec<String>,
    /// Put in front of the name of every room and user, so that several runs can share a cluster.
    pub prefix: String,
    /// Rooms, named `r0`, `r1`, ….
    pub rooms: u32,
    /// Rooms that each client joins.
    pub rooms_per_client: u32,
    /// Clients that share one user; users are named `u0`, `u1`, ….
    pub clients_per_user: u32,
    /// Pushes a second, over all logic nodes.
    pub rate: f64,
    /// Closed model: each publisher connection sends its next push when the last is answered, as fast as it goes, and
    /// `rate` only bounds how many there are. For the throughput of the API; there are no intended times then.
    pub closed: bool,
    /// For how long is published.
    pub duration: Duration,
    /// Length of each push's `data`, in bytes.
    pub size: usize,
    /// How pushes spread over kinds of target.
    pub mix: Mix,
    /// How targets of a kind follow each other.
    pub order: Order,
    /// The part of the pushes that is urgent, 0 to 1.
    pub urgent_share: f64,
    /// The merge window of the cluster; `None`: what the hello says.
    pub window: Option<Duration>,
    /// Decides rooms, targets and order; the same seed is the same run.
    pub seed: u64,
    /// Processes that hold the clients; 1: this one does; 0: as many as the limit of descriptors demands.
    pub processes: u32,
    /// The program that such a process runs, whose `main` calls [`crate::agent::role`]; `None`: the running one.
    pub program: Option<PathBuf>,
    /// Agents on other machines hold the clients.
    pub remote: Option<Remote>,
    /// The part of the clients that close their connection and come back, a second. What they miss meanwhile is
    /// excused.
    pub churn: f64,
    /// The part of the clients that leave one of their rooms and join it again, a second. What they miss of the
    /// room meanwhile is excused.
    pub moves: f64,
    /// How much sizes of rooms differ: the exponent of Zipf's law; 0: they are all alike.
    pub zipf: f64,
    /// A client that cannot connect tries the other gateways too.
    pub failover: bool,
    /// Items that a client receives so long after their intended time are counted as late; `None`: none are.
    pub late: Option<Duration>,
    /// What is to happen to the cluster, and who makes it happen.
    pub events: Events,
    /// Source addresses 127.0.0.2, 127.0.0.3, … to spread ports over; 0: the operating system's choice, or more
    /// where a gateway on loopback has so many clients that the search for a port is what connecting costs.
    pub source_addresses: u32,
    /// What items of other publishers mean.
    pub verify: Verify,
    /// The part of the clients that never read after their hello, 0 to 1.
    pub stalled_share: f64,
    /// The part of the clients that read slowly, 0 to 1.
    pub slow_share: f64,
    /// What one of those reads a second, in bytes.
    pub slow_read: usize,
    /// The part of the clients that offer permessage-deflate (RFC 7692), 0 to 1.
    pub deflate_share: f64,
    /// Connects a second, at most; 0: as fast as they succeed.
    pub connect_rate: u32,
    /// Connects and handshakes under way at once, at most.
    pub connects_in_flight: u32,
    /// From connect to hello.
    pub handshake_time_max: Duration,
    /// Connections to each logic node.
    pub publisher_connections: usize,
    /// Pushes of one stream in one call, at most, of those that wait for the answer to the call before.
    pub batch: u32,
    /// Event loops of each process; 0: one for each core that is left for it, at most four.
    pub threads: usize,
    /// Between a client's hello and the first item that counts for it.
    pub settle: Duration,
    /// After the last push, how long items may still come.
    pub drain: Duration,
    /// Gateways (as in `gateways`, or `all`) whose clients may lose their connection: what they miss
    /// meanwhile is excused. Duplicates and disorder are not.
    pub expect_churn: Vec<String>,
    /// Key for the API of logic, sent as `Authorization: Bearer`.
    pub api_key: Option<String>,
    /// Processes of the cluster, whose CPU time and memory are accounted for. Those of targets on this machine that are
    /// not among them are looked for.
    pub watched: Vec<Watched>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            clients: 1_000,
            gateways: Vec::new(),
            logics: Vec::new(),
            prefix: String::new(),
            rooms: 200,
            rooms_per_client: 5,
            clients_per_user: 2,
            rate: 100.0,
            closed: false,
            duration: Duration::from_secs(10),
            size: 200,
            mix: Mix::default(),
            order: Order::Random,
            urgent_share: 0.02,
            window: None,
            seed: 1,
            processes: 0,
            program: None,
            remote: None,
            churn: 0.0,
            moves: 0.0,
            zipf: 0.0,
            failover: false,
            late: None,
            events: Events::default(),
            source_addresses: 0,
            verify: Verify::Strict,
            stalled_share: 0.0,
            slow_share: 0.0,
            slow_read: 1_024,
            deflate_share: 0.0,
            connect_rate: 2_000,
            connects_in_flight: 512,
            handshake_time_max: Duration::from_secs(10),
            publisher_connections: 16,
            batch: 1,
            threads: 0,
            settle: Duration::from_secs(1),
            drain: Duration::from_secs(15),
            expect_churn: Vec::new(),
            api_key: None,
            watched: Vec::new(),
        }
    }
}

/// What items that this run did not publish mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verify {
    /// The cluster is ours alone: such an item is a corrupted one.
    Strict,
    /// Others publish too: such items are counted and passed over.
    Shared,
}

impl FromStr for Verify {
    type Err = BadPlan;
    fn from_str(text: &str) -> Result<Self, BadPlan> {
        match text {
            "strict" => Ok(Self::Strict),
            "shared" => Ok(Self::Shared),
            _ => Err(BadPlan(format!("verify {text:?}: strict and shared are known"))),
        }
    }
}

/// Why a plan cannot be run: what is wrong and what to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPlan(pub String);

impl fmt::Display for BadPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadPlan {}

impl Plan {
    /// At what rate intended times follow each other; 0: there are none.
    pub(crate) fn pace(&self) -> f64 {
        if self.closed { 0.0 } else { self.rate }
    }

    /// How many items the run publishes if nothing stops it.
    pub(crate) fn items(&self) -> u64 {
        // A float too large for the integer becomes its largest value, which `check` refuses.
        (self.rate * self.duration.as_secs_f64()).round() as u64
    }

    /// Checks the numbers against each other.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), BadPlan> {
        let bad = |text: String| Err(BadPlan(text));
        self.check_numbers()?;
        self.check_clients()?;
        if self.gateways.is_empty() && self.logics.is_empty() {
            return bad("no gateway, and no logic node to ask: give --gateway ws://host:port".into());
        }
        if self.logics.is_empty() && self.items() > 0 {
            return bad("no logic node: give --logic http://host:port, or --rate 0".into());
        }
        for url in &self.gateways {
            Endpoint::parse(url, Scheme::Ws).map_err(BadPlan)?;
        }
        for url in &self.logics {
            Endpoint::parse(url, Scheme::Http).map_err(BadPlan)?;
        }
        for name in &self.expect_churn {
            // Gateways that are not found yet are looked at when they are.
            if name != "all" && !self.gateways.is_empty() && !self.gateways.contains(name) {
                return bad(format!("expect-churn {name:?} is none of the gateways, nor \"all\""));
            }
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), BadPlan> {
        let per = self.rooms_per_client;
        let (size, items) = (self.size, self.items());
        let checks = [
            (
                (1..=CLIENTS_MAX).contains(&self.clients),
                format!("{} clients: 1 to {CLIENTS_MAX}", self.clients),
            ),
            (
                per as usize <= ROOMS_PER_CLIENT_MAX,
                format!("{per} rooms a client: a gateway allows {ROOMS_PER_CLIENT_MAX}"),
            ),
            (per <= self.rooms, format!("{per} rooms a client of {} rooms: more than there are", self.rooms)),
            (self.rooms <= 10_000_000, format!("{} rooms: at most 10,000,000", self.rooms)),
            (
                per > 0 || (self.mix.room == 0 && self.mix.rooms == 0),
                "pushes to rooms, but no client is in a room: set the weights of room and rooms to 0".into(),
            ),
            (self.clients_per_user > 0, "0 clients a user: at least 1".into()),
            (self.rate.is_finite() && self.rate >= 0.0, format!("rate {}: a number from 0 on", self.rate)),
            (
                !self.closed || self.late.is_none(),
                "nothing is late where pushes have no intended times".into(),
            ),
            (items <= ITEMS_MAX, format!("rate × duration is {items} pushes: at most {ITEMS_MAX}")),
            (self.mix.total() > 0, "the mix has no weight that is not zero".into()),
            (
                (payload::BYTES_MIN..=DATA_BYTES_MAX).contains(&size),
                format!("size {size}: {} B to {} KiB", payload::BYTES_MIN, DATA_BYTES_MAX / 1024),
            ),
            ((0.0..=1.0).contains(&self.urgent_share), format!("urgent share {}: 0 to 1", self.urgent_share)),
            (
                self.source_addresses <= SOURCES_MAX,
                format!("{} source addresses: at most {SOURCES_MAX}", self.source_addresses),
            ),
            (self.connects_in_flight > 0, "no connect may be under way: none would ever end".into()),
            ((1..=1_024).contains(&self.publisher_connections), "publisher connections: 1 to 1024".into()),
            ((1..=1_000).contains(&self.batch), format!("{} pushes in a call: 1 to 1000", self.batch)),
            (self.threads <= 64, "threads: at most 64".into()),
            (
                self.processes <= PROCESSES_MAX && self.processes <= self.clients,
                format!("{} processes: at most one a client, and {PROCESSES_MAX}", self.processes),
            ),
        ];
        first_wrong(checks)
    }

    fn check_clients(&self) -> Result<(), BadPlan> {
        let Self { prefix, stalled_share: stalled, slow_share: slow, deflate_share: deflate, .. } = self;
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        first_wrong([
            (
                prefix.len() <= 32 && prefix.bytes().all(named),
                format!("prefix {prefix:?}: up to 32 letters, digits, \"-\", \"_\" and \".\""),
            ),
            (
                prefix.is_empty() || self.mix.all == 0 || self.verify == Verify::Shared,
                "pushes to all reach the clients of the runs that share the cluster: set the weight of all to 0".into(),
            ),
            (
                *stalled >= 0.0 && *slow >= 0.0 && stalled + slow <= 1.0,
                format!("shares {stalled} stalled and {slow} slow: 0 to 1 together"),
            ),
            (*slow == 0.0 || self.slow_read > 0, "a slow client reads at least 1 B a second".into()),
            ((0.0..=1.0).contains(deflate), format!("deflate share {deflate}: 0 to 1")),
            ((0.0..=1.0).contains(&self.churn), format!("churn {}: 0 to 1 of the clients a second", self.churn)),
            ((0.0..=1.0).contains(&self.moves), format!("moves {}: 0 to 1 of the clients a second", self.moves)),
            (self.moves == 0.0 || self.rooms_per_client > 0, "moves, but no client is in a room".into()),
            ((0.0..=10.0).contains(&self.zipf), format!("exponent of Zipf's law {}: 0 to 10", self.zipf)),
            (
                self.remote.as_ref().is_none_or(|remote| (1..=PROCESSES_MAX).contains(&remote.agents)),
                format!("agents on other machines: 1 to {PROCESSES_MAX}"),
            ),
        ])
    }
}

/// The first check that is not good.
fn first_wrong<const N: usize>(checks: [(bool, String); N]) -> Result<(), BadPlan> {
    match checks.into_iter().find(|(good, _)| !good) {
        Some((_, wrong)) => Err(BadPlan(wrong)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut Plan);

    #[test]
    fn impossible_plans_are_refused() {
        let good = Plan {
            gateways: vec!["ws://127.0.0.1:1".into()],
            logics: vec!["http://127.0.0.1:2".into()],
            ..Plan::default()
        };
        assert_eq!(good.check(), Ok(()));
        let changes: [(&str, Change); 21] = [
            ("clients", |plan| plan.clients = 0),
            ("rooms a client", |plan| plan.rooms_per_client = 300),
            ("no client is in a room", |plan| plan.rooms_per_client = 0),
            ("rate", |plan| plan.rate = f64::NAN),
            ("rate ×", |plan| plan.rate = 1e300),
            ("size", |plan| plan.size = 20),
            ("urgent", |plan| plan.urgent_share = 1.5),
            ("no gateway", |plan| (plan.gateways, plan.logics) = (Vec::new(), Vec::new())),
            ("no logic", |plan| plan.logics.clear()),
            ("wss", |plan| plan.gateways[0] = "wss://127.0.0.1:1".into()),
            ("connect", |plan| plan.connects_in_flight = 0),
            ("prefix", |plan| plan.prefix = "a b".into()),
            ("weight of all", |plan| plan.prefix = "p0-".into()),
            ("together", |plan| (plan.stalled_share, plan.slow_share) = (0.6, 0.6)),
            ("deflate", |plan| plan.deflate_share = f64::NAN),
            ("processes", |plan| plan.processes = 2_000),
            ("churn", |plan| plan.churn = -0.5),
            ("moves", |plan| plan.moves = f64::NAN),
            ("no client is in a room", |plan| {
                (plan.moves, plan.rooms_per_client, plan.mix) =
                    (0.1, 0, Mix { room: 0, rooms: 0, ..plan.mix })
            }),
            ("Zipf", |plan| plan.zipf = f64::INFINITY),
            ("expect-churn", |plan| plan.expect_churn = vec!["ws://127.0.0.1:9".into()]),
        ];
        for (wrong, change) in changes {
            let mut plan = good.clone();
            change(&mut plan);
            let said = plan.check().unwrap_err().to_string();
            assert!(said.contains(wrong), "{wrong}: {said}");
        }
    }
}
