//! Asking logic for parts of histories: bounded in number, in bytes and in time, and once for all who want the same.
//!
//! An answer may be given to whoever asks for the same within a second, since what is live decides: who was brought
//! less than sweeps have written meanwhile asks again from there. That holds for one group as long as it has a
//! member here without a break, so flights are told apart by the group's address, and hold the group.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::link::history::{Fetch, Fetched, KeptItem};
use common::link::message::{LogicHello, Position};
use common::names::Kind;
use common::patterns::{Pattern, Who};
use common::tasks::Tasks;
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

use crate::counters::Counters;
use crate::directory::Group;

/// Questions to logic at a time. With 64 KiB of items each, 4 MiB are on the way at the most.
const FETCHES_MAX: usize = 64;

/// Who waits for longer is told that the history is away.
const FETCH_TIME_MAX: Duration = Duration::from_secs(2);

/// Where another logic node may be asked, one that does not answer is given up after this.
const TURN_TIME_MAX: Duration = Duration::from_millis(700);

/// For how long an answer serves others.
const FRESH: Duration = Duration::from_secs(1);

/// Answers kept for others: 64 × 64 KiB = 4 MiB, and their frames as much again.
const ANSWERS_MAX: usize = 64;

/// Whether a history is kept of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    No,
    Yes,
    /// No logic node has been linked yet.
    Unknown,
}

/// No history can be read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Away;

/// A part of a history.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) head: Position,
    pub(crate) continues: bool,
    /// The offset up to which it goes.
    pub(crate) last: u64,
    pub(crate) items: Vec<KeptItem>,
    /// When it was asked for: it knows of everything before.
    pub(crate) asked: Instant,
    /// The frame for those who may have all of it.
    pub(crate) frame: std::sync::OnceLock<Bytes>,
}

impl Part {
    /// Whether every connection may have all of it, whenever it comes.
    pub(crate) fn is_for_all(&self) -> bool {
        self.items.iter().all(|item| item.app.is_none() && item.except.is_empty() && item.ttl_ms == 0)
    }

    /// When an item is not to be sent any more, if ever. It had so long when it was read, which was after the question.
    pub(crate) fn expires(&self, item: &KeptItem) -> Option<Instant> {
        let ttl = (item.ttl_ms > 0).then(|| Duration::from_millis(item.ttl_ms));
        ttl.and_then(|ttl| self.asked.checked_add(ttl))
    }
}

/// What an answer must be, to serve one who asks for what was asked before.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted {
    /// It is of this life, and goes on to there.
    pub(crate) reaches: Option<Position>,
    /// It was asked for after this.
    pub(crate) after: Option<Instant>,
}

impl Wanted {
    fn is_met_by(&self, part: &Part) -> bool {
        let reaches = |at: Position| part.head.epoch == at.epoch && part.head.offset >= at.offset;
        self.reaches.is_none_or(reaches) && self.after.is_none_or(|after| part.asked > after)
    }
}

/// A link to a logic node that keeps histories.
#[derive(Debug)]
pub(crate) struct Source {
    patterns: RwLock<Patterns>,
    asks: mpsc::Sender<Fetch>,
}

#[derive(Debug, Default, Clone)]
struct Patterns(Arc<[Vec<Pattern>; 2]>);

impl Patterns {
    fn of(hello: &LogicHello) -> Self {
        let read = |texts: &[String]| texts.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
        Self(Arc::new([read(&hello.history_rooms), read(&hello.history_users)]))
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(Vec::is_empty)
    }

    fn keeps(&self, kind: Kind, name: &str) -> bool {
        let patterns = match kind {
            Kind::Room => &self.0[0],
            Kind::User => &self.0[1],
            Kind::App => return false,
        };
        patterns.iter().any(|pattern| pattern.matches(name, Who::default()))
    }
}

/// What tells flights apart: the group's address, and from where on.
type FlightKey = (usize, Option<Position>);

#[derive(Debug)]
enum Flight {
    Running(Vec<oneshot::Sender<Arc<Part>>>),
    Done(
        Instant,
        Arc<Part>,
        #[allow(dead_code, reason = "held, so that its address is no other's")] Arc<Group>,
    ),
}

/// Asks logic.
#[derive(Debug)]
pub(crate) struct Fetches {
    sources: RwLock<Vec<Arc<Source>>>,
    /// Told when there is a link again.
    linked: Notify,
    /// What the links said last; it stays when they go.
    known: RwLock<Option<Patterns>>,
    flights: Mutex<HashMap<FlightKey, Flight>>,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Fetched>>>,
    last: AtomicU64,
    places: Semaphore,
    tasks: Tasks,
    counters: Arc<Counters>,
}

impl Fetches {
    pub(crate) fn new(tasks: Tasks, counters: Arc<Counters>) -> Self {
        Self {
            sources: RwLock::default(),
            linked: Notify::new(),
            known: RwLock::default(),
            flights: Mutex::default(),
            waiting: Mutex::default(),
            last: AtomicU64::new(0),
            places: Semaphore::new(FETCHES_MAX),
            tasks,
            counters,
        }
    }

    /// A link begins. Its questions come through what is returned, until the guard is dropped.
    pub(crate) fn subscribe(self: &Arc<Self>, hello: &LogicHello) -> (Subscribed, mpsc::Receiver<Fetch>) {
        let (asks, receiver) = mpsc::channel(FETCHES_MAX);
        let source = Arc::new(Source { patterns: RwLock::default(), asks });
        self.sources.write().push(source.clone());
        let subscribed = Subscribed { fetches: self.clone(), source };
        subscribed.learn(hello);
        self.linked.notify_waiters();
        (subscribed, receiver)
    }

    /// Waits until there is a link.
    pub(crate) async fn linked(&self) {
        loop {
            let linked = self.linked.notified();
            if !self.sources.read().is_empty() {
                return;
            }
            linked.await;
        }
    }

    /// Whether a history is kept of a name.
    pub(crate) fn keeps(&self, kind: Kind, name: &str) -> Keeps {
        match &*self.known.read() {
            None => Keeps::Unknown,
            Some(patterns) if patterns.keeps(kind, name) => Keeps::Yes,
            Some(_) => Keeps::No,
        }
    }

    /// A part of a group's history, from behind a place on; without a place only where it stands. What was answered to
    /// another a moment ago may be given, if it is what is wanted; what another waits for, in any case.
    pub(crate) async fn get(
        self: &Arc<Self>,
        group: &Arc<Group>,
        since: Option<Position>,
        wanted: Wanted,
    ) -> Result<Arc<Part>, Away> {
        let key = (Arc::as_ptr(group).addr(), since);
        let (sender, receiver) = oneshot::channel();
        {
            let mut flights = self.flights.lock();
            match flights.get_mut(&key) {
                Some(Flight::Done(at, part, _)) if at.elapsed() < FRESH && wanted.is_met_by(part) => {
                    return Ok(part.clone());
                }
                Some(Flight::Running(waiting)) => waiting.push(sender),
                _ => {
                    flights.insert(key, Flight::Running(vec![sender]));
                    let (fetches, group) = (self.clone(), group.clone());
                    // Its own task: whoever asked first may go, and the others wait on.
                    self.tasks.spawn(async move { fetches.fly(key, group).await });
                }
            }
        }
        receiver.await.map_err(|_| Away)
    }

    async fn fly(&self, key: FlightKey, group: Arc<Group>) {
        let answer = self.ask(&group, key.1).await;
        let mut flights = self.flights.lock();
        let Some(Flight::Running(waiting)) = flights.remove(&key) else { return };
        let Ok(part) = answer else { return };
        flights.retain(|_, flight| match flight {
            Flight::Running(_) => true,
            Flight::Done(at, ..) => at.elapsed() < FRESH,
        });
        if flights.len() < ANSWERS_MAX {
            flights.insert(key, Flight::Done(Instant::now(), part.clone(), group));
        }
        drop(flights);
        for one in waiting {
            // Who has gone meanwhile needs no answer.
            let _ = one.send(part.clone());
        }
    }

    /// The same, asked now and for nobody else.
    pub(crate) async fn ask(&self, group: &Arc<Group>, since: Option<Position>) -> Result<Arc<Part>, Away> {
        self.counters.history.fetches.inc();
        let asked = Instant::now();
        let asking = self.ask_source(group.kind, &group.name, since);
        let fetched = match tokio::time::timeout(FETCH_TIME_MAX, asking).await {
            Ok(Some(Fetched { head: Some(head), continues, last, items, .. })) => {
                Part { head, continues, last, items, asked, frame: Default::default() }
            }
            _ => {
                self.counters.history.fetches_failed.inc();
                return Err(Away);
            }
        };
        Ok(Arc::new(fetched))
    }

    async fn ask_source(&self, kind: Kind, name: &str, since: Option<Position>) -> Option<Fetched> {
        let _place = self.places.acquire().await.ok()?;
        let mut sources: Vec<_> = {
            let sources = self.sources.read();
            sources.iter().filter(|source| source.patterns.read().keeps(kind, name)).cloned().collect()
        };
        // By turns, and the next one where one does not answer: it may be asleep.
        let turn = self.last.load(Ordering::Relaxed) as usize % sources.len().max(1);
        sources.rotate_left(turn);
        let others = sources.len().checked_sub(1)?;
        for (place, source) in sources.iter().enumerate() {
            let asking =
                self.ask_one(source, Fetch { id: 0, kind: kind as i32, name: name.to_owned(), since });
            let answer = if place < others {
                tokio::time::timeout(TURN_TIME_MAX, asking).await.ok().flatten()
            } else {
                asking.await
            };
            if answer.as_ref().is_some_and(|answer| answer.head.is_some()) {
                return answer;
            }
        }
        None
    }

    async fn ask_one(&self, source: &Source, fetch: Fetch) -> Option<Fetched> {
        let (sender, receiver) = oneshot::channel();
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.waiting.lock().insert(id, sender);
        let _waiting = Waiting(self, id);
        source.asks.send(Fetch { id, ..fetch }).await.ok()?;
        receiver.await.ok()
    }

    /// Logic answers.
    pub(crate) fn answered(&self, fetched: Fetched) {
        let waiting = self.waiting.lock().remove(&fetched.id);
        if let Some(waiting) = waiting {
            // Who waited may have gone this moment.
            let _ = waiting.send(fetched);
        }
    }
}

/// Someone waits for the answer with this number. Dropped: nobody does.
struct Waiting<'a>(&'a Fetches, u64);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.lock().remove(&self.1);
    }
}

/// A link that may be asked. Dropped: it is asked no more.
#[derive(Debug)]
pub(crate) struct Subscribed {
    fetches: Arc<Fetches>,
    source: Arc<Source>,
}

impl Subscribed {
    /// The logic node says whose histories it keeps, first or anew. Who is in a room stays as it is; who joins from now
    /// on meets these rules.
    pub(crate) fn learn(&self, hello: &LogicHello) {
        let patterns = Patterns::of(hello);
        let sources = self.fetches.sources.read();
        *self.source.patterns.write() = patterns.clone();
        // A node without rules says nothing of those of another.
        if !patterns.is_empty() || sources.iter().all(|source| source.patterns.read().is_empty()) {
            *self.fetches.known.write() = Some(patterns);
        }
    }
}

impl Drop for Subscribed {
    fn drop(&mut self) {
        self.fetches.sources.write().retain(|source| !Arc::ptr_eq(source, &self.source));
    }
}
