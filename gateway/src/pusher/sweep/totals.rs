//! What the writes to one bucket did.

use super::Frame;
use crate::connection::Wrote;
use crate::counters::Counters;
use crate::tally::Outcome;

/// What one bucket's writes did, counted here first: a shared counter touched for each of a million writes
/// would cost more than the counting.
#[derive(Debug, Default)]
pub(super) struct Totals {
    calls: u64,
    bytes: u64,
    pub(super) frames: u64,
    /// The frame last counted, and how often since.
    run: Option<(u32, u64)>,
}

impl Totals {
    pub(super) fn add(&mut self, wrote: Wrote, indexes: &[u32], frames: &[Frame]) {
        self.calls += u64::from(wrote.calls);
        self.bytes += wrote.bytes as u64;
        self.frames += wrote.whole as u64;
        for index in &indexes[..wrote.whole] {
            match &mut self.run {
                Some((same, count)) if same == index => *count += 1,
                _ => {
                    self.flush(frames);
                    self.run = Some((*index, 1));
                }
            }
        }
    }

    fn flush(&mut self, frames: &[Frame]) {
        if let Some((index, count)) = self.run.take()
            && let Some(tally) = &frames[index as usize].piece.tally
        {
            tally.add(Outcome::Written, count);
        }
    }

    pub(super) fn end(mut self, frames: &[Frame], counters: &Counters) {
        self.flush(frames);
        counters.writes.inc_by(self.calls);
        counters.write_bytes.inc_by(self.bytes);
        counters.frames.inc_by(self.frames);
    }
}
