//! Who is here: all connections in their buckets, found by client, user, application and room.
//!
//! Every change takes one bucket's write lock, and inside it at most one shard of the directory at a time;
//! a sweep takes one bucket's read lock only to gather. No lock is held while a socket is written.

mod entry;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::SystemTime;

use common::live::Live;
use common::names::Kind;
use parking_lot::RwLock;

use crate::admission::{Admitted, Rights};
use crate::bucket::{BUCKETS, Bucket, Local, Slot};
use crate::connection::Connection;
use crate::directory::{Directory, Group};
use crate::routes::Routes;
use crate::tune::Tune;
pub(crate) use entry::{Join, Overflow};

/// Connections that follow each other into one bucket. A sweep walks a bucket in order, and a kernel that sends to
/// sockets in the order in which it made them takes a tenth less time than to every 64th of them. 64 × 256 = 16,384
/// connections fill all buckets once; 10,000 are in 40 of them, which is work enough for the workers.
const NEIGHBOURS: usize = 256;

/// Who a connection belongs to, as far as is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) user: Option<String>,
    /// Application number; never 0.
    pub(crate) app: Option<u32>,
}

/// A bucket, and how often a connection of it has left a group and stayed, or changed its application.
#[derive(Debug)]
struct Place {
    bucket: RwLock<Bucket>,
    /// Counted under the bucket's lock, read without.
    departures: AtomicU32,
}

/// All connections of this gateway.
#[derive(Debug)]
pub(crate) struct Registry {
    places: Box<[Place]>,
    pub(crate) directory: Directory,
    next: AtomicUsize,
    clients: AtomicUsize,
    tune: Arc<Live<Tune>>,
}

impl Place {
    fn new(number: usize) -> Self {
        Self { bucket: RwLock::new(Bucket::new(number)), departures: AtomicU32::new(0) }
    }

    fn departs(&self, really: bool) {
        if really {
            self.departures.fetch_add(1, Ordering::Release);
        }
    }
}

impl Registry {
    #[cfg(test)]
    pub(crate) fn new(routes: Arc<Routes>) -> Self {
        Self::bounded(routes, Tune::live(&crate::Settings::default()))
    }

    /// A registry with these limits.
    pub(crate) fn bounded(routes: Arc<Routes>, tune: Arc<Live<Tune>>) -> Self {
        Self {
            places: (0..BUCKETS).map(Place::new).collect(),
            directory: Directory::bounded(routes, tune.clone()),
            next: AtomicUsize::new(0),
            clients: AtomicUsize::new(0),
            tune,
        }
    }

    fn user_connections_max(&self) -> u32 {
        self.tune.now().limits.connections_per_user.unwrap_or(u32::MAX)
    }

    /// How many connections are registered.
    pub(crate) fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    pub(crate) fn bucket(&self, number: usize) -> &RwLock<Bucket> {
        &self.places[number].bucket
    }

    /// A mark of now, to tell later whether a connection of this bucket has left a group since, or become another
    /// application's, and stayed. Who reads it under the lock that the reply to such a command is written with has
    /// seen the command before the reply is.
    pub(crate) fn departures(&self, number: usize) -> u32 {
        self.places[number].departures.load(Ordering::Acquire)
    }

    /// Registers a connection that no limit keeps out of what it asks for, or that does without.
    pub(crate) fn register(
        self: &Arc<Self>,
        identity: &Identity,
        rooms: &[String],
        make: impl FnOnce(Local) -> Arc<Connection>,
    ) -> Registration {
        self.admit(identity, rooms, make, |_, _| {}).0
    }

    /// Registers a connection with what it is and the rooms it asks for, all at once; or, if a limit forbids any of
    /// it, as nobody's and in none. `rooms` are at most as many as a client may be in; one that comes twice is joined
    /// once. `hold` is given its user and each room before the connection is in it.
    pub(crate) fn admit(
        self: &Arc<Self>,
        identity: &Identity,
        rooms: &[String],
        make: impl FnOnce(Local) -> Arc<Connection>,
        mut hold: impl FnMut(Local, &Arc<Group>),
    ) -> (Registration, Result<(), Overflow>) {
        let number = self.next.fetch_add(1, Ordering::Relaxed) / NEIGHBOURS % BUCKETS;
        let mut bucket = self.bucket(number).write();
        let mut connection = None;
        let local = bucket.insert(identity.app.unwrap_or(0), |local| {
            let made = make(local);
            connection = Some(made.clone());
            made
        });
        let most = self.user_connections_max();
        let hold_user = |group: &Arc<Group>| hold(local, group);
        let mut entered = self.enter_identity(&mut bucket, local, identity, most, hold_user);
        for room in rooms {
            let hold_room = |group: &Arc<Group>| hold(local, group);
            entered = entered
                .and_then(|()| self.enter_held(&mut bucket, local, (Kind::Room, room), u32::MAX, hold_room));
        }
        if entered.is_err() {
            self.exit(&mut bucket, local, |_| true);
            if let Some(slot) = bucket.slot_mut(local) {
                slot.app = 0;
            }
        }
        drop(bucket);
        self.clients.fetch_add(1, Ordering::Relaxed);
        let connection = connection.expect("insert calls make");
        (Registration { registry: self.clone(), connection }, entered)
    }

    /// Puts a connection into a group, unless that has `most` members or would be one room too many.
    fn enter(
        &self,
        bucket: &mut Bucket,
        local: Local,
        (kind, name): (Kind, &str),
        most: u32,
    ) -> Result<(), Overflow> {
        self.enter_held(bucket, local, (kind, name), most, |_| {})
    }

    /// The same; `hold` is given the group before the connection is in it, under the lock that sweeps look up members
    /// with.
    fn enter_held(
        &self,
        bucket: &mut Bucket,
        local: Local,
        (kind, name): (Kind, &str),
        most: u32,
        hold: impl FnOnce(&Arc<Group>),
    ) -> Result<(), Overflow> {
        let known = |slot: &Slot| slot.groups(kind).any(|group| *group.name == *name);
        if bucket.slot(local).is_none_or(known) {
            return Ok(());
        }
        let group = self.directory.enter(kind, name, local.bucket()).ok_or(Overflow::Rooms)?;
        hold(&group);
        // Counted first and looked at then: of two that come at once into the last place, one stays.
        if bucket.join(local, group.clone()) >= most {
            self.exit(bucket, local, |other| std::ptr::eq(other, &*group));
            return Err(Overflow::User);
        }
        Ok(())
    }

    fn enter_identity(
        &self,
        bucket: &mut Bucket,
        local: Local,
        identity: &Identity,
        most: u32,
        hold: impl FnOnce(&Arc<Group>),
    ) -> Result<(), Overflow> {
        if let Some(user) = &identity.user {
            self.enter_held(bucket, local, (Kind::User, user), most, hold)?;
        }
        match identity.app {
            Some(app) => self.enter(bucket, local, (Kind::App, &app.to_string()), u32::MAX),
            None => Ok(()),
        }
    }

    fn exit(&self, bucket: &mut Bucket, local: Local, which: impl Fn(&Group) -> bool) -> bool {
        let mut any = false;
        while let Some(index) = bucket
            .slot(local)
            .and_then(|slot| slot.memberships.iter().position(|membership| which(&membership.group)))
        {
            any = true;
            let (group, empty) = bucket.leave(local, index);
            if empty {
                self.directory.vacate(&group, local.bucket());
            }
        }
        any
    }

    /// Joins a room.
    pub(crate) fn join(&self, local: Local, room: &str) -> Join {
        self.join_held(local, room, |_| {})
    }

    /// The same; `hold` is given the room before the connection is in it, if it was not.
    pub(crate) fn join_held(&self, local: Local, room: &str, hold: impl FnOnce(&Arc<Group>)) -> Join {
        let mut bucket = self.bucket(local.bucket()).write();
        let Some(slot) = bucket.slot(local) else { return Join::Already };
        if slot.groups(Kind::Room).any(|group| *group.name == *room) {
            return Join::Already;
        }
        if slot.groups(Kind::Room).count() >= self.tune.now().limits.rooms_per_client {
            return Join::TooMany;
        }
        match self.enter_held(&mut bucket, local, (Kind::Room, room), u32::MAX, hold) {
            Ok(()) => Join::Joined,
            Err(_) => Join::Full,
        }
    }

    /// Leaves a room; says whether the connection was in it.
    pub(crate) fn leave(&self, local: Local, room: &str) -> bool {
        let mut bucket = self.bucket(local.bucket()).write();
        let left = self.exit(&mut bucket, local, |group| group.kind == Kind::Room && *group.name == *room);
        self.places[local.bucket()].departs(left);
        left
    }

    /// Leaves the rooms that it may not be in; which they were.
    pub(crate) fn leave_unless(&self, local: Local, may: impl Fn(&str) -> bool) -> Vec<String> {
        let mut bucket = self.bucket(local.bucket()).write();
        let Some(slot) = bucket.slot(local) else { return Vec::new() };
        let rooms = slot.groups(Kind::Room).map(|group| group.name.to_string());
        let left: Vec<_> = rooms.filter(|room| !may(room)).collect();
        if !left.is_empty() {
            let exited = self.exit(&mut bucket, local, |group| {
                group.kind == Kind::Room && left.iter().any(|room| **room == *group.name)
            });
            self.places[local.bucket()].departs(exited);
        }
        left
    }

    /// Makes a connection another user's or another application's; rooms stay. If that user has as many connections
    /// as it may, nothing changes.
    pub(crate) fn bind(&self, local: Local, identity: &Identity) -> Result<(), Overflow> {
        self.bind_held(local, identity, |_| {})
    }

    /// The same; `hold` is given the user's group before the connection is in it, if it was not.
    pub(crate) fn bind_held(
        &self,
        local: Local,
        identity: &Identity,
        hold: impl FnOnce(&Arc<Group>),
    ) -> Result<(), Overflow> {
        let most = self.user_connections_max();
        self.bind_in(&mut self.bucket(local.bucket()).write(), local, identity, most, hold)
    }

    /// Makes a connection another user's or nobody's, and another application's if one is given, as an operator wants
    /// it: however many that user has. Whether it was not so before; `None` if it is not here.
    pub(crate) fn rebind(&self, local: Local, user: Option<&str>, app: Option<u32>) -> Option<bool> {
        let mut bucket = self.bucket(local.bucket()).write();
        let was = bucket.slot(local)?.identity();
        let identity = Identity { user: user.map(str::to_owned), app: app.or(was.app) };
        if identity == was {
            return Some(false);
        }
        Some(self.bind_in(&mut bucket, local, &identity, u32::MAX, |_| {}).is_ok())
    }

    fn bind_in(
        &self,
        bucket: &mut Bucket,
        local: Local,
        identity: &Identity,
        most: u32,
        hold: impl FnOnce(&Arc<Group>),
    ) -> Result<(), Overflow> {
        if let Some(user) = &identity.user {
            self.enter_held(bucket, local, (Kind::User, user), most, hold)?;
        }
        let Some(slot) = bucket.slot_mut(local) else { return Ok(()) };
        let was = std::mem::replace(&mut slot.app, identity.app.unwrap_or(0));
        let is_another = was != slot.app;
        // What stays the same is not left: items on their way to it would miss this connection.
        let app = identity.app.map(|app| app.to_string());
        let left = self.exit(bucket, local, |group| match group.kind {
            Kind::Room => false,
            Kind::User => identity.user.as_deref() != Some(&*group.name),
            Kind::App => app.as_deref() != Some(&*group.name),
        });
        self.places[local.bucket()].departs(left || is_another);
        self.enter_identity(bucket, local, identity, most, |_| {})
    }

    /// Takes a connection out of its place and its groups, if it is still there: nobody finds it any more.
    pub(crate) fn evict(&self, local: Local) -> Option<Arc<Connection>> {
        let mut bucket = self.bucket(local.bucket()).write();
        self.exit(&mut bucket, local, |_| true);
        let removed = bucket.remove(local)?;
        drop(bucket);
        self.clients.fetch_sub(1, Ordering::Relaxed);
        Some(removed)
    }

    /// Notes what a connection's token allows it.
    pub(crate) fn allow(&self, local: Local, rights: Arc<Rights>) {
        if let Some(slot) = self.bucket(local.bucket()).write().slot_mut(local) {
            slot.rights = Some(rights);
        }
    }

    /// Who a connection is and what its token allows it.
    pub(crate) fn rights(&self, local: Local) -> Option<Admitted> {
        self.look(local, |slot| {
            let user = slot.groups(Kind::User).next().map(|group| group.name.to_string());
            let app = Some(slot.app).filter(|app| *app > 0);
            (Identity { user, app }, slot.rights.clone())
        })
    }

    /// The connections of one bucket in a range of slots whose token is over.
    pub(crate) fn gather_over(
        &self,
        number: usize,
        slots: std::ops::Range<usize>,
        now: SystemTime,
        into: &mut Vec<Arc<Connection>>,
    ) {
        let bucket = self.bucket(number).read();
        let end = slots.end.min(bucket.slots.len());
        let range = bucket.slots.get(slots.start.min(end)..end).unwrap_or_default();
        let over =
            range.iter().filter(|slot| slot.rights.as_ref().is_some_and(|rights| rights.are_over(now)));
        into.extend(over.filter_map(|slot| slot.connection.clone()));
    }

    /// How many members of a group in one bucket belong to an application, and how many there are: counted, since
    /// groups keep only their sum.
    pub(crate) fn members_of_app(&self, number: usize, group: &Arc<Group>, app: u32) -> (u64, usize) {
        let bucket = self.bucket(number).read();
        let members = bucket.members(group);
        let of_app = members.iter().filter(|slot| bucket.slots[**slot as usize].app == app);
        (of_app.count() as u64, members.len())
    }

    /// Looks at a connection that is here, under its bucket's lock.
    pub(crate) fn look<T>(&self, local: Local, look: impl FnOnce(&Slot) -> T) -> Option<T> {
        self.bucket(local.bucket()).read().slot(local).map(look)
    }

    /// Whether a connection is here, in the group if one is given, and of the application if one is given.
    pub(crate) fn matches(&self, local: Local, group: Option<&Arc<Group>>, app: Option<u32>) -> bool {
        let bucket = self.bucket(local.bucket()).read();
        bucket.slot(local).is_some_and(|slot| {
            app.is_none_or(|app| app == slot.app) && group.is_none_or(|group| bucket.is_member(local, group))
        })
    }

    /// The connections of one bucket in a range of slots.
    pub(crate) fn gather(
        &self,
        number: usize,
        slots: std::ops::Range<usize>,
        into: &mut Vec<Arc<Connection>>,
    ) {
        let bucket = self.bucket(number).read();
        let end = slots.end.min(bucket.slots.len());
        let range = bucket.slots.get(slots.start.min(end)..end).unwrap_or_default();
        into.extend(range.iter().filter_map(|slot| slot.connection.clone()));
    }

    /// How many slots a bucket has, empty ones included.
    pub(crate) fn slots(&self, number: usize) -> usize {
        self.bucket(number).read().slots.len()
    }
}

/// The numbers of the bits that are set.
pub(crate) fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (set != 0).then(|| {
            let lowest = set.trailing_zeros() as usize;
            set &= set - 1;
            lowest
        })
    })
}

/// A connection's place in the registry. Dropped: the place is empty, its groups are left, exactly once.
#[derive(Debug)]
pub(crate) struct Registration {
    registry: Arc<Registry>,
    pub(crate) connection: Arc<Connection>,
}

impl Registration {
    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.evict(self.connection.local);
    }
}

#[cfg(test)]
mod model;
