//! The publisher: gives each push its place in order and puts it on the queues of all links concerned.
//!
//! A push is planned and encoded under no lock but the roster's shared one; then, under one short lock, it
//! gets its serial number and its place on every queue. So the order on every link is the order of the
//! serial numbers. All or nothing: if a link that works has no room, nothing is sent.

pub(crate) mod message;
mod plan;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::ids::{Instance, PushId};
use common::link::message::{Receipts, Routes};
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;
use tokio::time::timeout_at;

use crate::counters::Counters;
use crate::ledger::{Ledger, Outcome, Patience, Tally};
use crate::link::outbox::{Outbox, Room};
use crate::push::{Push, Wait};
use crate::roster::{Roster, Unwanted};
use crate::routing::LinkId;
use plan::Plan;
pub(crate) use plan::Reach;

/// Who waits for a push to be written waits at most this long.
const WRITTEN_TIME_MAX: Duration = Duration::from_secs(10);

/// Names that are put into or out of the routing table under one lock: about 0.2 ms.
const ROUTES_STEP: usize = 1024;

/// Gives pushes their order, and hears what became of them. Shared by the API and the links.
#[derive(Debug)]
pub(crate) struct Publisher {
    /// The run of this node.
    pub(crate) instance: Instance,
    ack_time_max: Duration,
    roster: RwLock<Roster>,
    /// The sequencer's lock. Taken before an outbox's, never after.
    ledger: Mutex<Ledger>,
    counters: Counters,
}

/// Why nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No gateway is known.
    NoGateway,
    /// The link to this gateway has no room.
    Overloaded(Arc<str>),
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
}

/// A push with its number, on its way.
#[derive(Debug)]
struct Flight {
    serial: u64,
    wait: Wait,
    plan: Plan,
    answer: oneshot::Receiver<Outcome>,
}

impl Publisher {
    /// A publisher that knows no gateway.
    pub(crate) fn new(instance: Instance, ack_time_max: Duration, counters: Counters) -> Self {
        Self { instance, ack_time_max, roster: RwLock::default(), ledger: Mutex::default(), counters }
    }

    /// Sends pushes in this order, all or none, and waits for what each of them wants to wait for.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was sent.
    pub(crate) async fn publish(&self, pushes: &[Push<'_>]) -> Result<Vec<Published>, Refusal> {
        let flights = self.send(pushes).inspect_err(|refusal| {
            match refusal {
                Refusal::NoGateway => self.counters.no_gateway.inc(),
                Refusal::Overloaded(_) => self.counters.overloaded.inc(),
            };
        })?;
        let start = tokio::time::Instant::now();
        let mut published = Vec::with_capacity(flights.len());
        for flight in flights {
            let done = self.land(flight, start).await;
            let counter =
                if done.is_failure { &self.counters.gateways_failed } else { &self.counters.accepted };
            counter.inc();
            published.push(done);
        }
        Ok(published)
    }

    /// Whom a push would reach; nothing is sent.
    ///
    /// # Errors
    /// [`Refusal::NoGateway`].
    pub(crate) fn reach(&self, push: &Push<'_>) -> Result<Reach, Refusal> {
        let roster = self.roster.read();
        let plan = Plan::new(push, &roster, &mut Vec::new()).ok_or(Refusal::NoGateway)?;
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

    fn send(&self, pushes: &[Push<'_>]) -> Result<Vec<Flight>, Refusal> {
        let mut plans = Vec::with_capacity(pushes.len());
        {
            let roster = self.roster.read();
            let mut holders = Vec::new();
            for push in pushes {
                plans.push(Plan::new(push, &roster, &mut holders).ok_or(Refusal::NoGateway)?);
            }
        }
        let now = Instant::now();
        let mut ledger = self.ledger.lock();
        reserve(&mut plans)?;
        let flights = pushes.iter().zip(plans).map(|(push, mut plan)| {
            let links = plan.sends.iter().map(|send| send.link);
            let (serial, answer) = ledger.append(links, push.wait, now);
            for send in &mut plan.sends {
                send.outbox.put(serial, std::mem::take(&mut send.rest));
            }
            Flight { serial, wait: push.wait, plan, answer }
        });
        Ok(flights.collect())
    }

    /// Waits for a push as long as its caller wants to. `start` is when it was sent.
    async fn land(&self, mut flight: Flight, start: tokio::time::Instant) -> Published {
        let steps = [(self.ack_time_max, Patience::Taken), (WRITTEN_TIME_MAX, Patience::Over)];
        let mut outcome = None;
        for (time_max, patience) in steps {
            if let Ok(answer) = timeout_at(start + time_max, &mut flight.answer).await {
                outcome = answer.ok();
                break;
            }
            self.ledger.lock().patience(flight.serial, patience);
        }
        if outcome.is_none() {
            outcome = flight.answer.try_recv().ok();
        }
        let id = PushId { logic: self.instance, serial: flight.serial };
        // Without an outcome the ledger has forgotten the push already: nothing is known of it.
        flight.plan.published(id, flight.wait, outcome)
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
        outbox: Arc<Outbox>,
    ) -> Result<LinkId, Unwanted> {
        self.roster.write().link_up(address, label, instance, outbox)
    }

    /// A link is lost: what it had and what waits for it is dropped, and who waits for it is told.
    pub(crate) fn link_down(&self, address: &str, link: LinkId, outbox: &Outbox) {
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
        if let Some(mut remains) = remains {
            while self.roster.write().routing.clean(&mut remains, ROUTES_STEP) {}
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
        ledger.forget(Instant::now(), 8 * ROUTES_STEP);
        ledger.len()
    }
}

/// Keeps room for all, or for none. What cannot go because its link is lost or stalled is moved to the failed.
fn reserve(plans: &mut [Plan]) -> Result<(), Refusal> {
    for at in 0..plans.len() {
        let mut kept = 0;
        while let Some(send) = plans[at].sends.get(kept) {
            match send.outbox.reserve(send.rest.len()) {
                Room::Reserved => kept += 1,
                Room::Closed => plans[at].fail(kept, "link_lost"),
                Room::Stalled => plans[at].fail(kept, "unresponsive"),
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
