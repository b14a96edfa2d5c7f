//! What a running logic node can be told anew: its limits, whose items are kept, whom it believes.
//!
//! Read where it matters, each time: a call that was begun ends as it began, and the next one meets what holds then.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::edge::Edge;
use common::live::Live;
use common::metrics::Metrics;
use common::reloads::Reloads;
use common::slow::Slow;
use tokio::sync::watch;

use crate::api::STAGES;
use crate::engine::rules::HistoryRules;
use crate::limits::Limits;
use crate::settings::Settings;

/// Of the [`Settings`], what may change while a node runs.
#[derive(Debug, Clone)]
pub(crate) struct Tune {
    pub(crate) limits: Limits,
    pub(crate) edge: Arc<Edge>,
    pub(crate) drain: Duration,
    pub(crate) history: Arc<HistoryRules>,
    pub(crate) history_bytes_max: usize,
    pub(crate) slow_push: Duration,
}

impl From<&Settings> for Tune {
    fn from(settings: &Settings) -> Self {
        Self {
            limits: settings.limits.clone(),
            edge: Arc::new(settings.edge.clone()),
            drain: settings.drain,
            history: Arc::new(settings.history.clone()),
            history_bytes_max: settings.history_bytes_max,
            slow_push: settings.slow_push,
        }
    }
}

/// Tells a logic node its settings anew, while it runs or before. Clones are the same.
#[derive(Debug, Clone)]
pub struct Tuner {
    pub(crate) tune: Arc<Live<Tune>>,
    /// Told when other rules hold: gateways are to hear of them.
    pub(crate) rules: watch::Sender<()>,
    memory: Arc<AtomicUsize>,
    pub(crate) slow: Slow,
    /// What became of it, for operators.
    pub reloads: Reloads,
}

impl Tuner {
    /// `memory`: where the store reads how much it may take.
    pub(crate) fn new(settings: &Settings, memory: Arc<AtomicUsize>, metrics: &Metrics) -> Self {
        let tune = Arc::new(Live::new(settings.into()));
        let slow = Slow::new(metrics, &STAGES);
        slow.set_after(settings.slow_push);
        Self { tune, rules: watch::Sender::new(()), memory, slow, reloads: Reloads::new(metrics) }
    }

    /// From now on, what can change of these settings holds. The rest of them is passed over.
    pub fn tune(&self, settings: &Settings) {
        let are_other_rules = *self.tune.now().history != settings.history;
        let tune = Tune::from(settings);
        self.slow.set_after(tune.slow_push);
        self.memory.store(tune.history_bytes_max, Ordering::Relaxed);
        self.tune.set(tune);
        if are_other_rules {
            self.rules.send_replace(());
        }
    }

    /// All that can change of these settings, for comparing: what differs in it is heard by [`Tuner::tune`].
    #[must_use]
    pub fn changing(settings: &Settings) -> String {
        format!("{:?}", Tune::from(settings))
    }
}
