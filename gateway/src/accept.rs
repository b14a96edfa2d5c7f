//! The client port: takes connections within the gateway's bounds and gives each a short-lived handshake.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::accept::{self, Accepted};
use common::http1;
use common::tls::Reason;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::door::Entry;
use crate::handshake::Handshake;
use crate::limits::Limit;
use crate::node::Parts;
use crate::session;
use crate::transport::Transport;

/// "Out of descriptors" is said in the log at most this often.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// One whose handshake took too long has this much longer to be told so.
const TOLD_TIME_MAX: Duration = Duration::from_secs(1);

/// Takes connections until the drain.
pub(crate) async fn run(listener: TcpListener, parts: Arc<Parts>) {
    let mut said = None::<std::time::Instant>;
    while let Some(accepted) = parts.shutdown.or_draining(accept::next(&listener)).await {
        match accepted {
            Accepted::Exhausted(error) => {
                parts.counters.accept_exhausted.inc();
                if said.is_none_or(|said| said.elapsed() > SAY_EVERY) {
                    said = Some(std::time::Instant::now());
                    tracing::warn!(%error, clients = parts.registry.clients(), "out of descriptors: new clients wait; raise their limit (LimitNOFILE, ulimit -n)");
                }
            }
            Accepted::Connection(stream, peer) => {
                parts.counters.accepted.inc();
                if let Some(entry) = parts.door.entry(parts.door.enter(), &parts.counters) {
                    let parts = parts.clone();
                    parts.tasks.clone().spawn(greet(stream, peer, entry, parts));
                }
            }
        }
    }
}

/// One connection until it is a session, or has been answered and closed. All handshakes together have one deadline.
async fn greet(mut stream: TcpStream, peer: SocketAddr, entry: Entry, parts: Arc<Parts>) {
    let until = Instant::now() + parts.tune.now().handshake_time_max;
    let Some(origin) = origin(&mut stream, peer, &parts).await else { return };
    let Some(entry) = count(entry, origin, &parts) else { return };
    let guest = Guest { origin, until, entry };
    let Some(tls) = &parts.settings.tls else { return shake(stream, guest, parts).await };
    let within = tokio::time::timeout_at(until, tls.accept(stream));
    let accepted = parts.shutdown.or_stopped(within).await;
    let (reason, why) = match accepted {
        Some(Ok(Ok(stream))) => return shake(stream, guest, parts).await,
        Some(Ok(Err(refused))) => (refused.reason(), refused.to_string()),
        Some(Err(_)) => {
            parts.counters.refuse(Limit::HandshakeTime);
            (Reason::Late, "it took too long".to_owned())
        }
        None => return,
    };
    parts.counters.tls_refused.count(reason);
    tracing::debug!(%peer, %why, "a TLS handshake failed");
}

/// Who has connected.
struct Guest {
    origin: SocketAddr,
    /// When it must have shaken hands.
    until: Instant,
    entry: Entry,
}

/// The WebSocket handshake.
async fn shake<S: AsyncRead + AsyncWrite + Unpin + Into<Transport>>(
    stream: S,
    guest: Guest,
    parts: Arc<Parts>,
) {
    let Guest { origin, until, entry } = guest;
    let handshake = Handshake::new(parts.clone(), entry);
    // Boxed: hyper's connection is large, and gone when the session begins.
    let drive = Box::pin(http1::drive(stream, origin, handshake.clone(), &parts.shutdown));
    let within = tokio::time::timeout_at(until + TOLD_TIME_MAX, drive);
    let switched = parts.shutdown.or_stopped(within).await;
    if let Some(Ok(Some(switched))) = switched
        && let Some((ticket, place)) = handshake.take_ticket()
    {
        parts.counters.handshakes.inc();
        let tasks = parts.tasks.clone();
        let session = session::begin(switched, ticket, parts, place).await;
        // A task of its own, as small as it can be; this one, which hyper made large, ends.
        tasks.spawn(session);
    }
}

/// Who connected: the peer, or whom a trusted proxy names. `None`: it did not do so as it must, or the gateway ends.
async fn origin(stream: &mut TcpStream, peer: SocketAddr, parts: &Parts) -> Option<SocketAddr> {
    let tune = parts.tune.keep();
    let named = tune.edge.origin(stream, peer, tune.handshake_time_max);
    match parts.shutdown.or_stopped(named).await? {
        Ok(origin) => Some(origin),
        Err(error) => {
            tracing::debug!(%peer, %error, "a connection of a proxy was closed");
            parts.counters.refuse(Limit::ProxyHeader);
            None
        }
    }
}

/// Counts a connection for its address. That of a client behind a proxy which is trusted stands in the request, and
/// is looked at then.
fn count(entry: Entry, origin: SocketAddr, parts: &Parts) -> Option<Entry> {
    match entry {
        Entry::Place(mut place) if !parts.tune.now().edge.trusts(origin.ip()) => {
            let counted = place.count_for(origin.ip()).map(|()| place);
            parts.door.entry(counted, &parts.counters)
        }
        other => Some(other),
    }
}
