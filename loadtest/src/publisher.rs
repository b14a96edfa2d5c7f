//! The publishers: each push at its intended time, whatever the answers to the others do (open model).
//!
//! Pushes of one stream are sent one after the other, the next after the answer to the last, so that the
//! order of their 202s is a fact; streams run beside each other on a few kept connections to each logic
//! node. What cannot be sent in time waits in a [`lane`], and its waiting counts as latency; what waits of one stream may go
//! as one batch.

mod call;
mod lane;

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use common::shutdown::Shutdown;
use common::tasks::Tasks;
use parking_lot::{Mutex, RwLock};

pub(crate) use call::{Answered, Caller};
use lane::Lane;

use crate::latency::Times;
use crate::ledger::{Ledger, Outcome};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::target::Endpoint;
use crate::world::{Sizes, Stream, Target, World};

/// The event name of all our pushes.
pub(crate) const EVENT: &str = "load";

/// How finely intended times are kept: tokio's timer has no finer grain.
const TICK: Duration = Duration::from_millis(1);

/// Different reasons that are told apart: what a server answers is text of its own choice.
const REASONS_MAX: usize = 64;

/// What came of the pushes through one logic node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    /// Accepted, but a gateway did not take it.
    pub(crate) partial: u64,
    /// By reason.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Intended time to 202.
    pub(crate) total: Times,
    /// Request to 202.
    pub(crate) service: Times,
}

impl Tally {
    fn blame(&mut self, why: String) {
        let known = self.errors.len() < REASONS_MAX || self.errors.contains_key(&why);
        *self.errors.entry(if known { why } else { "other reasons".into() }).or_default() += 1;
    }
}

/// What is published, and where it is noted.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) world: World,
    pub(crate) ledger: Ledger,
    pub(crate) progress: Arc<Progress>,
    /// Ids of the clients that are targets themselves: every [`World::client_step`]th.
    pub(crate) ids: Vec<Mutex<Option<Box<str>>>>,
}

impl Desk {
    pub(crate) fn new(world: World, ledger: Ledger, progress: Arc<Progress>) -> Arc<Self> {
        let ids = world.clients.div_ceil(world.client_step());
        Arc::new(Self { world, ledger, progress, ids: (0..ids).map(|_| Mutex::default()).collect() })
    }
}

/// Publishes to all logic nodes.
#[derive(Debug)]
pub(crate) struct Publisher {
    desk: Arc<Desk>,
    lanes: Vec<Arc<Lane>>,
    tallies: Vec<Mutex<Tally>>,
    /// By how much pushes were offered later than intended.
    late: Mutex<Times>,
    sizes: Sizes,
    /// Pushes have no intended times.
    closed: bool,
    /// Pushes of one stream in a call, at most.
    batch: usize,
    /// Gateways by the names that logic nodes give them.
    names: RwLock<HashMap<String, u32>>,
}

impl Publisher {
    /// Publishes nothing yet. `names`: our gateways by the names that logic nodes give them.
    pub(crate) fn new(desk: Arc<Desk>, names: HashMap<String, u32>, plan: &Plan) -> Arc<Self> {
        let world = &desk.world;
        let logics = world.logics as usize;
        Arc::new(Self {
            lanes: (0..logics).map(|_| Arc::default()).collect(),
            tallies: (0..logics).map(|_| Mutex::default()).collect(),
            late: Mutex::default(),
            sizes: Sizes::of(world),
            closed: plan.closed,
            batch: plan.batch as usize,
            names: RwLock::new(names),
            desk,
        })
    }

    /// Opens the connections.
    pub(crate) fn start(
        self: &Arc<Self>,
        logics: &[(Endpoint, SocketAddr)],
        connections: usize,
        api_key: Option<&str>,
        tasks: &Tasks,
    ) {
        for (logic, (endpoint, address)) in logics.iter().enumerate() {
            for _ in 0..connections {
                let mut caller = Caller::new(endpoint.clone(), *address, api_key, tasks.clone());
                let publisher = self.clone();
                tasks.spawn(Box::pin(async move {
                    let lane = &publisher.lanes[logic];
                    while let Some((stream, items)) = lane.next(publisher.batch).await {
                        publisher.publish(&mut caller, logic, &items).await;
                        lane.done(stream);
                    }
                }));
            }
        }
    }

    /// Offers each item at its time, until all are offered or the run is to end.
    pub(crate) async fn offer_all(&self, shutdown: &Shutdown) {
        let Desk { world, ledger, .. } = &*self.desk;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let items = &ledger.schedule.items;
        let mut next = 0;
        while next < items.len() {
            if shutdown.or_draining(tick.tick()).await.is_none() {
                return;
            }
            let now = ledger.now();
            while next < items.len() && ledger.intended(next as u32) <= now {
                let stream = items[next].stream;
                let logic = world.stream(stream).logic;
                self.late.lock().record(now - ledger.intended(next as u32));
                self.lanes[logic as usize].offer(stream, next as u32);
                next += 1;
            }
        }
    }

    /// Offers items as fast as they are answered, for some time or until all are offered or the run is to end. At most
    /// so many wait for each logic node.
    pub(crate) async fn offer_closed(&self, time: Duration, waiting_max: usize, shutdown: &Shutdown) {
        let Desk { world, ledger, .. } = &*self.desk;
        let offer = async {
            for (item, planned) in ledger.schedule.items.iter().enumerate() {
                let lane = &self.lanes[world.stream(planned.stream).logic as usize];
                lane.room(waiting_max).await;
                lane.offer(planned.stream, item as u32);
            }
        };
        // All of them, or the time, or the end: what was offered is sent in any case.
        _ = shutdown.or_draining(tokio::time::timeout(time, offer)).await;
    }

    /// Whether everything that was offered is answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.lanes.iter().all(|lane| lane.is_idle())
    }

    /// Forgets what waits, and lets the connections end. What is under way still gets its answer.
    pub(crate) fn close(&self) {
        self.lanes.iter().for_each(|lane| lane.close());
    }

    /// By how much pushes were offered later than intended: the schedule's own lateness, whatever answers took.
    pub(crate) fn late(&self) -> Times {
        self.late.lock().clone()
    }

    /// What came of it, by logic node.
    pub(crate) fn tallies(&self) -> Vec<Tally> {
        self.tallies.iter().map(|tally| tally.lock().clone()).collect()
    }

    /// Makes one call for these items of a stream.
    async fn publish(&self, caller: &mut Caller, logic: usize, items: &[u32]) {
        let Desk { ledger, progress, .. } = &*self.desk;
        let mut body = Vec::with_capacity(items.len() * (ledger.format.bytes() + 160));
        for &item in items {
            if !body.is_empty() {
                body.push(b'\n');
            }
            self.write_body(item, &mut body);
        }
        let sent = ledger.now();
        items.iter().for_each(|&item| ledger.sending(item, sent));
        progress.sent.fetch_add(items.len() as u64, Relaxed);
        let answers = caller.push(Bytes::from(body), items.len()).await;
        let now = ledger.now();
        for (&item, answered) in items.iter().zip(answers) {
            let outcome = self.tell(logic, item, answered, now.saturating_sub(sent));
            ledger.settle(item, outcome, now);
        }
    }

    /// Notes what the answer to an item was, and that it took so long, µs.
    fn tell(&self, logic: usize, item: u32, answered: Answered, took: u64) -> Outcome {
        let Desk { world, ledger, progress, .. } = &*self.desk;
        let stream = world.stream(ledger.schedule.items[item as usize].stream);
        let mut tally = self.tallies[logic].lock();
        tally.sent += 1;
        match answered {
            Answered::Accepted { failed } => {
                tally.accepted += 1;
                tally.partial += u64::from(!failed.is_empty());
                if !self.closed {
                    tally.total.record(ledger.now().saturating_sub(ledger.intended(item)));
                }
                tally.service.record(took);
                for (name, code) in failed {
                    tally.blame(format!("gateway {name}: {code}"));
                    if let Some(&gateway) = self.names.read().get(&name) {
                        ledger.failed_at(item, gateway);
                    }
                }
                progress.accepted.fetch_add(1, Relaxed);
                progress.due.fetch_add(self.sizes.receivers(world, stream.target), Relaxed);
                Outcome::Accepted
            }
            Answered::Refused(why) => {
                tally.refused += 1;
                tally.blame(why);
                Outcome::Refused
            }
            Answered::Unknown(why) => {
                tally.unknown += 1;
                tally.blame(why);
                Outcome::Unknown
            }
        }
    }

    fn write_body(&self, item: u32, body: &mut Vec<u8>) {
        let Desk { world, ledger, ids, .. } = &*self.desk;
        let label = ledger.label(item);
        let Stream { target, urgent, .. } = world.stream(label.stream);
        let prefix = &world.prefix;
        let to = match target {
            Target::All => r#"{"all":true}"#.to_owned(),
            Target::Room(room) => format!(r#"{{"room":"{prefix}r{room}"}}"#),
            Target::User(user) => format!(r#"{{"user":"{prefix}u{user}"}}"#),
            Target::Set(set) => {
                let rooms: Vec<_> = world.rooms_in(set).map(|room| format!("\"{prefix}r{room}\"")).collect();
                format!(r#"{{"rooms":[{}]}}"#, rooms.join(","))
            }
            Target::Client(client) => {
                let place = client / world.client_step();
                let id = ids[place as usize].lock().clone().unwrap_or_default();
                format!(r#"{{"client":{}}}"#, serde_json::Value::from(&*id))
            }
        };
        let urgent = if urgent { r#","urgent":true"# } else { "" };
        write!(body, r#"{{"to":{to},"event":"{EVENT}"{urgent},"data":"#).expect("a Vec takes all");
        ledger.format.write(label, body);
        body.push(b'}');
    }
}
