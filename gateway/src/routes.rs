//! What logic knows of this gateway's users, rooms and applications: a snapshot when a link opens, then the
//! names that began or ceased to be held.
//!
//! A change is noted, not described: each link keeps the *set* of names that changed since it last told, and
//! looks them up when it tells. So the set is bounded by the number of names, a name that flaps costs one
//! entry, and the last word is always the truth.
//!
//! A client is told that it joined only when every linked logic node has *taken* the route
//! ([`Routes::settled`]): a push accepted after the reply reaches it.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::iter::Peekable;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::link::message::{Route, Routes as Message};
use hashbrown::HashSet;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::directory::{Directory, Group};

/// A reply waits at most this long for logic nodes to take a route; a node that is slower is about to be
/// found dead.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(1);

/// Names in one message: at most 5,000 × (256 + 8) B = 1.3 MB.
const NAMES_PER_MESSAGE: usize = 5_000;

/// The links that want to know.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    links: RwLock<Vec<Arc<Subscription>>>,
    ever: AtomicBool,
}

/// A group that is the same as another of the same kind and name.
#[derive(Debug, Clone)]
struct ByName(Arc<Group>);

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.kind == other.0.kind && self.0.name == other.0.name
    }
}

impl Eq for ByName {}

impl Hash for ByName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0.kind, &self.0.name).hash(state);
    }
}

/// What one link has not told yet, and what its logic node has taken.
#[derive(Debug, Default)]
pub(crate) struct Subscription {
    pending: Mutex<Pending>,
    noted: Notify,
    /// All changes of rounds before this one are taken.
    taken_round: AtomicU64,
    taken: Notify,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Pending {
    names: HashSet<ByName>,
    /// Counts the times that `names` was taken to be told.
    round: u64,
    serial: u64,
    /// Last serial of each round that is told and not taken.
    told: VecDeque<(u64, u64)>,
}

impl Routes {
    /// A group began or ceased to exist. Called under its shard's lock.
    pub(crate) fn changed(&self, group: &Arc<Group>) {
        for link in self.links.read().iter() {
            link.pending.lock().names.insert(ByName(group.clone()));
            link.noted.notify_one();
        }
    }

    /// Begins to note changes for a link.
    pub(crate) fn subscribe(self: &Arc<Self>) -> Subscribed {
        let subscription = Arc::<Subscription>::default();
        self.links.write().push(subscription.clone());
        self.ever.store(true, Ordering::Relaxed);
        Subscribed { routes: self.clone(), subscription }
    }

    /// Waits until every link's logic node has taken all changes made before this call, or a second has
    /// passed; says whether they have.
    pub(crate) async fn settled(&self) -> bool {
        let links: Vec<_> = self.links.read().iter().filter_map(Subscription::wanted).collect();
        if links.is_empty() {
            return true;
        }
        let all = async {
            for (link, round) in links {
                link.wait_for(round).await;
            }
        };
        tokio::time::timeout(SETTLE_TIME_MAX, all).await.is_ok()
    }

    /// Whether there ever was a link.
    pub(crate) fn was_linked(&self) -> bool {
        self.ever.load(Ordering::Relaxed)
    }

    /// How many links there are.
    pub(crate) fn links(&self) -> usize {
        self.links.read().len()
    }
}

impl Subscription {
    /// The round that must be taken for all changes so far to be, unless they already are.
    fn wanted(self: &Arc<Self>) -> Option<(Arc<Self>, u64)> {
        let pending = self.pending.lock();
        let round = if pending.names.is_empty() { pending.round } else { pending.round + 1 };
        (self.taken_round.load(Ordering::Acquire) < round).then(|| (self.clone(), round))
    }

    async fn wait_for(&self, round: u64) {
        loop {
            let taken = self.taken.notified();
            if self.taken_round.load(Ordering::Acquire) >= round || self.closed.load(Ordering::Acquire) {
                return;
            }
            taken.await;
        }
    }

    /// Waits until there is something to tell.
    pub(crate) async fn noted(&self) {
        self.noted.notified().await;
    }

    /// The messages that tell all changes so far, in order, each made when it is asked for.
    pub(crate) fn changes<'a>(&'a self, directory: &'a Directory) -> impl Iterator<Item = Message> + 'a {
        let mut pending = self.pending.lock();
        let names = std::mem::take(&mut pending.names);
        let is_over = names.is_empty();
        pending.round += u64::from(!is_over);
        let round = pending.round;
        // The lock is let go while names are looked up: what changes meanwhile is told in the next round.
        drop(pending);
        let names = names.into_iter().map(|ByName(group)| group).peekable();
        Telling { subscription: self, directory, names, round, is_snapshot: false, is_over }
    }

    /// The messages that tell everything there is, for a link that begins, each made when it is asked for.
    pub(crate) fn snapshot<'a>(&'a self, directory: &'a Directory) -> impl Iterator<Item = Message> + 'a {
        let round = {
            let mut pending = self.pending.lock();
            pending.round += 1;
            pending.round
        };
        let names = directory.shards().flatten().peekable();
        Telling { subscription: self, directory, names, round, is_snapshot: true, is_over: false }
    }

    /// The serial of a round's next message; with the last one the round is told.
    fn number(&self, round: u64, is_last: bool) -> u64 {
        let mut pending = self.pending.lock();
        pending.serial += 1;
        let serial = pending.serial;
        pending.told.extend(is_last.then_some((serial, round)));
        serial
    }

    /// The logic node has taken messages up to `serial`.
    pub(crate) fn take(&self, serial: u64) {
        let mut pending = self.pending.lock();
        let mut round = None;
        while let Some((_, told)) = pending.told.front().copied().filter(|(last, _)| *last <= serial) {
            round = Some(told);
            pending.told.pop_front();
        }
        drop(pending);
        if let Some(round) = round {
            self.taken_round.fetch_max(round, Ordering::AcqRel);
            self.taken.notify_waiters();
        }
    }
}

/// A round being told. Its messages are made one at a time: all of them, with a million names, would be tens of
/// megabytes, and the other links of the thread would have no turn until they were made.
struct Telling<'a, Names: Iterator> {
    subscription: &'a Subscription,
    directory: &'a Directory,
    names: Peekable<Names>,
    round: u64,
    is_snapshot: bool,
    is_over: bool,
}

impl<Names: Iterator<Item = Arc<Group>>> Iterator for Telling<'_, Names> {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        if self.is_over {
            return None;
        }
        let mut message = Message::default();
        for group in self.names.by_ref().take(NAMES_PER_MESSAGE) {
            // What ceases to be held after it was found for a snapshot is told in the next round.
            let is_held = self.is_snapshot || self.directory.find(group.kind, &group.name).is_some();
            let names = if is_held { &mut message.begun } else { &mut message.ceased };
            names.push(Route { kind: group.kind as i32, name: group.name.to_string() });
        }
        self.is_over = self.names.peek().is_none();
        message.complete = self.is_over && self.is_snapshot;
        message.serial = self.subscription.number(self.round, self.is_over);
        Some(message)
    }
}

/// A link's subscription. Dropped: nothing is noted for it and nobody waits for it.
#[derive(Debug)]
pub(crate) struct Subscribed {
    routes: Arc<Routes>,
    pub(crate) subscription: Arc<Subscription>,
}

impl Drop for Subscribed {
    fn drop(&mut self) {
        self.routes.links.write().retain(|link| !Arc::ptr_eq(link, &self.subscription));
        self.subscription.closed.store(true, Ordering::Release);
        self.subscription.taken.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use common::names::Kind;

    use super::*;

    /// Names of two messages and a bit.
    const NAMES: usize = 2 * NAMES_PER_MESSAGE + 10;

    fn groups(directory: &Directory) -> Vec<Arc<Group>> {
        (0..NAMES).map(|number| directory.enter(Kind::Room, &format!("r{number}"), 0).unwrap()).collect()
    }

    #[test]
    fn a_round_is_taken_with_its_last_message() {
        let routes = Arc::<Routes>::default();
        let directory = Directory::new(routes.clone());
        groups(&directory);
        let subscribed = routes.subscribe();
        let subscription = &subscribed.subscription;
        let messages: Vec<_> = subscription.snapshot(&directory).collect();
        assert_eq!(messages.iter().map(|message| message.begun.len()).sum::<usize>(), NAMES);
        let described: Vec<_> = messages.iter().map(|message| (message.serial, message.complete)).collect();
        assert_eq!(described, [(1, false), (2, false), (3, true)]);
        subscription.take(2);
        assert!(subscription.wanted().is_some(), "the last message is not taken");
        subscription.take(3);
        assert!(subscription.wanted().is_none());
        assert_eq!(subscription.changes(&directory).count(), 0, "nothing has changed");
    }

    #[test]
    fn an_empty_snapshot_is_one_message() {
        let routes = Arc::<Routes>::default();
        let subscribed = routes.subscribe();
        let messages: Vec<_> = subscribed.subscription.snapshot(&Directory::new(routes.clone())).collect();
        assert!(messages.len() == 1 && messages[0].complete);
    }

    #[test]
    fn messages_are_made_one_at_a_time_and_say_what_is_true_then() {
        let routes = Arc::<Routes>::default();
        let directory = Directory::new(routes.clone());
        let subscribed = routes.subscribe();
        let subscription = &subscribed.subscription;
        let groups = groups(&directory);
        let mut changes = subscription.changes(&directory);
        assert_eq!(changes.next().unwrap().begun.len(), NAMES_PER_MESSAGE);
        groups.iter().for_each(|group| directory.vacate(group, 0));
        assert_eq!(changes.map(|message| message.ceased.len()).sum::<usize>(), NAMES - NAMES_PER_MESSAGE);
        let again: usize = subscription.changes(&directory).map(|message| message.ceased.len()).sum();
        assert_eq!(again, NAMES, "the names told as begun have ceased since");
    }
}
