//! The engine of many logic nodes: histories in Redis (7 or newer, or Valkey), alone, under Sentinel or as a Cluster.
//!
//! A history is a hash (its epoch, its head) and a stream whose ids are offset-milliseconds. A call is one script, so it
//! is one step for all nodes: keys, items, trimming, the feed. In a Cluster the histories are spread over 64 parts, and
//! a call over several of them is one script a part: each is whole, all of them need not be. A call with a key that
//! was made in part is completed by whoever makes it again; without one its caller hears that the store was away.
//!
//! Redis may come back with less than it had. Each part counts its appends (*seq*) in a *term*, which is one run of one
//! primary; nodes and gateways remember how far they saw it come ([`Mark`]). See `redis/watch.rs` for what follows.

mod call;
pub(crate) mod counters;
mod fault;
mod keys;
mod leases;
mod marks;
mod places;
mod reply;
mod scripts;
pub(crate) mod settings;
#[cfg(test)]
mod tests;
mod watch;
mod wire;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::link::message::Mark;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch as latest};
use tokio::time::timeout;

use super::{
    Append, Appended, Away, Changes, Claim, Engine, Holdings, Moment, Most, NotAppended, Once, Page, Placed,
    Since, Whose,
};
use counters::EngineCounters;
use fault::Fault;
use keys::{CLUSTER_SHARDS, Keys};
use marks::Marks;
use places::Places;
use reply::Reply;
use scripts::{Call, Script};
use settings::{Lay, RedisSettings};
use wire::Shared;

/// For a call, whatever it takes: with the rest of a push it is answered within a second.
const CALL_TIME_MAX: Duration = Duration::from_millis(600);

/// Calls on their way at a time. Redis runs about 20,000 scripts a second: these take it 0.05 s.
const CALLS_MAX: usize = 1024;

/// A pause before asking again for a part that is being moved.
const MOVING: Duration = Duration::from_millis(50);

/// Answers that are larger are not kept: whoever asks again is told the places.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Histories in Redis.
#[derive(Debug)]
pub(crate) struct Redis {
    settings: RedisSettings,
    /// What this node is called.
    name: String,
    keys: Keys,
    wires: latest::Sender<Arc<Wires>>,
    /// A call found that a part is not where it was.
    stale: Notify,
    calls: Semaphore,
    /// The number of this run among those of its name; 0: none yet.
    token: latest::Sender<u64>,
    identity: AtomicU64,
    health: Mutex<Result<(), String>>,
    marks: Mutex<Marks>,
    counters: EngineCounters,
}

/// The connections that there are now.
#[derive(Debug)]
struct Wires {
    places: Places,
    wires: HashMap<Arc<str>, Shared>,
    /// Why one is missing.
    why: String,
}

impl Wires {
    fn none(why: &str) -> Self {
        Self { places: Vec::new(), wires: HashMap::new(), why: why.to_owned() }
    }

    /// The connection for a part.
    fn of(&self, shard: u32) -> Result<Shared, Fault> {
        let address = self.places.get(shard as usize);
        let wire = address.and_then(|address| self.wires.get(address));
        wire.cloned().ok_or_else(|| Fault::Away("connection", self.why.clone()))
    }
}

impl Redis {
    /// Not connected yet: [`Redis::watch`] does that. `name` is what this node is called.
    pub(crate) fn new(settings: RedisSettings, name: &str, counters: EngineCounters) -> Self {
        let shards = if matches!(settings.lay, Lay::Cluster(_)) { CLUSTER_SHARDS } else { 1 };
        Self {
            name: name.to_owned(),
            keys: Keys::new(&settings.prefix, shards),
            wires: latest::Sender::new(Arc::new(Wires::none("it is being connected to"))),
            stale: Notify::new(),
            calls: Semaphore::new(CALLS_MAX),
            token: latest::Sender::new(0),
            identity: AtomicU64::new(0),
            health: Mutex::new(Err("it is being connected to".to_owned())),
            marks: Mutex::default(),
            counters,
            settings,
        }
    }

    /// The number of this run among those of its node's name, which counts up; 0: none yet.
    pub(crate) fn fence(&self) -> u64 {
        *self.token.borrow()
    }

    /// Waits until this run has its number.
    pub(crate) async fn joined(&self) {
        // The sender is here, so there is nothing to fail.
        let _ = self.token.subscribe().wait_for(|token| *token > 0).await;
    }

    fn fence_key(&self) -> String {
        format!("f:{}", self.name)
    }

    /// Makes calls end in time, and no more of them at once than Redis can take.
    async fn within<T>(&self, calls: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let Ok(_permit) = self.calls.try_acquire() else {
            self.counters.failed("busy");
            return Err(Fault::Away("busy", "too many calls wait for Redis".to_owned()));
        };
        let began = Instant::now();
        let result = timeout(CALL_TIME_MAX, calls).await;
        self.counters.took(began.elapsed());
        result.unwrap_or_else(|_| {
            self.counters.failed("timeout");
            Err(Fault::Away("timeout", format!("no answer within {} ms", CALL_TIME_MAX.as_millis())))
        })
    }

    /// Runs a script of a part, at whichever server has it. To be called within [`Redis::within`].
    async fn ask(&self, shard: u32, script: Script, call: &Call) -> Result<Reply, Fault> {
        let answer = self.ask_around(shard, script, call).await;
        self.counters.called(script, answer.as_ref().err());
        answer.and_then(Reply::new)
    }

    async fn ask_around(&self, shard: u32, script: Script, call: &Call) -> Result<redis::Value, Fault> {
        let mut latest = self.wires.subscribe();
        let (mut to, mut asks) = (None, false);
        loop {
            let wires = latest.borrow_and_update().clone();
            let wire = to.take().map_or_else(|| wires.of(shard), Ok)?;
            match wire.run(script, call, asks).await {
                Err(Fault::Elsewhere { address, ask }) => {
                    self.stale.notify_one();
                    to = address.and_then(|address| wires.wires.get(&*address).cloned());
                    asks = ask && to.is_some();
                    if to.is_none() {
                        let _ = timeout(MOVING, latest.changed()).await;
                    }
                }
                Err(fault @ (Fault::Broken(_) | Fault::Away("readonly" | "restarted", _))) => {
                    self.stale.notify_one();
                    return Err(fault);
                }
                answer => return answer,
            }
        }
    }
}

/// Tries to reach every server that has a part; what is not as it should be and can be worked with.
async fn try_out(settings: &RedisSettings) -> Result<Vec<String>, String> {
    let shards = if matches!(settings.lay, Lay::Cluster(_)) { CLUSTER_SHARDS } else { 1 };
    let places = places::find(settings, shards, &HashMap::new()).await?;
    let addresses: BTreeSet<_> = places.into_iter().collect();
    let mut warnings = BTreeSet::new();
    for address in addresses {
        let wire = wire::dial(settings, &address).await.map_err(|why| settings.unreachable(&address, why))?;
        warnings.extend(wire.warnings.iter().map(|warning| format!("{address}: {warning}")));
    }
    Ok(warnings.into_iter().collect())
}

impl From<Fault> for Away {
    fn from(fault: Fault) -> Self {
        Self(format!("Redis: {}", fault.words()))
    }
}

impl From<Fault> for NotAppended {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Full => Self::Full,
            Fault::OtherCall => Self::OtherCall,
            fault => Self::Away(fault.into()),
        }
    }
}

impl Engine for Redis {
    async fn append<T: Send>(
        &self,
        appends: &[Append<'_>],
        once: Option<Once<'_>>,
        _now: Moment,
        send: impl FnOnce(Placed<'_>) -> T + Send,
    ) -> Result<Appended<T>, NotAppended> {
        let stored = self.within(Box::pin(self.store(appends, once))).await?;
        if !stored.is_new {
            return Ok(Appended::Before(stored.positions));
        }
        Ok(Appended::Now(send(Placed { positions: &stored.positions, marks: &stored.marks })))
    }

    async fn read(
        &self,
        whose: Whose<'_>,
        since: Option<Since>,
        most: Most,
        now: Moment,
    ) -> Result<Page, Away> {
        Ok(self.within(Box::pin(self.page(whose, since, most, now))).await?)
    }

    async fn changed(&self, after: &[u64], most: usize) -> Result<Changes, Away> {
        Ok(self.within(Box::pin(self.changes(after, most))).await?)
    }

    async fn claim(&self, once: Once<'_>) -> Result<Claim, Away> {
        Ok(self.within(self.claim_now(once)).await?)
    }

    async fn keep_answer(&self, once: Once<'_>, answer: Bytes) {
        if answer.len() <= ANSWER_BYTES_MAX {
            // Whoever asks again without it is told the places, or that it was made.
            let _ = self.within(self.of_once("keep", once, &answer)).await;
        }
    }

    async fn answer(&self, once: Once<'_>) -> Option<Bytes> {
        match self.within(self.of_once("answer", once, b"")).await {
            Ok(Claim::Answered(answer)) => Some(answer),
            Ok(_) | Err(_) => None,
        }
    }

    fn witness(&self, marks: &[Mark]) {
        let mut seen = self.marks.lock();
        marks.iter().filter(|mark| mark.shard < self.keys.shards()).for_each(|mark| seen.saw(*mark));
    }

    fn identity(&self) -> u64 {
        self.identity.load(Ordering::Relaxed)
    }

    fn health(&self) -> Result<(), String> {
        self.health.lock().clone()
    }

    /// Redis lets go of what has aged with each append and read, and of whole histories by itself.
    async fn tidy(&self, _now: Moment) {}

    /// What is in Redis, its own tools tell.
    fn holdings(&self) -> Holdings {
        Holdings::default()
    }
}
