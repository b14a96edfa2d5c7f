//! What an agent's event loops count for those who watch while the run goes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

use crate::latency::Times;

/// Ids that wait to be told, at most: of each target the last one, and a while of clients that come back.
const IDS_MAX: usize = 16_384;

/// Sums over all loops of an agent.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    connected: AtomicU64,
    received: AtomicU64,
    frames: AtomicU64,
    bytes: AtomicU64,
    busy_us: AtomicU64,
    looped_us: AtomicU64,
    /// The longest time that a loop was away from its sockets since somebody looked.
    late_us: AtomicU64,
    /// Since somebody looked.
    times: Mutex<Times>,
    ids: Mutex<Vec<(u32, Box<str>)>>,
}

/// What one loop counts for itself before it adds it here.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    items: u64,
    frames: u64,
    bytes: u64,
    waited: Duration,
    looped: Duration,
    late: Duration,
}

impl Reading {
    pub(super) fn message(&mut self, items: u32, bytes: usize) {
        self.items += u64::from(items);
        self.frames += 1;
        self.bytes += bytes as u64;
    }

    /// The loop waited for its sockets.
    pub(super) fn waited(&mut self, time: Duration) {
        self.waited += time;
    }

    /// One turn of the loop.
    pub(super) fn looped(&mut self, time: Duration) {
        self.looped += time;
        self.late = self.late.max(time.saturating_sub(self.waited));
    }
}

/// The sums at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) connected: u64,
    pub(crate) received: u64,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    pub(crate) busy_us: u64,
    pub(crate) looped_us: u64,
}

impl Meter {
    /// A client was greeted.
    pub(super) fn came(&self) {
        self.connected.fetch_add(1, Relaxed);
    }

    /// A client that was greeted is gone.
    pub(super) fn went(&self) {
        self.connected.fetch_sub(1, Relaxed);
    }

    /// The id of a client that is a target, by its place among those.
    pub(super) fn id(&self, place: u32, id: &str) {
        let mut ids = self.ids.lock();
        if ids.len() < IDS_MAX {
            ids.push((place, id.into()));
        }
    }

    /// Adds what a loop counted, once for many messages.
    pub(super) fn add(&self, reading: &mut Reading) {
        let Reading { items, frames, bytes, waited, looped, late } = std::mem::take(reading);
        if frames > 0 {
            self.received.fetch_add(items, Relaxed);
            self.frames.fetch_add(frames, Relaxed);
            self.bytes.fetch_add(bytes, Relaxed);
        }
        self.looped_us.fetch_add(looped.as_micros() as u64, Relaxed);
        self.busy_us.fetch_add(looped.saturating_sub(waited).as_micros() as u64, Relaxed);
        self.late_us.fetch_max(late.as_micros() as u64, Relaxed);
    }

    pub(super) fn hand_over(&self, times: &Times) {
        self.times.lock().add(times);
    }

    pub(crate) fn sums(&self) -> Sums {
        Sums {
            connected: self.connected.load(Relaxed),
            received: self.received.load(Relaxed),
            frames: self.frames.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            busy_us: self.busy_us.load(Relaxed),
            looped_us: self.looped_us.load(Relaxed),
        }
    }

    pub(crate) fn take_late_us(&self) -> u64 {
        self.late_us.swap(0, Relaxed)
    }

    pub(crate) fn take_times(&self) -> Times {
        let mut times = self.times.lock();
        let taken = times.clone();
        times.clear();
        taken
    }

    pub(crate) fn take_ids(&self) -> Vec<(u32, Box<str>)> {
        std::mem::take(&mut self.ids.lock())
    }
}
