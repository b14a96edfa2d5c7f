//! Changes to connections that an operator asks for.

use std::sync::{Arc, Weak};
use std::time::Duration;

use common::client::CloseCode;
use common::link::ask::{Act, Change, Changed};
use common::names::{self, Kind};

use super::walk::{self, Meant, Place};
use crate::bucket::{Local, Slot};
use crate::connection::Connection;
use crate::limits::Limit;
use crate::node::Parts;
use crate::registry::Join;

/// One who does not answer the good-bye is cut after this.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// Changes them all, and waits until a push that is accepted from then on finds them so. `None` if this release
/// does not know what is asked.
pub(super) async fn change(parts: &Arc<Parts>, asked: &Change) -> Option<Changed> {
    let act = Act::try_from(asked.act).ok().filter(|act| *act != Act::None)?;
    let name = &*asked.name;
    if matches!(act, Act::Bind | Act::Join | Act::Leave) && names::check(name).is_err() {
        return None;
    }
    let meant = Meant::by(&asked.scope, &parts.registry)?;
    let mut done = Changed::default();
    let mut closed = Vec::new();
    let mut at = Some(Place::BEGIN);
    while let Some(place) = at {
        let mut found = Vec::new();
        at = walk::step(&parts.registry, &meant, place, |local, slot| {
            if is_other(slot, act, name, asked.app) {
                found.push(local);
            } else {
                done.matched += 1;
            }
        });
        for local in found {
            // One who has gone since was never meant.
            let Some(outcome) = one(parts, local, act, name, asked.app, &mut closed) else { continue };
            done.matched += 1;
            done.changed += u64::from(outcome == Outcome::Changed);
            done.refused += u64::from(outcome == Outcome::Refused);
        }
        tokio::task::yield_now().await;
    }
    if !closed.is_empty() {
        cut_later(parts, closed);
    }
    if done.changed > 0 && !parts.routes.settled().await {
        parts.counters.routes_unsettled.inc();
    }
    Some(done)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Changed,
    Same,
    Refused,
}

/// Whether a connection has to be touched at all: who is in the room already needs no lock to join it.
fn is_other(slot: &Slot, act: Act, name: &str, app: Option<u32>) -> bool {
    let is_in = |kind| slot.groups(kind).any(|group| *group.name == *name);
    match act {
        Act::None => false,
        Act::Close => true,
        Act::Bind => !is_in(Kind::User) || app.is_some_and(|app| app != slot.app),
        Act::Unbind => slot.groups(Kind::User).next().is_some(),
        Act::Join => !is_in(Kind::Room),
        Act::Leave => is_in(Kind::Room),
    }
}

fn one(
    parts: &Parts,
    local: Local,
    act: Act,
    name: &str,
    app: Option<u32>,
    closed: &mut Vec<Weak<Connection>>,
) -> Option<Outcome> {
    let registry = &parts.registry;
    let changed = |changed: bool| if changed { Outcome::Changed } else { Outcome::Same };
    match act {
        Act::None => None,
        Act::Close => {
            // First it is nobody's aim any more: what is accepted from now on does not count it.
            let connection = registry.evict(local)?;
            parts.counters.closed.operator.inc();
            connection.close(CloseCode::Operator, name);
            closed.push(Arc::downgrade(&connection));
            Some(Outcome::Changed)
        }
        Act::Bind => registry.rebind(local, Some(name), app).map(changed),
        Act::Unbind => registry.rebind(local, None, None).map(changed),
        Act::Join => {
            registry.look(local, |_| ())?;
            Some(match registry.join(local, name) {
                Join::Joined => Outcome::Changed,
                Join::Already => Outcome::Same,
                Join::TooMany => refused(parts, Limit::RoomsPerClient),
                Join::Full => refused(parts, Limit::Rooms),
            })
        }
        Act::Leave => {
            registry.look(local, |_| ())?;
            Some(changed(registry.leave(local, name)))
        }
    }
}

fn refused(parts: &Parts, limit: Limit) -> Outcome {
    parts.counters.refuse(limit);
    Outcome::Refused
}

/// The heartbeat does not find them any more, so they are cut here if they stay. Who has gone is not kept.
fn cut_later(parts: &Arc<Parts>, closed: Vec<Weak<Connection>>) {
    let shutdown = parts.shutdown.clone();
    parts.tasks.spawn(async move {
        shutdown.or_stopped(tokio::time::sleep(ANSWER_TIME_MAX)).await;
        closed.iter().filter_map(Weak::upgrade).for_each(|connection| connection.cut());
    });
}
