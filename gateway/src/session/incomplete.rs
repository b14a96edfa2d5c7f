//! What incomplete messages of all clients may take together. One client is bounded by what a message may have; a crowd
//! of them, each with a message that lacks its last byte, would be the end of the node.

use std::sync::Arc;

use crate::counters::Counters;

/// Memory for incomplete messages of all clients: a thousand of the longest at a time.
const BYTES_MAX: i64 = 64 * 1024 * 1024;

/// So much of one client's is neither counted nor refused: a command that came in two segments is heard in any crowd.
/// Memory usage will be 20,000 * 4 KiB = 80 MiB if as many clients as one process can have do their worst.
const BYTES_FREE: usize = 4 * 1024;

/// One client's part, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    counters: Arc<Counters>,
    bytes: i64,
}

impl Held {
    /// Notes that a client's incomplete message takes so many bytes now. Whether there is room for it.
    pub(super) fn note(held: &mut Option<Self>, bytes: usize, counters: &Arc<Counters>) -> bool {
        if bytes <= BYTES_FREE {
            *held = None;
            return true;
        }
        let held = held.get_or_insert_with(|| Self { counters: counters.clone(), bytes: 0 });
        let more = i64::try_from(bytes).unwrap_or(i64::MAX) - held.bytes;
        held.bytes += more;
        counters.incomplete_bytes.inc_by(more) + more <= BYTES_MAX
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.counters.incomplete_bytes.dec_by(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use common::metrics::Metrics;

    use super::*;

    #[test]
    fn a_crowd_is_bounded_and_small_parts_are_always_heard() {
        let counters = Arc::new(Counters::new(&Metrics::new("test")));
        let note = |held: &mut Option<Held>, bytes| Held::note(held, bytes, &counters);
        let (mut one, mut small) = (None, None);
        assert!(note(&mut one, 8 * 1024) && note(&mut one, 64 * 1024));
        assert_eq!(counters.incomplete_bytes.get(), 64 * 1024);
        let mut crowd: Vec<_> = (0..1023).map(|_| None).collect();
        assert!(crowd.iter_mut().all(|held| note(held, 64 * 1024)));
        let mut late = None;
        assert!(!note(&mut late, BYTES_FREE + 1) && note(&mut small, BYTES_FREE));
        drop((one, late, crowd));
        assert_eq!(counters.incomplete_bytes.get(), 0, "given back");
        assert!(note(&mut small, 64 * 1024));
    }
}
