//! One walk over the connections: batches become frames, each bucket gathers who is due what, and every
//! connection gets all its frames in one write.
//!
//! A bucket's read lock is held to gather, never to write, and for a bounded chunk only: first the numbers of
//! the slots that are due something are noted, then handles are taken and written to, a few hundred at a time.
//! Connects and joins wait microseconds, however many connections a bucket has. Who leaves meanwhile is passed
//! over, and so is who came since, even into a slot that was noted: nobody is written to twice, nobody is missed.
//!
//! Nor is anybody written to who stays but has left the group, or become another user: each bucket counts such
//! departures, and a write that finds the count changed, under the lock that the reply to the command is written with,
//! is looked up again. So the reply says the truth: nothing of the group follows it.
//!
//! Frames of a history pass over members that are brought their items otherwise ([`span`]).

mod frames;
mod span;
mod totals;

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use common::names::Kind;

use crate::bucket::{BUCKETS, Bucket, Local, Slot};
use crate::connection::{Connection, Piece};
use crate::counters::Counters;
use crate::deflate::Compressor;
use crate::directory::Group;
use crate::frame;
use crate::history::Track;
use crate::merger::{Batch, Filter, Target};
use crate::registry::{Registry, bits};
use crate::tally::Tally;
use frames::Frame;
use span::Span;
use totals::Totals;

/// Connections whose handles are taken under one lock.
pub(super) const CHUNK: usize = 256;

/// Slots noted under one lock, beyond which the next target's are noted under the next: copying 16,384 numbers
/// takes about 10 µs.
const NOTED_MAX: usize = 16_384;

/// Targets looked up under one lock, if they have few members.
const TARGETS_MAX: usize = 256;

/// Someone in a bucket is due the frames `first..end`.
#[derive(Debug)]
struct Entry {
    who: Who,
    first: u32,
    end: u32,
}

#[derive(Debug)]
enum Who {
    All,
    Members(Arc<Group>),
    One(Local),
}

impl Who {
    /// Whether a connection that was among them still is.
    fn has(&self, slot: &Slot) -> bool {
        match self {
            Self::All | Self::One(_) => true,
            Self::Members(group) => {
                slot.memberships.iter().any(|membership| Arc::ptr_eq(&membership.group, group))
            }
        }
    }
}

/// The frames of one tick and who is due them.
#[derive(Debug)]
pub(super) struct Sweep {
    frames: Vec<Frame>,
    /// Per bucket.
    entries: Vec<Vec<Entry>>,
    /// The buckets that have entries, beginning at a different one each time.
    buckets: Vec<usize>,
    /// Connections that are due something, a connection of several targets counted for each.
    reach: u64,
    /// Some of the frames are of histories.
    has_spans: bool,
    /// The histories that something of is in it.
    tracks: Vec<Arc<Track>>,
    counters: Arc<Counters>,
    compressor: Arc<Compressor>,
}

/// What a worker keeps between buckets, so that a sweep allocates nothing per connection.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Slot and entry, in one number to sort by.
    dues: Vec<u64>,
    /// Those whose handles are taken, or were last.
    chunk: Range<usize>,
    jobs: Vec<Job>,
    /// Indexes of frames, one run for each job.
    frames: Vec<u32>,
}

/// A connection, where what is its own ends in `frames`, and where in `dues`.
#[derive(Debug)]
struct Job {
    connection: Arc<Connection>,
    frames_end: u32,
    dues_end: usize,
}

/// A moment in the life of a bucket.
#[derive(Debug, Clone, Copy)]
struct Mark {
    births: u32,
    departures: u32,
}

impl Mark {
    fn of(number: usize, registry: &Registry, bucket: &Bucket) -> Self {
        Self { births: bucket.births(), departures: registry.departures(number) }
    }
}

impl Sweep {
    /// Encodes each segment once and looks up which buckets have someone for it.
    pub(super) fn plan(
        batches: Vec<Batch>,
        now: Instant,
        counters: &Arc<Counters>,
        compressor: &Arc<Compressor>,
    ) -> Arc<Self> {
        let mut sweep = Self {
            frames: Vec::with_capacity(batches.len()),
            entries: (0..BUCKETS).map(|_| Vec::new()).collect(),
            buckets: Vec::new(),
            reach: 0,
            has_spans: false,
            tracks: Vec::new(),
            counters: counters.clone(),
            compressor: compressor.clone(),
        };
        for batch in batches {
            let first = sweep.frames.len() as u32;
            sweep.tracks.extend(batch.track().cloned());
            for segment in batch.segments {
                sweep.encode(segment, &batch.target, now);
            }
            let end = sweep.frames.len() as u32;
            if first < end {
                sweep.address(&batch.target, first, end);
            }
        }
        sweep.has_spans = sweep.frames.iter().any(|frame| frame.span.is_some());
        counters.frames_encoded.inc_by(sweep.frames.len() as u64);
        let start = now.elapsed().subsec_nanos() as usize % BUCKETS;
        sweep.buckets = (0..BUCKETS)
            .map(|number| (number + start) % BUCKETS)
            .filter(|number| !sweep.entries[*number].is_empty())
            .collect();
        Arc::new(sweep)
    }

    fn encode(&mut self, segment: crate::merger::Segment, target: &Target, now: Instant) {
        let (room, readers) = match target {
            Target::Group(group) if group.kind == Kind::Room => (Some(group), group.members()),
            Target::Group(group) => (None, group.members()),
            Target::All => (None, u64::MAX),
            Target::Client(_) => (None, 1),
        };
        let mut bodies = Vec::with_capacity(segment.items.len());
        let mut parts = Vec::with_capacity(segment.items.len());
        let mut offsets = Vec::new();
        let mut span = segment.life.map(|life| Span::begin(*life, &segment.items));
        if let Some(reset) = span.as_ref().and_then(Span::reset) {
            let room = room.cloned();
            self.frames.push(Frame {
                piece: Piece { bytes: reset.0, tally: None, room },
                twins: Default::default(),
                readers,
                filter: Filter::default(),
                span: Some(Box::new(reset.1)),
            });
        }
        for item in segment.items.into_iter().flatten() {
            if item.expires.is_some_and(|expires| expires <= now) {
                item.part.expired(&self.counters);
            } else {
                offsets.extend(item.kept.map(|kept| kept.at.offset));
                bodies.push(item.body);
                parts.push(item.part);
            }
        }
        if bodies.is_empty() {
            return;
        }
        self.counters.frame_items.observe(bodies.len() as f64);
        let bytes = match &mut span {
            None => frame::push(room.map(|group| &*group.name), bodies.iter()),
            Some(span) => span.encode(offsets, bodies),
        };
        let tally = Tally::new(parts, self.counters.clone(), now);
        self.frames.push(Frame {
            piece: Piece { bytes, tally: Some(tally), room: room.cloned() },
            twins: Default::default(),
            readers,
            filter: segment.filter,
            span: span.map(Box::new),
        });
    }

    fn address(&mut self, target: &Target, first: u32, end: u32) {
        match target {
            Target::All => {
                self.reach = u64::MAX;
                for bucket in &mut self.entries {
                    bucket.push(Entry { who: Who::All, first, end });
                }
            }
            Target::Group(group) => {
                self.reach = self.reach.saturating_add(group.members());
                for number in bits(group.buckets()) {
                    self.entries[number].push(Entry { who: Who::Members(group.clone()), first, end });
                }
            }
            Target::Client(local) => {
                self.reach = self.reach.saturating_add(1);
                self.entries[local.bucket()].push(Entry { who: Who::One(*local), first, end });
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn buckets(&self) -> &[usize] {
        &self.buckets
    }

    /// About how many writes there are to make.
    pub(super) fn reach(&self) -> u64 {
        self.reach
    }

    /// Does all buckets on this thread.
    pub(super) fn run_whole(&self, registry: &Registry) {
        let mut scratch = Scratch::default();
        for bucket in &self.buckets {
            self.run(*bucket, registry, &mut scratch, || {});
        }
    }

    /// Does one bucket: notes who is due something, then takes handles and writes, chunk by chunk. `between` two
    /// chunks no lock is held.
    pub(super) fn run(
        &self,
        number: usize,
        registry: &Registry,
        scratch: &mut Scratch,
        mut between: impl FnMut(),
    ) {
        let mut totals = Totals::default();
        let noted = self.note(number, registry, scratch);
        while scratch.chunk.end < scratch.dues.len() {
            let gathered = self.gather(number, registry, noted, scratch);
            let still = || registry.departures(number) == gathered.departures;
            self.write(scratch, still, &mut totals);
            if scratch.chunk.end < scratch.dues.len() {
                between();
            }
        }
        totals.end(&self.frames, &self.counters);
    }

    /// Notes who in a bucket is due what, as slot and entry in one number, sorted. Returns the mark of the time
    /// at which it began: who came later is due nothing of this sweep.
    fn note(&self, number: usize, registry: &Registry, scratch: &mut Scratch) -> Mark {
        let Scratch { dues, chunk, .. } = scratch;
        dues.clear();
        *chunk = 0..0;
        let noted = Mark::of(number, registry, &registry.bucket(number).read());
        let mut entries = self.entries[number].iter().enumerate().peekable();
        while entries.peek().is_some() {
            let bucket = registry.bucket(number).read();
            let noted_max = dues.len() + NOTED_MAX;
            for (index, entry) in entries.by_ref().take(TARGETS_MAX) {
                let due = |slot: u32| u64::from(slot) << 32 | index as u64;
                match &entry.who {
                    Who::All => dues.extend((0..bucket.slots.len() as u32).map(due)),
                    Who::Members(group) => dues.extend(bucket.members(group).iter().map(|slot| due(*slot))),
                    Who::One(local) if bucket.slot(*local).is_some() => dues.push(due(local.slot())),
                    Who::One(_) => {}
                }
                if dues.len() >= noted_max {
                    break;
                }
            }
        }
        if self.entries[number].len() > 1 {
            dues.sort_unstable();
        }
        noted
    }

    /// Takes the handles of the next connections, each once, with its frames in the order of the plan. Returns the
    /// mark of the time at which they were due these.
    fn gather(&self, number: usize, registry: &Registry, noted: Mark, scratch: &mut Scratch) -> Mark {
        let bucket = registry.bucket(number).read();
        let now = Mark::of(number, registry, &bucket);
        let some_left = now.departures != noted.departures;
        let Scratch { dues, chunk, jobs, frames } = scratch;
        *chunk = chunk.end..chunk.end;
        for same in dues[chunk.end..].chunk_by(|a, b| a >> 32 == b >> 32).take(CHUNK) {
            chunk.end += same.len();
            let Some(slot) = bucket.slot_since((same[0] >> 32) as u32, noted.births) else { continue };
            let Some(connection) = &slot.connection else { continue };
            let before = frames.len();
            for due in same {
                let entry = &self.entries[number][(due & 0xffff_ffff) as usize];
                if some_left && !entry.who.has(slot) {
                    continue;
                }
                for index in entry.first..entry.end {
                    let frame = &self.frames[index as usize];
                    let is_due = |span: &Span| span.is_due(connection.local);
                    if frame.filter.admits(connection.local, slot.app)
                        && frame.span.as_deref().is_none_or(is_due)
                    {
                        frames.push(index);
                    }
                }
            }
            if frames.len() > before {
                let (connection, frames_end) = (connection.clone(), frames.len() as u32);
                jobs.push(Job { connection, frames_end, dues_end: chunk.end });
            }
        }
        now
    }

    /// Writes to those whose handles were taken, while they are `still` due what was found; the rest is to be done
    /// again.
    fn write(&self, scratch: &mut Scratch, still: impl Fn() -> bool, totals: &mut Totals) {
        let (mut start, mut done) = (0, scratch.chunk.start);
        let mut pieces: Vec<&Piece> = Vec::with_capacity(8);
        for Job { connection, frames_end, dues_end } in scratch.jobs.drain(..) {
            pieces.clear();
            let indexes = &scratch.frames[start..frames_end as usize];
            let due = indexes.iter().map(|index| &self.frames[*index as usize]);
            pieces.extend(due.map(|frame| frame.piece(&connection, &self.compressor)));
            let cut = self.cut(connection.local, indexes);
            let wrote = if cut.is_empty() {
                connection.send_if(&pieces, &still)
            } else {
                let mut pieces = pieces.clone();
                cut.iter().for_each(|(at, piece)| pieces[*at] = &**piece);
                connection.send_if(&pieces, &still)
            };
            let Some(wrote) = wrote else {
                scratch.chunk.end = done;
                break;
            };
            totals.add(wrote, indexes, &self.frames);
            (start, done) = (frames_end as usize, dues_end);
        }
        scratch.frames.clear();
    }

    /// The frames, by their place among those due, of which a connection is due a part only.
    fn cut(&self, local: Local, indexes: &[u32]) -> Vec<(usize, Arc<Piece>)> {
        if !self.has_spans {
            return Vec::new();
        }
        let part = |(at, index): (usize, &u32)| {
            let frame = &self.frames[*index as usize];
            Some((at, frame.span.as_deref()?.cut(local, &frame.piece)?))
        };
        // Nothing is put into it, mostly, and then it has no memory.
        indexes.iter().enumerate().filter_map(part).collect()
    }

    /// All connections have been passed: what became of each frame is told.
    pub(super) fn seal(&self) {
        self.tracks.iter().for_each(|track| track.sweep_ends());
        self.frames.iter().filter_map(|frame| frame.piece.tally.as_ref()).for_each(|tally| tally.seal());
    }
}

#[cfg(test)]
mod resuming;
#[cfg(test)]
pub(super) mod tests;
