//! The publisher: gives each push its place in order and puts it on the queues of all links concerned.
//!
//! A push is planned and encoded under no lock but the roster's shared one; then, under one short lock, it
//! gets its serial number and its place on every queue. So the order on every link is the order of the
//! serial numbers. All or nothing: if a link that works has no room, nothing is sent.
//!
//! Pushes that a rule of history concerns take the engine's way around that ([`stored`]); others never see it.

mod feed;
pub(crate) mod message;
mod plan;
pub(crate) mod stored;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::ids::{Instance, PushId};
use common::link::message::{Receipts, Routes};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::counters::Counters;
use crate::engine::{Appended, Once};
use crate::ledger::{Answer, Deadlines, Ledger, Tally};
use crate::link::outbox::{Outbox, Room};
use crate::push::{Push, Wait};
use crate::roster::{Ends, Roster, Unwanted};
use crate::routing::{LinkId, Remains};
pub(crate) use plan::Reach;
use plan::{Places, Plan};
use stored::{Histories, Standing, Stored};

/// Who waits for a push to be written waits at most this long.
const WRITTEN_TIME_MAX: Duration = Duration::from_secs(10);

/// A push that was on its way for less needs no look at where it was.
const WORTH_A_LOOK: Duration = Duration::from_millis(50);

/// Names that are put into or out of the routing table under one lock: about 0.2 ms.
const ROUTES_STEP: usize = 1024;

/// Entries of the ledger that are looked at under one lock: well under 1 ms.
const LOOK_STEP: usize = 8 * ROUTES_STEP;

/// Gives pushes their order, and hears what became of them. Shared by the API and the links.
#[derive(Debug)]
pub(crate) struct Publisher {
    /// The run of this node.
    pub(crate) instance: Instance,
    deadlines: Deadlines,
    roster: RwLock<Roster>,
    /// The sequencer's lock. Taken before an outbox's, never after.
    ledger: Mutex<Ledger>,
    counters: Counters,
    /// Whose items outlive their push. Its lock is taken before the roster's and the ledger's.
    pub(crate) histories: Histories,
    /// A gateway has said what it holds: the feed has something to tell it.
    newcomer: Notify,
}

/// Why nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No gateway is known.
    NoGateway,
    /// The link to this gateway has no room.
    Overloaded(Arc<str>),
    /// The histories take as much memory as they may.
    HistoryFull,
    /// What is to be kept cannot be kept now; why, for people.
    EngineAway(String),
    /// The key of the call was used for another.
    OtherCall,
}

/// What became of a push by the time its caller wanted to know.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    /// Its id.
    pub(crate) id: PushId,
    /// The counts so far.
    pub(crate) tally: Tally,
    /// Gateways that are known.
    pub(crate) known: usize,
    /// Gateways that took it.
    pub(crate) accepted: usize,
    /// Gateways that did not, and why.
    pub(crate) failed: Vec<(Arc<str>, &'static str)>,
    /// It was put on some link's queue.
    pub(crate) was_sent: bool,
    /// Every gateway that it concerns failed.
    pub(crate) is_failure: bool,
    /// The caller waited for it to be written.
    pub(crate) wait: Wait,
    /// The histories that it stands in.
    pub(crate) stored: Vec<Stored>,
    /// What took how long.
    pub(crate) times: Times,
}

/// What took how long of a push, for the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// To be stored.
    pub(crate) store: Duration,
    /// When it was put on the queues of the links.
    pub(crate) put: Instant,
    /// In the queue of the link where it waited longest, as far as that is worth a look.
    pub(crate) link: Duration,
}

/// What a call with a key has come to.
#[derive(Debug)]
pub(crate) enum Called {
    /// It was made now.
    Now(Vec<Published>),
    /// It had been made before; where its items stand is all that is known.
    Before(Vec<Published>),
}

/// A push with its number, on its way.
#[derive(Debug)]
struct Flight {
    serial: u64,
    wait: Wait,
    plan: Plan,
    answer: Answer,
    stored: Vec<Stored>,
    times: Times,
}

impl Flight {
    /// For how long it waited in the queue of a link, if it was long under way.
    fn queued(&self) -> Duration {
        let now = Instant::now();
        if now.duration_since(self.times.put) < WORTH_A_LOOK {
            return Duration::ZERO;
        }
        let left = |send: &plan::Send| send.outbox.left(self.serial).unwrap_or(now);
        let left = self.plan.sends.iter().map(left).max().unwrap_or(self.times.put);
        left.saturating_duration_since(self.times.put)
    }
}

impl Publisher {
    /// A publisher that knows no gateway.
    pub(crate) fn new(
        instance: Instance,
        ack_time_max: Duration,
        counters: Counters,
        histories: Histories,
    ) -> Self {
        let deadlines = Deadlines { taken: ack_time_max, written: WRITTEN_TIME_MAX.max(ack_time_max) };
        let (roster, ledger, newcomer) = (RwLock::default(), Mutex::default(), Notify::new());
        Self { instance, deadlines, roster, ledger, counters, histories, newcomer }
    }

    /// Sends pushes in this order, all or none, and waits for what each of them wants to wait for.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was sent.
    pub(crate) async fn publish(&self, pushes: &[Push<'_>]) -> Result<Vec<Published>, Refusal> {
        if self.histories.concern(pushes) {
            // Boxed apart: it is not to be paid for in the size of the others.
            return match Box::pin(self.publish_stored(pushes, None)).await? {
                Called::Now(published) | Called::Before(published) => Ok(published),
            };
        }
        let flights = self.send(pushes, None).inspect_err(|refusal| self.count(refusal))?;
        Ok(self.landed(flights).await)
    }

    /// Those that a rule concerns, under a key: what was stored under it before is not stored or sent again.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was sent.
    pub(crate) async fn publish_once(&self, pushes: &[Push<'_>], once: Once<'_>) -> Result<Called, Refusal> {
        self.publish_stored(pushes, Some(once)).await
    }

    async fn publish_stored(&self, pushes: &[Push<'_>], once: Option<Once<'_>>) -> Result<Called, Refusal> {
        let sent = self.send_stored(pushes, once).await.inspect_err(|refusal| self.count(refusal))?;
        match sent {
            Appended::Now(flights) => Ok(Called::Now(self.landed(flights).await)),
            Appended::Before(places) => {
                Ok(Called::Before(self.histories.published_before(pushes, once, &places)))
            }
        }
    }

    fn count(&self, refusal: &Refusal) {
        match refusal {
            Refusal::NoGateway => self.counters.no_gateway.inc(),
            Refusal::Overloaded(_) => self.counters.overloaded.inc(),
            Refusal::HistoryFull => self.counters.history_full.inc(),
            Refusal::EngineAway(_) => self.counters.engine_away.inc(),
            Refusal::OtherCall => 0,
        };
    }

    /// Waits for what each push wants to wait for.
    async fn landed(&self, flights: Vec<Flight>) -> Vec<Published> {
        let mut published = Vec::with_capacity(flights.len());
        for mut flight in flights {
            let answer = std::mem::replace(&mut flight.answer, Answer::Now(Default::default()));
            // Until all that it waits for has happened, or `look` says that it has waited enough.
            let outcome = match answer {
                Answer::Now(outcome) => Some(outcome),
                Answer::Later(answer) => answer.await.ok(),
            };
            flight.times.link = flight.queued();
            let Flight { serial, wait, plan, stored, times, .. } = flight;
            // Without an outcome the ledger has forgotten the push already: nothing is known of it.
            let id = PushId { logic: self.instance, serial };
            let done = plan.published(id, wait, outcome, (stored, times));
            let counter =
                if done.is_failure { &self.counters.gateways_failed } else { &self.counters.accepted };
            counter.inc();
            published.push(done);
        }
        published
    }

    /// Whom a push would reach; nothing is sent.
    ///
    /// # Errors
    /// [`Refusal::NoGateway`].
    pub(crate) fn reach(&self, push: &Push<'_>) -> Result<Reach, Refusal> {
        let roster = self.roster.read();
        let plan = Plan::new(push, Places::default(), &roster, &mut Vec::new()).ok_or(Refusal::NoGateway)?;
        Ok(Reach::new(push, &plan))
    }

    /// The counts of a push of this run, if they are still kept.
    pub(crate) fn tally(&self, serial: u64) -> Option<Tally> {
        self.ledger.lock().tally(serial)
    }

    /// Reads the roster.
    pub(crate) fn with_roster<T>(&self, read: impl FnOnce(&Roster) -> T) -> T {
        read(&self.roster.read())
    }

    /// Changes the roster.
    pub(crate) fn change_roster<T>(&self, change: impl FnOnce(&mut Roster) -> T) -> T {
        change(&mut self.roster.write())
    }

    /// Puts pushes on their links; `stored`, where some of them stand in histories: then what has no room is not
    /// refused, for the others are stored.
    fn send(&self, pushes: &[Push<'_>], stored: Option<&Standing<'_>>) -> Result<Vec<Flight>, Refusal> {
        let mut plans = Vec::with_capacity(pushes.len());
        {
            let roster = self.roster.read();
            let mut holders = Vec::new();
            for (at, push) in pushes.iter().enumerate() {
                let places = stored.map_or_else(Places::default, |stored| stored.of(at));
                let plan = Plan::new(push, places, &roster, &mut holders);
                let plan = plan.or_else(|| stored.map(|_| Plan::nobody())).ok_or(Refusal::NoGateway)?;
                plans.push(plan);
            }
        }
        let now = Instant::now();
        let mut ledger = self.ledger.lock();
        reserve(&mut plans, &ledger, stored.is_some())?;
        let flights = pushes.iter().zip(plans).map(|(push, mut plan)| {
            let links = plan.sends.iter().map(|send| send.link);
            let (serial, answer) = ledger.append(links, push.wait, now);
            for send in &mut plan.sends {
                send.outbox.put(serial, std::mem::take(&mut send.rest));
            }
            let times = Times { store: Duration::ZERO, put: now, link: Duration::ZERO };
            Flight { serial, wait: push.wait, plan, answer, stored: Vec::new(), times }
        });
        let flights: Vec<_> = flights.collect();
        drop(ledger);
        for send in flights.iter().flat_map(|flight| &flight.plan.sends) {
            send.outbox.wake();
        }
        Ok(flights)
    }

    /// A link is up.
    ///
    /// # Errors
    /// Why it is not wanted.
    pub(crate) fn link_up(
        &self,
        address: &str,
        label: &str,
        instance: Instance,
        ends: Ends,
    ) -> Result<LinkId, Unwanted> {
        self.roster.write().link_up(address, label, instance, ends)
    }

    /// A link is lost: what it had and what waits for it is dropped, and who waits for it is told.
    ///
    /// Its names are out of all routes at once; what is left of them in the table is to be given to
    /// [`Publisher::clean`].
    pub(crate) fn link_down(&self, address: &str, link: LinkId, outbox: &Outbox) -> Option<Remains> {
        let remains = {
            let mut roster = self.roster.write();
            roster.link_down(address, "link_lost");
            roster.routing.remove(link)
        };
        let lost = {
            let mut ledger = self.ledger.lock();
            outbox.close();
            ledger.lose(link)
        };
        self.counters.add(&Tally { gateway_lost: lost, ..Tally::default() });
        remains
    }

    /// Cleans away what a lost link has left in the routing table: step by step, and others have their turn
    /// between the steps, for a million names take 100 ms.
    pub(crate) async fn clean(&self, mut remains: Remains) {
        while self.roster.write().routing.clean(&mut remains, ROUTES_STEP) {
            tokio::task::yield_now().await;
        }
    }

    /// A gateway says what it holds.
    pub(crate) async fn routes(&self, link: LinkId, routes: &Routes) {
        for begun in routes.begun.chunks(ROUTES_STEP) {
            self.roster.write().routing.begin(link, begun);
            if routes.begun.len() > ROUTES_STEP {
                // A snapshot is long, and the link's own deliveries are written by the same task.
                tokio::task::yield_now().await;
            }
        }
        for ceased in routes.ceased.chunks(ROUTES_STEP) {
            self.roster.write().routing.cease(link, ceased);
            if routes.ceased.len() > ROUTES_STEP {
                // A crowd that goes says as much.
                tokio::task::yield_now().await;
            }
        }
        if routes.complete {
            self.roster.write().routing.complete(link);
        }
    }

    /// A gateway says what became of deliveries.
    pub(crate) fn receipts(&self, link: LinkId, receipts: &Receipts) {
        let news = self.ledger.lock().receipts(link, receipts);
        self.counters.add(&news);
    }

    /// Forgets what is too old, in steps; says how many entries are left.
    pub(crate) fn forget(&self) -> usize {
        let mut ledger = self.ledger.lock();
        ledger.forget(Instant::now(), LOOK_STEP);
        ledger.len()
    }

    /// Answers who has waited long enough.
    pub(crate) fn look(&self) {
        let now = Instant::now();
        while self.ledger.lock().look(now, self.deadlines, LOOK_STEP) {}
    }

    /// How often to look: an answer is late by a twentieth at most.
    pub(crate) fn look_every(&self) -> Duration {
        (self.deadlines.taken / 20).clamp(Duration::from_millis(1), Duration::from_millis(50))
    }
}

/// Keeps room for all, or for none. What cannot go because its link is lost or stalled is moved to the failed, and so is
/// what finds no room if it is stored.
fn reserve(plans: &mut [Plan], ledger: &Ledger, is_stored: bool) -> Result<(), Refusal> {
    for at in 0..plans.len() {
        let mut kept = 0;
        while let Some(send) = plans[at].sends.get(kept) {
            match send.outbox.reserve(send.rest.len()) {
                Room::Reserved => kept += 1,
                Room::Closed => plans[at].fail(kept, "link_lost"),
                Room::Stalled => plans[at].fail(kept, "unresponsive"),
                Room::Full if ledger.is_suspect(send.link) => plans[at].fail(kept, "unresponsive"),
                Room::Full if is_stored => plans[at].fail(kept, "overloaded"),
                Room::Full => {
                    let full = send.label.clone();
                    let whole = plans[..at].iter().flat_map(|plan| &plan.sends);
                    for reserved in whole.chain(&plans[at].sends[..kept]) {
                        reserved.outbox.release(reserved.rest.len());
                    }
                    return Err(Refusal::Overloaded(full));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
