//! How a client comes into a group whose history is kept: it is told where it begins, or it is brought what it missed.
//!
//! Who comes without a place is told one: everything behind it comes live. Who says the place that it has seen is
//! held back while what it missed is fetched and written, and joins what is live exactly behind it. Where the
//! history does not continue it is told `reset` and the place where it now is; where no answer comes it is told so, and
//! is not in the group: never a hole that nobody speaks of.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::client;
use common::ids::Epoch;
use common::link::message::Position;
use common::names::Kind;
use serde_json::{Value, json};

use super::fetch::{Part, Wanted};
use super::{Away, Held, Keeps, Settled};
use crate::bucket::Local;
use crate::connection::{Connection, Piece};
use crate::directory::Group;
use crate::frame::{self, Owner};
use crate::limits::Limit;
use crate::node::Parts;
use crate::registry::{Identity, Join, Overflow};

/// Who is behind the sweeps so often, each time by what was pushed while an answer was on its way, is told to try
/// again.
const ROUNDS_MAX: usize = 32;

/// A client takes a part of what it missed in this time, or is told to try again.
const TAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// How often it is looked whether a client that does not take everything at once has.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What a command is answered.
pub(crate) type Outcome = Result<Option<Value>, (u16, String)>;

fn away() -> (u16, String) {
    (503, "the history cannot be read now; try again".to_owned())
}

/// What one who cannot be in a room is told.
fn admitted(parts: &Parts, joined: Join) -> Result<Join, (u16, String)> {
    match joined {
        Join::TooMany => {
            parts.counters.refuse(Limit::RoomsPerClient);
            let most = parts.tune.now().limits.rooms_per_client;
            Err((409, format!("a client is in at most {most} rooms; leave one first")))
        }
        Join::Full => {
            parts.counters.refuse(Limit::Rooms);
            Err((503, Overflow::Rooms.words().to_owned()))
        }
        Join::Joined | Join::Already => Ok(joined),
    }
}

/// What one who cannot be a user is told.
fn crowded(parts: &Parts, overflow: Overflow) -> (u16, String) {
    parts.counters.refuse(overflow.limit());
    (409, overflow.words().to_owned())
}

/// A place, as replies say it.
fn said(at: Position) -> Value {
    json!({"epoch": Epoch(at.epoch).to_string(), "offset": at.offset})
}

/// The place that a client says. An epoch that cannot be one is one that is over.
fn place(from: &client::Position) -> Position {
    Position { epoch: from.epoch.parse().map_or(0, |Epoch(epoch)| epoch), offset: from.offset }
}

/// Joins a room, from a place on if one is given.
pub(crate) async fn join(
    parts: &Arc<Parts>,
    connection: &Arc<Connection>,
    room: &str,
    from: Option<&client::Position>,
) -> Outcome {
    let local = connection.local;
    match (parts.fetches.keeps(Kind::Room, room), from) {
        (Keeps::Unknown, Some(_)) => Err(away()),
        (Keeps::No, _) | (Keeps::Unknown, None) => {
            admitted(parts, parts.registry.join(local, room))?;
            settle(parts).await;
            // A room without history has nothing to go on from.
            Ok(from.map(|_| json!({"recovered": false})))
        }
        (Keeps::Yes, None) => {
            let mut held = None;
            let joined = parts
                .registry
                .join_held(local, room, |group| held = Some(parts.tracks.of(group).hold(local)));
            admitted(parts, joined)?;
            let began = begin(parts, held.as_mut(), (Kind::Room, room)).await;
            if began.is_err() && held.is_some() {
                parts.registry.leave(local, room);
            }
            began.map(|at| Some(said(at))).map_err(|Away| away())
        }
        (Keeps::Yes, Some(from)) => {
            // Whatever of the room is on its way to one who is in it already is not written any more.
            parts.registry.leave(local, room);
            let mut held = None;
            let joined = parts
                .registry
                .join_held(local, room, |group| held = Some(parts.tracks.of(group).hold(local)));
            admitted(parts, joined)?;
            let Some(held) = held else { return Err(away()) };
            let caught = catch_up(parts, connection, held, place(from)).await;
            caught.map(Some).map_err(|_held| {
                parts.registry.leave(local, room);
                away()
            })
        }
    }
}

/// Makes a connection a user's and adds to `data` where it is in the user's history.
pub(crate) async fn log_in(
    parts: &Arc<Parts>,
    connection: &Arc<Connection>,
    identity: &Identity,
    from: Option<&client::Position>,
    mut data: Value,
) -> Outcome {
    let local = connection.local;
    let keeps = identity.user.as_deref().map_or(Keeps::No, |user| parts.fetches.keeps(Kind::User, user));
    let user = identity.user.as_deref().unwrap_or_default();
    match (keeps, from) {
        (Keeps::Unknown, Some(_)) => Err(away()),
        (Keeps::No, _) | (Keeps::Unknown, None) => {
            parts.registry.bind(local, identity).map_err(|overflow| crowded(parts, overflow))?;
            settle(parts).await;
            if from.is_some() {
                data["recovered"] = Value::Bool(false);
            }
            Ok(Some(data))
        }
        (Keeps::Yes, None) => {
            let mut held = None;
            let hold = |group: &Arc<Group>| held = Some(parts.tracks.of(group).hold(local));
            let bound = parts.registry.bind_held(local, identity, hold);
            bound.map_err(|overflow| crowded(parts, overflow))?;
            let began = begin(parts, held.as_mut(), (Kind::User, user)).await;
            let at = began.map_err(|Away| away())?;
            Ok(Some(merged(data, said(at))))
        }
        (Keeps::Yes, Some(from)) => {
            let nobody = Identity { user: None, ..identity.clone() };
            let leave = || _ = parts.registry.bind(local, &nobody);
            // One who is that user already leaves first; another stays what it is if there is no place.
            if parts.registry.look(local, |slot| slot.identity().user == identity.user) == Some(true) {
                leave();
            }
            let mut held = None;
            let hold = |group: &Arc<Group>| held = Some(parts.tracks.of(group).hold(local));
            let bound = parts.registry.bind_held(local, identity, hold);
            bound.map_err(|overflow| crowded(parts, overflow))?;
            let Some(held) = held else { return Err(away()) };
            match catch_up(parts, connection, held, place(from)).await {
                Ok(caught) => Ok(Some(merged(data, caught))),
                Err(_held) => {
                    leave();
                    Err(away())
                }
            }
        }
    }
}

fn merged(mut data: Value, more: Value) -> Value {
    if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
        data.extend(more);
    }
    data
}

/// Holds a connection back that is about to become a member, if a history is kept of that group.
pub(crate) fn hold(parts: &Parts, group: &Arc<Group>, local: Local) -> Option<Held> {
    let keeps = parts.fetches.keeps(group.kind, &group.name) == Keeps::Yes;
    keeps.then(|| parts.tracks.of(group).hold(local))
}

/// Where a client that has just registered begins, in each history that it is a member of.
pub(crate) async fn positions(parts: &Arc<Parts>, held: Vec<Held>) -> Vec<client::Begin> {
    let asked = held.into_iter().map(async |mut held| {
        // Without an answer it is told no place, and begins with the first item.
        let Position { epoch, offset } = begin_held(parts, &mut held).await.ok()?;
        let group = &held.track.group;
        let is_room = group.kind == Kind::Room;
        let room = is_room.then(|| group.name.to_string());
        Some(client::Begin { room, user: !is_room, epoch: Epoch(epoch).to_string(), offset })
    });
    let asked = futures_util::future::join_all(asked).await;
    let mut positions: Vec<_> = asked.into_iter().flatten().collect();
    // Rooms first, in the order in which they were asked for.
    positions.sort_by_key(|begin| begin.user);
    positions
}

/// Waits until a push that is accepted from now on reaches what was just joined; whether it does.
async fn settle(parts: &Parts) -> bool {
    let settled = parts.routes.settled().await;
    if !settled {
        parts.counters.routes_unsettled.inc();
    }
    settled
}

/// The place behind which a member of a group gets everything; one that was one already is not held.
async fn begin(
    parts: &Arc<Parts>,
    held: Option<&mut Held>,
    (kind, name): (Kind, &str),
) -> Result<Position, Away> {
    if !settle(parts).await {
        return Err(Away);
    }
    if let Some(held) = held {
        return begin_held(parts, held).await;
    }
    let group = parts.registry.directory.find(kind, name).ok_or(Away)?;
    let track = parts.tracks.of(&group);
    match track.place() {
        Some(at) => Ok(at),
        None => {
            let head = parts.fetches.get(&group, None, Wanted::default()).await?.head;
            Ok(track.begin(head, Instant::now()))
        }
    }
}

/// The same for one that is held, and gets nothing that is not behind it.
async fn begin_held(parts: &Arc<Parts>, held: &mut Held) -> Result<Position, Away> {
    if let Some(at) = held.begin(None, Instant::now()) {
        return Ok(at);
    }
    let head = parts.fetches.get(&held.track.group, None, Wanted::default()).await?.head;
    let at = held.begin(Some(head), Instant::now()).ok_or(Away)?;
    // What was said meanwhile of where it stands is looked at now.
    parts.repairs.hears(&held.track, Some(head));
    Ok(at)
}

/// Brings a held member what it missed, and lets it go. What it is told: whether it missed nothing, and where it is. If
/// that cannot be, it is still held.
async fn catch_up(
    parts: &Arc<Parts>,
    connection: &Arc<Connection>,
    mut held: Held,
    from: Position,
) -> Result<Value, Held> {
    let counters = &parts.counters.history;
    if !settle(parts).await {
        counters.resumes_failed.inc();
        return Err(held);
    }
    let brought = bring(parts, connection, &mut held, from).await;
    match brought {
        Ok((recovered, at)) => {
            let counter = if recovered { &counters.resumes } else { &counters.resets };
            counter.inc();
            Ok(merged(json!({"recovered": recovered}), said(at)))
        }
        Err(Away) => {
            counters.resumes_failed.inc();
            Err(held)
        }
    }
}

async fn bring(
    parts: &Arc<Parts>,
    connection: &Arc<Connection>,
    held: &mut Held,
    from: Position,
) -> Result<(bool, Position), Away> {
    let group = held.track.group.clone();
    let (mut at, mut recovered, mut rounds) = (from, true, 0);
    // An answer that was asked for before is too old.
    let mut after = None;
    while rounds < ROUNDS_MAX {
        has_room(connection).await?;
        let wanted = Wanted { reaches: held.track.reached(), after };
        let part = parts.fetches.get(&group, Some(at), wanted).await?;
        if part.continues {
            write(parts, connection, &group, &part);
            at = Position { offset: part.last, ..part.head };
            if part.last < part.head.offset {
                continue;
            }
        } else {
            recovered = false;
            at = part.head;
            connection.send_control(frame::reset(owner(&group), at));
        }
        match held.settle(at, part.asked, Instant::now()) {
            Settled::Done => {
                // If it is another life than the one here, the others are to hear of it.
                parts.repairs.hears(&held.track, Some(at));
                return Ok((recovered, at));
            }
            Settled::Behind => {}
            Settled::Stale(since) => after = Some(since),
        }
        rounds += 1;
    }
    Err(Away)
}

pub(crate) fn owner(group: &Group) -> Owner<'_> {
    if group.kind == Kind::Room { Owner::Room(&group.name) } else { Owner::User }
}

/// Waits until a client has taken what it was sent before, so that nobody's outbox is overrun by what it missed.
async fn has_room(connection: &Connection) -> Result<(), Away> {
    let free = async {
        while connection.is_blocked() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(TAKE_TIME_MAX, free).await.map_err(|_| Away)
}

/// Writes the items of a part that are for this client. One frame is made for all who may have all of it.
fn write(parts: &Parts, connection: &Arc<Connection>, group: &Arc<Group>, part: &Part) {
    let epoch = Epoch(part.head.epoch);
    let bytes = if part.is_for_all() {
        if part.items.is_empty() {
            return;
        }
        let items = part.items.iter().map(|item| (item.offset, &item.body));
        part.frame.get_or_init(|| frame::kept(owner(group), epoch, items)).clone()
    } else {
        let local = connection.local;
        let app = parts.registry.look(local, |slot| slot.app).unwrap_or(0);
        let now = Instant::now();
        let is_mine = |item: &&common::link::history::KeptItem| {
            // The answer may have been given to others a while ago.
            part.expires(item).is_none_or(|expires| expires > now)
                && item.app.is_none_or(|wanted| wanted == app)
                && !item.except.contains(&local.0)
        };
        let mut items = part.items.iter().filter(is_mine).peekable();
        if items.peek().is_none() {
            return;
        }
        frame::kept(owner(group), epoch, items.map(|item| (item.offset, &item.body)))
    };
    let room = (group.kind == Kind::Room).then(|| group.clone());
    connection.send(&[&Piece { bytes, tally: None, room }]);
}
