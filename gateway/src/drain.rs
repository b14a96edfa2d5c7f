//! How a gateway goes: paced, so that its clients do not fall upon the others all at once.
//!
//! Each client is told first when its turn will be (`reconnect`), and at its turn good-bye (1012). The drain is cut
//! into steps: at each, everything accepted so far is sent, and then those whose turn has come are told. Only what
//! is accepted between the two may miss them, and what takes longer than a step to write.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use common::client::CloseCode;
use tokio::time::Instant;

use crate::bucket::BUCKETS;
use crate::connection::Connection;
use crate::frame;
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
    let mut queue = schedule(parts);
    let told = queue.len();
    tracing::info!(clients = told, over = ?parts.tune.now().drain, "draining: no new clients, those here are told to reconnect");
    let began = Instant::now();
    let mut steps = tokio::time::interval(STEP);
    loop {
        steps.tick().await;
        // What takes longer to write than a step does not hold up the good-byes: those who wait would all get
        // theirs at once.
        let _ = tokio::time::timeout(STEP, parts.pusher.flush()).await;
        while let Some((connection, _)) = queue.pop_front_if(|(_, at)| *at <= began.elapsed()) {
            say_good_bye(parts, &connection);
        }
        if queue.is_empty() || parts.registry.clients() == 0 {
            break;
        }
    }
    // Handshakes that were under way when the drain began.
    here(parts).iter().for_each(|connection| say_good_bye(parts, connection));
    let gone = async {
        while parts.registry.clients() > 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let _ = tokio::time::timeout(LAST_WORDS, gone).await;
    let left = here(parts);
    left.iter().for_each(|connection| connection.cut());
    // What came since is counted as it should be: nobody is left to get it.
    let _ = tokio::time::timeout(LAST_WORDS, parts.pusher.flush()).await;
    tokio::time::sleep(RECEIPTS).await;
    tracing::info!(told, cut = left.len(), "drained");
    left.len()
}

/// All clients with the time at which each is told good-bye, spread evenly; each is told its own beforehand, so
/// that it can move when it suits it.
fn schedule(parts: &Parts) -> VecDeque<(Arc<Connection>, Duration)> {
    let clients = here(parts);
    let drain = parts.tune.now().drain;
    let turns = turns(clients.len(), drain);
    let timed = clients.into_iter().zip(turns).map(|(connection, at)| {
        if !drain.is_zero() {
            connection.send_control(frame::reconnect(at));
        }
        (connection, at)
    });
    timed.collect()
}

/// When each of so many is told, the first at once, the last a share before the end.
fn turns(clients: usize, drain: Duration) -> impl Iterator<Item = Duration> {
    let share = drain.div_f64(clients.max(1) as f64);
    (0..clients).map(move |place| share.mul_f64(place as f64))
}

fn here(parts: &Parts) -> Vec<Arc<Connection>> {
    let mut clients = Vec::new();
    (0..BUCKETS).for_each(|bucket| parts.registry.gather(bucket, 0..usize::MAX, &mut clients));
    clients
}

fn say_good_bye(parts: &Parts, connection: &Arc<Connection>) {
    if connection.closing_for().is_none() {
        parts.counters.closed.drain.inc();
        connection.close(CloseCode::Leaving, "this gateway is leaving; reconnect");
    }
}

#[cfg(test)]
mod tests;
