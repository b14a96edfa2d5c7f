//! Clients that read slowly or never: they are there to be felt, and counted apart.
//!
//! Nothing of theirs is read when it comes. Slow ones take a few bytes in turns, all together a few times a
//! second; stalled ones take nothing. When a connection is closed, and at the end of the run, everything is
//! read that is still there: what they missed is what was never sent to them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use mio::Events;
use serde::{Deserialize, Serialize};

use super::client::Stage;
use super::{Connections, Reactor};
use crate::world::{Pace, World};

/// Turns a second.
const TURNS: u32 = 4;

/// At the end: nothing for so long, and nothing comes any more; and how long it may take in all.
const QUIET: Duration = Duration::from_millis(200);
const WAKE_TIME_MAX: Duration = Duration::from_secs(3);

/// A close code that a slow client is to expect.
const TOO_SLOW: u16 = 4002;

/// What happened to the slow clients of a loop.
#[derive(Debug, Default)]
pub(crate) struct Slow {
    pub(crate) connections: Connections,
    /// Those that were closed for their slowness.
    pub(crate) closed: BTreeSet<u32>,
    /// Those that were told of a gap.
    pub(crate) gapped: BTreeSet<u32>,
    /// The run ends: all of them read.
    awake: bool,
}

/// The same, counted.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct SlowSeen {
    pub(crate) connections: Connections,
    pub(crate) closed: u64,
    pub(crate) gapped: u64,
}

impl SlowSeen {
    /// Adds those of others.
    pub(crate) fn add(&mut self, other: &Self) {
        self.connections.add(&other.connections);
        self.closed += other.closed;
        self.gapped += other.gapped;
    }
}

impl Slow {
    pub(super) fn seen(self) -> SlowSeen {
        SlowSeen {
            connections: self.connections,
            closed: self.closed.len() as u64,
            gapped: self.gapped.len() as u64,
        }
    }

    pub(super) fn note_close(&mut self, local: u32, code: u16) {
        if code == TOO_SLOW {
            self.closed.insert(local);
        }
    }
}

/// When slow clients read, and how much.
#[derive(Debug)]
pub(super) struct Turns {
    clients: Vec<u32>,
    stalled: Vec<u32>,
    /// What one may read at each turn; never 0.
    bytes: usize,
    next: Instant,
}

impl Turns {
    /// The slow ones among clients `offset`, `offset + stride`, ….
    pub(super) fn new(world: &World, (offset, stride): (u32, u32), bytes_per_sec: usize) -> Self {
        let with = |pace| {
            let numbers = (offset..world.clients).step_by(stride as usize).zip(0..);
            numbers.filter(|&(number, _)| world.pace(number) == pace).map(|(_, local)| local).collect()
        };
        let bytes = (bytes_per_sec / TURNS as usize).max(1);
        Self { clients: with(Pace::Slow), stalled: with(Pace::Stalled), bytes, next: Instant::now() }
    }

    pub(super) fn sleep(&self, now: Instant) -> Duration {
        if self.clients.is_empty() { Duration::MAX } else { self.next.saturating_duration_since(now) }
    }

    /// Whether it is time; then the next is due later.
    fn take(&mut self, now: Instant) -> bool {
        let due = !self.clients.is_empty() && self.next <= now;
        if due {
            // A loop that was late does not catch up: nobody reads faster for it.
            self.next = now + Duration::from_secs(1) / TURNS;
        }
        due
    }
}

impl Reactor {
    /// Whether what comes for a client is read at once.
    pub(super) fn reads_at_once(&self, local: u32) -> bool {
        self.slow.awake || self.clients[local as usize].stage != Stage::Greeted || self.is_prompt(local)
    }

    /// Lets the slow ones read, if it is their turn.
    pub(super) fn read_in_turn(&mut self) {
        if !self.turns.take(Instant::now()) {
            return;
        }
        for turn in 0..self.turns.clients.len() {
            let local = self.turns.clients[turn];
            if self.clients[local as usize].stage == Stage::Greeted {
                self.read_most(local, false, self.turns.bytes);
            }
        }
    }

    /// The end: all of them read what is there.
    pub(super) fn wake_slow(&mut self, events: &mut Events) {
        let clients = [&self.turns.clients[..], &self.turns.stalled[..]].concat();
        if clients.is_empty() {
            return;
        }
        self.slow.awake = true;
        for local in clients {
            if self.clients[local as usize].stage == Stage::Greeted {
                self.readable(local, false);
            }
        }
        let until = Instant::now() + WAKE_TIME_MAX;
        while Instant::now() < until && self.take_events(events, QUIET) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::tests::small;

    #[test]
    fn slow_clients_read_their_bytes_in_turns_and_do_not_catch_up() {
        let world = World { slow_share: 0.3, stalled_share: 0.1, ..small() };
        let mut turns = Turns::new(&world, (1, 2), 1_024);
        assert_eq!(turns.bytes, 256);
        assert!(turns.clients.len() > turns.stalled.len() && !turns.stalled.is_empty());
        assert!(turns.clients.iter().all(|&local| world.pace(local * 2 + 1) == Pace::Slow));
        let late = Instant::now() + Duration::from_secs(10);
        assert!(turns.take(late) && !turns.take(late));
        assert_eq!(turns.sleep(late), Duration::from_millis(250));
        assert_eq!(Turns::new(&world, (0, 1), 1).bytes, 1);
        assert_eq!(Turns::new(&small(), (0, 1), 1).sleep(late), Duration::MAX);
    }
}
