//! Clients that come and go: some close and come back, some leave a room and join it again.

use std::collections::HashMap;
use std::io::Write;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio_tungstenite::tungstenite::protocol::frame::coding::Control;

use super::Reactor;
use super::client::Stage;
use crate::wire;

/// A client that closed comes back after this time at the most, and a fifth of it at least.
const AWAY_MOST: Duration = Duration::from_secs(1);

/// What is due when a loop was busy comes in a burst of this time's worth.
const BURST: Duration = Duration::from_millis(100);

/// How often something is to happen to the clients of a loop, in turn.
#[derive(Debug)]
struct Pace {
    every: Option<Duration>,
    next: Instant,
    turn: u32,
}

impl Pace {
    fn new(count: u32, share: f64) -> Self {
        let rate = f64::from(count) * share;
        // A thousand years between two are never.
        let every = (rate > 0.0).then(|| Duration::from_secs_f64((1.0 / rate).min(3e10)));
        Self { every, next: Instant::now() + every.unwrap_or_default(), turn: 0 }
    }

    fn sleep(&self, now: Instant) -> Duration {
        self.every.map_or(Duration::MAX, |_| self.next.saturating_duration_since(now))
    }

    /// Whose turn it is.
    fn take(&mut self, now: Instant, count: u32) -> Option<u32> {
        let every = self.every.filter(|_| self.next <= now)?;
        self.next = self.next.max(now.checked_sub(BURST).unwrap_or(now)) + every;
        self.turn = (self.turn + 1) % count;
        Some(self.turn)
    }
}

/// Which reply a client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaits {
    Leave,
    Join,
}

/// Who comes and goes in one loop.
#[derive(Debug)]
pub(super) struct Churn {
    count: u32,
    closes: Pace,
    moves: Pace,
    /// Clients between two rooms: the column, and what they wait for.
    movers: HashMap<u32, (u32, Awaits)>,
}

impl Churn {
    /// Of so many clients, parts that close and move a second.
    pub(super) fn new(count: u32, closes: f64, moves: f64) -> Self {
        Self {
            count,
            closes: Pace::new(count, closes),
            moves: Pace::new(count, moves),
            movers: HashMap::new(),
        }
    }

    pub(super) fn sleep(&self, now: Instant) -> Duration {
        self.closes.sleep(now).min(self.moves.sleep(now))
    }

    pub(super) fn awaits(&self, local: u32) -> bool {
        self.movers.contains_key(&local)
    }

    /// The connection of a client is gone, and its wishes with it.
    pub(super) fn forget(&mut self, local: u32) {
        self.movers.remove(&local);
    }
}

impl Reactor {
    /// How long until somebody comes or goes.
    pub(super) fn churn_sleep(&self, now: Instant) -> Duration {
        if self.shared.begun.load(Relaxed) { self.churn.sleep(now) } else { Duration::MAX }
    }

    /// Lets those come and go whose turn it is. Clients that are not connected pass.
    pub(super) fn churn_due(&mut self) {
        if !self.shared.begun.load(Relaxed) {
            return;
        }
        let now = Instant::now();
        while let Some(local) = self.churn.closes.take(now, self.churn.count) {
            if self.clients[local as usize].stage == Stage::Greeted && self.is_prompt(local) {
                self.close_for_a_while(local, now);
            }
        }
        while let Some(local) = self.churn.moves.take(now, self.churn.count) {
            let fits = self.clients[local as usize].stage == Stage::Greeted
                && self.is_prompt(local)
                && !self.churn.awaits(local);
            if fits {
                let column = self.random.u32(0..self.shared.course.world.rooms_per_client);
                self.churn.movers.insert(local, (column, Awaits::Leave));
                let us = self.shared.course.ledger.now();
                self.tracker.leaves(self.number(local), column, us);
                self.ask(local, "leave", column);
            }
        }
    }

    fn close_for_a_while(&mut self, local: u32, now: Instant) {
        self.answer(local, Control::Close, &1000_u16.to_be_bytes());
        let client = &mut self.clients[local as usize];
        (client.stream, client.part, client.stage) = (None, None, Stage::Away);
        self.churn.forget(local);
        self.shared.meter.went();
        self.connections(local).churned += 1;
        let us = self.shared.course.ledger.now();
        self.tracker.went(self.number(local), us, true);
        let away = AWAY_MOST.mul_f64(0.2 + 0.8 * self.random.f64());
        self.connects.retry(local, now + away);
    }

    fn ask(&mut self, local: u32, cmd: &str, column: u32) {
        let world = &self.shared.course.world;
        let (prefix, room) = (&world.prefix, world.room(self.number(local), column));
        let text = format!(r#"{{"seq":"m","cmd":"{cmd}","data":{{"room":"{prefix}r{room}"}}}}"#);
        let frame = wire::text(text.as_bytes(), self.random.u32(..).to_be_bytes());
        if let Some(stream) = self.clients[local as usize].stream.as_mut() {
            // A socket that takes no hundred bytes is about to end, and then everything begins anew.
            _ = stream.write(&frame);
        }
    }

    /// A reply to a client that moves. Whether it is one to what it asked.
    pub(super) fn replied(&mut self, local: u32, cmd: &str, code: Option<u16>, now: u64) -> bool {
        let number = self.number(local);
        let Some(&(column, awaits)) = self.churn.movers.get(&local) else { return false };
        match (awaits, cmd, code) {
            (Awaits::Leave, "leave", Some(200)) => {
                self.tracker.left(number, now);
                self.churn.movers.insert(local, (column, Awaits::Join));
                self.ask(local, "join", column);
                true
            }
            (Awaits::Join, "join", Some(200)) => {
                self.tracker.joined(number, now);
                self.churn.forget(local);
                self.connections(local).moves += 1;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_clients_takes_its_turn_each_second() {
        let mut churn = Churn::new(100, 0.1, 0.0);
        let now = Instant::now();
        assert!(churn.sleep(now) <= Duration::from_millis(100) && churn.moves.sleep(now) == Duration::MAX);
        let due = |churn: &mut Churn, at| std::iter::from_fn(|| churn.closes.take(at, 100)).count();
        let turns: usize =
            (1..=50).map(|tick| due(&mut churn, now + Duration::from_millis(200) * tick)).sum();
        assert!((95..=105).contains(&turns), "{turns} in ten seconds");
        assert!(due(&mut churn, now + Duration::from_secs(100)) <= 3, "what was missed is not made up for");
        assert_eq!(Churn::new(100, 0.0, 0.0).sleep(now), Duration::MAX);
    }
}
