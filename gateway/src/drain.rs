//! How a gateway goes: paced, so that its clients do not fall upon the others all at once.
//!
//! The drain is cut into steps. At each step everything accepted so far is sent, and then the next share of
//! clients is told good-bye (1012). Only what is accepted between the two, in microseconds, may miss those told.

use std::sync::Arc;
use std::time::Duration;

use common::client::CloseCode;

use crate::bucket::BUCKETS;
use crate::node::Parts;

/// How often a share of clients is told.
const STEP: Duration = Duration::from_millis(250);

/// Clients that were told last have this long to answer before they are cut.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A drain that takes so much longer than it was given is given up.
pub(crate) const OVERTIME_MAX: Duration = Duration::from_secs(10);

/// How often it is looked whether all have gone.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Receipts have this long to leave before the links are closed.
const RECEIPTS: Duration = Duration::from_millis(100);

/// Sends what was accepted, closes all clients over the drain time, and returns how many had to be cut.
pub(crate) async fn run(parts: &Arc<Parts>) -> usize {
    let clients = parts.registry.clients();
    tracing::info!(clients, over = ?parts.settings.drain, "draining: no new clients, those here are told to reconnect");
    let steps = (parts.settings.drain.as_millis() / STEP.as_millis()).max(1) as usize;
    let mut ticks = tokio::time::interval(STEP);
    let mut told = 0;
    let mut queue = Vec::new();
    for step in 1..=steps {
        ticks.tick().await;
        parts.pusher.flush().await;
        if parts.registry.clients() == 0 {
            break;
        }
        // Handshakes that were under way when the drain began may still add some: look again at the last step.
        if queue.is_empty() || step == steps {
            queue.clear();
            for bucket in 0..BUCKETS {
                parts.registry.gather(bucket, 0..usize::MAX, &mut queue);
            }
            queue.retain(|connection| connection.closing_for().is_none());
        }
        let share = queue.len().div_ceil(steps - step + 1);
        for connection in queue.drain(queue.len() - share..) {
            connection.close(CloseCode::Leaving, "this gateway is leaving; reconnect");
            told += 1;
            parts.counters.closed_drain.inc();
        }
    }
    parts.pusher.flush().await;
    let gone = async {
        while parts.registry.clients() > 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let _ = tokio::time::timeout(LAST_WORDS, gone).await;
    let cut = parts.registry.clients();
    let mut left = Vec::new();
    (0..BUCKETS).for_each(|bucket| parts.registry.gather(bucket, 0..usize::MAX, &mut left));
    left.iter().for_each(|connection| connection.cut());
    // What came since is counted as it should be: nobody is left to get it.
    parts.pusher.flush().await;
    tokio::time::sleep(RECEIPTS).await;
    tracing::info!(told, cut, "drained");
    cut
}
