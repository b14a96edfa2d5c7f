//! What was lost with a link is fetched when there is one again: items that logic had stored and could not deliver.
//!
//! Polled by the task of the control stream, on the thread that takes deliveries: so nothing comes between the look at
//! how far a track has come and the offer of what follows. What came first by the new link is a gap, and a reset.

use std::sync::Arc;

use bytes::Bytes;
use common::link::history::KeptItem;
use common::link::message::Position;
use futures_util::StreamExt;

use super::Track;
use super::fetch::Part;
use crate::bucket::Local;
use crate::merger::{Filter, Item, Kept, Target};
use crate::node::Parts;
use crate::pusher::Urgency;
use crate::tally::{self, Outgoing, Passage};

/// Histories asked for at a time: half of what clients may ask for.
const AT_ONCE: usize = 32;

/// Brings every history of this gateway up to where it stands.
pub(crate) async fn repair(parts: Arc<Parts>) {
    let parts = &parts;
    for tracks in parts.tracks.all() {
        let repairs = tracks.into_iter().map(|track| repair_one(parts, track));
        futures_util::stream::iter(repairs).buffer_unordered(AT_ONCE).collect::<()>().await;
    }
}

async fn repair_one(parts: &Arc<Parts>, track: Arc<Track>) {
    while let Some(at) = track.place().filter(|_| track.group.buckets() != 0) {
        let Ok(part) = parts.fetches.get(&track.group, Some(at), true).await else { return };
        // Where it does not continue, the next item says so to members.
        if !part.continues || part.last == at.offset {
            return;
        }
        let to = Position { offset: part.last, ..at };
        if !track.advances(at, to) {
            return;
        }
        offer(parts, &track, &part);
    }
}

fn offer(parts: &Parts, track: &Arc<Track>, part: &Part) {
    // They were answered for long ago: nobody hears what becomes of them.
    let outgoing = Arc::<Outgoing>::default();
    outgoing.end();
    let item = |kept: &KeptItem| {
        let except: Option<Arc<[Local]>> = (!kept.except.is_empty()).then(|| {
            let mut sorted: Vec<_> = kept.except.iter().copied().map(Local).collect();
            sorted.sort_unstable();
            sorted.into()
        });
        let at = Position { offset: kept.offset, ..part.head };
        let place = Kept { track: track.clone(), at, resets: track.pays_reset(), hurries: false };
        let passage = Passage::new(outgoing.clone(), 0, 1);
        let item = Item {
            body: Bytes::clone(&kept.body),
            key: None,
            expires: None,
            part: tally::Part { passage, matched: track.group.members() },
            kept: Some(Box::new(place)),
        };
        (Target::Group(track.group.clone()), Filter { app: kept.app, except }, item)
    };
    parts.counters.history.repaired.inc_by(part.items.len() as u64);
    parts.pusher.offer(Urgency::Merged, part.items.iter().map(item));
}
