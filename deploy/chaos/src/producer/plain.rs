//! Producers of rooms without history: a lane for each room and logic node, one push after the other, so that their
//! order is known.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::{ATTEMPT_TIME_MAX, PRODUCERS, Producers, body};
use crate::http::NoAnswer;
use crate::log::{End, PushLine};
use crate::payload::PushId;
use crate::world::plain_room;

/// How many lanes there are.
pub(crate) fn lanes(rooms: u32, logics: u32) -> u32 {
    rooms * logics
}

impl Producers {
    /// Pushes through all lanes, so many a second together, until a time.
    pub(crate) async fn run_plain(&self, rate: f64, until: Instant) {
        let lanes = lanes(self.world.plain_rooms(), self.world.logics);
        let each =
            (0..lanes).map(|lane| self.lane(lane, Duration::from_secs_f64(f64::from(lanes) / rate), until));
        futures_util::future::join_all(each).await;
    }

    async fn lane(&self, lane: u32, every: Duration, until: Instant) {
        let (number, logic) = (lane / self.world.logics, lane % self.world.logics);
        let (room, producer) = (plain_room(number), PRODUCERS + lane);
        let target = json!({ "room": room });
        let log = &self.logs[producer as usize];
        let mut turn = Instant::now() + every.mul_f64(fastrand::f64());
        for seq in 0.. {
            sleep_until(turn).await;
            if Instant::now() > until || self.shutdown.is_draining() {
                return;
            }
            let push = PushId(producer, seq);
            let begins = PushLine {
                to: Some(room.clone()),
                logic: Some(logic),
                ..PushLine::new(self.clock.now(), push)
            };
            log.line(&begins);
            let text = body(self.world.run, push, &room, &target, false);
            // Once: what a node does not answer may have been sent.
            let answer =
                self.apis[logic as usize].post("/v1/push", None, text.into(), ATTEMPT_TIME_MAX).await;
            let (end, status, why) = match answer {
                Ok(answer) if answer.status == 202 => (End::Ok, 202, String::new()),
                Ok(answer) => {
                    let body = answer.json();
                    let is_sure = answer.status < 500 || body["retryable"] == true;
                    let code = body["code"].as_str().unwrap_or_default().to_owned();
                    (if is_sure { End::Failed } else { End::Unknown }, answer.status, code)
                }
                Err(NoAnswer::NotThere) => (End::Failed, 0, "nobody is there".to_owned()),
                Err(NoAnswer::Lost(why)) => (End::Unknown, 0, why),
            };
            let attempt = (status != 202).then_some((status, why));
            log.line(&PushLine { end: Some(end), attempt, ..PushLine::new(self.clock.now(), push) });
            // Late turns are left out: a lane is one at a time.
            turn = (turn + every).max(Instant::now());
        }
    }
}
