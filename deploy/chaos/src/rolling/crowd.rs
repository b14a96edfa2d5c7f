//! All clients of a rolling restart, and what they saw, kept small: ten thousand of them are in one process.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use super::balancer::Balancer;
use super::books::Books;
use super::plan::{Plan, ROOMS_A_CLIENT};
use super::track::{Took, Track};
use crate::wire::{Item, Place};

/// How often it is felt whether this process has its turns.
const FEEL_EVERY: Duration = Duration::from_millis(20);

/// Examples of what is wrong that are kept.
const EXAMPLES_MAX: usize = 10;

/// Why a client left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Its turn had come, as it was told.
    Turn,
    /// It was told good-bye: 1012.
    GoodBye,
    /// It lost the connection some other way.
    Cut,
}

/// A client left a gateway.
#[derive(Debug, Clone)]
pub(super) struct Departure {
    pub(super) client: u32,
    /// While which node was replaced.
    pub(super) step: usize,
    pub(super) gateway: usize,
    pub(super) how: How,
    /// When it was told its turn.
    pub(super) told: Option<Instant>,
    pub(super) left: Instant,
    /// After how long it was in all its rooms again; `None`: it was not before it left the next.
    pub(super) back: Option<Duration>,
}

/// A client, as far as others ask.
#[derive(Debug, Default)]
struct Seat {
    tracks: [Track; ROOMS_A_CLIENT],
    is_in: bool,
}

/// Counts of what was seen.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) delivered: AtomicU64,
    pub(super) duplicated: AtomicU64,
    pub(super) reordered: AtomicU64,
    /// No payload of this run and room, or at a place where another stands.
    pub(super) wrong: AtomicU64,
    pub(super) resets: AtomicU64,
    pub(super) gaps: AtomicU64,
    /// Attempts to connect that came to nothing.
    pub(super) refused: AtomicU64,
    /// Commands that were put off.
    pub(super) put_off: AtomicU64,
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// All clients, and what they share.
#[derive(Debug)]
pub(super) struct Crowd {
    pub(super) plan: Plan,
    pub(super) books: Books,
    pub(super) balancer: Balancer,
    pub(super) counts: Counts,
    /// Which node is being replaced: 0 before the first.
    step: AtomicUsize,
    /// For how long this process had no turn at the most since it was asked last, in microseconds.
    stalled: AtomicU64,
    seats: Vec<Mutex<Seat>>,
    departures: Mutex<Vec<Departure>>,
    examples: Mutex<Vec<String>>,
}

impl Crowd {
    pub(super) fn new(plan: Plan, balancer: Balancer) -> Self {
        Self {
            plan,
            books: Books::new(plan.run, plan.rooms()),
            balancer,
            counts: Counts::default(),
            step: AtomicUsize::new(0),
            stalled: AtomicU64::new(0),
            seats: (0..plan.clients).map(|_| Mutex::default()).collect(),
            departures: Mutex::default(),
            examples: Mutex::default(),
        }
    }

    /// The replacement of the next node begins.
    pub(super) fn next_step(&self) -> usize {
        self.step.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Which one is under way.
    pub(super) fn step(&self) -> usize {
        self.step.load(Ordering::Relaxed)
    }

    /// Notes again and again how late it is woken, as clients are. Never ends.
    pub(super) async fn feel(&self) {
        loop {
            let due = Instant::now() + FEEL_EVERY;
            sleep_until(due).await;
            let late = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.stalled.fetch_max(late, Ordering::Relaxed);
        }
    }

    /// For how long nobody here had a turn, at the most, since this was asked last.
    pub(super) fn stalled(&self) -> Duration {
        Duration::from_micros(self.stalled.swap(0, Ordering::Relaxed))
    }

    /// Keeps an example of what is wrong.
    pub(super) fn example(&self, words: impl FnOnce() -> String) {
        let mut examples = self.examples.lock();
        if examples.len() < EXAMPLES_MAX {
            examples.push(words());
        }
    }

    /// Those that were kept.
    pub(super) fn examples(&self) -> Vec<String> {
        self.examples.lock().clone()
    }

    /// A client left, and is back or has left the next.
    pub(super) fn departs(&self, departure: Departure) {
        self.departures.lock().push(departure);
    }

    /// All departures so far.
    pub(super) fn departures(&self) -> Vec<Departure> {
        self.departures.lock().clone()
    }

    /// A client is in all its rooms, or is not any more.
    pub(super) fn is_in(&self, client: u32, is_in: bool) {
        self.seats[client as usize].lock().is_in = is_in;
    }

    /// How many are in all their rooms.
    pub(super) fn inside(&self) -> usize {
        self.seats.iter().filter(|seat| seat.lock().is_in).count()
    }

    /// Where a client is in a room of its.
    pub(super) fn place(&self, client: u32, room: usize) -> Option<Place> {
        self.seats[client as usize].lock().tracks[room].at().cloned()
    }

    /// A client is told where it begins.
    pub(super) fn begins(&self, client: u32, room: usize, at: Place) {
        self.seats[client as usize].lock().tracks[room].begins(at);
    }

    /// A client is told that a room of its goes on elsewhere.
    pub(super) fn resets(&self, client: u32, room: usize, at: Place) {
        count(&self.counts.resets);
        self.example(|| format!("client {client} was reset to {at:?}"));
        self.seats[client as usize].lock().tracks[room].resets(at);
    }

    /// An item came to a client.
    pub(super) fn takes(&self, client: u32, item: &Item<'_>) {
        let number = item.room.as_deref().and_then(|name| name.strip_prefix("h.")?.parse::<u32>().ok());
        let rooms = self.plan.rooms_of(client);
        let place = Place::of(item.epoch.clone(), item.offset);
        let known = number.and_then(|number| rooms.iter().position(|room| *room == number));
        let (Some(room), Some(place)) = (known, place) else {
            count(&self.counts.wrong);
            self.example(|| format!("client {client} got {item:?}"));
            return;
        };
        count(&self.counts.delivered);
        let push = self.books.read(rooms[room], item.data.get());
        if !push.is_some_and(|push| self.books.stands(rooms[room], &place, push)) {
            count(&self.counts.wrong);
            self.example(|| {
                format!("client {client} got {} at {place:?} of room {}", item.data, rooms[room])
            });
        }
        let took = self.seats[client as usize].lock().tracks[room].takes(&place.epoch, place.offset);
        let counter = match took {
            Took::Next => return,
            Took::Again => &self.counts.duplicated,
            Took::Late => &self.counts.reordered,
            Took::OtherLife => &self.counts.wrong,
        };
        count(counter);
        self.example(|| format!("client {client} got {place:?} of room {}: {took:?}", rooms[room]));
    }

    /// How many items clients have not got, if rooms end at `heads`, and how many clients are not in their rooms.
    pub(super) fn missing(&self, heads: &[Place]) -> (u64, u64) {
        let (mut missing, mut outside) = (0, 0);
        for (client, seat) in (0..).zip(&self.seats) {
            let seat = seat.lock();
            outside += u64::from(!seat.is_in);
            for (room, track) in self.plan.rooms_of(client).into_iter().zip(&seat.tracks) {
                missing += track.missing(&heads[room as usize]);
            }
        }
        (missing, outside)
    }
}
