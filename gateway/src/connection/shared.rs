//! What all connections of a gateway share: where they count, who empties their outboxes, what bounds them, and a clock.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use common::live::Live;
use common::tasks::Tasks;

use crate::counters::Counters;
use crate::tune::Tune;

/// What all connections of a gateway share when they write.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) counters: Arc<Counters>,
    pub(crate) tasks: Tasks,
    pub(crate) tune: Arc<Live<Tune>>,
    pub(crate) started: Instant,
    pub(crate) instance: common::ids::Instance,
}

impl Shared {
    /// Whole seconds since the gateway started, counted from one: the clock of silence. Never zero, so that a time
    /// that may not be there takes no more room.
    pub(crate) fn seconds(&self) -> NonZeroU32 {
        NonZeroU32::MIN.saturating_add(self.started.elapsed().as_secs() as u32)
    }
}

#[cfg(test)]
impl Shared {
    /// What connections of a test share: counters of their own, and an outbox of 1,000 bytes.
    pub(crate) fn test() -> Self {
        Self {
            counters: Arc::new(Counters::new(&common::metrics::Metrics::new("test"))),
            tasks: Tasks::new(common::shutdown::Shutdown::new()),
            tune: Tune::live(&crate::Settings { outbox_bytes_max: 1000, ..Default::default() }),
            started: Instant::now(),
            instance: common::ids::Instance(1),
        }
    }
}
