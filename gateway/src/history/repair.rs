//! What is missing is asked for: items that were lost with a link or that no link was to bring, and lives that began anew.
//!
//! A track says when it is to be looked at ([`Track::asks`]); here is the queue of those times, and the one who looks.
//! It runs on the thread that takes deliveries, so nothing comes between what a track gives out and the merger.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use common::link::history::{Heads, KeptItem};
use common::link::message::Position;
use common::names::Kind;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::order::{Asks, Fate};
use super::{Coming, Out, Track};
use crate::bucket::Local;
use crate::merger::{Filter, Item, Kept, Target};
use crate::node::Parts;
use crate::pusher::Urgency;
use crate::tally::{self, Outgoing, Passage};

/// Histories asked for at a time: half of what clients may ask for.
const AT_ONCE: usize = 32;

/// Tracks, by when they are to be looked at. One stands here a few times at the most: each time earlier.
#[derive(Debug, Default)]
pub(crate) struct Repairs {
    queue: Mutex<BTreeMap<(Instant, u64), Arc<Track>>>,
    last: AtomicU64,
    sooner: Notify,
}

impl Repairs {
    fn at(&self, when: Instant, track: Arc<Track>) {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let mut queue = self.queue.lock();
        let is_first = queue.first_key_value().is_none_or(|((first, _), _)| when < *first);
        queue.insert((when, number), track);
        drop(queue);
        if is_first {
            self.sooner.notify_one();
        }
    }

    /// Somebody says where a history stands, or that this is not known.
    pub(crate) fn hears(&self, track: &Arc<Track>, head: Option<Position>) {
        if let Some(when) = track.hears(head, Instant::now()) {
            self.at(when, track.clone());
        }
    }

    /// Waits for the next whose time has come.
    async fn next(&self) -> (Instant, Arc<Track>) {
        loop {
            let sooner = self.sooner.notified();
            let first = {
                let mut queue = self.queue.lock();
                let first = queue.first_key_value().map(|((when, _), _)| *when);
                if first.is_some_and(|when| when <= Instant::now())
                    && let Some(((when, _), track)) = queue.pop_first()
                {
                    return (when, track);
                }
                first
            };
            match first {
                None => sooner.await,
                Some(when) => tokio::select! {
                    () = sooner => {}
                    () = tokio::time::sleep_until(when.into()) => {}
                },
            }
        }
    }
}

/// Asks for what is missing, for as long as the node runs.
pub(crate) async fn run(parts: Arc<Parts>) {
    let parts = &parts;
    let mut asking = FuturesUnordered::new();
    let next = async || {
        // Without a link there is nobody to ask.
        parts.fetches.linked().await;
        parts.repairs.next().await
    };
    loop {
        tokio::select! {
            Some(()) = asking.next() => {}
            (when, track) = next(), if asking.len() < AT_ONCE => asking.push(look(parts, when, track)),
        }
    }
}

async fn look(parts: &Arc<Parts>, when: Instant, track: Arc<Track>) {
    if track.group.buckets() == 0 {
        track.forget().into_iter().for_each(tally::Part::past);
        return;
    }
    let asked = match track.asks(when, Instant::now()) {
        Asks::Nothing => return,
        Asks::Later(later) => return parts.repairs.at(later, track),
        Asks::Now(asked) => asked,
    };
    let part = parts.fetches.ask(&track.group, Some(asked.at)).await.ok();
    // They were answered for long ago: nobody hears what becomes of them.
    let outgoing = Arc::<Outgoing>::default();
    outgoing.end();
    let make = |kept: &KeptItem, expires| {
        let part =
            tally::Part { passage: Passage::new(outgoing.clone(), 0, 1), matched: track.group.members() };
        brought(kept, expires, part)
    };
    let (answered, again) = track.answered(asked, part.as_deref(), make, Instant::now());
    let counters = &parts.counters.history;
    counters.repaired.inc_by(answered.brought);
    counters.stale.inc_by(answered.past.len() as u64);
    answered.past.into_iter().for_each(tally::Part::past);
    offer(parts, &track, answered.outs);
    if let Some(again) = again {
        parts.repairs.at(again, track);
    }
}

/// The item that history brings.
fn brought(kept: &KeptItem, expires: Option<Instant>, part: tally::Part) -> (Filter, Item) {
    let except: Option<Arc<[Local]>> = (!kept.except.is_empty()).then(|| {
        let mut sorted: Vec<_> = kept.except.iter().copied().map(Local).collect();
        sorted.sort_unstable();
        sorted.into()
    });
    let item = Item { body: Bytes::clone(&kept.body), key: None, expires, part, kept: None };
    (Filter { app: kept.app, except }, item)
}

fn offer(parts: &Parts, track: &Arc<Track>, outs: Vec<Out>) {
    let mut items = Vec::with_capacity(outs.len());
    let give = |items: &mut Vec<_>| {
        if !items.is_empty() {
            parts.pusher.offer(Urgency::Merged, items.drain(..));
        }
    };
    for out in outs {
        match out {
            Out::Item { at, hurries, filter, item } => {
                items.push(placed(track, at, hurries, (filter, item)));
            }
            Out::Reset(at) => {
                give(&mut items);
                parts.counters.history.reset_groups.inc();
                parts.pusher.reset(track, at);
            }
        }
    }
    give(&mut items);
}

fn placed(
    track: &Arc<Track>,
    at: Position,
    hurries: bool,
    (filter, item): (Filter, Item),
) -> (Target, Filter, Item) {
    let kept = Some(Box::new(Kept { track: track.clone(), at, hurries }));
    (Target::Group(track.group.clone()), filter, Item { kept, ..item })
}

/// An item comes on a link: it passes, and what waited for it, or waits. On the thread that takes deliveries.
pub(crate) fn take(
    parts: &Parts,
    track: &Arc<Track>,
    coming: Coming,
    now: Instant,
    into: &mut Vec<(Target, Filter, Item)>,
) {
    let mut outs = Vec::new();
    let (fate, wakes) = track.take(coming, now, &mut outs);
    let counters = &parts.counters.history;
    match fate {
        Fate::Passed => {}
        Fate::Waits => _ = counters.waited.inc(),
        Fate::Double(part) => {
            counters.doubled.inc();
            part.into_iter().for_each(tally::Part::doubled);
        }
        Fate::Past(part) => {
            counters.stale.inc();
            part.into_iter().for_each(tally::Part::past);
        }
        Fate::Left(part) => {
            counters.left.inc();
            part.into_iter().for_each(tally::Part::past);
        }
    }
    if let Some(when) = wakes {
        parts.repairs.at(when, track.clone());
    }
    into.extend(outs.into_iter().filter_map(|out| match out {
        Out::Item { at, hurries, filter, item } => Some(placed(track, at, hurries, (filter, item))),
        // What comes on a link passes or waits; only an answer resets.
        Out::Reset(_) => None,
    }));
}

/// A logic node says where histories stand.
pub(crate) fn hear(parts: &Parts, heads: &Heads) {
    for head in &heads.heads {
        let (Ok(kind), Some(at)) = (Kind::try_from(head.kind), head.at.filter(|at| at.epoch > 0)) else {
            continue;
        };
        let group = parts.registry.directory.find(kind, &head.name);
        if let Some(track) = group.and_then(|group| parts.tracks.find(&group)) {
            parts.repairs.hears(&track, Some(at));
        }
    }
    if heads.missed {
        doubt_all(parts);
    }
}

/// Nobody can say what was appended to lately, or another store keeps the histories now: all are asked for.
pub(crate) fn doubt_all(parts: &Parts) {
    for tracks in parts.tracks.all() {
        let here = tracks.iter().filter(|track| track.group.buckets() != 0);
        here.for_each(|track| parts.repairs.hears(track, None));
    }
}
