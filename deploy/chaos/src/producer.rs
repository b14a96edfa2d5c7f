//! Producers: an open stream of pushes through random logic nodes, each call repeated with its key until it is answered.

pub(crate) mod plain;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::shutdown::Shutdown;
use common::tasks::Tasks;
use fastrand::Rng;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};

use crate::http::{Caller, NoAnswer};
use crate::log::{Clock, End, Log, PushLine};
use crate::payload::{Label, PushId};
use crate::world::{World, room};

/// An attempt is answered within this, or is tried again elsewhere.
const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(2);

/// After so long nobody tries again, and the end is unknown: keys are kept for two minutes.
const CALL_TIME_MAX: Duration = Duration::from_secs(45);

/// Calls that may be unanswered at a time; past it the stream waits.
const CALLS_MAX: usize = 512;

/// Producers of histories; the numbers of others follow.
pub(crate) const PRODUCERS: u32 = 8;

/// One call in so many is a batch of [`BATCH`], and one to a user, and one urgent.
const BATCH_ONE_IN: usize = 20;
const USER_ONE_IN: usize = 4;
const URGENT_ONE_IN: usize = 10;
const BATCH: usize = 5;

/// What producers share.
#[derive(Debug, Clone)]
pub(crate) struct Producers {
    pub(crate) world: Arc<World>,
    pub(crate) apis: Vec<Caller>,
    /// One for each producer.
    pub(crate) logs: Vec<Log>,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    /// Racing copies of each call.
    pub(crate) copies: u32,
    /// Told when producers are to end early.
    pub(crate) shutdown: Shutdown,
}

/// How many pushes, how fast, for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream {
    /// The number of the first; those of a run go on.
    pub(crate) first: u64,
    /// How many.
    pub(crate) pushes: u64,
    /// A second.
    pub(crate) rate: f64,
    pub(crate) until: Option<Instant>,
}

/// One call: a push, or a batch of them.
struct Call {
    pushes: Vec<PushId>,
    key: String,
    path: &'static str,
    body: Bytes,
}

/// What an answer says about each push of a call.
enum Outcome {
    /// Where each stands.
    Done(Vec<Option<(String, u64)>>),
    /// Nothing was stored or sent, and nothing will be.
    Refused(String),
    /// Nothing was stored or sent this time.
    NotYet(String),
    /// It may have been stored.
    Open(String),
}

impl Producers {
    /// Pushes to histories, and waits until the last call has ended.
    ///
    /// Gives how many there were.
    pub(crate) async fn run(&self, stream: Stream) -> u64 {
        let mut rng = Rng::with_seed(self.world.seed ^ stream.first.wrapping_mul(0x9e37_79b9));
        let begun = Instant::now();
        let places = Arc::new(Semaphore::new(CALLS_MAX));
        let mut sent = 0;
        while sent < stream.pushes && stream.until.is_none_or(|until| Instant::now() < until) {
            sleep_until(begun + Duration::from_secs_f64(sent as f64 / stream.rate)).await;
            if self.shutdown.is_draining() {
                break;
            }
            let call = Arc::new(self.call(&mut rng, stream.first + sent, stream.pushes - sent));
            sent += call.pushes.len() as u64;
            for copy in 0..self.copies {
                let Ok(place) = places.clone().acquire_owned().await else { return sent };
                let (producers, call, rng) = (self.clone(), call.clone(), rng.fork());
                self.tasks.spawn(async move {
                    Box::pin(producers.see_through(&call, copy, rng)).await;
                    drop(place);
                });
            }
        }
        // All of them are back.
        _ = places.acquire_many(CALLS_MAX as u32).await;
        sent
    }

    /// Draws a call of pushes from number `next` on, at most so many, and writes down that it begins.
    fn call(&self, rng: &mut Rng, next: u64, left: u64) -> Call {
        let is_batch = rng.usize(0..BATCH_ONE_IN) == 0;
        let size = if is_batch { BATCH.min(usize::try_from(left).unwrap_or(BATCH)) } else { 1 };
        let (mut pushes, mut bodies) = (Vec::new(), Vec::new());
        for number in next..next + size as u64 {
            let push = PushId((number % u64::from(PRODUCERS)) as u32, number / u64::from(PRODUCERS));
            let users = self.world.users();
            let is_user = users > 0 && rng.usize(0..USER_ONE_IN) == 0;
            let (to, target) = if is_user {
                let user = format!("u{}", rng.u32(0..users));
                (format!("@{user}"), json!({ "user": user }))
            } else {
                let room = room(rng.u32(0..self.world.rooms()));
                (room.clone(), json!({ "room": room }))
            };
            bodies.push(body(self.world.run, push, &to, &target, rng.usize(0..URGENT_ONE_IN) == 0));
            let line = PushLine { to: Some(to), ..PushLine::new(self.clock.now(), push) };
            self.logs[push.0 as usize].line(&line);
            pushes.push(push);
        }
        let PushId(producer, seq) = pushes[0];
        let key = format!("{:x}-{producer}-{seq}", self.world.run);
        let (path, body) = if is_batch {
            ("/v1/push/batch", format!("[{}]", bodies.join(",")))
        } else {
            ("/v1/push", bodies.remove(0))
        };
        Call { pushes, key, path, body: body.into() }
    }

    /// One push to a history, tried once: status, or 0, and how long the answer took.
    pub(crate) async fn once(&self, logic: usize, number: u64) -> (u16, Duration) {
        let mut rng = Rng::with_seed(number);
        let call = self.call(&mut rng, number, 1);
        let begun = Instant::now();
        let answer =
            self.apis[logic].post(call.path, Some(&call.key), call.body.clone(), ATTEMPT_TIME_MAX).await;
        let took = begun.elapsed();
        let (status, outcome) = match answer {
            Ok(answer) => (answer.status, read(answer.status, &answer.json(), call.pushes.len())),
            Err(_) => (0, Outcome::Open(String::new())),
        };
        match outcome {
            Outcome::Done(places) => self.end(&call, 0, logic, End::Ok, places),
            _ => self.end(&call, 0, logic, End::Unknown, vec![None; call.pushes.len()]),
        }
        (status, took)
    }

    /// Makes a call again and again until it is answered for good, and writes down how it ended.
    async fn see_through(&self, call: &Call, copy: u32, mut rng: Rng) {
        let until = Instant::now() + CALL_TIME_MAX;
        let (mut wait, mut is_open) = (Duration::from_millis(20), false);
        // Copies begin at different nodes.
        let PushId(producer, seq) = call.pushes[0];
        let mut logic = (seq as usize + (producer + copy) as usize) % self.apis.len();
        loop {
            let begun = Instant::now();
            let answer =
                self.apis[logic].post(call.path, Some(&call.key), call.body.clone(), ATTEMPT_TIME_MAX).await;
            let (status, outcome) = match answer {
                Ok(answer) => (answer.status, read(answer.status, &answer.json(), call.pushes.len())),
                Err(NoAnswer::NotThere) => (0, Outcome::NotYet("nobody is there".to_owned())),
                Err(NoAnswer::Lost(why)) => (0, Outcome::Open(why)),
            };
            let is_late = Instant::now() > until || self.shutdown.is_draining();
            let (is_over, why) = match outcome {
                Outcome::Done(places) => {
                    self.end(call, copy, logic, End::Ok, places);
                    return;
                }
                Outcome::Refused(why) => (true, why),
                Outcome::NotYet(why) => (is_late, why),
                Outcome::Open(why) => {
                    is_open = true;
                    (is_late, why)
                }
            };
            let attempt = Some((status, why));
            let ms = u64::try_from(begun.elapsed().as_millis()).ok();
            let of = call.pushes[0];
            let line = PushLine {
                attempt,
                ms,
                copy: Some(copy),
                logic: Some(logic as u32),
                ..PushLine::new(self.clock.now(), of)
            };
            self.logs[of.0 as usize].line(&line);
            if is_over {
                let end = if is_open { End::Unknown } else { End::Failed };
                self.end(call, copy, logic, end, vec![None; call.pushes.len()]);
                return;
            }
            sleep(wait.mul_f64(0.5 + rng.f64())).await;
            wait = (2 * wait).min(Duration::from_millis(300));
            logic = rng.usize(0..self.apis.len());
        }
    }

    fn end(&self, call: &Call, copy: u32, logic: usize, end: End, places: Vec<Option<(String, u64)>>) {
        for (push, at) in call.pushes.iter().zip(places) {
            let line = PushLine {
                end: Some(end),
                at,
                copy: Some(copy),
                logic: Some(logic as u32),
                ..PushLine::new(self.clock.now(), *push)
            };
            self.logs[push.0 as usize].line(&line);
        }
    }
}

/// A push as the API wants it: `data` is the payload, byte for byte.
pub(crate) fn body(run: u64, push: PushId, to: &str, target: &Value, urgent: bool) -> String {
    let data = Label { run, to: to.to_owned(), push }.write();
    let urgent = if urgent { ",\"urgent\":true" } else { "" };
    format!("{{\"to\":{target}{urgent},\"data\":{data}}}")
}

/// What an answer means for each of so many pushes.
fn read(status: u16, body: &Value, pushes: usize) -> Outcome {
    let code = body["code"].as_str().unwrap_or_default();
    match status {
        202 => {
            let each: Vec<&Value> =
                body["pushes"].as_array().map_or_else(|| vec![body], |each| each.iter().collect());
            let places: Vec<_> = each.iter().map(|one| place(one)).collect();
            if places.len() == pushes {
                Outcome::Done(places)
            } else {
                Outcome::Refused(format!("{pushes} pushes answered {body}"))
            }
        }
        // These say that nothing was stored or sent; others leave it open.
        503 if code == "no_gateway" || code == "history_full" => Outcome::NotYet(code.to_owned()),
        408 | 409 | 429 | 500.. => Outcome::Open(code.to_owned()),
        _ => Outcome::Refused(format!("{code}: {}", body["detail"].as_str().unwrap_or_default())),
    }
}

fn place(push: &Value) -> Option<(String, u64)> {
    let at = push["rooms"].get(0).or_else(|| push["users"].get(0))?;
    Some((at["epoch"].as_str()?.to_owned(), at["offset"].as_u64()?))
}
