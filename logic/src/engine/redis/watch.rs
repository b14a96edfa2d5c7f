//! The one who looks after the connections: finds the servers, opens what is missing, says to each part that this node
//! lives and how far it saw the store come, and knows from that whether the store can be used.
//!
//! After a restart of Redis or a failover no script appends or reads until the nodes have compared what is there with
//! what they saw: that is done here too (`scripts/attend.lua`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::link::message::Mark;
use common::shutdown::Shutdown;
use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::fault::Fault;
use super::places::{self, Places};
use super::reply::{Reply, hex};
use super::scripts::{Call, Script};
use super::settings::Lay;
use super::wire::{self, Shared};
use super::{Redis, Wires};

/// How often the store is looked at: a Cluster has many parts to look at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const LOOK_AT_CLUSTER_EVERY: Duration = Duration::from_millis(500);

/// Waits while something is wrong, drawn between these: many nodes do not come back at once.
const RETRY: [Duration; 2] = [Duration::from_millis(80), Duration::from_millis(280)];

/// A part that has not answered by then is away.
const ATTEND_TIME_MAX: Duration = Duration::from_millis(500);

/// How long nodes have for saying what they saw after a restart: as long as it takes them to come back.
const GRACE: Duration = Duration::from_millis(800);

/// Looks between two that write, and so notice a store that can only be read.
const BEAT_EVERY: u32 = 4;

/// Looks between two questions where the servers are, while all is well.
const FIND_EVERY: u32 = 4;

/// How long it is remembered that a run of a name was replaced.
pub(super) const FENCE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What the watcher knows.
#[derive(Default)]
struct Look {
    wires: HashMap<Arc<str>, Shared>,
    places: Places,
    looks: u32,
    is_stale: bool,
    warned: HashSet<String>,
}

/// What one part said.
enum Attended {
    Open,
    /// Nodes compare what they saw.
    Voting,
}

impl Redis {
    /// Looks after the connections until the node stops.
    pub(crate) async fn watch(self: Arc<Self>, shutdown: Shutdown) {
        let mut look = Look::default();
        let every = match self.settings.lay {
            Lay::Cluster(_) => LOOK_AT_CLUSTER_EVERY,
            Lay::Single(_) | Lay::Sentinel(..) => LOOK_EVERY,
        };
        while let Some(found) = shutdown.or_stopped(Box::pin(self.look(&mut look))).await {
            let is_well = found.is_ok();
            self.say(found);
            // A moment in any case, however many calls find that something is wrong.
            let rest =
                if is_well { every - RETRY[0] } else { (RETRY[1] - RETRY[0]).mul_f64(fastrand::f64()) };
            let wait = async {
                sleep(RETRY[0]).await;
                tokio::select! {
                    () = sleep(rest) => {}
                    () = self.stale.notified() => look.is_stale = true,
                }
            };
            if shutdown.or_stopped(wait).await.is_none() {
                break;
            }
        }
        self.wires.send_replace(Arc::new(Wires::none("the node ends")));
    }

    /// Remembers how it is, and says so in the log when that changes.
    fn say(&self, found: Result<(), String>) {
        let mut health = self.health.lock();
        if *health != found {
            match &found {
                Ok(()) => tracing::info!(redis = %self.settings, "Redis answers"),
                Err(why) => {
                    tracing::warn!(redis = %self.settings, %why, "Redis cannot be used: pushes with a history get 503, others flow on, and it is tried again")
                }
            }
            *health = found;
        }
    }

    async fn look(&self, look: &mut Look) -> Result<(), String> {
        look.looks = look.looks.wrapping_add(1);
        let found = self.find_places(look).await;
        let dialled = self.dial_missing(look).await;
        let why = found.clone().and(dialled.clone()).err();
        self.publish(look, why.as_deref());
        if look.places.is_empty() {
            return found;
        }
        let taken = self.take(look).await;
        let attended = self.attend_all(look).await;
        if attended.is_err() {
            self.publish(look, attended.as_ref().err().map(String::as_str));
        }
        // Sentinels that are away are no harm while the primary is there.
        dialled.and(taken).and(attended)
    }

    async fn find_places(&self, look: &mut Look) -> Result<(), String> {
        let is_due = look.looks.is_multiple_of(FIND_EVERY) && !matches!(self.settings.lay, Lay::Single(_));
        if !(look.places.is_empty() || look.is_stale || is_due) {
            return Ok(());
        }
        look.places = places::find(&self.settings, self.keys.shards(), &look.wires).await?;
        look.is_stale = false;
        look.wires.retain(|address, _| look.places.contains(address));
        Ok(())
    }

    /// Opens the connections that are missing.
    async fn dial_missing(&self, look: &mut Look) -> Result<(), String> {
        let missing: HashSet<_> =
            look.places.iter().filter(|address| !look.wires.contains_key(*address)).cloned().collect();
        let dialled = missing.into_iter().map(async |address| {
            let opened = wire::dial(&self.settings, &address).await;
            (address, opened)
        });
        let mut result = Ok(());
        for (address, opened) in join_all(dialled).await {
            match opened {
                Ok(wire) => {
                    for warning in &wire.warnings {
                        if look.warned.insert(warning.clone()) {
                            tracing::warn!(redis = %address, "{warning}");
                        }
                    }
                    look.wires.insert(address, Arc::new(wire));
                }
                Err(why) => {
                    look.is_stale = true;
                    result = Err(self.settings.unreachable(&address, why));
                }
            }
        }
        result
    }

    /// Gives the connections to those who call.
    fn publish(&self, look: &Look, why: Option<&str>) {
        let why = why.unwrap_or("it is being connected to");
        self.wires.send_if_modified(|wires| {
            let is_same = wires.places == look.places
                && wires.wires.len() == look.wires.len()
                && look.wires.iter().all(|(address, wire)| {
                    wires.wires.get(address).is_some_and(|known| Arc::ptr_eq(known, wire))
                })
                && wires.why == why;
            if !is_same {
                let (places, wires_now) = (look.places.clone(), look.wires.clone());
                *wires = Arc::new(Wires { places, wires: wires_now, why: why.to_owned() });
            }
            !is_same
        });
    }

    /// Takes the name of this node, once.
    async fn take(&self, look: &Look) -> Result<(), String> {
        let known = self.fence();
        let Some(wire) = look.places.first().and_then(|address| look.wires.get(address)) else {
            return Ok(());
        };
        if known > 0 && !look.looks.is_multiple_of(BEAT_EVERY) {
            return Ok(());
        }
        let mut call = Call::new();
        call.key(self.keys.of(0, &self.fence_key())).key(self.keys.of(0, "id"));
        let identity = match self.identity.load(Ordering::Relaxed) {
            0 => fastrand::u64(1..),
            known => known,
        };
        call.number(known).number(FENCE.as_millis()).arg(hex(identity));
        let answer = timeout(ATTEND_TIME_MAX, wire.run(Script::Take, &call, false)).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(_) => return Err(SILENT.to_owned()),
        };
        // Without memory for more it goes on with what is there.
        let answer = match answer {
            Err(Fault::Full) if known > 0 => return Ok(()),
            answer => answer.and_then(Reply::new),
        };
        let taken = answer.and_then(|mut answer| Ok((answer.number()?, answer.hex()?)));
        let (token, identity) = taken.map_err(|fault| fault.words())?;
        self.identity.store(identity, Ordering::Relaxed);
        self.token.send_replace(token);
        Ok(())
    }

    /// Says to each part that this node lives.
    async fn attend_all(&self, look: &mut Look) -> Result<(), String> {
        if self.fence() == 0 {
            return Ok(());
        }
        let beats = look.looks.is_multiple_of(BEAT_EVERY);
        let parts = (0_u32..).zip(&look.places).filter_map(|(shard, address)| {
            let wire = look.wires.get(address)?.clone();
            Some(async move { (address.clone(), self.attend(shard, &wire, beats).await) })
        });
        let answers = join_all(parts.collect::<Vec<_>>()).await;
        let mut result = Ok(());
        for (address, answer) in answers {
            match answer {
                Ok(Attended::Open) => {}
                Ok(Attended::Voting) => result = result.and(Err(COMPARING.to_owned())),
                Err(fault) => {
                    let breaks = matches!(fault, Fault::Broken(_) | Fault::Away("readonly", _));
                    if breaks {
                        look.wires.remove(&address);
                    }
                    look.is_stale |= breaks || matches!(fault, Fault::Elsewhere { .. });
                    result = result.and(Err(format!("{address}: {}", fault.words())));
                }
            }
        }
        result
    }

    async fn attend(&self, shard: u32, wire: &Shared, beats: bool) -> Result<Attended, Fault> {
        let said = self.marks.lock().of(shard);
        let mut call = Call::new();
        call.key(self.keys.of(shard, "t")).key(self.keys.of(shard, &self.fence_key()));
        call.number(self.fence()).number(u8::from(beats)).number(FENCE.as_millis());
        call.number(GRACE.as_millis()).arg(hex(fastrand::u64(1..))).arg(hex(fastrand::u64(..)));
        for (term, seq) in &said {
            call.arg(hex(*term)).number(seq);
        }
        let answer = timeout(ATTEND_TIME_MAX, wire.run(Script::Attend, &call, false)).await;
        let answer = answer.unwrap_or_else(|_| Err(Fault::Broken(SILENT.to_owned())));
        self.counters.called(Script::Attend, answer.as_ref().err());
        let mut answer = match answer {
            // What is there can be read; that nothing more can be stored is said to those who try.
            Err(Fault::Full) => return Ok(Attended::Open),
            answer => Reply::new(answer?)?,
        };
        let state = answer.text()?;
        let (term, _gen, seq, is_back) = (answer.hex()?, answer.hex()?, answer.number()?, answer.number()?);
        if state != "open" {
            return Ok(Attended::Voting);
        }
        let mut marks = self.marks.lock();
        marks.settle(shard, &said, term);
        marks.saw(Mark { shard, term, seq });
        if is_back > 0 {
            tracing::warn!(redis = %self.settings, part = shard, "Redis has lost what it had: histories begin anew, and clients are told to reset. Its persistence decides (appendonly, appendfsync, replicas)");
        }
        Ok(Attended::Open)
    }
}

const SILENT: &str = "it does not answer";

const COMPARING: &str = "it was restarted or failed over: nodes compare what it has with what they saw of it";
