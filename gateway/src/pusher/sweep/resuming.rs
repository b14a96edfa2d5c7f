//! Clients that come, go and come back while items are stored, delivered by two logic nodes in any order, lost, doubled,
//! asked for, swept and fetched, in every order that chance finds: each sees each offset at most once, in order, without
//! a hole, or is told of it; and once everything is quiet, all are where the history is.
//!
//! What is not here is only what waits: the drivers of a resume and of a repair, whose steps are taken one by one.

mod naive;
mod steps;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use common::ids::Epoch;
use common::link::message::{Position, up};
use common::names::Kind;
use futures_util::FutureExt;
use proptest::prelude::*;

use super::tests::World;
use super::*;
use crate::history::resume::owner;
use crate::history::{Asked, Asks, Coming, Fate, Held, Out, Part, Settled, Tracks};
use crate::merger::{Item, Kept, Life, Merger};
use crate::registry::Registration;
use crate::settings::{Settings, WindowMode};
use crate::tally::{self, Outgoing, Passage};
use crate::transport::Transport;
use naive::{BODY, Store, hear};
use steps::{Step, step};

const ROOM: &str = "r";
const CLIENTS: usize = 3;
const LINKS: usize = 2;

/// Who is not done after so many rounds of everything never will be.
const ROUNDS_MAX: usize = 40;

/// One connection of a client.
struct Here {
    registration: Registration,
    /// Until it is told where it is.
    held: Option<Held>,
    /// Where it goes on from, if it was here before.
    from: Option<Position>,
    answer: Option<Part>,
}

/// A client over all its connections: what it knows, and what it is checked by.
#[derive(Default)]
struct Client {
    here: Option<Here>,
    at: Option<Position>,
}

/// A question of a track, and its answer: there may be none.
type Question = (Arc<Track>, Asked, Option<Option<Part>>);

struct Cluster {
    world: World,
    tracks: Tracks,
    merger: Merger,
    sweep: Option<(Arc<Sweep>, VecDeque<usize>)>,
    store: Store,
    links: [Vec<Position>; LINKS],
    clock: Instant,
    calls: Vec<(Instant, Arc<Track>)>,
    questions: VecDeque<Question>,
    clients: [Client; CLIENTS],
    outgoing: Arc<Outgoing>,
    serial: u64,
}

impl Cluster {
    fn new() -> Self {
        Self {
            world: World::new(),
            tracks: Tracks::default(),
            merger: Merger::new(Duration::ZERO, WindowMode::Trailing, usize::MAX),
            sweep: None,
            store: Store::new(),
            links: Default::default(),
            clock: Instant::now(),
            calls: Vec::new(),
            questions: VecDeque::new(),
            clients: Default::default(),
            outgoing: Arc::default(),
            serial: 0,
        }
    }

    fn group(&self) -> Option<Arc<Group>> {
        self.world.registry.directory.find(Kind::Room, ROOM)
    }

    fn push(&mut self, on: [bool; LINKS], is_sent: bool) {
        let at = self.store.push(is_sent);
        // Logic sends to a gateway that holds the room.
        if self.group().is_some() {
            self.links.iter_mut().zip(on).filter(|(_, on)| *on).for_each(|(link, _)| link.push(at));
        }
    }

    fn item(&mut self, at: Position, outgoing: &Arc<Outgoing>) -> Option<(Filter, Item)> {
        let is_unsent = self.store.unsent.contains(&(at.epoch, at.offset));
        // Of those that nobody is sent some are too old, and some are for others.
        if is_unsent && at.offset.is_multiple_of(2) {
            return None;
        }
        self.serial += 1;
        let expires = is_unsent.then_some(self.clock);
        let part = tally::Part { passage: Passage::new(outgoing.clone(), self.serial, 1), matched: 1 };
        Some((Filter::default(), Item { body: BODY, key: None, expires, part, kept: None }))
    }

    fn deliver(&mut self, link: usize, place: usize) {
        let waiting = &mut self.links[link];
        if waiting.is_empty() {
            return;
        }
        let at = waiting.remove(place.min(waiting.len() - 1));
        let Some(group) = self.group() else { return };
        let track = self.tracks.of(&group);
        let offer = self.item(at, &self.outgoing.clone());
        let mut outs = Vec::new();
        let (fate, wakes) = track.take(Coming { at, hurries: false, offer }, self.clock, &mut outs);
        match fate {
            Fate::Passed | Fate::Waits => {}
            Fate::Double(part) => part.into_iter().for_each(tally::Part::doubled),
            Fate::Past(part) | Fate::Left(part) => part.into_iter().for_each(tally::Part::past),
        }
        self.offer(&track, outs);
        self.call(&track, wakes);
    }

    fn call(&mut self, track: &Arc<Track>, wakes: Option<Instant>) {
        self.calls.extend(wakes.map(|at| (at, track.clone())));
    }

    fn offer(&mut self, track: &Arc<Track>, outs: Vec<Out>) {
        let (now, target) = (Instant::now(), Target::Group(track.group.clone()));
        for out in outs {
            match out {
                Out::Reset(at) => {
                    let life = Life { track: track.clone(), epoch: at.epoch, reset_at: Some(at) };
                    self.merger.reset(now, &target, life);
                }
                Out::Item { at, hurries, filter, item } => {
                    let kept = Some(Box::new(Kept { track: track.clone(), at, hurries }));
                    self.merger.offer(now, &target, &filter, Item { kept, ..item });
                }
            }
        }
    }

    fn hear(&mut self, knows: bool) {
        let Some(track) = self.group().and_then(|group| self.tracks.find(&group)) else { return };
        let wakes = track.hears(knows.then_some(self.store.head), self.clock);
        self.call(&track, wakes);
    }

    fn pass(&mut self, ms: u64) {
        self.clock += Duration::from_millis(ms);
        let now = self.clock;
        let due: Vec<_> = self.calls.extract_if(.., |(at, _)| *at <= now).collect();
        for (at, track) in due {
            if track.group.buckets() == 0 {
                track.forget().into_iter().for_each(tally::Part::past);
                continue;
            }
            match track.asks(at, now) {
                Asks::Nothing => {}
                Asks::Later(later) => self.calls.push((later, track)),
                Asks::Now(asked) => self.questions.push_back((track, asked, None)),
            }
        }
    }

    fn answer_track(&mut self, is_answered: bool) {
        if let Some((_, asked, answer)) = self.questions.iter_mut().find(|(.., answer)| answer.is_none()) {
            *answer = Some(is_answered.then(|| self.store.read(Some(asked.at), 4, self.clock)));
        }
    }

    fn take_track(&mut self) {
        let Some((track, asked, answer)) = self.questions.pop_front_if(|(.., answer)| answer.is_some())
        else {
            return;
        };
        let outgoing = Arc::<Outgoing>::default();
        outgoing.end();
        let make = |kept: &common::link::history::KeptItem, expires| {
            let part = tally::Part { passage: Passage::new(outgoing.clone(), 0, 1), matched: 1 };
            let body = kept.body.clone();
            (Filter::default(), Item { body, key: None, expires, part, kept: None })
        };
        let (answered, wakes) = track.answered(asked, answer.flatten().as_ref(), make, self.clock);
        answered.past.into_iter().for_each(tally::Part::past);
        self.offer(&track, answered.outs);
        self.call(&track, wakes);
    }

    fn plan(&mut self) {
        if self.sweep.is_none() {
            let counters = &self.world.shared().counters;
            let compressor = Arc::new(Compressor::new(&Settings::default(), counters));
            let now = self.clock.max(Instant::now());
            let sweep = Sweep::plan(self.merger.flush(now).batches, now, counters, &compressor);
            let buckets = sweep.buckets().iter().copied().collect();
            self.sweep = Some((sweep, buckets));
        }
    }

    fn write(&mut self) {
        let Some((sweep, buckets)) = &mut self.sweep else { return };
        match buckets.pop_front() {
            Some(bucket) => sweep.run(bucket, &self.world.registry, &mut Scratch::default(), || {}),
            None => {
                sweep.seal();
                self.sweep = None;
            }
        }
    }

    /// Connects, and joins: from where it was, or to be told where it begins.
    fn come(&mut self, client: usize) {
        if self.clients[client].here.is_some() {
            return;
        }
        let registration = self.world.register_on(Transport::Memory(Box::default()), &[]);
        let connection = registration.connection.clone();
        connection.greet(frame::PING);
        let mut held = None;
        self.world.registry.join_held(connection.local, ROOM, |group| {
            held = Some(self.tracks.of(group).hold(connection.local));
        });
        let known = &mut self.clients[client];
        let mut here = Here { registration, held, from: known.at, answer: None };
        if known.at.is_none() {
            known.at = here.held.as_mut().and_then(|held| held.begin(None, self.clock));
            here.held.take_if(|_| known.at.is_some());
        }
        known.here = Some(here);
    }

    fn answer(&mut self, client: usize) {
        let Some(here) = &mut self.clients[client].here else { return };
        if here.held.is_some() && here.answer.is_none() {
            here.answer = Some(self.store.read(here.from, 4, self.clock));
        }
    }

    fn take(&mut self, client: usize) {
        let Some(here) = &mut self.clients[client].here else { return };
        let Some(held) = &mut here.held else { return };
        let Some(part) = here.answer.take() else { return };
        let track = held.track.clone();
        if here.from.is_none() {
            self.clients[client].at = held.begin(Some(part.head), self.clock);
            here.held = None;
            let wakes = track.hears(Some(part.head), self.clock);
            return self.call(&track, wakes);
        }
        let connection = &here.registration.connection;
        let at = if part.continues {
            let items = part.items.iter().map(|item| (item.offset, &item.body));
            if !part.items.is_empty() {
                connection.send_control(frame::kept(owner(&track.group), Epoch(part.head.epoch), items));
            }
            Position { offset: part.last, ..part.head }
        } else {
            connection.send_control(frame::reset(owner(&track.group), part.head));
            part.head
        };
        here.from = Some(at);
        if part.continues && part.last < part.head.offset {
            return;
        }
        match held.settle(at, part.asked, self.clock) {
            Settled::Done => {
                here.held = None;
                let wakes = track.hears(Some(at), self.clock);
                self.call(&track, wakes);
            }
            Settled::Behind | Settled::Stale(_) => {}
        }
    }

    /// The connection ends; everything that was written to it is checked.
    fn go(&mut self, client: usize) {
        let Some(here) = self.clients[client].here.take() else { return };
        let connection = here.registration.connection.clone();
        connection.cut();
        drop(here);
        hear(&connection.heard(), &mut self.clients[client].at, &self.store);
    }

    /// What waits on links is lost, everything else comes to its end, and whoever is here must be where the history is.
    fn calm_down(&mut self) {
        self.links.iter_mut().for_each(Vec::clear);
        self.hear(true);
        for _ in 0..ROUNDS_MAX {
            self.pass(2_000);
            (0..4).for_each(|_| {
                self.answer_track(true);
                self.take_track();
            });
            self.plan();
            (0..=BUCKETS).for_each(|_| self.write());
            for client in 0..CLIENTS {
                self.answer(client);
                self.take(client);
            }
        }
        assert_eq!(self.tracks.waiting_bytes(), 0, "everything is quiet, and an item waits");
        let head = self.store.head;
        for client in 0..CLIENTS {
            let is_here = self.clients[client].here.is_some();
            self.go(client);
            let Some(at) = self.clients[client].at.filter(|_| is_here) else { continue };
            let is_there =
                at.epoch == head.epoch && self.store.is_void(at.epoch, at.offset + 1..head.offset + 1);
            assert!(is_there, "everything is quiet, and client {client} is at {at:?}, not {head:?}");
        }
        self.pass(2_000);
        self.plan();
        (0..=BUCKETS).for_each(|_| self.write());
    }

    /// Every delivery that came is settled, and its sum holds.
    fn check_receipts(&self) {
        let mut sums = HashMap::<u64, (i64, u32)>::new();
        while let Some(heard) = self.outgoing.next().now_or_never() {
            let Some(up::Body::Receipts(receipts)) = heard.body else { continue };
            for counts in receipts.counts {
                let (sum, settled) = sums.entry(counts.serial).or_insert((1, 0));
                let gone = counts.dropped_gone + counts.dropped_slow;
                *sum += counts.matched_delta;
                *sum -= (counts.written + counts.conflated + counts.expired + gone) as i64;
                *settled += u32::from(counts.settled);
            }
        }
        for serial in 1..=self.serial {
            assert_eq!(sums.get(&serial), Some(&(0, 1)), "delivery {serial}: rest, and last words");
        }
    }
}

fn run(steps: Vec<Step>) {
    let mut cluster = Cluster::new();
    for step in steps {
        // No two things happen at once.
        cluster.clock += Duration::from_nanos(1);
        match step {
            Step::Push(on, is_sent) => cluster.push(on, is_sent),
            Step::Deliver(link, place) => cluster.deliver(link, place),
            Step::Lose(link) => cluster.links[link].clear(),
            Step::Restart(is_stale) => {
                cluster.store.restart();
                cluster.links.iter_mut().filter(|_| !is_stale).for_each(Vec::clear);
            }
            Step::Trim(left) => {
                let store = &mut cluster.store;
                store.oldest = store.oldest.max((store.head.offset + 1).saturating_sub(left));
            }
            Step::Hear(knows) => cluster.hear(knows),
            Step::Pass(ms) => cluster.pass(ms),
            Step::AnswerTrack(is_answered) => cluster.answer_track(is_answered),
            Step::TakeTrack => cluster.take_track(),
            Step::Plan => cluster.plan(),
            Step::Write(many) => (0..many).for_each(|_| cluster.write()),
            Step::Come(client) => cluster.come(client),
            Step::Answer(client) => cluster.answer(client),
            Step::Take(client) => cluster.take(client),
            Step::Go(client) => cluster.go(client),
        }
    }
    cluster.calm_down();
    cluster.check_receipts();
}

#[test]
fn clients_that_come_and_go_see_every_item_once_or_are_told_and_all_get_there() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _guard = runtime.enter();
    let default = ProptestConfig::default();
    let cases = ProptestConfig { cases: default.cases.max(3_000), ..default };
    proptest!(cases, |(steps in prop::collection::vec(step(), 0..150))| run(steps));
}
