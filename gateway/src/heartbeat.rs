//! Heartbeats without a timer per connection: one thread passes all connections, evenly spread over time.
//!
//! Each period is cut into steps; a step visits one part of one bucket. A visit closes who was silent for too
//! long, does not end a message, has been here for long enough, or whose token is over, and cuts who does not answer a
//! close; every fourth visit also pings, so a client is pinged once a period and its silence is noticed within a quarter
//! of one.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use common::client::CloseCode;
use parking_lot::{Condvar, Mutex};

use crate::bucket::{BUCKETS, Local};
use crate::connection::Connection;
use crate::counters::Counters;
use crate::frame;
use crate::registry::Registry;
use crate::tune::Tune;

/// Visits of each connection in a period.
const VISITS: usize = 4;

/// Parts of a bucket; VISITS × PARTS × BUCKETS steps make a period, of 25 s by default: one every 24 ms.
const PARTS: usize = 4;

/// A delay of the thread up to this is made up for.
const CATCH_UP_MAX: Duration = Duration::from_millis(500);

/// A client that does not answer a close frame is cut after this.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(5);

/// What is too long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// Each client is pinged so often.
    pub(crate) period: Duration,
    /// Who says nothing for longer is closed.
    pub(crate) silence_max: Duration,
    /// And so is who begins a message and does not end it.
    pub(crate) message_time_max: Duration,
    /// And who has a token that is over.
    pub(crate) tokens: bool,
    /// Who has been here for so long is sent to another gateway, a tenth earlier or later; `None`: nobody is.
    pub(crate) age_max: Option<Duration>,
}

impl Times {
    pub(crate) fn new(period: Duration, tokens: bool, tune: &Tune) -> Self {
        Self {
            period,
            silence_max: tune.silence_max,
            message_time_max: tune.message_time_max,
            tokens,
            age_max: tune.connection_age_max,
        }
    }

    /// Between two visits of one connection.
    fn between_visits(&self) -> Duration {
        self.period / VISITS as u32
    }

    /// For how long a connection has been here beyond its time, if it has. Each has a time of its own: those who
    /// came together, when a gateway went, do not go together.
    fn overstay(&self, local: Local, age: Duration) -> Option<Duration> {
        let random = local.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let part = random as f64 / f64::from(u32::MAX);
        age.checked_sub(self.age_max?.mul_f64(0.9 + 0.2 * part))
    }
}

/// The thread's switch.
#[derive(Debug, Default)]
pub(crate) struct Heartbeat {
    ended: Mutex<bool>,
    wake: Condvar,
}

impl Heartbeat {
    /// Runs until [`Heartbeat::end`]. What is too long is asked at each step; the period stays.
    pub(crate) fn run(&self, registry: &Registry, counters: &Counters, times: impl Fn() -> Times) {
        let steps = VISITS * PARTS * BUCKETS;
        let pause = times().period / steps as u32;
        let mut next = Instant::now();
        let mut connections = Vec::new();
        for step in (0..steps).cycle() {
            // After a standstill it goes on from now: no burst of pings for the time that is lost.
            next = next.max(Instant::now().checked_sub(CATCH_UP_MAX).unwrap_or(next)) + pause;
            if self.wait_until(next) {
                return;
            }
            let times = times();
            let (visit, place) = (step / (PARTS * BUCKETS), step % (PARTS * BUCKETS));
            let (bucket, part) = (place % BUCKETS, place / BUCKETS);
            let size = registry.slots(bucket).div_ceil(PARTS);
            if times.tokens {
                registry.gather_over(
                    bucket,
                    part * size..(part + 1) * size,
                    SystemTime::now(),
                    &mut connections,
                );
                connections.drain(..).for_each(|connection| end_token(&connection, counters));
            }
            registry.gather(bucket, part * size..(part + 1) * size, &mut connections);
            // A quarter of the parts at each visit, and never the same quarter of neighbours: even in time.
            let pings = (bucket + part) % VISITS == visit;
            for connection in connections.drain(..) {
                visit_one(&connection, counters, times, pings);
            }
        }
    }

    /// Whether the end came first.
    fn wait_until(&self, at: Instant) -> bool {
        let mut ended = self.ended.lock();
        while !*ended && Instant::now() < at {
            self.wake.wait_until(&mut ended, at);
        }
        *ended
    }

    /// Ends the thread.
    pub(crate) fn end(&self) {
        *self.ended.lock() = true;
        self.wake.notify_all();
    }
}

/// Closes a client whose token is over, unless it is being closed.
fn end_token(connection: &Arc<Connection>, counters: &Counters) {
    if connection.closing_for().is_none() {
        counters.closed.expired.inc();
        connection.close(CloseCode::BadToken, "the token has expired: connect with a new one");
    }
}

/// Tells a client that has been here for long enough to go elsewhere, and closes it if it is here at the next visit.
fn move_on(connection: &Arc<Connection>, counters: &Counters, until_next: Duration, over: Duration) {
    match until_next.checked_sub(over) {
        Some(left) if !left.is_zero() => connection.send_control(frame::reconnect(left)),
        _ => {
            counters.closed.aged.inc();
            connection.close(CloseCode::Leaving, "you were here for long enough; reconnect");
        }
    }
}

fn visit_one(connection: &Arc<Connection>, counters: &Counters, times: Times, ping: bool) {
    match connection.closing_for() {
        Some(since) if since >= CLOSE_TIME_MAX => connection.cut(),
        Some(_) => {}
        // More than, not as much as: silence is counted in whole seconds, begun ones included.
        None if connection.silence() > times.silence_max => {
            counters.closed.silent.inc();
            connection.close(CloseCode::NoHeartbeat, "nothing was heard from you for too long");
        }
        None if connection.incomplete_for() > times.message_time_max => {
            counters.closed.late.inc();
            connection.close(CloseCode::LateMessage, "a message was begun and not ended in time");
        }
        None if let Some(over) = times.overstay(connection.local, connection.age()) => {
            move_on(connection, counters, times.between_visits(), over);
        }
        None if ping => connection.send_control(frame::PING),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_has_a_time_of_its_own_around_the_one_that_was_asked_for() {
        let age_max = Some(Duration::from_secs(1000));
        let second = Duration::from_secs(1);
        let times =
            Times { period: second, silence_max: second, message_time_max: second, tokens: false, age_max };
        let gone = |age: u64| {
            let age = Duration::from_secs(age);
            (0..1000).filter(|local| times.overstay(Local(local << 6), age).is_some()).count()
        };
        assert_eq!((gone(899), gone(1101)), (0, 1000));
        for (age, share) in [(950, 250), (1000, 500), (1050, 750)] {
            assert!(gone(age).abs_diff(share) < 50, "{} of 1000 are gone at {age} s", gone(age));
        }
        assert_eq!(Times { age_max: None, ..times }.overstay(Local(1), Duration::MAX), None);
    }
}
