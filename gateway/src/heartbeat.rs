//! Heartbeats without a timer per connection: one thread passes all connections, evenly spread over time.
//!
//! Each period is cut into steps; a step visits one part of one bucket. A visit closes who was silent for too
//! long, does not end a message, or whose token is over, and cuts who does not answer a close; every fourth visit
//! also pings, so a client is pinged once a period and its silence is noticed within a quarter of one.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use common::client::CloseCode;
use parking_lot::{Condvar, Mutex};

use crate::bucket::BUCKETS;
use crate::connection::Connection;
use crate::counters::Counters;
use crate::frame;
use crate::registry::Registry;

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
}

/// The thread's switch.
#[derive(Debug, Default)]
pub(crate) struct Heartbeat {
    ended: Mutex<bool>,
    wake: Condvar,
}

impl Heartbeat {
    /// Runs until [`Heartbeat::end`].
    pub(crate) fn run(&self, registry: &Registry, counters: &Counters, times: Times) {
        let steps = VISITS * PARTS * BUCKETS;
        let pause = times.period / steps as u32;
        let mut next = Instant::now();
        let mut connections = Vec::new();
        for step in (0..steps).cycle() {
            // After a standstill it goes on from now: no burst of pings for the time that is lost.
            next = next.max(Instant::now().checked_sub(CATCH_UP_MAX).unwrap_or(next)) + pause;
            if self.wait_until(next) {
                return;
            }
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
        None if ping => connection.send_control(frame::PING),
        None => {}
    }
}
