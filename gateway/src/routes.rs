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

    /// The messages that tell all changes so far, in order.
    pub(crate) fn changes(&self, directory: &Directory) -> Vec<Message> {
        let mut pending = self.pending.lock();
        if pending.names.is_empty() {
            return Vec::new();
        }
        let names = std::mem::take(&mut pending.names);
        pending.round += 1;
        let round = pending.round;
        // The lock is let go while names are looked up: what changes meanwhile is told in the next round.
        drop(pending);
        let mut messages = Vec::with_capacity(names.len() / NAMES_PER_MESSAGE + 1);
        let mut message = Message::default();
        for ByName(group) in names {
            let route = Route { kind: group.kind as i32, name: group.name.to_string() };
            if directory.find(group.kind, &group.name).is_some() {
                message.begun.push(route);
            } else {
                message.ceased.push(route);
            }
            if message.begun.len() + message.ceased.len() >= NAMES_PER_MESSAGE {
                messages.push(std::mem::take(&mut message));
            }
        }
        messages.push(message);
        self.number(&mut messages, round);
        messages
    }

    /// The messages that tell everything there is, for a link that begins.
    pub(crate) fn snapshot(&self, directory: &Directory) -> Vec<Message> {
        let round = {
            let mut pending = self.pending.lock();
            pending.round += 1;
            pending.round
        };
        let mut messages = vec![Message::default()];
        directory.each_shard(|groups| {
            for group in groups {
                if messages.last().is_none_or(|last| last.begun.len() >= NAMES_PER_MESSAGE) {
                    messages.push(Message::default());
                }
                let route = Route { kind: group.kind as i32, name: group.name.to_string() };
                messages.last_mut().expect("one was just pushed").begun.push(route);
            }
        });
        messages.last_mut().expect("begins with one").complete = true;
        self.number(&mut messages, round);
        messages
    }

    fn number(&self, messages: &mut [Message], round: u64) {
        let mut pending = self.pending.lock();
        for message in messages {
            pending.serial += 1;
            message.serial = pending.serial;
        }
        let last = (pending.serial, round);
        pending.told.push_back(last);
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
