//! What each client has received, as compactly as order allows: a number a slot, and exceptions.
//!
//! Of each stream that concerns a client, the next sequence number is kept. An item beyond it leaves a gap;
//! an item before it closes one (it came late: reordered) or was there before (duplicated). What never
//! comes stays a gap, or lies beyond the last; [`judge`](crate::judge) asks the ledger about it at the end.
//! Pure: time and bytes are arguments, so that a test can plant every fault.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

use crate::latency::Latency;
use crate::ledger::Ledger;
use crate::payload::{Label, Reading};
use crate::plan::Verify;
use crate::publisher::EVENT;
use crate::scan;
use crate::world::World;

/// Examples of what went wrong that are kept, for people.
pub(crate) const EXAMPLES_MAX: usize = 20;

/// What happened at the clients of one gateway. `expected` = received of it + `lost` + `excused`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Items accepted with 202, times the clients that each should reach.
    pub expected: u64,
    /// Items received for the first time.
    pub received: u64,
    /// Accepted, never received, and nothing excuses it.
    pub lost: u64,
    /// Received again.
    pub duplicated: u64,
    /// Received after a later item of the same stream.
    pub reordered: u64,
    /// Frames and items that are not what was sent, or came under the wrong room or event.
    pub corrupted: u64,
    /// Received by a client that is none of the target's, or although the push was refused.
    pub unexpected: u64,
    /// Items of other publishers, where they are allowed.
    pub foreign: u64,
    /// Missed while the client was away as expected, or by a gateway that the 202 named as failed.
    pub excused: u64,
}

impl Counts {
    /// Adds another gateway's counts.
    pub(crate) fn add(&mut self, other: &Self) {
        self.expected += other.expected;
        self.received += other.received;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupted += other.corrupted;
        self.unexpected += other.unexpected;
        self.foreign += other.foreign;
        self.excused += other.excused;
    }
}

/// What all trackers of a run share.
#[derive(Debug)]
pub(crate) struct Course {
    pub(crate) world: World,
    pub(crate) ledger: Ledger,
    pub(crate) verify: Verify,
}

/// The clients of one event loop: those whose number is `offset` modulo `stride`.
#[derive(Debug)]
pub(crate) struct Tracker {
    course: Arc<Course>,
    seen: Seen,
}

#[derive(Debug)]
pub(crate) struct Seen {
    stride: u32,
    slots: usize,
    /// Next sequence number of each slot of each client.
    next: Vec<u32>,
    /// Sequence numbers that were passed over, by client and stream.
    gaps: HashMap<(u32, u32), Vec<Range<u32>>>,
    /// When clients were away: from the loss of a connection to the hello of the next.
    away: HashMap<u32, Vec<Range<u64>>>,
    /// By gateway.
    pub(crate) counts: Vec<Counts>,
    /// Items that slow clients received for the first time; they are no part of `counts` and `latency`.
    pub(crate) slow_received: u64,
    pub(crate) latency: Latency,
    pub(crate) examples: Vec<String>,
}

impl Tracker {
    /// Tracks nothing yet, for clients `offset`, `offset + stride`, ….
    pub(crate) fn new(course: Arc<Course>, offset: u32, stride: u32) -> Self {
        let world = &course.world;
        let clients = world.clients.saturating_sub(offset).div_ceil(stride) as usize;
        let slots = world.slots() as usize;
        let seen = Seen {
            stride,
            slots,
            next: vec![0; clients * slots],
            gaps: HashMap::new(),
            away: HashMap::new(),
            counts: vec![Counts::default(); world.gateways as usize],
            slow_received: 0,
            latency: Latency::default(),
            examples: Vec::new(),
        };
        Self { course, seen }
    }

    /// Takes a message of a client's gateway. `None`: it is not a push; else how many items were new to a
    /// client that reads as it should.
    pub(crate) fn message(&mut self, client: u32, message: &[u8], now: u64) -> Option<u32> {
        let Self { course, seen } = self;
        let mut fresh = 0;
        for item in scan::items(message, &course.ledger.format)? {
            match item {
                Ok(item) => fresh += u32::from(seen.item(course, client, &item, now)),
                Err(scan::Broken) => seen.corrupted(
                    course,
                    client,
                    "a push frame that is not JSON as written by gateways",
                    now,
                ),
            }
        }
        Some(fresh)
    }

    /// Takes a message that makes no sense at all.
    pub(crate) fn garbage(&mut self, client: u32, what: &str, now: u64) {
        self.seen.corrupted(&self.course, client, what, now);
    }

    /// A client that was greeted has lost its connection.
    pub(crate) fn went(&mut self, client: u32, now: u64) {
        self.seen.away.entry(client).or_default().push(now..u64::MAX);
    }

    /// A client was greeted again.
    pub(crate) fn came(&mut self, client: u32, now: u64) {
        if let Some(last) = self.seen.away.get_mut(&client).and_then(|away| away.last_mut()) {
            last.end = last.end.min(now);
        }
    }

    /// The end: what was seen.
    pub(crate) fn into_seen(self) -> Seen {
        self.seen
    }
}

impl Seen {
    /// Takes one item; whether it is new to a client that reads as it should.
    fn item(&mut self, course: &Course, client: u32, item: &scan::Item<'_>, now: u64) -> bool {
        let Course { world, ledger, verify } = course;
        let label = match (ledger.format.read(item.data), verify) {
            (Reading::Whole(label), _) => label,
            (Reading::Foreign, Verify::Shared) => {
                self.counts[world.gateway(client) as usize].foreign += 1;
                return false;
            }
            (Reading::Foreign, Verify::Strict) => {
                self.corrupted(course, client, "an item that this run did not publish", now);
                return false;
            }
            (Reading::Broken, _) => {
                self.corrupted(course, client, "an item that is not as it was sent", now);
                return false;
            }
        };
        if (label.item as usize) >= ledger.schedule.items.len() || ledger.label(label.item) != label {
            self.corrupted(course, client, "an item that was never published so", now);
            return false;
        }
        let stream = world.stream(label.stream);
        let Some(slot) = world.slot(client, stream) else {
            self.counts[world.gateway(client) as usize].unexpected += 1;
            self.example(|| {
                format!("{}: item {} came, which is for {:?}", who(course, client), label.item, stream.target)
            });
            return false;
        };
        let room = world.named_room(client, stream.target);
        if item.event != Some(EVENT.as_bytes())
            || item.room.map(|name| room_number(&world.prefix, name)) != room.map(Some)
        {
            self.corrupted(course, client, "an item under a wrong room or event", now);
            return false;
        }
        let fresh = self.place(course, client, slot, label);
        if fresh && !world.is_prompt(client) {
            self.slow_received += 1;
            return false;
        }
        if fresh {
            let gateway = world.gateway(client);
            self.counts[gateway as usize].received += 1;
            let first = ledger.received(label.item, gateway, now);
            let (total, fanout) = match stream.urgent {
                true => (&mut self.latency.total_urgent, &mut self.latency.fanout_urgent),
                false => (&mut self.latency.total, &mut self.latency.fanout),
            };
            total.record(now.saturating_sub(label.at));
            fanout.record(now - first);
        }
        fresh
    }

    /// Puts an item into its place in the stream; whether it is new.
    fn place(&mut self, course: &Course, client: u32, slot: u32, label: Label) -> bool {
        let at = (client / self.stride) as usize * self.slots + slot as usize;
        let (next, seq) = (self.next[at], label.seq);
        if seq >= next {
            self.next[at] = seq + 1;
            if seq > next {
                self.gaps.entry((client, label.stream)).or_default().push(next..seq);
            }
            return true;
        }
        let counts = &mut self.counts[course.world.gateway(client) as usize];
        let closed = self.gaps.get_mut(&(client, label.stream)).is_some_and(|gaps| close(gaps, seq));
        let what = if closed {
            counts.reordered += 1;
            "came after a later one"
        } else {
            counts.duplicated += 1;
            "came again"
        };
        self.example(|| {
            format!(
                "{}: item {} {what} ({next} was next of its stream)",
                who(course, client),
                name(course, label)
            )
        });
        closed
    }

    fn corrupted(&mut self, course: &Course, client: u32, what: &str, now: u64) {
        self.counts[course.world.gateway(client) as usize].corrupted += 1;
        self.example(|| format!("{}: {what}, at {:.3} s", who(course, client), now as f64 / 1e6));
    }

    pub(crate) fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text());
        }
    }

    /// The sequence numbers below `end` that a client has not received of the stream at a slot.
    pub(crate) fn missing(
        &self,
        client: u32,
        slot: u32,
        stream: u32,
        end: u32,
    ) -> impl Iterator<Item = u32> + '_ {
        let next = self.next[(client / self.stride) as usize * self.slots + slot as usize];
        let gaps = self.gaps.get(&(client, stream)).map_or(&[][..], Vec::as_slice);
        gaps.iter().cloned().flatten().chain(next..end)
    }

    /// Whether a client was away at any time from `from` to `to`; each absence counts `settle` longer.
    pub(crate) fn was_away(&self, client: u32, from: u64, to: u64, settle: u64) -> bool {
        let away = self.away.get(&client).map_or(&[][..], Vec::as_slice);
        away.iter().any(|away| from <= away.end.saturating_add(settle) && away.start <= to)
    }
}

/// Takes a number out of the gaps; whether it was there.
fn close(gaps: &mut Vec<Range<u32>>, seq: u32) -> bool {
    let Some(at) = gaps.iter().position(|gap| gap.contains(&seq)) else { return false };
    let gap = gaps[at].clone();
    let parts = [gap.start..seq, seq + 1..gap.end];
    gaps.splice(at..=at, parts.into_iter().filter(|part| !part.is_empty()));
    true
}

/// The number of a room from its name: what all names begin with, and `r17`.
fn room_number(prefix: &str, name: &[u8]) -> Option<u32> {
    std::str::from_utf8(name.strip_prefix(prefix.as_bytes())?.strip_prefix(b"r")?).ok()?.parse().ok()
}

fn who(course: &Course, client: u32) -> String {
    format!("client {client} (user u{}, gateway {})", course.world.user(client), course.world.gateway(client))
}

/// An item, for people.
pub(crate) fn name(course: &Course, label: Label) -> String {
    let stream = course.world.stream(label.stream);
    let urgent = if stream.urgent { " urgent" } else { "" };
    format!(
        "{} (seq {} to {:?}{urgent} through logic {})",
        label.item, label.seq, stream.target, stream.logic
    )
}

#[cfg(test)]
#[path = "tracker/tests.rs"]
mod tests;
