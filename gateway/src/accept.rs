//! The client port: takes connections within the gateway's bounds and gives each a short-lived handshake.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::accept::{self, Accepted};
use common::http1;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::handshake::Handshake;
use crate::node::Parts;
use crate::session;

/// Connections that are told "full" at a time; beyond it they are closed without a word.
const REFUSALS_MAX: usize = 64;

/// "Out of descriptors" is said in the log at most this often.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Takes connections until the drain.
pub(crate) async fn run(listener: TcpListener, parts: Arc<Parts>) {
    let places = Arc::new(Semaphore::new(parts.settings.max_connections));
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let mut said = None::<std::time::Instant>;
    while let Some(accepted) = parts.shutdown.or_draining(accept::next(&listener)).await {
        match accepted {
            Accepted::Exhausted(error) => {
                parts.counters.accept_exhausted.inc();
                if said.is_none_or(|said| said.elapsed() > SAY_EVERY) {
                    said = Some(std::time::Instant::now());
                    tracing::warn!(%error, clients = parts.registry.clients(), "out of descriptors: new clients wait");
                }
            }
            Accepted::Connection(stream, peer) => {
                parts.counters.accepted.inc();
                let (place, full) = match places.clone().try_acquire_owned() {
                    Ok(place) => (Some(place), false),
                    Err(_) => (refusals.clone().try_acquire_owned().ok(), true),
                };
                if full {
                    parts.counters.refused_full.inc();
                }
                if let Some(place) = place {
                    let parts = parts.clone();
                    parts.tasks.clone().spawn(greet(stream, peer, full, parts, place));
                }
            }
        }
    }
}

/// One connection until it is a session, or has been answered and closed.
async fn greet(
    stream: TcpStream,
    peer: SocketAddr,
    full: bool,
    parts: Arc<Parts>,
    place: OwnedSemaphorePermit,
) {
    let handshake = Handshake::new(parts.clone(), full);
    // Boxed: hyper's connection is large, and gone when the session begins.
    let drive = Box::pin(http1::drive(stream, peer, handshake.clone(), &parts.shutdown));
    let within = tokio::time::timeout(parts.settings.handshake_time_max, drive);
    let switched = parts.shutdown.or_stopped(within).await;
    if let Some(Ok(Some(switched))) = switched
        && let Some(ticket) = handshake.take_ticket()
    {
        parts.counters.handshakes.inc();
        let tasks = parts.tasks.clone();
        let session = session::begin(switched, ticket, parts, place).await;
        // A task of its own, as small as it can be; this one, which hyper made large, ends.
        tasks.spawn(session);
    }
}
