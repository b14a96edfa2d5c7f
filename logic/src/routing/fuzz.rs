//! Any messages of a gateway as what the routing table and the ledger are told.

use std::time::{Duration, Instant};

use common::link::message::{ControlUp, Up, control_up, up};
use common::names::Kind;

use super::{LinkId, Routing};
use crate::ledger::{Deadlines, KEPT, Ledger};
use crate::push::Wait;

/// Pushes that wait for what a gateway says of them.
const PUSHES: u64 = 4;

/// Two links that say the same, one of which goes.
const LINKS: [LinkId; 2] = [LinkId(1), LinkId(2)];

/// What a gateway says that it holds.
///
/// # Panics
/// If a name is forgotten while a link holds it, or kept when none does.
pub fn routes(messages: &[ControlUp]) {
    let mut routing = Routing::default();
    LINKS.iter().for_each(|link| routing.add(*link));
    let (mut holders, mut remains) = (Vec::new(), Vec::new());
    for message in messages {
        let Some(control_up::Body::Routes(routes)) = &message.body else { continue };
        for link in LINKS {
            routing.begin(link, &routes.begun);
            routing.cease(link, &routes.ceased);
            if routes.complete {
                routing.complete(link);
            }
        }
        for route in &routes.begun {
            let Ok(kind) = Kind::try_from(route.kind) else { continue };
            let is_ceased = routes.ceased.contains(route);
            routing.holders(kind, &route.name, &mut holders);
            assert!(is_ceased || holders == LINKS, "{route:?}: {holders:?}");
        }
    }
    remains.extend(LINKS.iter().filter_map(|link| routing.remove(*link)));
    remains.retain_mut(|remains| {
        while routing.clean(remains, 1) {}
        false
    });
    assert!(
        routing.is_at_rest() && Kind::ALL.iter().all(|kind| routing.count(*kind) == 0),
        "something stays"
    );
}

/// What a gateway says became of pushes.
///
/// # Panics
/// If counts cannot be added up, or entries stay for ever.
pub fn receipts(messages: &[Up]) {
    let (mut ledger, now) = (Ledger::default(), Instant::now());
    let _waiting: Vec<_> = (0..PUSHES).map(|_| ledger.append(LINKS, Wait::Written, now)).collect();
    let deadlines = Deadlines { taken: Duration::from_secs(1), written: Duration::from_secs(10) };
    for message in messages {
        let Some(up::Body::Receipts(receipts)) = &message.body else { continue };
        ledger.receipts(LINKS[0], receipts);
        ledger.receipts(LINKS[1], receipts);
        (1..=PUSHES).filter_map(|serial| ledger.tally(serial)).for_each(|tally| _ = tally.pending());
    }
    ledger.lose(LINKS[1]);
    while ledger.look(now + deadlines.written, deadlines, 1) {}
    ledger.forget(now + KEPT, usize::MAX);
    assert_eq!(ledger.len(), 0, "nobody asks any more");
}
