//! One of the 64 sets that connections live in, and its index of group members. No locks, no sockets here:
//! the registry holds a bucket under its lock and calls these, none of which can panic on what a client does.

mod scan;

use std::sync::Arc;

use common::names::Kind;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::admission::Rights;
use crate::connection::Connection;
use crate::directory::Group;

/// Where a connection stands, as the local half of its client id: generation, slot, bucket.
///
/// The generation is the bucket's count of connections when this one came, so an old id never names a new
/// connection (until one bucket has had 2³² of them in one run).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Local(pub(crate) u64);

/// Bits of a [`Local`] that say the bucket; 2⁶ = 64 buckets, so that one `u64` can say in which of them a
/// group has members.
const BUCKET_BITS: u32 = 6;

/// How many buckets there are. At 1,000,000 connections a bucket has 15,625 handles; a sweep takes a few hundred
/// of them at a time under its read lock.
pub(crate) const BUCKETS: usize = 1 << BUCKET_BITS;

impl Local {
    fn new(generation: u32, slot: u32, bucket: usize) -> Self {
        Self(u64::from(generation) << 32 | u64::from(slot) << BUCKET_BITS | bucket as u64)
    }

    pub(crate) fn bucket(self) -> usize {
        (self.0 & (BUCKETS as u64 - 1)) as usize
    }

    pub(crate) fn slot(self) -> u32 {
        ((self.0 & 0xffff_ffff) >> BUCKET_BITS) as u32
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// A connection's membership in a group.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) group: Arc<Group>,
    /// Where the group's member list of this bucket has this slot.
    place: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Slot {
    pub(crate) connection: Option<Arc<Connection>>,
    generation: u32,
    /// The connection's application; 0: none.
    pub(crate) app: u32,
    /// What its token allows the client, if it came with one.
    pub(crate) rights: Option<Arc<Rights>>,
    pub(crate) memberships: Vec<Membership>,
}

impl Slot {
    /// Names of the groups of a kind that the connection is in.
    pub(crate) fn groups(&self, kind: Kind) -> impl Iterator<Item = &Arc<Group>> {
        self.memberships.iter().map(|membership| &membership.group).filter(move |group| group.kind == kind)
    }
}

/// A set of connections.
#[derive(Debug)]
pub(crate) struct Bucket {
    number: usize,
    /// How many connections have come here, in 32 bits.
    births: u32,
    pub(crate) slots: Vec<Slot>,
    free: Vec<u32>,
    /// Slots of the members of each group, by the group's address: it cannot be reused while a member's
    /// [`Membership`] holds the group.
    members: HashMap<usize, Members>,
}

/// The slots of a group's members. A room of one and a user of one client are the most common of all, and
/// need no list: `Vec`'s niche makes both 24 B, and saves 16 B and more of heap.
#[derive(Debug)]
enum Members {
    One(u32),
    Many(Vec<u32>),
}

impl Members {
    fn as_slice(&self) -> &[u32] {
        match self {
            Self::One(slot) => std::slice::from_ref(slot),
            Self::Many(slots) => slots,
        }
    }

    /// Appends a slot; its place.
    fn push(&mut self, slot: u32) -> u32 {
        match self {
            Self::One(first) => {
                *self = Self::Many(vec![*first, slot]);
                1
            }
            Self::Many(slots) => {
                slots.push(slot);
                (slots.len() - 1) as u32
            }
        }
    }

    /// Takes the slot at a place out; the last takes its place. Says which slot moved there, if one did.
    /// A list of one stays as it is: its owner drops it whole.
    fn swap_remove(&mut self, place: u32) -> Option<u32> {
        let Self::Many(slots) = self else { return None };
        slots.swap_remove(place as usize);
        let moved = slots.get(place as usize).copied();
        if let [one] = slots[..] {
            *self = Self::One(one);
        } else if slots.len() * 4 < slots.capacity() {
            slots.shrink_to(slots.len() * 2);
        }
        moved
    }
}

fn address(group: &Arc<Group>) -> usize {
    Arc::as_ptr(group).addr()
}

impl Bucket {
    pub(crate) fn new(number: usize) -> Self {
        Self { number, births: 0, slots: Vec::new(), free: Vec::new(), members: HashMap::new() }
    }

    /// Puts a connection in, which `make` builds once its place is known.
    pub(crate) fn insert(&mut self, app: u32, make: impl FnOnce(Local) -> Arc<Connection>) -> Local {
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[at as usize];
        slot.generation = self.births;
        self.births = self.births.wrapping_add(1);
        let local = Local::new(slot.generation, at, self.number);
        slot.app = app;
        slot.connection = Some(make(local));
        local
    }

    /// A mark of now, to tell later who has come since.
    pub(crate) fn births(&self) -> u32 {
        self.births
    }

    /// The slot at `at` if a connection is there that was here at the mark `births`.
    pub(crate) fn slot_since(&self, at: u32, births: u32) -> Option<&Slot> {
        let came_since =
            |slot: &Slot| slot.generation.wrapping_sub(births) < self.births.wrapping_sub(births);
        self.slots.get(at as usize).filter(|slot| slot.connection.is_some() && !came_since(slot))
    }

    /// The slot of a connection that is still there.
    pub(crate) fn slot(&self, local: Local) -> Option<&Slot> {
        let slot = self.slots.get(local.slot() as usize)?;
        (slot.generation == local.generation() && slot.connection.is_some()).then_some(slot)
    }

    /// The same, to change it.
    pub(crate) fn slot_mut(&mut self, local: Local) -> Option<&mut Slot> {
        self.slot(local)?;
        self.slots.get_mut(local.slot() as usize)
    }

    /// The slots of a group's members here.
    pub(crate) fn members(&self, group: &Arc<Group>) -> &[u32] {
        self.members.get(&address(group)).map_or(&[], Members::as_slice)
    }

    /// Whether a connection is in the group.
    pub(crate) fn is_member(&self, local: Local, group: &Arc<Group>) -> bool {
        self.slot(local).is_some_and(|slot| {
            slot.memberships.iter().any(|membership| Arc::ptr_eq(&membership.group, group))
        })
    }

    /// Puts a connection that is there into a group that it is not in; says how many were in it before.
    pub(crate) fn join(&mut self, local: Local, group: Arc<Group>) -> u32 {
        let Some(slot) = self.slots.get_mut(local.slot() as usize) else { return 0 };
        let place = match self.members.entry(address(&group)) {
            Entry::Vacant(vacant) => {
                vacant.insert(Members::One(local.slot()));
                0
            }
            Entry::Occupied(mut members) => members.get_mut().push(local.slot()),
        };
        let before = group.gains();
        slot.memberships.reserve_exact(1);
        slot.memberships.push(Membership { group, place });
        before
    }

    /// Takes a connection out of the group at `index` of its memberships. Returns the group, and whether
    /// this bucket has no member of it any more.
    pub(crate) fn leave(&mut self, local: Local, index: usize) -> (Arc<Group>, bool) {
        let Membership { group, place } = self.slots[local.slot() as usize].memberships.swap_remove(index);
        group.loses();
        let key = address(&group);
        let Some(members) = self.members.get_mut(&key) else { return (group, false) };
        let empty = members.as_slice().len() == 1;
        if empty {
            self.members.remove(&key);
        } else if let Some(moved) = members.swap_remove(place) {
            let moved = &mut self.slots[moved as usize].memberships;
            if let Some(theirs) = moved.iter_mut().find(|theirs| Arc::ptr_eq(&theirs.group, &group)) {
                theirs.place = place;
            }
        }
        (group, empty)
    }

    /// Takes a connection out that is in no group any more.
    pub(crate) fn remove(&mut self, local: Local) -> Option<Arc<Connection>> {
        let slot = self.slot_mut(local)?;
        slot.memberships = Vec::new();
        slot.rights = None;
        let connection = slot.connection.take();
        self.free.push(local.slot());
        connection
    }
}
