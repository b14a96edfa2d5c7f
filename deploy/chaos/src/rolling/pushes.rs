//! Producers of a rolling restart: an open stream of pushes, each repeated with its key until it is answered for good, and
//! not before the time that an answer asks for (`Retry-After`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::shutdown::Shutdown;
use common::tasks::Tasks;
use fastrand::Rng;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};

use super::crowd::{Crowd, count};
use crate::http::{Caller, NoAnswer};
use crate::wire::Place;
use crate::world::room;

/// An attempt is answered within this, or is tried again.
const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(5);

/// After so long nobody tries again: keys are kept for two minutes.
const CALL_TIME_MAX: Duration = Duration::from_secs(30);

/// Where an answer names no time, the next attempt comes at a random one up to this.
const AGAIN_TIME_MAX: Duration = Duration::from_millis(200);

/// Calls that may be unanswered at a time; past it the stream waits.
const CALLS_MAX: usize = 4_096;

/// What became of calls.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    pub(super) pushed: u64,
    pub(super) acknowledged: u64,
    /// Attempts that were repeated, by status and code.
    pub(super) repeated: BTreeMap<String, u64>,
    /// Calls that ended with a 5xx, or without any answer, after all attempts.
    pub(super) given_up: u64,
    /// Calls that were answered otherwise.
    pub(super) refused: u64,
    /// How long each took until it was acknowledged, in milliseconds.
    pub(super) times: Vec<u64>,
}

/// What producers share.
#[derive(Debug, Clone)]
pub(super) struct Producers {
    pub(super) crowd: Arc<Crowd>,
    pub(super) apis: Vec<Caller>,
    pub(super) tasks: Tasks,
    /// Told when the stream ends.
    pub(super) shutdown: Shutdown,
    pub(super) outcomes: Arc<Mutex<Outcomes>>,
}

/// What an attempt came to.
enum Attempt {
    Done(Option<Place>),
    /// To be repeated, not before this.
    Again(String, Option<Duration>),
    Refused(String),
}

impl Producers {
    /// Pushes so many times a second until it is told to end, and waits until the last call has ended.
    pub(super) async fn run(&self, rate: f64) {
        let mut rng = Rng::with_seed(self.crowd.plan.seed);
        let (begun, places) = (Instant::now(), Arc::new(Semaphore::new(CALLS_MAX)));
        for push in 0_u64.. {
            sleep_until(begun + Duration::from_secs_f64(push as f64 / rate)).await;
            if self.shutdown.is_draining() {
                break;
            }
            let Ok(place) = places.clone().acquire_owned().await else { break };
            let (producers, number, rng) = (self.clone(), rng.u32(0..self.crowd.plan.rooms()), rng.fork());
            self.outcomes.lock().pushed += 1;
            self.tasks.spawn(async move {
                Box::pin(producers.see_through(push, number, rng)).await;
                drop(place);
            });
        }
        // All of them are back.
        _ = places.acquire_many(CALLS_MAX as u32).await;
    }

    /// Makes a call until it is answered for good, at one node after the other.
    async fn see_through(&self, push: u64, number: u32, mut rng: Rng) {
        let begun = Instant::now();
        let data = self.crowd.books.payload(number, push);
        let body = Bytes::from(format!("{{\"to\":{{\"room\":\"{}\"}},\"data\":{data}}}", room(number)));
        let key = format!("{:x}-{push}", self.crowd.plan.run);
        let mut node = push as usize % self.apis.len();
        loop {
            let answer = self.apis[node].post("/v1/push", Some(&key), body.clone(), ATTEMPT_TIME_MAX).await;
            let attempt = match answer {
                Ok(answer) => read(answer.status, &answer.json(), answer.retry_after),
                Err(NoAnswer::NotThere) => Attempt::Again("nobody is there".to_owned(), None),
                Err(NoAnswer::Lost(_)) => Attempt::Again("no answer".to_owned(), None),
            };
            let (what, wait) = match attempt {
                Attempt::Done(place) => return self.done(push, number, place, begun),
                Attempt::Refused(what) => {
                    self.outcomes.lock().refused += 1;
                    self.crowd.example(|| format!("push {push} was answered {what}"));
                    return;
                }
                Attempt::Again(what, wait) => (what, wait),
            };
            if begun.elapsed() > CALL_TIME_MAX {
                self.outcomes.lock().given_up += 1;
                self.crowd.example(|| format!("push {push} was given up: {what}"));
                return;
            }
            *self.outcomes.lock().repeated.entry(what).or_default() += 1;
            sleep(wait.unwrap_or_default() + AGAIN_TIME_MAX.mul_f64(rng.f64())).await;
            node = (node + 1) % self.apis.len();
        }
    }

    fn done(&self, push: u64, number: u32, place: Option<Place>, begun: Instant) {
        let is_right = place.as_ref().is_some_and(|place| self.crowd.books.stands(number, place, push));
        if !is_right {
            count(&self.crowd.counts.wrong);
            self.crowd.example(|| format!("push {push} was acknowledged at {place:?} of room {number}"));
        }
        let mut outcomes = self.outcomes.lock();
        outcomes.acknowledged += 1;
        outcomes.times.push(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
    }
}

fn read(status: u16, body: &Value, retry_after: Option<Duration>) -> Attempt {
    let what = || format!("{status} {}", body["code"].as_str().unwrap_or_default());
    match status {
        202 => {
            let at = &body["rooms"][0];
            Attempt::Done(Place::of(at["epoch"].as_str().map(str::to_owned), at["offset"].as_u64()))
        }
        408 | 409 | 429 | 500.. => Attempt::Again(what(), retry_after),
        _ => Attempt::Refused(format!("{}: {}", what(), body["detail"].as_str().unwrap_or_default())),
    }
}
