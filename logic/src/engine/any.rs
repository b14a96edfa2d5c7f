//! The engine that a node was told to use.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use common::link::message::Mark;
use common::metrics::Metrics;

use super::durable::Durable;
use super::embedded::Embedded;
use super::redis::Redis;
use super::redis::counters::EngineCounters;
use super::{
    Append, Appended, Away, Changes, Claim, Engine, Holdings, Moment, Most, NotAppended, Once, Page, Placed,
    Since, Whose,
};
use crate::settings::{EngineChoice, Settings};

/// One of those that there are.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a process has one")]
pub(crate) enum Any {
    /// In this process.
    Embedded(Embedded),
    /// In this process and on its disk.
    Durable(Durable),
    /// In Redis, with other nodes.
    Redis(Arc<Redis>),
}

/// Asks the one that it is.
macro_rules! each {
    ($any:expr, $engine:ident => $ask:expr) => {
        match $any {
            Any::Embedded($engine) => $ask,
            Any::Durable($engine) => $ask,
            Any::Redis($engine) => $ask,
        }
    };
}

impl Any {
    /// The one that a node's settings name.
    ///
    /// # Errors
    /// Why the directory of data cannot be used.
    pub(crate) fn open(settings: &Settings, metrics: &Metrics) -> io::Result<Self> {
        let bytes_max = settings.history_bytes_max;
        Ok(match (&settings.engine, &settings.data_dir) {
            (EngineChoice::Redis(redis), _) => {
                let counters = EngineCounters::new(metrics);
                Self::Redis(Arc::new(Redis::new(redis.clone(), &settings.name, counters)))
            }
            (EngineChoice::Embedded, Some(dir)) => Self::Durable(Durable::open(dir, bytes_max)?),
            (EngineChoice::Embedded, None) => Self::Embedded(Embedded::new(bytes_max)),
        })
    }

    /// How many bytes histories may take of memory, to be changed; Redis has a setting of its own.
    pub(crate) fn bytes_max(&self) -> Arc<AtomicUsize> {
        match self {
            Self::Embedded(embedded) => embedded.bytes_max(),
            Self::Durable(durable) => durable.bytes_max(),
            Self::Redis(_) => Arc::default(),
        }
    }

    /// What kind of store it is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Embedded(_) => "embedded",
            Self::Durable(_) => "embedded, with a disk",
            Self::Redis(_) => "redis",
        }
    }

    /// Counts up with each run of the node; 0: nobody has counted yet.
    pub(crate) fn fence(&self) -> u64 {
        match self {
            Self::Embedded(embedded) => embedded.fence(),
            Self::Durable(durable) => durable.fence(),
            Self::Redis(redis) => redis.fence(),
        }
    }

    /// The one that is looked after by a task of its own.
    pub(crate) fn redis(&self) -> Option<&Arc<Redis>> {
        match self {
            Self::Embedded(_) | Self::Durable(_) => None,
            Self::Redis(redis) => Some(redis),
        }
    }
}

impl Engine for Any {
    async fn append<T: Send>(
        &self,
        appends: &[Append<'_>],
        once: Option<Once<'_>>,
        now: Moment,
        send: impl FnOnce(Placed<'_>) -> T + Send,
    ) -> Result<Appended<T>, NotAppended> {
        each!(self, engine => engine.append(appends, once, now, send).await)
    }

    async fn read(
        &self,
        whose: Whose<'_>,
        since: Option<Since>,
        most: Most,
        now: Moment,
    ) -> Result<Page, Away> {
        each!(self, engine => engine.read(whose, since, most, now).await)
    }

    async fn changed(&self, after: &[u64], most: usize) -> Result<Changes, Away> {
        each!(self, engine => engine.changed(after, most).await)
    }

    async fn claim(&self, once: Once<'_>) -> Result<Claim, Away> {
        each!(self, engine => engine.claim(once).await)
    }

    async fn keep_answer(&self, once: Once<'_>, answer: Bytes) {
        each!(self, engine => engine.keep_answer(once, answer).await);
    }

    async fn answer(&self, once: Once<'_>) -> Option<Bytes> {
        each!(self, engine => engine.answer(once).await)
    }

    fn witness(&self, marks: &[Mark]) {
        each!(self, engine => engine.witness(marks));
    }

    fn identity(&self) -> u64 {
        each!(self, engine => engine.identity())
    }

    fn health(&self) -> Result<(), String> {
        each!(self, engine => engine.health())
    }

    async fn tidy(&self, now: Moment) {
        each!(self, engine => engine.tidy(now).await);
    }

    fn holdings(&self) -> Holdings {
        each!(self, engine => engine.holdings())
    }
}
