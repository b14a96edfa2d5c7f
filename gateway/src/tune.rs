//! What a running gateway can be told anew: its limits, times, and whom it believes.
//!
//! Read where it matters, each time: who is there already stays, and who comes next meets what holds then.

use std::sync::Arc;
use std::time::Duration;

use common::edge::Edge;
use common::limits::addresses::Each;
use common::live::Live;
use common::metrics::Metrics;
use common::reloads::Reloads;
use common::slow::Slow;

use crate::admission::Admission;
use crate::limits::Limits;
use crate::settings::{self, Settings};
use crate::tally::STAGES;

/// Of the [`Settings`], what may change while a gateway runs.
#[derive(Debug, Clone)]
pub(crate) struct Tune {
    pub(crate) max_connections: usize,
    pub(crate) limits: Limits,
    /// Its keys and whether it is open never change by this: keys follow their files.
    pub(crate) admission: Admission,
    pub(crate) edge: Arc<Edge>,
    pub(crate) drain: Duration,
    pub(crate) slow: settings::Slow,
    pub(crate) silence_max: Duration,
    pub(crate) message_time_max: Duration,
    pub(crate) handshake_time_max: Duration,
    pub(crate) connection_age_max: Option<Duration>,
    pub(crate) outbox_bytes_max: usize,
    pub(crate) merger_bytes_max: usize,
    pub(crate) slow_push: Duration,
}

impl From<&Settings> for Tune {
    fn from(settings: &Settings) -> Self {
        Self {
            max_connections: settings.max_connections,
            limits: settings.limits.clone(),
            admission: settings.admission.clone(),
            edge: Arc::new(settings.edge.clone()),
            drain: settings.drain,
            slow: settings.slow,
            silence_max: settings.silence_max,
            message_time_max: settings.message_time_max,
            handshake_time_max: settings.handshake_time_max,
            connection_age_max: settings.connection_age_max,
            outbox_bytes_max: settings.outbox_bytes_max,
            merger_bytes_max: settings.merger_bytes_max,
            slow_push: settings.slow_push,
        }
    }
}

impl Tune {
    /// What one address may.
    pub(crate) fn each_address(&self) -> Each {
        Each { connections: self.limits.connections_per_ip, rate: self.limits.handshakes_per_ip }
    }
}

/// Tells a gateway its settings anew, while it runs or before. Clones are the same.
#[derive(Debug, Clone)]
pub struct Tuner {
    pub(crate) tune: Arc<Live<Tune>>,
    pub(crate) slow: Slow,
    /// The window never changes while a gateway runs, and what waits for it is not slow.
    window: Duration,
    /// What became of it, for operators.
    pub reloads: Reloads,
}

impl Tuner {
    pub(crate) fn new(settings: &Settings, metrics: &Metrics) -> Self {
        let (slow, window) = (Slow::new(metrics, &STAGES), settings.window);
        slow.set_after(window + settings.slow_push);
        Self { tune: Arc::new(Live::new(settings.into())), slow, window, reloads: Reloads::new(metrics) }
    }

    /// From now on, what can change of these settings holds. The rest of them is passed over.
    pub fn tune(&self, settings: &Settings) {
        let kept = self.tune.keep();
        let mut tune = Tune::from(settings);
        tune.admission.tokens.clone_from(&kept.admission.tokens);
        tune.admission.open = kept.admission.open;
        self.slow.set_after(self.window + tune.slow_push);
        self.tune.set(tune);
    }

    /// All that can change of these settings, for comparing: what differs in it is heard by [`Tuner::tune`].
    #[must_use]
    pub fn changing(settings: &Settings) -> String {
        let tune = Tune::from(settings);
        let Admission { origins, rooms, .. } = &tune.admission;
        format!("{origins:?} {rooms:?} {:?}", Tune { admission: Admission::default(), ..tune.clone() })
    }
}

#[cfg(test)]
impl Tune {
    /// These settings, for a part under test.
    pub(crate) fn live(settings: &Settings) -> Arc<Live<Self>> {
        Arc::new(Live::new(settings.into()))
    }
}

#[cfg(test)]
mod tests {
    use common::patterns::Pattern;

    use super::*;

    #[test]
    fn patterns_change_and_keys_stay() {
        let before =
            Settings { admission: Admission { open: true, ..Admission::default() }, ..Settings::default() };
        let tuner = Tuner::new(&before, &Metrics::new("test"));
        let rooms = vec![Pattern::parse("lobby.*").unwrap()];
        let after = Settings {
            admission: Admission { rooms, ..Admission::default() },
            outbox_bytes_max: 1,
            ..Settings::default()
        };
        assert_ne!(Tuner::changing(&before), Tuner::changing(&after));
        tuner.tune(&after);
        let now = tuner.tune.keep();
        assert!(now.admission.open, "whether tokens are needed is not decided anew");
        assert_eq!((now.admission.rooms.len(), now.outbox_bytes_max), (1, 1));
    }
}
