//! What a push means for each gateway: who gets which message, who cannot, and whom it does not concern.
//!
//! A gateway without a link may hold anybody, so it is named among the failed; a gateway with a link that does
//! not hold the target is not concerned.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use common::ids::{ClientId, Instance, PushId};
use common::link::message::{Delivery, Mark, Position, To};
use common::names::Kind;

use super::stored::Stored;
use super::{Published, Times, message};
use crate::ledger::Outcome;
use crate::link::outbox::Outbox;
use crate::push::{Push, Target, Wait};
use crate::roster::{Linked, Roster};
use crate::routing::LinkId;

/// What a push means for each gateway.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) sends: Vec<Send>,
    /// Gateways that cannot be sent to.
    failed: Vec<(Arc<str>, &'static str)>,
    known: usize,
    /// Gateways with a link that do not hold the target.
    unconcerned: usize,
    /// One of the failed has a link, or had one until a moment ago: it holds the target.
    has_failed_holder: bool,
}

/// One gateway's part.
#[derive(Debug)]
pub(super) struct Send {
    pub(super) link: LinkId,
    pub(super) label: Arc<str>,
    pub(super) outbox: Arc<Outbox>,
    /// The message without its serial number.
    pub(super) rest: Bytes,
}

/// Whom a push would reach.
#[derive(Debug)]
pub(crate) struct Reach {
    /// Gateways that are known.
    pub(crate) known: usize,
    /// Gateways that it would be sent to, and the bytes of the link message.
    pub(crate) concerned: Vec<(Arc<str>, usize)>,
    /// Gateways that it cannot be sent to, and why.
    pub(crate) failed: Vec<(Arc<str>, &'static str)>,
    /// The item as clients would get it, in bytes, without the room's name.
    pub(crate) item_bytes: usize,
}

impl Reach {
    pub(super) fn new(push: &Push<'_>, plan: &Plan) -> Self {
        Self {
            known: plan.known,
            concerned: plan.sends.iter().map(|send| (send.label.clone(), send.rest.len())).collect(),
            failed: plan.failed.clone(),
            item_bytes: 1 + message::body_bytes(push),
        }
    }
}

/// Where a push stands.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Places<'a> {
    /// For each of its names; none at all if it is in no history.
    pub(super) positions: &'a [Position],
    /// How far the store had come.
    pub(super) marks: &'a [Mark],
}

/// The part of the target that one gateway holds.
enum Part {
    /// The whole target as it is.
    Whole,
    /// These of its names, by their place.
    Names(Vec<usize>),
    /// These connections.
    Clients(Vec<u64>),
}

impl Plan {
    /// Plans a push that stands at these places, if it is in any history. `None` if it is in none and no gateway is
    /// known. `holders` is scratch space.
    pub(super) fn new(
        push: &Push<'_>,
        places: Places<'_>,
        roster: &Roster,
        holders: &mut Vec<LinkId>,
    ) -> Option<Self> {
        let mut plan = Self::nobody();
        let mut parts = Parts::new(push, roster, holders);
        let mut shared = None;
        for known in roster.counted() {
            plan.known += 1;
            match &known.link {
                Err(code) if parts.may_be_elsewhere => plan.failed.push((known.label.clone(), code)),
                Err(_) => plan.unconcerned += 1,
                Ok(linked) => match parts.of(linked) {
                    None => plan.unconcerned += 1,
                    Some(part) => {
                        let rest = encode(push, places, part, linked.instance, &mut shared);
                        let (label, outbox) = (known.label.clone(), linked.outbox.clone());
                        plan.sends.push(Send { link: linked.id, label, outbox, rest });
                    }
                },
            }
        }
        (plan.known > 0 || !places.positions.is_empty()).then_some(plan)
    }

    /// The plan of a push that no gateway is known for.
    pub(super) fn nobody() -> Self {
        Self { sends: Vec::new(), failed: Vec::new(), known: 0, unconcerned: 0, has_failed_holder: false }
    }

    /// Whether each link that a push concerns has room for it, before it is stored; the first that has none.
    pub(super) fn full(
        push: &Push<'_>,
        roster: &Roster,
        holders: &mut Vec<LinkId>,
    ) -> Option<(LinkId, Arc<str>)> {
        let mut parts = Parts::new(push, roster, holders);
        let bytes = message::body_bytes(push);
        roster.counted().find_map(|known| {
            let linked = known.link.as_ref().ok()?;
            parts.of(linked)?;
            (!linked.outbox.has_room(bytes)).then(|| (linked.id, known.label.clone()))
        })
    }

    /// One of the sends cannot be made.
    pub(super) fn fail(&mut self, at: usize, code: &'static str) {
        let send = self.sends.remove(at);
        self.failed.push((send.label, code));
        self.has_failed_holder = true;
    }

    /// What became of it.
    pub(super) fn published(
        mut self,
        id: PushId,
        wait: Wait,
        outcome: Option<Outcome>,
        (stored, times): (Vec<Stored>, Times),
    ) -> Published {
        let outcome = outcome.unwrap_or_default();
        let was_sent = !self.sends.is_empty();
        for (link, code) in outcome.failed {
            if let Some(send) = self.sends.iter().find(|send| send.link == link) {
                self.failed.push((send.label.clone(), code));
            }
        }
        // What is stored is taken, whoever else took it.
        let nobody_took_it = outcome.accepted == 0 && !self.failed.is_empty() && stored.is_empty();
        Published {
            id,
            tally: outcome.tally,
            known: self.known,
            accepted: outcome.accepted,
            failed: self.failed,
            was_sent,
            is_failure: nobody_took_it && (was_sent || self.has_failed_holder || self.unconcerned == 0),
            wait,
            stored,
            times,
        }
    }
}

/// Who holds which part of a target.
struct Parts<'a> {
    target: &'a Target,
    /// For one name or an application: the links that hold it.
    holders: Option<&'a [LinkId]>,
    /// For several names: the places of those that each link holds.
    names: HashMap<LinkId, Vec<usize>>,
    /// For connections: the local halves for each run of a gateway.
    clients: HashMap<Instance, Vec<u64>>,
    /// A gateway without a link may hold some of it.
    may_be_elsewhere: bool,
}

impl<'a> Parts<'a> {
    fn new(push: &'a Push<'_>, roster: &Roster, holders: &'a mut Vec<LinkId>) -> Self {
        let mut parts = Parts {
            target: &push.to,
            holders: None,
            names: HashMap::new(),
            clients: HashMap::new(),
            may_be_elsewhere: true,
        };
        match (&push.to, push.app) {
            (Target::All, None) => {}
            (Target::All, Some(app)) => {
                roster.routing.holders(Kind::App, &app.to_string(), holders);
                parts.holders = Some(holders);
            }
            (Target::Names(kind, names), _) => match &names[..] {
                [name] => {
                    roster.routing.holders(*kind, name, holders);
                    parts.holders = Some(holders);
                }
                several => {
                    for (place, name) in several.iter().enumerate() {
                        roster.routing.holders(*kind, name, holders);
                        for link in &*holders {
                            parts.names.entry(*link).or_default().push(place);
                        }
                    }
                }
            },
            (Target::Clients(ids), _) => {
                for ClientId { gateway, local } in ids {
                    parts.clients.entry(*gateway).or_default().push(*local);
                }
                let is_linked = |instance: &Instance| {
                    roster.counted().any(|known| matches!(&known.link, Ok(l) if l.instance == *instance))
                };
                parts.may_be_elsewhere = !parts.clients.keys().all(is_linked);
            }
        }
        parts
    }

    fn of(&mut self, linked: &Linked) -> Option<Part> {
        match (self.target, self.holders) {
            (Target::Clients(_), _) => self.clients.remove(&linked.instance).map(Part::Clients),
            (_, Some(holders)) => holders.binary_search(&linked.id).is_ok().then_some(Part::Whole),
            (Target::All, None) => Some(Part::Whole),
            (Target::Names(..), None) => self.names.remove(&linked.id).map(Part::Names),
        }
    }
}

/// Encodes one gateway's message. What several gateways get alike is encoded once and kept in `shared`.
fn encode(
    push: &Push<'_>,
    places: Places<'_>,
    part: Part,
    instance: Instance,
    shared: &mut Option<Bytes>,
) -> Bytes {
    let here = push.except.iter().filter(|id| id.gateway == instance);
    let except: Vec<u64> = here.map(|id| id.local).collect();
    let is_shared = matches!(part, Part::Whole) && except.is_empty();
    if let (true, Some(rest)) = (is_shared, &shared) {
        return rest.clone();
    }
    let positions = match &part {
        Part::Names(held) if !places.positions.is_empty() => {
            held.iter().map(|place| places.positions[*place]).collect()
        }
        _ => places.positions.to_vec(),
    };
    let (to, names, clients) = match (&push.to, part) {
        (_, Part::Clients(clients)) => (To::Clients, Vec::new(), clients),
        (Target::Names(kind, names), Part::Names(places)) => {
            (to_kind(*kind), places.into_iter().map(|place| names[place].clone()).collect(), Vec::new())
        }
        (Target::Names(kind, names), Part::Whole) => (to_kind(*kind), names.clone(), Vec::new()),
        _ => (To::All, Vec::new(), Vec::new()),
    };
    let delivery = Delivery {
        to: to as i32,
        names,
        clients,
        app: push.app,
        except,
        key: push.key.clone(),
        urgent: push.urgent,
        ttl_ms: push.ttl_ms,
        positions,
        marks: places.marks.to_vec(),
        trace: push.trace.map(|trace| trace.context()),
        ..Delivery::default()
    };
    let rest = message::rest(&delivery, push);
    if is_shared {
        *shared = Some(rest.clone());
    }
    rest
}

fn to_kind(kind: Kind) -> To {
    match kind {
        Kind::User => To::Users,
        Kind::Room | Kind::App => To::Rooms,
    }
}
