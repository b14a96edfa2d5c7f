//! The engine that a node was told to use.

use bytes::Bytes;
use common::link::message::Mark;

use super::durable::Durable;
use super::embedded::Embedded;
use super::{
    Append, Appended, Away, Changes, Claim, Engine, Holdings, Moment, Most, NotAppended, Once, Page, Placed,
    Since, Whose,
};

/// One of those that there are.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a node has one")]
pub(crate) enum Any {
    /// In this process.
    Embedded(Embedded),
    /// In this process and on its disk.
    Durable(Durable),
}

/// Asks the one that it is.
macro_rules! each {
    ($any:expr, $engine:ident => $ask:expr) => {
        match $any {
            Any::Embedded($engine) => $ask,
            Any::Durable($engine) => $ask,
        }
    };
}

impl Any {
    /// What kind of store it is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Embedded(_) => "embedded",
            Self::Durable(_) => "embedded, with a disk",
        }
    }

    /// Counts up with each run of the node; 0: nobody has counted yet.
    pub(crate) fn fence(&self) -> u64 {
        match self {
            Self::Embedded(embedded) => embedded.fence(),
            Self::Durable(durable) => durable.fence(),
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
