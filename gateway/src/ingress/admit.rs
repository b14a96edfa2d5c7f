//! From a delivery to items for targets: who of those named is here, and which lane.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::link::message::{Delivery, Position, Taken, To};
use common::names::Kind;
use common::trace::Trace;
use hashbrown::HashMap;

use super::Link;
use super::matched::{Effort, matched};
use crate::bucket::Local;
use crate::history::{Coming, Track, Tracks, repair};
use crate::merger::{Filter, Item, Key, Target};
use crate::pusher::Urgency;
use crate::registry::Registry;
use crate::tally::{Part, Passage};

/// Memory for so many targets is kept for the next delivery: 24 B × 1,024 = 24 KiB a link.
const TARGETS_KEPT_MAX: usize = 1_024;

/// Deliveries of one chunk, on their way into the mergers together: one lock for all.
#[derive(Default)]
pub(super) struct Admitted {
    merged: Vec<(Target, Filter, Item)>,
    urgent: Vec<(Target, Filter, Item)>,
    /// Items of histories, as they came: their tracks bring them into order.
    kept: Vec<(Arc<Track>, Coming)>,
    taken: Vec<Taken>,
    unmatched: Vec<Arc<Passage>>,
    effort: Effort,
    /// When the first of them came.
    came: Option<Instant>,
    /// Memory for the targets of the next delivery.
    targets: Vec<(u64, Target)>,
}

impl Admitted {
    /// Finds the connections of one delivery. A delivery that costs much is interrupted, for others on this thread.
    pub(super) async fn admit(&mut self, delivery: Delivery, link: &Link) {
        let registry = &link.parts.registry;
        let app = delivery.app;
        let mut targets = targets(&delivery, registry, std::mem::take(&mut self.targets));
        let mut places = places(&delivery, &targets, &link.parts.tracks);
        link.parts.marks.note(&delivery.marks);
        self.effort.spend(delivery.names.len()).await;
        // For `all` the application is the target itself; elsewhere it filters.
        let filter = Filter {
            app: if delivery.to == To::All as i32 { None } else { app },
            except: except(&delivery.except),
        };
        matched(&mut targets, &filter, registry, &mut self.effort).await;
        link.parts.counters.deliveries.inc();
        let matched = targets.iter().map(|(matched, _)| matched).sum();
        self.taken.push(Taken { serial: delivery.serial, matched });
        if targets.is_empty() {
            link.parts.counters.unmatched.inc();
        }
        let came = *self.came.get_or_insert_with(Instant::now);
        let (parts, trace) = (targets.len() as u32, delivery.trace.map(Trace::from));
        let passage = Passage::since(link.outgoing.clone(), delivery.serial, parts, came, trace);
        if targets.is_empty() {
            self.unmatched.push(passage.clone());
        }
        let ttl = (delivery.ttl_ms > 0).then(|| Duration::from_millis(delivery.ttl_ms));
        let expires = ttl.and_then(|ttl| Instant::now().checked_add(ttl));
        for (matched, target) in targets.drain(..) {
            let part = Part { passage: passage.clone(), matched };
            let key = (!delivery.key.is_empty()).then(|| delivery.key.clone());
            let place = places.as_mut().and_then(|places| places.remove(&target.key()));
            let item = Item { body: delivery.body.clone(), key, expires, part, kept: None };
            if let Some((track, at)) = place {
                let offer = Some((filter.clone(), item));
                self.kept.push((track, Coming { at, hurries: delivery.urgent, offer }));
                continue;
            }
            let lane = if delivery.urgent { &mut self.urgent } else { &mut self.merged };
            lane.push((target, filter.clone(), item));
        }
        // Nobody here is to get these; that they came is known all the same.
        let unseen = places.into_iter().flatten();
        self.kept.extend(unseen.map(|(_, (track, at))| (track, Coming { at, hurries: false, offer: None })));
        if targets.capacity() <= TARGETS_KEPT_MAX {
            self.targets = targets;
        }
    }

    /// Says that everything was taken, and gives it to the mergers. In this order: an urgent item may be
    /// written, and counted, before the next line.
    pub(super) fn hand_over(&mut self, link: &Link) {
        if self.taken.is_empty() {
            return;
        }
        self.came = None;
        link.outgoing.taken(&mut self.taken);
        self.unmatched.drain(..).for_each(|passage| passage.nobody());
        // All at once, with the offer below: between the two nothing of another link comes. Items of one history take one
        // lane, or the urgent ones would overtake the others.
        let now = Instant::now();
        for (track, coming) in self.kept.drain(..) {
            repair::take(&link.parts, &track, coming, now, &mut self.merged);
        }
        for (urgency, lane) in [(Urgency::Merged, &mut self.merged), (Urgency::Urgent, &mut self.urgent)] {
            if !lane.is_empty() {
                link.parts.pusher.offer(urgency, lane.drain(..));
            }
        }
    }
}

/// Where the item of a delivery stands in the histories of its targets, whether or not anybody here is to get it.
fn places(
    delivery: &Delivery,
    targets: &[(u64, Target)],
    tracks: &Tracks,
) -> Option<HashMap<Key, (Arc<Track>, Position)>> {
    if delivery.positions.is_empty() {
        return None;
    }
    let names = delivery.names.iter().map(String::as_str);
    let by_name: HashMap<_, _> = names.zip(&delivery.positions).filter(|(_, at)| at.epoch > 0).collect();
    let place = |(_, target): &(u64, Target)| {
        let Target::Group(group) = target else { return None };
        let at = **by_name.get(&*group.name)?;
        Some((target.key(), (tracks.of(group), at)))
    };
    Some(targets.iter().filter_map(place).collect())
}

/// What a delivery names and this gateway holds, in memory that is used again; how many connections each has is to be
/// counted.
fn targets(delivery: &Delivery, registry: &Registry, mut into: Vec<(u64, Target)>) -> Vec<(u64, Target)> {
    let group = |kind, name: &str| registry.directory.find(kind, name).map(|group| (0, Target::Group(group)));
    let mut named = |kind| into.extend(delivery.names.iter().filter_map(|name| group(kind, name)));
    match (To::try_from(delivery.to), delivery.app) {
        (Ok(To::All), None) => into.push((0, Target::All)),
        (Ok(To::All), Some(app)) => into.extend(group(Kind::App, &app.to_string())),
        (Ok(To::Rooms), _) => named(Kind::Room),
        (Ok(To::Users), _) => named(Kind::User),
        (Ok(To::Clients), _) => {
            into.extend(delivery.clients.iter().map(|local| (0, Target::Client(Local(*local)))));
        }
        // A target of a later release: nobody here is in it.
        (Err(_), _) => {}
    }
    into
}

fn except(locals: &[u64]) -> Option<Arc<[Local]>> {
    if locals.is_empty() {
        return None;
    }
    let mut sorted: Vec<Local> = locals.iter().copied().map(Local).collect();
    sorted.sort_unstable();
    sorted.dedup();
    Some(sorted.into())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use common::link::codec::{Inbound, Outbound};
    use common::link::message::{Down, down};

    use super::*;

    #[test]
    fn an_item_that_waits_keeps_nothing_of_what_the_link_read() {
        let mut outbound = Outbound::default();
        for serial in 0..100 {
            let delivery = Delivery { serial, body: Bytes::from(vec![b'x'; 200]), ..Delivery::default() };
            outbound.put(&Down { body: Some(down::Body::Delivery(delivery)) });
        }
        let mut inbound = Inbound::default();
        inbound.put(&outbound.take().unwrap());
        let mut kept = Vec::new();
        while let Some(Down { body: Some(down::Body::Delivery(delivery)) }) = inbound.next_message().unwrap()
        {
            kept.push(delivery.body);
        }
        assert!(kept.len() == 100 && kept.iter().all(Bytes::is_unique));
    }
}
