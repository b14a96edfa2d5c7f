//! Pages of connections and of names. A page that has looked at enough ends early and says where it ended.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use common::link::ask::{
    Client, Clients, ListClients, ListNames, Name, NamePlace, Names, PAGE_MAX, Scope, Whose,
};
use common::names::Kind;

use super::walk::{self, Meant, Place};
use crate::bucket::{Local, Slot};
use crate::connection::Connection;
use crate::directory::{SHARDS, shard_of};
use crate::registry::{Identity, Registry};

/// Locks that one page takes at most: at 256 slots each, 262,144 slots.
const STEPS_MAX: usize = 1024;

/// Locks after which others have their turn.
const STEPS_A_TURN: usize = 16;

/// A page of connections; `None` if this release does not know what is asked.
pub(super) async fn clients(registry: &Registry, asked: &ListClients) -> Option<Clients> {
    let meant = Meant::by(&asked.scope, registry)?;
    let limit = asked.limit.clamp(1, PAGE_MAX) as usize;
    let with_rooms = asked.scope.whose == Whose::Client as i32;
    let mut page = Clients::default();
    let mut place = Place(asked.from);
    for number in 0..STEPS_MAX {
        if number % STEPS_A_TURN == STEPS_A_TURN - 1 {
            tokio::task::yield_now().await;
        }
        let mut seen: Vec<Seen> = Vec::new();
        let next = walk::step(registry, &meant, place, |local, slot| {
            seen.extend(Seen::new(local, slot, with_rooms));
        });
        let room = limit - page.clients.len();
        if let Some(first_left) = seen.get(room) {
            page.next = Some(place_of(first_left.local).0);
            seen.truncate(room);
        } else {
            page.next = next.map(|place| place.0);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        page.clients.extend(seen.into_iter().map(|seen| {
            let since = now.saturating_sub(seen.connection.age());
            seen.client(since.as_millis() as u64)
        }));
        match page.next {
            Some(next) if page.clients.len() < limit => place = Place(next),
            _ => break,
        }
    }
    Some(page)
}

fn place_of(local: Local) -> Place {
    Place((local.bucket() as u64) << 32 | u64::from(local.slot()))
}

/// What is taken of a connection under its bucket's lock.
struct Seen {
    local: Local,
    identity: Identity,
    rooms: Vec<String>,
    connection: Arc<Connection>,
}

impl Seen {
    fn new(local: Local, slot: &Slot, with_rooms: bool) -> Option<Self> {
        let connection = slot.connection.clone()?;
        let mut rooms = Vec::new();
        if with_rooms {
            rooms.extend(slot.groups(Kind::Room).map(|group| group.name.to_string()));
            rooms.sort_unstable();
        }
        Some(Self { local, identity: slot.identity(), rooms, connection })
    }

    fn client(self, since_ms: u64) -> Client {
        let Identity { user, app } = self.identity;
        Client { local: self.local.0, user, app, since_ms, rooms: self.rooms }
    }
}

/// A page of names; `None` if this release does not know the kind.
pub(super) async fn names(registry: &Registry, asked: &ListNames) -> Option<Names> {
    let kind = Kind::try_from(asked.kind).ok()?;
    let limit = asked.limit.clamp(1, PAGE_MAX) as usize;
    let mut page = Names::default();
    let mut after = asked.after.as_ref().map(|place| (place.order, place.name.clone()));
    let mut shard = after.as_ref().map_or(0, |(order, _)| shard_of(*order));
    let mut steps = 0;
    while shard < SHARDS {
        let behind = after.as_ref().map(|(order, name)| (*order, &**name));
        let listed = registry.directory.listed(shard, kind, behind, limit);
        let is_whole = listed.len() < limit;
        for (order, group) in listed {
            let clients = match asked.app {
                None => group.members(),
                Some(app) => {
                    steps += group.buckets().count_ones() as usize
                        + usize::try_from(group.members()).unwrap_or(0) / 256;
                    walk::count(registry, &Meant::Group(group.clone(), Some(app))).await
                }
            };
            let name = &*group.name;
            after = Some((order, name.to_owned()));
            if clients > 0 {
                page.names.push(Name { name: name.to_owned(), clients });
            }
            if page.names.len() == limit || steps >= STEPS_MAX {
                page.upto = after.map(|(order, name)| NamePlace { order, name });
                return Some(page);
            }
        }
        if is_whole {
            shard += 1;
        }
        if shard.is_multiple_of(STEPS_A_TURN) {
            tokio::task::yield_now().await;
        }
    }
    Some(page)
}

/// How many connections are meant; `None` if this release does not know what is asked.
pub(super) async fn count(registry: &Registry, scope: &Scope) -> Option<u64> {
    Some(walk::count(registry, &Meant::by(scope, registry)?).await)
}
