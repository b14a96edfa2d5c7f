//! Pushes that outlive themselves: rooms and users whose history a rule keeps.
//!
//! Such pushes are planned, put and appended in one turn of the engine. So each link has the items of a history in
//! the order of their offsets; whoever reads a history after a gateway's routes were taken gets an item from there
//! or from the link, never from neither; and what no link has room for was never appended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::ids::{Epoch, Instance};
use common::link::history::{FETCH_BYTES_MAX, FETCH_ITEMS_MAX, Fetch, Fetched, KeptItem};
use common::link::message::{LogicHello, Position};
use common::names::Kind;

use super::{Flight, Publisher, Refusal, message};
use crate::engine::embedded::{Embedded, Holdings};
use crate::engine::rules::{HistoryRule, HistoryRules};
use crate::engine::{Append, Engine, Item, Moment, Most, NotAppended, Page, Since, Whose};
use crate::push::{Push, Target};

/// Histories that are looked at under one lock for what has aged: 0.2 ms.
const TIDY_STEP: usize = 512;

/// Whose items are kept, and where.
#[derive(Debug)]
pub(crate) struct Histories {
    rules: HistoryRules,
    engine: Embedded,
}

/// Where an item stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// In the history of a room, or of a user.
    pub(crate) kind: Kind,
    /// Of this name.
    pub(crate) name: String,
    /// There.
    pub(crate) at: Position,
}

impl Histories {
    /// No histories yet.
    pub(crate) fn new(rules: HistoryRules, bytes_max: usize) -> Self {
        Self { rules, engine: Embedded::new(bytes_max) }
    }

    /// Nothing is kept of anybody.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self::new(HistoryRules::default(), 0)
    }

    /// Whether a rule concerns any of these pushes.
    pub(super) fn concern(&self, pushes: &[Push<'_>]) -> bool {
        !self.rules.is_empty()
            && pushes.iter().any(|push| match &push.to {
                Target::Names(kind, names) => names.iter().any(|name| self.find(*kind, name).is_some()),
                Target::All | Target::Clients(_) => false,
            })
    }

    /// The history of a name, if one is kept.
    pub(crate) fn find<'a>(&self, kind: Kind, name: &'a str) -> Option<Whose<'a>> {
        self.rules.find(kind, name)
    }

    /// Reads a history.
    pub(crate) async fn read(&self, whose: Whose<'_>, since: Option<Since>, most: Most) -> Page {
        self.engine.read(whose, since, most, Instant::now()).await
    }

    /// Lets go of what has aged, step by step.
    pub(crate) async fn tidy(&self) {
        while self.engine.tidy(Instant::now(), TIDY_STEP) {
            tokio::task::yield_now().await;
        }
    }

    /// How much is kept now.
    pub(crate) fn holdings(&self) -> Holdings {
        self.engine.holdings()
    }

    /// What is to be appended for each push, in their order.
    fn appends<'a>(&self, pushes: &'a [Push<'_>]) -> Vec<Append<'a>> {
        let now = Moment::now();
        let mut appends = Vec::new();
        for push in pushes {
            let Target::Names(kind, names) = &push.to else { continue };
            let mut shared = None;
            for whose in names.iter().filter_map(|name| self.find(*kind, name)) {
                let item: &Arc<Item> = shared.get_or_insert_with(|| Arc::new(item(push, now)));
                appends.push(Append { whose, item: item.clone() });
            }
        }
        appends
    }

    /// The place of each name of each push: none for a push that is in no history, epoch 0 for a name that has none.
    fn positions(&self, pushes: &[Push<'_>], appended: &[Position]) -> Vec<Vec<Position>> {
        let mut appended = appended.iter();
        let of = |push: &Push<'_>| {
            let Target::Names(kind, names) = &push.to else { return Vec::new() };
            let mut at = |name: &String| self.find(*kind, name).and_then(|_| appended.next().copied());
            let positions: Vec<_> = names.iter().map(|name| at(name).unwrap_or_default()).collect();
            if positions.iter().any(|at| at.epoch > 0) { positions } else { Vec::new() }
        };
        pushes.iter().map(of).collect()
    }
}

fn item(push: &Push<'_>, at: Moment) -> Item {
    let ttl = (push.ttl_ms > 0).then(|| Duration::from_millis(push.ttl_ms));
    Item {
        body: message::body(push),
        app: push.app,
        except: push.except.as_slice().into(),
        expires: ttl.and_then(|ttl| at.mono.checked_add(ttl)),
        at,
    }
}

/// What the caller is told: the names that have a place.
fn stored(push: &Push<'_>, positions: &[Position]) -> Vec<Stored> {
    let Target::Names(kind, names) = &push.to else { return Vec::new() };
    let with_place = names.iter().zip(positions).filter(|(_, at)| at.epoch > 0);
    with_place.map(|(name, at)| Stored { kind: *kind, name: name.clone(), at: *at }).collect()
}

/// Whether an item may still be sent, and as what a gateway gets it.
fn kept(offset: u64, item: &Item, gateway: Instance, now: Instant) -> Option<KeptItem> {
    let is_over = item.expires.is_some_and(|expires| expires <= now);
    let here = item.except.iter().filter(|client| client.gateway == gateway);
    let except = here.map(|client| client.local).collect();
    (!is_over).then(|| KeptItem { offset, app: item.app, except, body: item.body.clone() })
}

impl Publisher {
    /// What a hello says of histories.
    pub(crate) fn hello_of_histories(&self) -> LogicHello {
        let texts = |rules: &[HistoryRule]| rules.iter().map(|rule| rule.matches.to_string()).collect();
        let rules = &self.histories.rules;
        LogicHello {
            history_rooms: texts(&rules.rooms),
            history_users: texts(&rules.users),
            // Histories live and die with this run.
            engine: if rules.is_empty() { 0 } else { self.instance.0 },
            ..LogicHello::default()
        }
    }

    /// The answer to a gateway that asks for a part of a history.
    pub(crate) async fn fetch(&self, fetch: &Fetch, gateway: Instance) -> Fetched {
        self.counters.history_reads.inc();
        let nothing = Fetched { id: fetch.id, ..Fetched::default() };
        let kind = Kind::try_from(fetch.kind).ok();
        let Some(whose) = kind.and_then(|kind| self.histories.find(kind, &fetch.name)) else {
            return nothing;
        };
        let since = fetch.since.map(|at| Since { epoch: Some(Epoch(at.epoch)), offset: at.offset });
        let items = if since.is_some() { FETCH_ITEMS_MAX } else { 0 };
        let page = self.histories.read(whose, since, Most { items, bytes: FETCH_BYTES_MAX }).await;
        let (head, continues, now) = (Some(page.head), page.continues, Instant::now());
        match since {
            Some(since) if continues => {
                let last = page.last(since.offset);
                let items = page.items.iter();
                let items = items.filter_map(|(offset, item)| kept(*offset, item, gateway, now)).collect();
                Fetched { head, continues, last, items, ..nothing }
            }
            _ => Fetched { head, continues, last: page.head.offset, ..nothing },
        }
    }

    /// Appends what is to be kept and sends all, or none.
    pub(super) async fn send_stored(&self, pushes: &[Push<'_>]) -> Result<Vec<Flight>, Refusal> {
        let histories = &self.histories;
        let appends = histories.appends(pushes);
        let now = appends.first().map_or_else(Instant::now, |append| append.item.at.mono);
        let send = |appended: &[Position]| {
            let positions = histories.positions(pushes, appended);
            let mut flights = self.send(pushes, &positions)?;
            for (flight, (push, positions)) in flights.iter_mut().zip(pushes.iter().zip(&positions)) {
                flight.stored = stored(push, positions);
            }
            Ok(flights)
        };
        histories.engine.append(&appends, now, send).await.map_err(|not| match not {
            NotAppended::Full => Refusal::HistoryFull,
            NotAppended::Refused(refusal) => refusal,
        })
    }
}
