//! Pushes that outlive themselves: rooms and users whose history a rule keeps.
//!
//! Such pushes are appended, then planned and put. So whoever reads a history after a gateway's routes were taken gets an
//! item from there or from the link, never from neither. What a link has no room for by then is stored: the gateway
//! hears where the history stands and asks for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::ids::{Epoch, Instance, PushId};
use common::link::history::{FETCH_BYTES_MAX, FETCH_ITEMS_MAX, Fetch, Fetched, KeptItem};
use common::link::message::{LogicHello, Mark, Position};
use common::names::Kind;
use tokio::sync::watch;
use tokio::time::timeout;

use super::plan::{Places, Plan};
use super::{Flight, Published, Publisher, Refusal, Times, message};
use crate::engine::any::Any;
use crate::engine::redis::Redis;
use crate::engine::rules::{HistoryRule, HistoryRules};
use crate::engine::{
    Append, Appended, Away, Engine, Holdings, Item, Moment, Most, NotAppended, Once, Page, Placed, Since,
    Whose,
};
use crate::push::{Push, Target};
use crate::tune::Tuner;

/// A store that has not answered a gateway by then is taken as away.
const READ_TIME_MAX: Duration = Duration::from_secs(1);

/// Whose items are kept, and where.
#[derive(Debug)]
pub(crate) struct Histories {
    tuner: Tuner,
    pub(super) engine: Any,
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

/// Where the pushes of a call stand.
#[derive(Debug)]
pub(super) struct Standing<'a> {
    /// Of each push: one for each of its names, or none.
    positions: Vec<Vec<Position>>,
    marks: &'a [Mark],
}

impl Standing<'_> {
    /// Where the push with this place in the call stands.
    pub(super) fn of(&self, at: usize) -> Places<'_> {
        let positions = self.positions.get(at).map_or(&[][..], Vec::as_slice);
        Places { positions, marks: if positions.is_empty() { &[] } else { self.marks } }
    }
}

impl Histories {
    /// What the rules say, kept by an engine.
    pub(crate) fn new(tuner: Tuner, engine: Any) -> Self {
        Self { tuner, engine }
    }

    /// Nothing is kept of anybody.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        let engine = Any::Embedded(crate::engine::embedded::Embedded::new(0));
        let metrics = common::metrics::Metrics::new("test");
        let tuner = Tuner::new(&crate::Settings::default(), engine.bytes_max(), &metrics);
        Self::new(tuner, engine)
    }

    /// The rules that hold now. Who needs them more than once holds on to them: they may be others a moment later.
    fn rules(&self) -> Arc<HistoryRules> {
        self.tuner.tune.now().history.clone()
    }

    /// Told when other rules hold.
    pub(crate) fn rules_change(&self) -> watch::Receiver<()> {
        self.tuner.rules.subscribe()
    }

    /// Whether a rule concerns any of these pushes.
    pub(crate) fn concern(&self, pushes: &[Push<'_>]) -> bool {
        let tune = self.tuner.tune.now();
        let rules = &tune.history;
        !rules.is_empty()
            && pushes.iter().any(|push| match &push.to {
                Target::Names(kind, names) => names.iter().any(|name| rules.find(*kind, name).is_some()),
                Target::All | Target::Clients(_) => false,
            })
    }

    /// The history of a name, if one is kept.
    pub(crate) fn find<'a>(&self, kind: Kind, name: &'a str) -> Option<Whose<'a>> {
        self.tuner.tune.now().history.find(kind, name)
    }

    /// Whether anything is kept of anybody.
    pub(crate) fn are_kept(&self) -> bool {
        !self.tuner.tune.now().history.is_empty()
    }

    /// Whether calls fail without the store: a rule keeps something there, or other nodes share it.
    pub(crate) fn is_store_needed(&self) -> bool {
        self.are_kept() || !matches!(self.engine, Any::Embedded(_))
    }

    /// The store, for those who look after it.
    pub(crate) fn engine(&self) -> &Any {
        &self.engine
    }

    /// Redis, if it is that which keeps them.
    pub(crate) fn redis(&self) -> Option<&Arc<Redis>> {
        self.engine.redis()
    }

    /// Reads a history.
    pub(crate) async fn read(
        &self,
        whose: Whose<'_>,
        since: Option<Since>,
        most: Most,
    ) -> Result<Page, Away> {
        self.engine.read(whose, since, most, Moment::now()).await
    }

    /// Lets go of what has aged, step by step.
    pub(crate) async fn tidy(&self) {
        self.engine.tidy(Moment::now()).await;
    }

    /// How much is kept now.
    pub(crate) fn holdings(&self) -> Holdings {
        self.engine.holdings()
    }

    /// Whether calls with a key are remembered by more than this process: then it is asked.
    pub(crate) fn remembers_calls(&self) -> bool {
        !matches!(self.engine, Any::Embedded(_))
    }

    /// What is known of a call that was stored at these places before: of each push, who it is and where it stands. Its id
    /// is the same whenever it is asked for, and nobody has counts of it under that.
    pub(super) fn published_before(
        &self,
        pushes: &[Push<'_>],
        once: Option<Once<'_>>,
        places: &[Position],
    ) -> Vec<Published> {
        let print = once.map_or(0, |once| u128::from_be_bytes(once.print));
        let logic = Instance((print >> 64) as u64 | 1);
        let positions = positions(&self.rules(), pushes, places);
        let times = Times { store: Duration::ZERO, put: Instant::now(), link: Duration::ZERO };
        let of = |(serial, (push, positions)): (u64, (&Push<'_>, Vec<Position>))| {
            Plan::nobody().published(
                PushId { logic, serial },
                push.wait,
                None,
                (stored(push, &positions), times),
            )
        };
        (1..).zip(pushes.iter().zip(positions)).map(of).collect()
    }
}

/// What is to be appended for each push, in their order.
fn appends<'a>(rules: &HistoryRules, pushes: &'a [Push<'_>]) -> Vec<Append<'a>> {
    let now = Moment::now();
    let mut appends = Vec::new();
    for push in pushes {
        let Target::Names(kind, names) = &push.to else { continue };
        let mut shared = None;
        for whose in names.iter().filter_map(|name| rules.find(*kind, name)) {
            let item: &Arc<Item> = shared.get_or_insert_with(|| Arc::new(item(push, now)));
            appends.push(Append { whose, item: item.clone() });
        }
    }
    appends
}

/// The place of each name of each push: none for a push that is in no history, epoch 0 for a name that has none.
fn positions(rules: &HistoryRules, pushes: &[Push<'_>], appended: &[Position]) -> Vec<Vec<Position>> {
    let mut appended = appended.iter();
    let of = |push: &Push<'_>| {
        let Target::Names(kind, names) = &push.to else { return Vec::new() };
        let mut at = |name: &String| rules.find(*kind, name).and_then(|_| appended.next().copied());
        let positions: Vec<_> = names.iter().map(|name| at(name).unwrap_or_default()).collect();
        if positions.iter().any(|at| at.epoch > 0) { positions } else { Vec::new() }
    };
    pushes.iter().map(of).collect()
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
    // One that is not over yet has a millisecond left at least: none at all would mean that it has no end.
    let left = |expires: Instant| expires.saturating_duration_since(now).as_millis().max(1) as u64;
    let ttl_ms = item.expires.map_or(0, left);
    (!is_over).then(|| KeptItem { offset, app: item.app, except, body: item.body.clone(), ttl_ms })
}

impl Publisher {
    /// What a hello says of histories.
    pub(crate) fn hello_of_histories(&self) -> LogicHello {
        let texts = |rules: &[HistoryRule]| rules.iter().map(|rule| rule.matches.to_string()).collect();
        let rules = self.histories.rules();
        LogicHello {
            history_rooms: texts(&rules.rooms),
            history_users: texts(&rules.users),
            fence: self.histories.engine.fence(),
            // Said without rules too: keys of calls live there.
            engine: self.histories.engine.identity(),
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
        let page = self.histories.read(whose, since, Most { items, bytes: FETCH_BYTES_MAX });
        // Whoever asked is told that there is no answer now.
        let Ok(Ok(page)) = timeout(READ_TIME_MAX, page).await else { return nothing };
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

    /// Stores what is to be kept and sends all, or does neither.
    pub(super) async fn send_stored(
        &self,
        pushes: &[Push<'_>],
        once: Option<Once<'_>>,
    ) -> Result<Appended<Vec<Flight>>, Refusal> {
        let histories = &self.histories;
        self.check_room(pushes)?;
        let rules = histories.rules();
        let appends = appends(&rules, pushes);
        if appends.is_empty() {
            // A rule was taken away just now. With nothing to store there is nowhere to put the key.
            if once.is_some() {
                return Err(Refusal::EngineAway("the rules of histories have just changed".to_owned()));
            }
            return self.send(pushes, None).map(Appended::Now);
        }
        let now = appends.first().map_or_else(Moment::now, |append| append.item.at);
        let began = Instant::now();
        let send = |placed: Placed<'_>| {
            let store = began.elapsed();
            let positions = positions(&rules, pushes, placed.positions);
            let standing = Standing { positions, marks: placed.marks };
            let mut flights = self.send(pushes, Some(&standing))?;
            for (flight, (push, positions)) in flights.iter_mut().zip(pushes.iter().zip(&standing.positions))
            {
                flight.stored = stored(push, positions);
                flight.times.store = store;
            }
            Ok(flights)
        };
        match histories.engine.append(&appends, once, now, send).await {
            Ok(Appended::Now(sent)) => sent.map(Appended::Now),
            Ok(Appended::Before(positions)) => Ok(Appended::Before(positions)),
            Err(NotAppended::OtherCall) => Err(Refusal::OtherCall),
            Err(NotAppended::Full) => Err(Refusal::HistoryFull),
            Err(NotAppended::Away(Away(why))) => Err(Refusal::EngineAway(why)),
        }
    }

    /// Refuses what would be stored and could not be sent.
    fn check_room(&self, pushes: &[Push<'_>]) -> Result<(), Refusal> {
        let (mut full, mut holders) = (Vec::new(), Vec::new());
        {
            let roster = self.roster.read();
            let knows_nobody = roster.counted().next().is_none();
            for push in pushes {
                if knows_nobody && !self.histories.concern(std::slice::from_ref(push)) {
                    return Err(Refusal::NoGateway);
                }
                full.extend(Plan::full(push, &roster, &mut holders));
            }
        }
        if full.is_empty() {
            return Ok(());
        }
        let ledger = self.ledger.lock();
        let working = full.into_iter().find(|(link, _)| !ledger.is_suspect(*link));
        working.map_or(Ok(()), |(_, label)| Err(Refusal::Overloaded(label)))
    }
}
