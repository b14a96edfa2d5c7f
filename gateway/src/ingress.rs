//! The gateway's side of the link: takes HTTP/2 connections from logic nodes and their two streams.
//!
//! A link that says something else (no HTTP/2, a wrong secret, another version, garbage) is refused with a
//! reason and costs one short-lived task; it harms nobody else.

mod admit;
mod control;
mod data;
mod guarded;
mod marks;
mod matched;
mod peers;

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use common::accept::{self, Accepted};
use common::limits::LINK_WINDOW_BYTES;
use common::link::secret::Secret;
use common::link::{CONTROL_PATH, DATA_PATH, LINK_HEADER};
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Method, Request, Response, StatusCode, header};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::history::repair;
use crate::node::Parts;
use crate::tally::Outgoing;
use guarded::Guarded;
pub(crate) use marks::Marks;
use peers::Peers;

/// Links at a time; a cluster has as many as it has logic nodes, twice that while one is replaced. When all places are
/// taken, one who has not said who it is goes: the one that came first.
const LINKS_MAX: usize = 256;

/// A link must have said who it is in this time.
const GREET_TIME_MAX: Duration = Duration::from_secs(5);

/// One HTTP/2 connection from a logic node.
struct Link {
    parts: Arc<Parts>,
    /// The text that ties the streams together; set by the control stream.
    key: Mutex<Option<Vec<u8>>>,
    /// The logic node has said who it is, and may drive us.
    greeted: CancellationToken,
    over: Over,
    peers: Arc<Peers>,
    outgoing: Arc<Outgoing>,
}

/// The end of a link, from whichever side.
#[derive(Debug, Default, Clone)]
struct Over {
    token: CancellationToken,
    words: Arc<OnceLock<String>>,
}

impl Over {
    /// Ends the link at once: nothing more of it is taken. The peer is told why.
    fn end(&self, words: String) {
        // Of two reasons the first will do.
        let _ = self.words.set(words);
        self.token.cancel();
    }

    /// Why we ended it, if we did.
    fn words(&self) -> Option<&str> {
        self.words.get().map(String::as_str)
    }
}

/// Takes links until the node stops, on a thread of its own with a runtime of its own. A delivery wakes the
/// connection, which wakes its stream, which wakes the receipts: between the threads of a shared runtime each of
/// these may be a system call and a switch, here they are turns of one loop. And a storm of clients leaves the
/// links their turn.
///
/// # Panics
/// If the operating system has no event queue for us.
pub(crate) fn run_thread(listener: std::net::TcpListener, secret: Option<Secret>, parts: Arc<Parts>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("an event queue at the start of a node");
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener).expect("it was bound as ours are");
        run(listener, secret, parts).await;
    });
}

async fn run(listener: TcpListener, secret: Option<Secret>, parts: Arc<Parts>) {
    let places = Arc::new(Semaphore::new(LINKS_MAX));
    let (secret, peers) = (Arc::new(secret), Arc::<Peers>::default());
    let mut links = JoinSet::new();
    let mut strangers = Strangers::default();
    {
        let parts = parts.clone();
        links.spawn(async move { _ = parts.shutdown.or_stopped(repair::run(parts.clone())).await });
    }
    loop {
        while links.try_join_next().is_some() {}
        let Some(accepted) = parts.shutdown.or_stopped(accept::next(&listener)).await else { break };
        match accepted {
            Accepted::Exhausted(error) => {
                tracing::warn!(%error, "out of descriptors: new links wait; raise their limit (LimitNOFILE, ulimit -n)")
            }
            Accepted::Connection(stream, peer) => {
                if places.available_permits() == 0 {
                    if !strangers.evict() {
                        parts.counters.links_refused.inc();
                        tracing::warn!(%peer, "no place for another link: {LINKS_MAX} are up. Which logic nodes name this gateway, and do strangers reach its link port?");
                        continue;
                    }
                    parts.counters.link_ends.evicted.inc();
                }
                let Ok(place) = places.clone().acquire_owned().await else { break };
                let (parts, secret) = (parts.clone(), secret.clone());
                let link = Arc::new(Link::new(parts.clone(), peers.clone()));
                let stranger = link.clone();
                let task = links.spawn(async move {
                    let _place = place;
                    // Boxed: an HTTP/2 connection is large, and there are few.
                    let served = Box::pin(take(stream, &link, secret.as_ref().as_ref()));
                    if let Some(Err(error)) = parts.shutdown.or_stopped(served).await {
                        tracing::warn!(%peer, %error, "a link ended; a logic node opens it again, a stranger does not belong here");
                    }
                    link.over.token.cancel();
                    link.outgoing.end();
                });
                strangers.enter(stranger, task);
            }
        }
    }
    // They have heard that the node stops, too.
    while links.join_next().await.is_some() {}
}

/// Links that have not said who they are, in the order in which they came.
#[derive(Default)]
struct Strangers(VecDeque<(Arc<Link>, AbortHandle)>);

impl Strangers {
    fn enter(&mut self, link: Arc<Link>, task: AbortHandle) {
        self.0.retain(|(link, task)| !link.greeted.is_cancelled() && !task.is_finished());
        self.0.push_back((link, task));
    }

    /// Ends the first of them, if there is one.
    fn evict(&mut self) -> bool {
        while let Some((link, task)) = self.0.pop_front() {
            if !link.greeted.is_cancelled() && !task.is_finished() {
                task.abort();
                return true;
            }
        }
        false
    }
}

impl Link {
    fn new(parts: Arc<Parts>, peers: Arc<Peers>) -> Self {
        Self {
            parts,
            peers,
            key: Mutex::default(),
            greeted: CancellationToken::new(),
            over: Over::default(),
            outgoing: Arc::default(),
        }
    }
}

/// Takes a connection, with TLS where that is spoken.
async fn take(stream: TcpStream, link: &Arc<Link>, secret: Option<&Secret>) -> Result<(), String> {
    let Some(tls) = &link.parts.settings.link_tls else { return serve(stream, link, secret).await };
    match tokio::time::timeout(GREET_TIME_MAX, tls.accept(stream)).await {
        Ok(Ok(stream)) => serve(stream, link, secret).await,
        Ok(Err(refused)) => {
            link.parts.counters.links_refused.inc();
            Err(refused.to_string())
        }
        Err(_) => Err("no TLS handshake in time".into()),
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    link: &Arc<Link>,
    secret: Option<&Secret>,
) -> Result<(), String> {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(LINK_WINDOW_BYTES)
        // Twice the stream's, so that unread deliveries never hold up the control stream.
        .initial_connection_window_size(2 * LINK_WINDOW_BYTES)
        .max_concurrent_streams(4)
        .max_header_list_size(8 * 1024);
    let handshake = tokio::time::timeout(
        GREET_TIME_MAX,
        builder.handshake::<_, Bytes>(Guarded::new(stream, link.clone())),
    );
    let mut connection = match handshake.await {
        Err(_) => return Err("no HTTP/2 preface in time".into()),
        Ok(Err(error)) => return Err(format!("not an HTTP/2 client: {error}")),
        Ok(Ok(connection)) => connection,
    };
    let mut streams = JoinSet::new();
    let late = tokio::time::sleep(GREET_TIME_MAX);
    tokio::pin!(late);
    let mut on_time = false;
    loop {
        tokio::select! {
            request = connection.accept() => match request {
                None => return Ok(()),
                Some(Err(error)) => return Err(format!("the connection broke: {error}")),
                Some(Ok((request, respond))) => open(request, respond, link, secret, &mut streams),
            },
            // Asked when the time has come, not before: the streams run in tasks of their own.
            () = &mut late, if !on_time => {
                on_time = link.greeted.is_cancelled();
                if !on_time {
                    return Err("no hello in time".into());
                }
            }
            () = link.over.token.cancelled() => {
                // What was said last, such as why the link is refused, must reach the peer.
                connection.graceful_shutdown();
                // An error ends it: h2 says one again and again without a pause, and the thread is all links'.
                let rest = async { while matches!(connection.accept().await, Some(Ok(_))) {} };
                let _ = tokio::time::timeout(Duration::from_millis(500), rest).await;
                return Ok(());
            }
        }
    }
}

/// Opens one of the two streams, or answers why not.
fn open(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    link: &Arc<Link>,
    secret: Option<&Secret>,
    streams: &mut JoinSet<()>,
) {
    let status = refuse(&request, link, secret);
    let mut answer = Response::new(());
    *answer.status_mut() = status.unwrap_or(StatusCode::OK);
    if let Some(status) = status {
        link.parts.counters.links_refused.inc();
        tracing::warn!(%status, path = request.uri().path(), "a link's stream was refused: no logic node, or one with another link secret (GET /v1/gateways there says which)");
        let _ = respond.send_response(answer, true);
        // One refusal is enough: the peer reads it, and the link is over.
        link.over.token.cancel();
        return;
    }
    let Ok(send) = respond.send_response(answer, false) else { return };
    let (link, path) = (link.clone(), request.uri().path().to_owned());
    let receive = request.into_body();
    streams.spawn(async move {
        let ended = if path == CONTROL_PATH {
            control::run(&link, send, receive).await
        } else {
            data::run(&link, send, receive).await.map_err(control::Ended::Lost)
        };
        if let Err(error) = ended {
            tracing::info!(stream = path, %error, "a link's stream ended");
        }
        link.over.token.cancel();
    });
}

/// Why a stream is not opened, as a status.
fn refuse(request: &Request<RecvStream>, link: &Link, secret: Option<&Secret>) -> Option<StatusCode> {
    let header = |name| request.headers().get(name).map(http::HeaderValue::as_bytes);
    if !matches!(request.uri().path(), CONTROL_PATH | DATA_PATH) {
        return Some(StatusCode::NOT_FOUND);
    }
    if request.method() != Method::POST {
        return Some(StatusCode::METHOD_NOT_ALLOWED);
    }
    if secret.is_some_and(|secret| !secret.is_proved_by(header(header::AUTHORIZATION.as_str()))) {
        return Some(StatusCode::UNAUTHORIZED);
    }
    let said = header(LINK_HEADER).map(<[u8]>::to_vec);
    let mut key = link.key.lock();
    match (request.uri().path() == CONTROL_PATH, said, key.as_ref()) {
        (true, Some(said), None) => {
            *key = Some(said);
            None
        }
        (false, Some(said), Some(known)) if said == *known => None,
        _ => Some(StatusCode::BAD_REQUEST),
    }
}
