//! What each client has received, as compactly as order allows: a number a slot, and exceptions.
//!
//! Of each stream that concerns a client, the next sequence number is kept. An item beyond it leaves a gap;
//! an item before it closes one (it came late: reordered) or was there before (duplicated). What never
//! comes stays a gap, or lies beyond the last; [`judge`](crate::judge) asks the ledger about it at the end.
//! Pure: time and bytes are arguments, so that a test can plant every fault.

mod absence;
mod counts;
mod once;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

pub(crate) use absence::{Absences, Span};
pub use counts::Counts;
use once::{Draft, Mark, Once};

use crate::latency::{Latency, Times};
use crate::ledger::Ledger;
use crate::payload::{Label, Reading};
use crate::plan::Verify;
use crate::publisher::EVENT;
use crate::scan;
use crate::world::World;

/// Examples of what went wrong that are kept, for people.
pub(crate) const EXAMPLES_MAX: usize = 20;

/// What all trackers of a run share.
#[derive(Debug)]
pub(crate) struct Course {
    pub(crate) world: World,
    pub(crate) ledger: Ledger,
    pub(crate) verify: Verify,
    /// Of the agent's gateways every so-manieth is one.
    pub(crate) gateway_step: u32,
    /// An item that took longer is late, µs.
    pub(crate) late_us: u64,
    /// After a change, how long until every logic node knows of it, µs.
    pub(crate) settle_us: u64,
}

/// The clients of one event loop: those whose number is `offset` modulo `stride`.
#[derive(Debug)]
pub(crate) struct Tracker {
    course: Arc<Course>,
    seen: Seen,
    once: Once,
    /// What was handed over.
    before: Latency,
    /// Of the frame at hand: places of its streams at the client.
    at: Vec<usize>,
}

#[derive(Debug)]
pub(crate) struct Seen {
    /// Its clients are those whose number is `offset` modulo `stride`.
    pub(crate) offset: u32,
    pub(crate) stride: u32,
    slots: usize,
    /// Next sequence number of each slot of each client.
    next: Vec<u32>,
    /// Sequence numbers that were passed over, by client and stream.
    gaps: HashMap<(u32, u32), Vec<Range<u32>>>,
    pub(crate) absences: Absences,
    /// By gateway.
    pub(crate) counts: Vec<Counts>,
    /// Items that slow clients received for the first time; they are no part of `counts` and `latency`.
    pub(crate) slow_received: u64,
    pub(crate) latency: Latency,
    pub(crate) examples: Vec<String>,
}

/// A frame that had been verified before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Again {
    /// Items that were new to the client.
    pub(crate) fresh: u32,
    pub(crate) text_bytes: usize,
}

/// A frame as it came: its payload, and whether that is compressed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Came<'a> {
    pub(crate) payload: &'a [u8],
    pub(crate) deflated: bool,
    /// Where it would be, were it known.
    mark: Option<Mark>,
}

impl Tracker {
    /// Tracks nothing yet, for clients `offset`, `offset + stride`, ….
    pub(crate) fn new(course: Arc<Course>, offset: u32, stride: u32) -> Self {
        let world = &course.world;
        let clients = world.clients.saturating_sub(offset).div_ceil(stride) as usize;
        let slots = world.slots() as usize;
        let seen = Seen {
            offset,
            stride,
            slots,
            next: vec![0; clients * slots],
            gaps: HashMap::new(),
            absences: Absences::default(),
            counts: vec![Counts::default(); world.gateways as usize],
            slow_received: 0,
            latency: Latency::default(),
            examples: Vec::new(),
        };
        Self { course, seen, once: Once::new(), before: Latency::default(), at: Vec::new() }
    }

    /// Takes a frame whose bytes were verified before. `Err`: they were not, or the client needs a closer look; then
    /// [`Tracker::message`] follows.
    pub(crate) fn again<'a>(
        &mut self,
        client: u32,
        payload: &'a [u8],
        deflated: bool,
        now: u64,
    ) -> Result<Again, Came<'a>> {
        let Self { course, seen, once, at, .. } = self;
        let world = &course.world;
        let gateway = world.gateway(client);
        let unknown = |mark| Came { payload, deflated, mark };
        if !world.is_prompt(client) || seen.absences.is_leaver(client) {
            return Err(unknown(None));
        }
        let frame = once.find(gateway, deflated, payload).map_err(|mark| unknown(Some(mark)))?;
        let begin = (client / seen.stride) as usize * seen.slots;
        at.clear();
        for run in &frame.runs {
            let Some(slot) = world.slot(client, run.stream) else { return Err(unknown(None)) };
            let place = begin + slot as usize;
            // What comes again or late is counted one by one.
            if world.named_room(client, run.stream.target) != run.room || run.first < seen.next[place] {
                return Err(unknown(None));
            }
            at.push(place);
        }
        for (run, &place) in frame.runs.iter().zip(at.iter()) {
            let next = std::mem::replace(&mut seen.next[place], run.last + 1);
            if run.first > next {
                let stream = world.number(run.stream);
                seen.gaps.entry((client, stream)).or_default().push(next..run.first);
            }
        }
        let counts = &mut seen.counts[gateway as usize];
        counts.received += u64::from(frame.items());
        counts.late += frame.received(now, course.late_us, &mut seen.latency);
        Ok(Again { fresh: frame.items(), text_bytes: frame.text_bytes })
    }

    /// Takes a message of a client's gateway. `None`: it is not a push; else how many items were new to a
    /// client that reads as it should.
    pub(crate) fn message(&mut self, client: u32, text: &[u8], came: &Came<'_>, now: u64) -> Option<u32> {
        let Self { course, seen, once, .. } = self;
        let mut draft = came.mark.filter(|mark| mark.again).map(|_| Draft::default());
        let mut fresh = 0;
        for item in scan::items(text, &course.ledger.format)? {
            let new = match item {
                Ok(item) => seen.item(course, client, &item, (now, draft.as_mut())),
                Err(scan::Broken) => {
                    let what = "a push frame that is not JSON as written by gateways";
                    seen.corrupted(course, client, what, now);
                    None
                }
            };
            fresh += u32::from(new == Some(true));
            if let (None, Some(draft)) = (new, &mut draft) {
                draft.spoil();
            }
        }
        if let (Some(mark), Some(draft)) = (came.mark, draft) {
            let gateway = course.world.gateway(client);
            let Seen { latency, counts, .. } = seen;
            once.keep(mark, (gateway, came.deflated, came.payload), (text.len(), draft), |frame| {
                let (gateway, late) = frame.end(course.late_us, latency);
                counts[gateway as usize].late += late;
            });
        }
        Some(fresh)
    }

    /// The times since the last call: intended to received, urgent ones included.
    pub(crate) fn hand_over(&mut self) -> Times {
        let Self { course, seen, once, before, .. } = self;
        let counts = &mut seen.counts;
        once.flush(course.late_us, &mut seen.latency, |gateway, late| counts[gateway as usize].late += late);
        let mut times = seen.latency.total.clone();
        times.add(&seen.latency.total_urgent);
        before.add(&seen.latency);
        seen.latency.clear();
        times
    }

    /// Takes a message that makes no sense at all.
    pub(crate) fn garbage(&mut self, client: u32, what: &str, now: u64) {
        self.seen.corrupted(&self.course, client, what, now);
    }

    /// A client that was greeted has lost its connection, or has closed it.
    pub(crate) fn went(&mut self, client: u32, now: u64, by_itself: bool) {
        self.seen.absences.went(client, now, by_itself);
    }

    /// A client was greeted again.
    pub(crate) fn came(&mut self, client: u32, now: u64) {
        self.seen.absences.came(client, now);
    }

    /// A client asks to leave its room of a column.
    pub(crate) fn leaves(&mut self, client: u32, column: u32, now: u64) {
        self.seen.absences.leaves(client, column, now);
    }

    /// It has left.
    pub(crate) fn left(&mut self, client: u32, now: u64) {
        self.seen.absences.left(client, now);
    }

    /// It has joined it again.
    pub(crate) fn joined(&mut self, client: u32, now: u64) {
        self.seen.absences.joined(client, now);
    }

    /// The end: what was seen.
    pub(crate) fn into_seen(mut self) -> Seen {
        self.hand_over();
        self.seen.latency.add(&self.before);
        self.seen
    }
}

impl Seen {
    /// Takes one item. Whether it is new to a client that reads as it should; `None`: something is wrong with it.
    fn item(
        &mut self,
        course: &Course,
        client: u32,
        item: &scan::Item<'_>,
        (now, draft): (u64, Option<&mut Draft>),
    ) -> Option<bool> {
        let Course { world, ledger, .. } = course;
        let (label, place) = self.label(course, client, item, now)?;
        let stream = world.stream(label.stream);
        let column = world.column(stream.target);
        let slot = world
            .slot(client, stream)
            .filter(|_| column.is_none_or(|column| !self.is_out(course, client, column, label.at)));
        let Some(slot) = slot else {
            self.counts[world.gateway(client) as usize].unexpected += 1;
            self.example(|| {
                format!("{}: item {} came, which is for {:?}", who(course, client), label.item, stream.target)
            });
            return None;
        };
        let room = world.named_room(client, stream.target);
        if item.event != Some(EVENT.as_bytes())
            || item.room.map(|name| room_number(&world.prefix, name)) != room.map(Some)
        {
            self.corrupted(course, client, "an item under a wrong room or event", now);
            return None;
        }
        let fresh = self.place(course, client, slot, label);
        if !world.is_prompt(client) {
            self.slow_received += u64::from(fresh);
            return Some(false);
        }
        let gateway = world.gateway(client);
        let first = ledger.received(place, gateway / course.gateway_step, now);
        if fresh {
            let took = now.saturating_sub(label.at);
            let counts = &mut self.counts[gateway as usize];
            counts.received += 1;
            counts.late += u64::from(took > course.late_us);
            let (total, fanout) = match stream.urgent {
                true => (&mut self.latency.total_urgent, &mut self.latency.fanout_urgent),
                false => (&mut self.latency.total, &mut self.latency.fanout),
            };
            total.record(took);
            fanout.record(now - first);
        }
        if let Some(draft) = draft {
            draft.item(stream, room, label, first);
        }
        Some(fresh)
    }

    fn is_out(&self, course: &Course, client: u32, column: u32, intended: u64) -> bool {
        let before = intended.saturating_sub(course.settle_us);
        self.absences.is_leaver(client) && self.absences.had_left(client, column, before)
    }

    /// What an item says that it is, and its place in the ledger; `None`: it is not what was sent.
    fn label(
        &mut self,
        course: &Course,
        client: u32,
        item: &scan::Item<'_>,
        now: u64,
    ) -> Option<(Label, u32)> {
        let what = match (course.ledger.format.read(item.data), course.verify) {
            (Reading::Whole(label), _) => match course.ledger.place(label) {
                Some(place) => return Some((label, place)),
                None => "an item that was never published so, or not for any client here",
            },
            (Reading::Foreign, Verify::Shared) => {
                self.counts[course.world.gateway(client) as usize].foreign += 1;
                return None;
            }
            (Reading::Foreign, Verify::Strict) => "an item that this run did not publish",
            (Reading::Broken, _) => "an item that is not as it was sent",
        };
        self.corrupted(course, client, what, now);
        None
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

    /// The sequence number after the last that a client has received of the stream at a slot.
    pub(crate) fn next(&self, client: u32, slot: u32) -> u32 {
        self.next[(client / self.stride) as usize * self.slots + slot as usize]
    }

    /// The sequence numbers below `end` that a client has not received of the stream at a slot.
    pub(crate) fn missing(
        &self,
        client: u32,
        slot: u32,
        stream: u32,
        end: u32,
    ) -> impl Iterator<Item = u32> + '_ {
        let next = self.next(client, slot);
        let gaps = self.gaps.get(&(client, stream)).map_or(&[][..], Vec::as_slice);
        gaps.iter().cloned().flatten().chain(next..end)
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
