//! The agents of a run: how they come, what all of them are told, and what each answers.

mod gather;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::tasks::Tasks;
use std::sync::Arc;

use super::Error;
use super::link::{Board, Link};
use crate::agent::frames;
use crate::agent::message::{Join, Judge, Order, Said, Share, Verdict};
use crate::ledger::EXPORT_ITEMS;
use crate::plan::Plan;
use crate::reactor::Ramp;
pub(super) use gather::Source;

/// An answer takes this long at the most, and a little longer for each agent: they may share few cores.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
const ANSWER_TIME_EACH: Duration = Duration::from_secs(2);

/// A verdict looks at each client and at each item of its streams.
const VERDICT_TIME_MAX: Duration = Duration::from_secs(600);

/// When all is done, agents end in this time.
const END_TIME_MAX: Duration = Duration::from_secs(10);

/// One agent.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) join: Join,
    link: Link,
}

/// All agents of a run, by number.
#[derive(Debug)]
pub(super) struct Crowd {
    pub(super) members: Vec<Member>,
    board: Arc<Board>,
    tasks: Tasks,
    pub(super) notes: Vec<String>,
}

impl Crowd {
    /// Lets the agents of a run come, and waits until all have prepared their share. `share`: of the agent with a
    /// number.
    pub(super) async fn gather(
        source: Source,
        board: Arc<Board>,
        tasks: Tasks,
        mut share: impl FnMut(&Join) -> Share,
    ) -> Result<Self, Error> {
        let come = Box::pin(gather::come(source, &board, &tasks)).await?;
        let mut crowd = Self { members: come.members, board, tasks, notes: come.notes };
        for member in &mut crowd.members {
            let order = Order::Share(Box::new(share(&member.join)));
            member.link.ask(frames::message(&order)).await;
        }
        crowd.hear_all(crowd.time_max(), |said| matches!(said, Said::Ready).then_some(())).await;
        crowd.check().map(|()| crowd)
    }

    fn time_max(&self) -> Duration {
        ANSWER_TIME_MAX + ANSWER_TIME_EACH * self.members.len() as u32
    }

    /// The first agent that was lost, as an error.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.lost().into_iter().next() {
            None => Ok(()),
            Some((number, why)) => Err(Error::Broken(format!("{} is lost: {why}", self.name(number)))),
        }
    }

    /// Why agents were lost, by number.
    pub(super) fn lost(&self) -> BTreeMap<u32, String> {
        self.board.lost.lock().clone()
    }

    pub(super) fn name(&self, number: u32) -> &str {
        self.members.get(number as usize).map_or("an agent", |member| &member.name)
    }

    /// Lets all clients connect; the ramp is that of all agents together.
    pub(super) async fn connect(&self, plan: &Plan) {
        let agents = self.members.len() as u32;
        let ramp = Ramp {
            rate: f64::from(plan.connect_rate) / f64::from(agents),
            in_flight: (plan.connects_in_flight / agents).max(1),
        };
        self.give_all(frames::message(&Order::Connect(ramp))).await;
    }

    /// Says when publishing begins, and waits until all know.
    pub(super) async fn begin(&mut self, at: u64) {
        self.ask_all(frames::message(&Order::Begin(at))).await;
        let time_max = self.time_max();
        self.hear_all(time_max, |said| matches!(said, Said::Begun).then_some(())).await;
    }

    /// Ends all clients.
    pub(super) async fn stop(&mut self) {
        self.ask_all(frames::message(&Order::Stop)).await;
        let time_max = self.time_max();
        self.hear_all(time_max, |said| matches!(said, Said::Stopped).then_some(())).await;
    }

    /// Lets each agent judge what its clients saw, against the ledger.
    pub(super) async fn judge(&mut self, judge: Judge) -> Vec<Option<Verdict>> {
        let items = self.board.desk.ledger.schedule.items.len() as u32;
        for from in (0..items).step_by(EXPORT_ITEMS as usize) {
            self.give_all(frames::ledger(&self.board.desk.ledger.export(from))).await;
        }
        self.ask_all(frames::message(&Order::Judge(judge))).await;
        self.hear_all(VERDICT_TIME_MAX, |said| match said {
            Said::Verdict(verdict) => Some(*verdict),
            _ => None,
        })
        .await
    }

    async fn give_all(&self, frame: Bytes) {
        for member in &self.members {
            member.link.give(frame.clone()).await;
        }
    }

    async fn ask_all(&self, frame: Bytes) {
        for member in &self.members {
            member.link.ask(frame.clone()).await;
        }
    }

    /// Waits for an answer of each agent that is not lost. One that says something else, or nothing in time, is.
    async fn hear_all<T>(
        &mut self,
        time_max: Duration,
        answer: impl Fn(Said) -> Option<T>,
    ) -> Vec<Option<T>> {
        let until = Instant::now() + time_max;
        let mut answers = Vec::with_capacity(self.members.len());
        for member in &mut self.members {
            let number = member.link.number;
            let said = tokio::time::timeout_at(until.into(), member.link.hear()).await;
            answers.push(match said {
                Err(_) => {
                    let secs = time_max.as_secs_f64();
                    self.board.lose(number, format!("it did not do its part within {secs:.0} s"));
                    None
                }
                // Its link has noted why.
                Ok(None) => None,
                Ok(Some(said)) => {
                    let answer = answer(said);
                    if answer.is_none() {
                        self.board.lose(number, "it said what was not its turn".to_owned());
                    }
                    answer
                }
            });
        }
        answers
    }

    /// The end: processes that were started have ended too.
    pub(super) async fn end(self) {
        drop(self.members);
        // Each link ends its process by force if need be, well within this.
        _ = tokio::time::timeout(END_TIME_MAX, self.tasks.ended()).await;
    }
}
