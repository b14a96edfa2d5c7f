//! What waits to be sent to one logic node: streams in turn, each with one call under way at most.
//!
//! It holds at most the items of the run: an open model does not slow down, and says what was never sent.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The queue of one logic node.
#[derive(Debug, Default)]
pub(super) struct Lane {
    state: Mutex<State>,
    wake: Notify,
    /// Half of the room that somebody waits for is free.
    taken: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Streams whose next item may be sent now.
    ready: VecDeque<u32>,
    /// Streams with an item waiting or under way, and what waits of them.
    active: HashMap<u32, VecDeque<u32>>,
    /// Items that wait.
    waiting: usize,
    /// At so few somebody who waits for room is woken.
    low: usize,
    closed: bool,
}

impl Lane {
    /// Puts an item at the end of its stream.
    pub(super) fn offer(&self, stream: u32, item: u32) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        let fresh = !state.active.contains_key(&stream);
        state.active.entry(stream).or_default().push_back(item);
        state.waiting += 1;
        if fresh {
            state.ready.push_back(stream);
            self.wake.notify_one();
        }
    }

    /// The next items of a stream to send, at most so many and in order, with their stream; `None` when the lane is
    /// closed. [`Lane::done`] must follow.
    pub(super) async fn next(&self, most: usize) -> Option<(u32, Vec<u32>)> {
        loop {
            let mut woken = pin!(self.wake.notified());
            // Before the look: an offer after it wakes this one.
            woken.as_mut().enable();
            {
                let mut state = self.state.lock();
                if let Some(stream) = state.ready.pop_front() {
                    let waits = state.active.get_mut(&stream)?;
                    let items: Vec<u32> = waits.drain(..waits.len().min(most)).collect();
                    let before = state.waiting;
                    state.waiting = before.saturating_sub(items.len());
                    if before > state.low && state.waiting <= state.low {
                        self.taken.notify_one();
                    }
                    return Some((stream, items));
                }
                if state.closed {
                    return None;
                }
            }
            woken.await;
        }
    }

    /// Waits until fewer than so many items wait; then there is room for half as many.
    pub(super) async fn room(&self, waiting_max: usize) {
        {
            let mut state = self.state.lock();
            state.low = waiting_max / 2;
            if state.waiting < waiting_max || state.closed {
                return;
            }
        }
        self.taken.notified().await;
    }

    /// The call under way of a stream is answered: the next may follow.
    pub(super) fn done(&self, stream: u32) {
        let mut state = self.state.lock();
        if state.active.get(&stream).is_none_or(VecDeque::is_empty) {
            state.active.remove(&stream);
        } else {
            state.ready.push_back(stream);
            self.wake.notify_one();
        }
    }

    /// Whether nothing waits and nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.state.lock().active.is_empty()
    }

    /// Takes no more and forgets what waits.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        let State { ready, active, waiting, closed, .. } = &mut *state;
        *closed = true;
        ready.drain(..).for_each(|stream| _ = active.remove(&stream));
        active.values_mut().for_each(VecDeque::clear);
        *waiting = 0;
        drop(state);
        self.wake.notify_waiters();
        self.taken.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_is_sequential_and_streams_take_turns() {
        let lane = Lane::default();
        for (stream, item) in [(1, 10), (1, 11), (2, 20), (1, 12)] {
            lane.offer(stream, item);
        }
        assert_eq!(lane.next(1).await, Some((1, vec![10])));
        assert_eq!(lane.next(1).await, Some((2, vec![20])));
        assert!(tokio::time::timeout(std::time::Duration::ZERO, lane.next(1)).await.is_err());
        lane.done(1);
        assert_eq!(lane.next(1).await, Some((1, vec![11])));
        lane.done(2);
        lane.done(1);
        assert_eq!(lane.next(1).await, Some((1, vec![12])));
        assert!(!lane.is_idle());
        lane.done(1);
        assert!(lane.is_idle());
        lane.close();
        assert_eq!(lane.next(1).await, None);
    }

    #[tokio::test]
    async fn whoever_offers_more_than_there_is_room_for_waits_until_half_of_it_is_free() {
        let lane = Lane::default();
        for item in 0..4 {
            lane.room(4).await;
            lane.offer(item, item);
        }
        let mut room = pin!(lane.room(4));
        let is_free = async |room: &mut std::pin::Pin<&mut _>| {
            tokio::time::timeout(std::time::Duration::ZERO, room).await.is_ok()
        };
        assert!(!is_free(&mut room).await);
        assert_eq!(lane.next(1).await, Some((0, vec![0])));
        assert!(!is_free(&mut room).await);
        assert_eq!(lane.next(1).await, Some((1, vec![1])));
        assert!(is_free(&mut room).await);
    }

    #[tokio::test]
    async fn what_waits_of_a_stream_goes_together_up_to_a_bound() {
        let lane = Lane::default();
        (10..15).for_each(|item| lane.offer(1, item));
        lane.offer(2, 20);
        assert_eq!(lane.next(3).await, Some((1, vec![10, 11, 12])));
        assert_eq!(lane.next(3).await, Some((2, vec![20])));
        lane.done(1);
        assert_eq!(lane.next(3).await, Some((1, vec![13, 14])));
        lane.done(1);
        lane.done(2);
        assert!(lane.is_idle());
    }

    #[tokio::test]
    async fn a_closed_lane_forgets_what_waits() {
        let lane = Lane::default();
        lane.offer(1, 10);
        lane.offer(1, 11);
        lane.offer(2, 20);
        assert_eq!(lane.next(1).await, Some((1, vec![10])));
        lane.close();
        lane.done(1);
        assert_eq!(lane.next(1).await, None);
        assert!(lane.is_idle());
    }
}
