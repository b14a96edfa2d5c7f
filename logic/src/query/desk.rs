//! The questions of one link: put by callers, taken by the link's task, answered by the gateway. Bounded: as many are
//! with the gateway at a time as it answers at a time, and some more wait here.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use common::link::ask::{ASKS_MAX, Answer, Ask, answer, ask};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

/// Questions that are put and not answered; more are refused. A question has at most 600 B.
const WAITING_MAX: usize = 1024;

/// The questions of one link, from its hello to its end.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    closed: bool,
    queue: VecDeque<Ask>,
    /// With the gateway. Who put it may not wait any more: it is answered all the same.
    sent: HashSet<u64>,
    waiting: HashMap<u64, oneshot::Sender<answer::Body>>,
}

/// Why a question cannot be put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotPut {
    /// Too many wait.
    Full,
    /// The link has ended.
    Closed,
}

/// A question that is put. Dropped: nobody waits for it.
#[derive(Debug)]
pub(crate) struct Put {
    desk: Arc<Desk>,
    id: u64,
    answer: oneshot::Receiver<answer::Body>,
}

impl Put {
    /// The answer; `None` if the link has ended.
    pub(crate) async fn answered(mut self) -> Option<answer::Body> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Put {
    fn drop(&mut self) {
        self.desk.state.lock().waiting.remove(&self.id);
    }
}

impl Desk {
    /// Puts a question.
    pub(crate) fn put(self: &Arc<Self>, body: ask::Body) -> Result<Put, NotPut> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(NotPut::Closed);
        }
        if state.waiting.len() >= WAITING_MAX || state.queue.len() >= WAITING_MAX {
            return Err(NotPut::Full);
        }
        let (sender, answer) = oneshot::channel();
        state.last += 1;
        let id = state.last;
        state.waiting.insert(id, sender);
        state.queue.push_back(Ask { id, body: Some(body) });
        drop(state);
        self.filled.notify_one();
        Ok(Put { desk: self.clone(), id, answer })
    }

    /// Waits for a question that is to be sent now. For the link's task only; cancel safe.
    pub(crate) async fn next(&self) -> Ask {
        loop {
            if let Some(ask) = self.pop() {
                return ask;
            }
            self.filled.notified().await;
        }
    }

    fn pop(&self) -> Option<Ask> {
        let mut state = self.state.lock();
        while state.sent.len() < ASKS_MAX {
            let ask = state.queue.pop_front()?;
            // Nobody waits for what was put too long ago.
            if state.waiting.contains_key(&ask.id) {
                state.sent.insert(ask.id);
                return Some(ask);
            }
        }
        None
    }

    /// The gateway answers.
    pub(crate) fn answer(&self, answer: Answer) {
        let mut state = self.state.lock();
        state.sent.remove(&answer.id);
        let waiting = state.waiting.remove(&answer.id);
        drop(state);
        self.filled.notify_one();
        if let (Some(waiting), Some(body)) = (waiting, answer.body) {
            // Who waited may have gone this moment.
            let _ = waiting.send(body);
        }
    }

    /// The link ends: who waits is told.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.queue.clear();
        state.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use common::link::ask::Scope;

    use super::*;

    fn question() -> ask::Body {
        ask::Body::Count(Scope::all(None))
    }

    #[tokio::test]
    async fn as_many_are_sent_as_are_answered_at_a_time() {
        let desk = Arc::<Desk>::default();
        let mut put: Vec<_> = (0..WAITING_MAX).map(|_| desk.put(question()).unwrap()).collect();
        assert_eq!(desk.put(question()).unwrap_err(), NotPut::Full);
        for id in 1..=ASKS_MAX as u64 {
            assert_eq!(desk.next().await.id, id);
        }
        assert!(desk.pop().is_none());
        desk.answer(Answer { id: 2, body: Some(answer::Body::Count(7)) });
        assert_eq!(put.remove(1).answered().await, Some(answer::Body::Count(7)));
        // The next in the queue is wanted no more, and is passed over.
        let next = ASKS_MAX as u64 + 1;
        put.retain(|put| put.id != next);
        assert_eq!(desk.next().await.id, next + 1);
        desk.close();
        assert_eq!(put.pop().unwrap().answered().await, None);
        assert_eq!(desk.put(question()).unwrap_err(), NotPut::Closed);
    }
}
