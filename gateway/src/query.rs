//! What logic asks: lists, counts and changes of the connections that are here.
//!
//! Answered in tasks of their own, a bounded number for each link, and never under a lock for long: a question about
//! a million connections looks at 256 of them at a time.

mod change;
mod list;
mod walk;

use std::sync::Arc;

use common::link::ask::answer::Body as Said;
use common::link::ask::ask::Body as Asked;
use common::link::ask::{ASKS_MAX, Answer, Ask, Changed, Failed};
use tokio::sync::{Semaphore, mpsc};

use crate::node::Parts;

/// The questions of one link.
pub(crate) struct Questions {
    parts: Arc<Parts>,
    places: Arc<Semaphore>,
    answers: mpsc::Sender<Answer>,
}

impl Questions {
    /// No questions yet, and where the answers come.
    pub(crate) fn new(parts: Arc<Parts>) -> (Self, mpsc::Receiver<Answer>) {
        // Each question in progress has one answer, and as many may be refused before they are heard.
        let (answers, receiver) = mpsc::channel(2 * ASKS_MAX);
        (Self { parts, places: Arc::new(Semaphore::new(ASKS_MAX)), answers }, receiver)
    }

    /// Begins to answer a question. Without a place for it, it is answered `busy`; without a place for that, it
    /// is not answered: who asks so much waits for its deadline.
    pub(crate) fn ask(&self, ask: Ask) {
        let (parts, answers) = (self.parts.clone(), self.answers.clone());
        parts.counters.asks.inc();
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            parts.counters.asks_busy.inc();
            let _ = answers.try_send(Answer { id: ask.id, body: Some(failed("busy")) });
            return;
        };
        self.parts.tasks.spawn(async move {
            let body = answer(&parts, ask.body).await.unwrap_or_else(|| failed("unsupported"));
            let _ = answers.send(Answer { id: ask.id, body: Some(body) }).await;
            drop(place);
        });
    }
}

/// The answer; `None` if this release does not know what is asked.
pub(crate) async fn answer(parts: &Arc<Parts>, asked: Option<Asked>) -> Option<Said> {
    let registry = &parts.registry;
    match asked? {
        Asked::Clients(asked) => list::clients(registry, &asked).await.map(Said::Clients),
        Asked::Names(asked) => list::names(registry, &asked).await.map(Said::Names),
        Asked::Count(scope) => list::count(registry, &scope).await.map(Said::Count),
        Asked::Change(asked) => change::change(parts, &asked).await.map(Said::Changed),
        Asked::Drain(_) => {
            let changed = u64::from(!parts.shutdown.is_draining());
            parts.shutdown.start_drain();
            Some(Said::Changed(Changed { matched: 1, changed, refused: 0 }))
        }
    }
}

fn failed(code: &str) -> Said {
    Said::Failed(Failed { code: code.to_owned() })
}

#[cfg(test)]
mod tests;
