//! The push path's own threads: two *lanes* that say when, and a pool of workers that write.
//!
//! The merge lane waits for its window, the urgent lane does not wait, and neither waits for the other.

mod lane;
mod pool;
mod sweep;

use std::sync::Arc;
use std::time::Instant;

use common::link::message::Position;
use common::live::Live;
use common::tasks::Tasks;

use crate::counters::Counters;
use crate::deflate::Compressor;
use crate::history::Track;
use crate::merger::{Filter, Item, Life, Offer, Target};
use crate::registry::Registry;
use crate::settings::Settings;
use crate::tune::Tune;
use lane::Lane;
pub(crate) use lane::Pace;
use pool::Pool;

/// Which lane an item takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    Merged,
    Urgent,
}

/// Both lanes and the workers behind them.
#[derive(Debug)]
pub(crate) struct Pusher {
    merged: Arc<Lane>,
    urgent: Arc<Lane>,
    pool: Arc<Pool>,
    counters: Arc<Counters>,
    compressor: Arc<Compressor>,
    tune: Arc<Live<Tune>>,
    workers: usize,
}

impl Pusher {
    /// Starts both lanes and the writing threads.
    pub(crate) fn start(
        settings: &Settings,
        tune: &Arc<Live<Tune>>,
        registry: &Arc<Registry>,
        counters: &Arc<Counters>,
        tasks: &Tasks,
    ) -> Arc<Self> {
        let pusher = Arc::new(Self {
            merged: Lane::new(Urgency::Merged, settings, tune),
            urgent: Lane::new(Urgency::Urgent, settings, tune),
            pool: Arc::new(Pool::default()),
            counters: counters.clone(),
            compressor: Arc::new(Compressor::new(settings, counters)),
            tune: tune.clone(),
            workers: settings.workers,
        });
        for (urgency, name, bulk_name) in [
            (Urgency::Merged, "merge lane", "bulk of the merge lane"),
            (Urgency::Urgent, "urgent lane", "bulk of the urgent lane"),
        ] {
            let (on, registry_of) = (pusher.clone(), registry.clone());
            tasks.essential_thread(name, move || on.lane(urgency).run(&on, &registry_of));
            let (on, registry_of) = (pusher.clone(), registry.clone());
            tasks.essential_thread(bulk_name, move || on.lane(urgency).run_bulk(&on, &registry_of));
        }
        for _ in 0..settings.workers {
            let (pool, registry) = (pusher.pool.clone(), registry.clone());
            tasks.essential_thread("push worker", move || pool.work(&registry));
        }
        pusher
    }

    fn lane(&self, urgency: Urgency) -> &Lane {
        match urgency {
            Urgency::Merged => &self.merged,
            Urgency::Urgent => &self.urgent,
        }
    }

    /// Takes items for their targets, in order, under one lock.
    pub(crate) fn offer(&self, urgency: Urgency, offers: impl Iterator<Item = (Target, Filter, Item)>) {
        let now = Instant::now();
        let mut conflated = Vec::new();
        self.lane(urgency).offer(|merger| {
            for (target, filter, item) in offers {
                if let Offer::Conflated(part) = merger.offer(now, &target, &filter, item) {
                    conflated.push(part);
                }
            }
        });
        conflated.into_iter().for_each(|part| part.conflated(&self.counters));
    }

    /// Tells the members of a history, after all that was offered before, that they are at another place now.
    pub(crate) fn reset(&self, track: &Arc<Track>, at: Position) {
        let life = Life { track: track.clone(), epoch: at.epoch, reset_at: Some(at) };
        let target = Target::Group(track.group.clone());
        self.merged.offer(|merger| merger.reset(Instant::now(), &target, life));
    }

    /// Bytes that wait in both mergers.
    pub(crate) fn bytes(&self) -> usize {
        self.merged.bytes() + self.urgent.bytes()
    }

    /// How the windows keep up.
    pub(crate) fn pace(&self) -> Pace {
        self.merged.pace()
    }

    /// Waits while the mergers hold more than they may.
    pub(crate) async fn room(&self) {
        let mut is_held = false;
        loop {
            let eased = [self.merged.eased.notified(), self.urgent.eased.notified()];
            if self.bytes() <= self.tune.now().merger_bytes_max {
                return;
            }
            if !std::mem::replace(&mut is_held, true) {
                self.counters.links_held.inc();
            }
            let [merged, urgent] = eased;
            tokio::select! { () = merged => {}, () = urgent => {} }
        }
    }

    /// Sends everything that waits now, window or not, and waits until it is with the sockets.
    pub(crate) async fn flush(&self) {
        for (lane, asked) in [&self.urgent, &self.merged].map(|lane| (lane, lane.flush())) {
            loop {
                let eased = lane.eased.notified();
                if lane.has_flushed(asked) {
                    break;
                }
                eased.await;
            }
        }
    }

    /// Ends all threads once they have done what they were given.
    pub(crate) fn end(&self) {
        self.urgent.end();
        self.merged.end();
        self.pool.end();
    }
}

#[cfg(test)]
mod tests;
