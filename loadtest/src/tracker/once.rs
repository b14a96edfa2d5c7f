//! Frames that were verified once: the same bytes for the next client need no second reading.
//!
//! A gateway writes the same frame to all members of a room. What can be said of the bytes alone (they are JSON, each
//! item is whole, was published so, and stands in the order of its stream) is said once; what depends on the client
//! (whom its streams concern, where it stands in them) is asked for each, a stream of the frame at a time. Bytes are
//! compared one by one, so a frame that differs anywhere is read as any other.
//!
//! A frame is kept when it comes a second time, so that what comes once costs a look.

use crate::latency::Latency;
use crate::payload::Label;
use crate::world::Stream;

/// Frames kept at a time, each in the place that its bytes name: with more rooms than this the places are fought for.
const PLACES: usize = 512;

/// Bytes of all frames kept by one event loop, at most, and of one of them.
const BYTES_MAX: usize = 4 * 1024 * 1024;
const FRAME_BYTES_MAX: usize = 256 * 1024;

/// Times of one frame that lie closer together are counted at the last of them, µs: less than the thousandth part that
/// a histogram keeps of anything beyond 100 ms.
const CLOSE_US: u64 = 100;

/// Items of one stream in a frame, one after the other in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) stream: Stream,
    /// The room that the items name.
    pub(super) room: Option<u32>,
    /// First and last sequence number.
    pub(super) first: u32,
    pub(super) last: u32,
}

/// What was found in a frame while it was read.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) runs: Vec<Run>,
    items: Vec<Arrived>,
    /// It is not what may be kept.
    spoilt: bool,
}

/// One item of a frame.
#[derive(Debug, Clone, Copy)]
struct Arrived {
    intended: u64,
    /// When the first client of the gateway had it.
    first: u64,
    urgent: bool,
}

impl Draft {
    /// Notes an item that is as it should be.
    pub(super) fn item(&mut self, stream: Stream, room: Option<u32>, label: Label, first: u64) {
        self.items.push(Arrived { intended: label.at, first, urgent: stream.urgent });
        let mine = self.runs.iter_mut().find(|run| run.stream == stream);
        match mine {
            None => self.runs.push(Run { stream, room, first: label.seq, last: label.seq }),
            Some(run) if run.last + 1 == label.seq && run.room == room => run.last = label.seq,
            Some(_) => self.spoilt = true,
        }
    }

    /// Notes that something is wrong with it, or only fine for this client.
    pub(super) fn spoil(&mut self) {
        self.spoilt = true;
    }
}

/// A frame that was verified.
#[derive(Debug)]
pub(super) struct Verified {
    gateway: u32,
    deflated: bool,
    bytes: Box<[u8]>,
    pub(super) text_bytes: usize,
    pub(super) runs: Vec<Run>,
    items: Vec<Arrived>,
    /// Items that first came together: (when, how many, urgent).
    firsts: Vec<(u64, u64, bool)>,
    /// Receipts that are not in the histograms yet, the first and the last of them.
    pending: u64,
    since: u64,
    until: u64,
}

impl Verified {
    pub(super) fn items(&self) -> u32 {
        self.items.len() as u32
    }

    /// Counts a receipt. Gives how many items of earlier ones were late.
    pub(super) fn received(&mut self, now: u64, late_us: u64, latency: &mut Latency) -> u64 {
        let late = if self.pending > 0 && now.saturating_sub(self.since) > CLOSE_US {
            self.flush(late_us, latency)
        } else {
            0
        };
        if self.pending == 0 {
            self.since = now;
        }
        self.pending += 1;
        self.until = now;
        for &(first, count, urgent) in &self.firsts {
            let fanout = if urgent { &mut latency.fanout_urgent } else { &mut latency.fanout };
            fanout.record_n(now.saturating_sub(first), count);
        }
        late
    }

    /// Puts what is pending into the histograms. Gives how many items were late.
    fn flush(&mut self, late_us: u64, latency: &mut Latency) -> u64 {
        let count = std::mem::take(&mut self.pending);
        if count == 0 {
            return 0;
        }
        let mut late = 0;
        for item in &self.items {
            let total = if item.urgent { &mut latency.total_urgent } else { &mut latency.total };
            let took = self.until.saturating_sub(item.intended);
            total.record_n(took, count);
            late += if took > late_us { count } else { 0 };
        }
        late
    }
}

/// A place for a frame.
#[derive(Debug, Default)]
struct Place {
    /// Of the bytes that came here last.
    mark: u64,
    frame: Option<Box<Verified>>,
}

/// The frames of one event loop.
#[derive(Debug)]
pub(super) struct Once {
    places: Vec<Place>,
    bytes: usize,
    /// Where room is made next.
    hand: usize,
}

/// Where a frame belongs, and whether it has been here before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    at: usize,
    mark: u64,
    /// It comes a second time: to be kept.
    pub(super) again: bool,
}

impl Once {
    pub(super) fn new() -> Self {
        Self { places: (0..PLACES).map(|_| Place::default()).collect(), bytes: 0, hand: 0 }
    }

    /// The frame of these bytes, if it is here; else where it would be.
    pub(super) fn find(&mut self, gateway: u32, deflated: bool, bytes: &[u8]) -> Result<&mut Verified, Mark> {
        let mark = mark(gateway, deflated, bytes);
        let at = (mark >> 32) as usize % PLACES;
        let place = &mut self.places[at];
        let again = place.mark == mark;
        place.mark = mark;
        let same = |frame: &&mut Box<Verified>| {
            frame.gateway == gateway && frame.deflated == deflated && *frame.bytes == *bytes
        };
        match place.frame.as_mut().filter(|frame| again && same(frame)) {
            Some(frame) => Ok(frame),
            None => Err(Mark { at, mark, again: again && bytes.len() <= FRAME_BYTES_MAX }),
        }
    }

    /// Keeps a frame, in place of others. Gives how many items of those were late, by gateway.
    pub(super) fn keep(
        &mut self,
        mark: Mark,
        (gateway, deflated, bytes): (u32, bool, &[u8]),
        (text_bytes, draft): (usize, Draft),
        mut drop: impl FnMut(&mut Verified),
    ) {
        let Draft { runs, items, spoilt } = draft;
        if spoilt || items.is_empty() || self.places[mark.at].mark != mark.mark {
            return;
        }
        let mut at = mark.at;
        while let Some(mut frame) = self.places[at].frame.take() {
            drop(&mut frame);
            self.bytes -= frame.bytes.len();
        }
        while self.bytes + bytes.len() > BYTES_MAX {
            at = self.hand;
            self.hand = (self.hand + 1) % PLACES;
            if let Some(mut frame) = self.places[at].frame.take() {
                drop(&mut frame);
                self.bytes -= frame.bytes.len();
            }
        }
        let mut firsts: Vec<(u64, u64, bool)> = Vec::new();
        for item in &items {
            match firsts.iter_mut().find(|(first, _, urgent)| (*first, *urgent) == (item.first, item.urgent))
            {
                Some((_, count, _)) => *count += 1,
                None => firsts.push((item.first, 1, item.urgent)),
            }
        }
        self.bytes += bytes.len();
        let (bytes, pending) = (bytes.into(), 0);
        let frame = Verified {
            gateway,
            deflated,
            bytes,
            text_bytes,
            runs,
            items,
            firsts,
            pending,
            since: 0,
            until: 0,
        };
        self.places[mark.at].frame = Some(Box::new(frame));
    }

    /// Puts everything that is pending into the histograms; `late` takes how many items were late, by gateway.
    pub(super) fn flush(&mut self, late_us: u64, latency: &mut Latency, mut late: impl FnMut(u32, u64)) {
        for frame in self.places.iter_mut().filter_map(|place| place.frame.as_mut()) {
            if frame.pending > 0 {
                late(frame.gateway, frame.flush(late_us, latency));
            }
        }
    }
}

impl Verified {
    /// The end of a frame that is kept no longer.
    pub(super) fn end(&mut self, late_us: u64, latency: &mut Latency) -> (u32, u64) {
        (self.gateway, self.flush(late_us, latency))
    }
}

/// A number that frames with other beginnings, ends or lengths do not share, most likely. The beginning holds the room
/// and the first item's number.
fn mark(gateway: u32, deflated: bool, bytes: &[u8]) -> u64 {
    let head = &bytes[..bytes.len().min(192)];
    let tail = &bytes[bytes.len().saturating_sub(32)..];
    let mut sum = bytes.len() as u64 ^ u64::from(gateway) << 32 ^ u64::from(deflated) << 63;
    for part in [head, tail] {
        let (words, rest) = part.as_chunks::<8>();
        for word in words {
            sum = (sum ^ u64::from_le_bytes(*word)).wrapping_mul(0x9fb2_1c65_1e98_df25).rotate_left(29);
        }
        for byte in rest {
            sum = (sum ^ u64::from(*byte)).wrapping_mul(0x9fb2_1c65_1e98_df25);
        }
    }
    crate::world::mix(sum)
}
