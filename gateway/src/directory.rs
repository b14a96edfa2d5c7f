//! Which groups exist on this gateway, by name, and in which buckets they have members.
//!
//! A [`Group`] is a room, a user or an application with at least one connection here. Buckets index their own
//! members by the group's address; the directory turns a name into that address, and one `u64` says which of
//! the 64 buckets to ask. So a push to one user touches one bucket, not all of them.
//!
//! Lock order: a bucket's lock, then a shard's lock here, then the lock of a link's pending routes.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use common::names::Kind;
use hashbrown::{DefaultHashBuilder, HashTable};
use parking_lot::RwLock;

use crate::routes::Routes;

/// Names are spread over this many locks.
const SHARDS: usize = 64;

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
        self.buckets.load(Ordering::Acquire)
    }

    /// How many connections are in the group.
    pub(crate) fn members(&self) -> u64 {
        u64::from(self.members.load(Ordering::Relaxed))
    }

    pub(crate) fn count(&self, joined: bool) {
        if joined {
            self.members.fetch_add(1, Ordering::Relaxed);
        } else {
            self.members.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

type Shard = RwLock<HashTable<Arc<Group>>>;

/// The groups of this gateway.
#[derive(Debug)]
pub(crate) struct Directory {
    shards: Box<[Shard]>,
    hasher: DefaultHashBuilder,
    sizes: [AtomicUsize; Kind::ALL.len()],
    routes: Arc<Routes>,
}

impl Directory {
    pub(crate) fn new(routes: Arc<Routes>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: DefaultHashBuilder::default(),
            sizes: Default::default(),
            routes,
        }
    }

    fn hash(&self, kind: Kind, name: &str) -> u64 {
        self.hasher.hash_one((kind, name))
    }

    fn shard(&self, hash: u64) -> &Shard {
        // The low bits choose the place in the table; these choose the shard.
        &self.shards[usize::try_from(hash >> 32).unwrap_or(0) % SHARDS]
    }

    /// The group of that name, if it has members here.
    pub(crate) fn find(&self, kind: Kind, name: &str) -> Option<Arc<Group>> {
        let hash = self.hash(kind, name);
        let shard = self.shard(hash).read();
        shard.find(hash, |group| group.kind == kind && *group.name == *name).cloned()
    }

    /// The group of that name, made if need be, with `bucket` marked as having members. The caller holds the
    /// bucket's lock and puts a member there before it lets go.
    pub(crate) fn enter(&self, kind: Kind, name: &str, bucket: usize) -> Arc<Group> {
        let hash = self.hash(kind, name);
        let mut shard = self.shard(hash).write();
        let found = shard.find(hash, |group| group.kind == kind && *group.name == *name);
        if let Some(group) = found {
            group.buckets.fetch_or(1 << bucket, Ordering::AcqRel);
            return group.clone();
        }
        let group = Arc::new(Group {
            kind,
            name: name.into(),
            buckets: AtomicU64::new(1 << bucket),
            members: AtomicU32::new(0),
        });
        shard.insert_unique(hash, group.clone(), |group| self.hash(group.kind, &group.name));
        self.sizes[kind as usize].fetch_add(1, Ordering::Relaxed);
        self.routes.changed(&group);
        group
    }

    /// `bucket` has no member of `group` any more. The caller holds the bucket's lock.
    pub(crate) fn vacate(&self, group: &Arc<Group>, bucket: usize) {
        let hash = self.hash(group.kind, &group.name);
        let mut shard = self.shard(hash).write();
        let left = group.buckets.fetch_and(!(1 << bucket), Ordering::AcqRel) & !(1 << bucket);
        if left == 0
            && let Ok(entry) = shard.find_entry(hash, |other| Arc::ptr_eq(other, group))
        {
            entry.remove();
            self.sizes[group.kind as usize].fetch_sub(1, Ordering::Relaxed);
            self.routes.changed(group);
        }
    }

    /// How many groups of a kind there are.
    pub(crate) fn size(&self, kind: Kind) -> usize {
        self.sizes[kind as usize].load(Ordering::Relaxed)
    }

    /// All groups, a shard at a time; no lock is held between them.
    pub(crate) fn shards(&self) -> impl Iterator<Item = Vec<Arc<Group>>> {
        self.shards.iter().map(|shard| shard.read().iter().cloned().collect())
    }
}
