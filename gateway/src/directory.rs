//! Which groups exist on this gateway, by name, and in which buckets they have members.
//!
//! A [`Group`] is a room, a user or an application with at least one connection here. Buckets index their own
//! members by the group's address; the directory turns a name into that address, and one `u64` says which of
//! the 64 buckets to ask. So a push to one user touches one bucket, not all of them.
//!
//! Lock order: a bucket's lock, then a shard's lock here, then the lock of a link's pending routes.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};

use common::live::Live;
use common::names::{Kind, order};
use hashbrown::{DefaultHashBuilder, HashTable};
use parking_lot::RwLock;

use crate::routes::Routes;
use crate::tune::Tune;

/// Bits of a name's order that choose its shard: so shards follow each other in the order in which names are listed.
const SHARD_BITS: u32 = 10;

/// Names are spread over this many locks. Of a million names each has a thousand, which is what a page of a list
/// looks at under one lock: 0.1 ms. Memory usage will be 1024 * 56 B = 56 KiB.
pub(crate) const SHARDS: usize = 1 << SHARD_BITS;

/// A room, a user or an application that has members here.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) kind: Kind,
    pub(crate) name: Box<str>,
    /// Bit b: bucket b has members. Changed only under the shard's lock.
    buckets: AtomicU64,
    /// Connections in the group, over all buckets.
    members: AtomicU32,
}

impl Group {
    /// The buckets that have members, as bits.
    pub(crate) fn buckets(&self) -> u64 {
        self.buckets.load(Acquire)
    }

    /// How many connections are in the group.
    pub(crate) fn members(&self) -> u64 {
        u64::from(self.members.load(Relaxed))
    }

    /// Counts one more; says how many there were before.
    pub(crate) fn gains(&self) -> u32 {
        self.members.fetch_add(1, Relaxed)
    }

    /// Counts one less.
    pub(crate) fn loses(&self) {
        self.members.fetch_sub(1, Relaxed);
    }
}

/// The shard that the names of an order are in.
pub(crate) fn shard_of(order: u64) -> usize {
    (order >> (u64::BITS - SHARD_BITS)) as usize
}

type Shard = RwLock<HashTable<Arc<Group>>>;

/// A group in the order of names.
struct Listed(u64, Arc<Group>);

impl Listed {
    fn place(&self) -> (u64, &str) {
        (self.0, &self.1.name)
    }
}

impl PartialEq for Listed {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for Listed {}

impl PartialOrd for Listed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Listed {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

/// The groups of this gateway.
#[derive(Debug)]
pub(crate) struct Directory {
    shards: Box<[Shard]>,
    hasher: DefaultHashBuilder,
    sizes: [AtomicUsize; Kind::ALL.len()],
    tune: Arc<Live<Tune>>,
    routes: Arc<Routes>,
}

impl Directory {
    /// A directory with the bound that is there by default.
    #[cfg(test)]
    pub(crate) fn new(routes: Arc<Routes>) -> Self {
        Self::bounded(routes, Tune::live(&crate::Settings::default()))
    }

    /// A directory of as many rooms as there may be.
    pub(crate) fn bounded(routes: Arc<Routes>, tune: Arc<Live<Tune>>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: DefaultHashBuilder::default(),
            sizes: Default::default(),
            tune,
            routes,
        }
    }

    fn hash(&self, kind: Kind, name: &str) -> u64 {
        self.hasher.hash_one((kind, name))
    }

    fn shard(&self, name: &str) -> &Shard {
        &self.shards[shard_of(order(name))]
    }

    /// The group of that name, if it has members here.
    pub(crate) fn find(&self, kind: Kind, name: &str) -> Option<Arc<Group>> {
        let hash = self.hash(kind, name);
        let shard = self.shard(name).read();
        shard.find(hash, |group| group.kind == kind && *group.name == *name).cloned()
    }

    /// The group of that name, made if need be, with `bucket` marked as having members. The caller holds the
    /// bucket's lock and puts a member there before it lets go. `None`: it would be one room more than there may be.
    pub(crate) fn enter(&self, kind: Kind, name: &str, bucket: usize) -> Option<Arc<Group>> {
        let hash = self.hash(kind, name);
        let mut shard = self.shard(name).write();
        let found = shard.find(hash, |group| group.kind == kind && *group.name == *name);
        if let Some(group) = found {
            group.buckets.fetch_or(1 << bucket, AcqRel);
            return Some(group.clone());
        }
        let most = if kind == Kind::Room { self.tune.now().limits.rooms } else { usize::MAX };
        let one_more = |size| (size < most).then_some(size + 1);
        self.sizes[kind as usize].fetch_update(Relaxed, Relaxed, one_more).ok()?;
        let group = Arc::new(Group {
            kind,
            name: name.into(),
            buckets: AtomicU64::new(1 << bucket),
            members: AtomicU32::new(0),
        });
        shard.insert_unique(hash, group.clone(), |group| self.hash(group.kind, &group.name));
        self.routes.changed(&group);
        Some(group)
    }

    /// `bucket` has no member of `group` any more. The caller holds the bucket's lock.
    pub(crate) fn vacate(&self, group: &Arc<Group>, bucket: usize) {
        let hash = self.hash(group.kind, &group.name);
        let mut shard = self.shard(&group.name).write();
        let left = group.buckets.fetch_and(!(1 << bucket), AcqRel) & !(1 << bucket);
        if left == 0
            && let Ok(entry) = shard.find_entry(hash, |other| Arc::ptr_eq(other, group))
        {
            entry.remove();
            self.sizes[group.kind as usize].fetch_sub(1, Relaxed);
            self.routes.changed(group);
        }
    }

    /// How many groups of a kind there are.
    pub(crate) fn size(&self, kind: Kind) -> usize {
        self.sizes[kind as usize].load(Relaxed)
    }

    /// The first groups of a kind in one shard, in the order of names, behind a place in that order. At most `most`,
    /// however many there are: a stranger can choose names that all fall into one shard.
    pub(crate) fn listed(
        &self,
        shard: usize,
        kind: Kind,
        after: Option<(u64, &str)>,
        most: usize,
    ) -> Vec<(u64, Arc<Group>)> {
        let mut least = BinaryHeap::new();
        for group in self.shards[shard].read().iter().filter(|group| group.kind == kind) {
            let place = (order(&group.name), &*group.name);
            if after.is_some_and(|after| place <= after) {
                continue;
            }
            if least.len() < most {
                least.push(Listed(place.0, group.clone()));
            } else if let Some(mut last) = least.peek_mut()
                && place < last.place()
            {
                *last = Listed(place.0, group.clone());
            }
        }
        least.into_sorted_vec().into_iter().map(|Listed(order, group)| (order, group)).collect()
    }

    /// All groups, a shard at a time; no lock is held between them.
    pub(crate) fn shards(&self) -> impl Iterator<Item = Vec<Arc<Group>>> {
        self.shards.iter().map(|shard| shard.read().iter().cloned().collect())
    }
}
