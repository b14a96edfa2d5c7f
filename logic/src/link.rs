//! One gateway's link, for as long as the gateway is known: opened, used, lost, opened again.
//!
//! Whatever an address answers with, it harms nobody else: one task, a deadline on every step, waits between
//! the attempts, and a state that says in words what is wrong.

mod greet;
pub(crate) mod heads;
pub(crate) mod outbox;
mod session;
pub(crate) mod view;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::backoff::Backoff;
use common::ids::Instance;
use common::limits::LINK_WINDOW_BYTES;
use common::link::secret::Secret;
use common::shutdown::Shutdown;
use common::tasks::Tasks;
use common::tls::{self, Stream};
use h2::Reason;
use h2::client::{Connection, SendRequest};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::counters::{self, LinkCounters};
use crate::fleet::Fleet;
use crate::publish::Publisher;
use crate::settings::LinkTls;
use view::{State, View};

/// To connect, and again to exchange hellos.
const OPEN_TIME_MAX: Duration = Duration::from_secs(2);

/// Waits between attempts.
const WAIT_FIRST: Duration = Duration::from_millis(50);
const WAIT_MOST: Duration = Duration::from_secs(2);

/// The wait after a refusal, which only a person will change.
const REFUSED_WAIT: Duration = Duration::from_secs(5);

/// A link that was up this long was well: waits start again from the first.
const WELL_AFTER: Duration = Duration::from_secs(1);

/// What may still be flushed and read after the end.
const FLUSH_TIME_MAX: Duration = Duration::from_millis(500);

/// What all links of a node share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// What people call this node.
    pub(crate) name: String,
    /// Gives pushes to links and hears of them.
    pub(crate) publisher: Arc<Publisher>,
    /// What proves that we are logic.
    pub(crate) secret: Option<Secret>,
    /// How links are opened with TLS; `None`: without.
    pub(crate) tls: Option<LinkTls>,
    /// Whether it was said that a link to another machine goes without TLS.
    pub(crate) warned_plaintext: AtomicBool,
    /// A gateway that says nothing for this long is dead.
    pub(crate) silence_max: Duration,
    /// A gateway that takes nothing for this long while its queue is full is not waited for.
    pub(crate) stalled_after: Duration,
    /// What may wait for one link, in bytes.
    pub(crate) queue_bytes_max: usize,
    /// Counters of all links.
    pub(crate) counters: LinkCounters,
    /// When the node ends.
    pub(crate) shutdown: Shutdown,
    /// Owns the links, and what is to be cleaned after their end.
    pub(crate) tasks: Tasks,
}

/// One gateway's link.
#[derive(Debug)]
pub(crate) struct Link {
    /// `host:port`.
    pub(crate) address: Arc<str>,
    /// What is known of the gateway.
    pub(crate) view: Arc<View>,
    /// What all links share.
    pub(crate) shared: Arc<Shared>,
    /// Hears of the link's end.
    pub(crate) fleet: Arc<Fleet>,
    /// The gateway is known no more.
    pub(crate) forgotten: CancellationToken,
}

/// Why a link is not up.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Trouble {
    /// Lost, or never opened: tried again soon.
    Lost(String),
    /// The gateway does not want us, or we do not understand it: tried again slowly.
    Refused(String),
    /// The same gateway has a link under another address: tried again slowly.
    Duplicate(String),
    /// We end.
    Over,
}

impl Link {
    /// Keeps the link until the gateway is forgotten or the node stops.
    pub(crate) async fn run(self) {
        let ended = async {
            tokio::select! {
                () = self.shared.shutdown.stopped() => {}
                () = self.forgotten.cancelled() => {}
            }
        };
        let mut ended = std::pin::pin!(ended);
        let mut random = fastrand::Rng::new();
        let mut backoff = Backoff::new(WAIT_FIRST, WAIT_MOST);
        let connects = self.shared.counters.connects.get_or_create_owned(&counters::gateway(&self.address));
        loop {
            connects.inc();
            let since = Instant::now();
            let trouble = Box::pin(self.attempt(&mut ended)).await;
            if trouble == Trouble::Over || self.forgotten.is_cancelled() {
                return;
            }
            if self.view.was_up_since(since.into_std(), WELL_AFTER) {
                backoff.reset();
            }
            let wait = match &trouble {
                Trouble::Refused(_) | Trouble::Duplicate(_) => {
                    REFUSED_WAIT.mul_f64(0.75 + 0.5 * random.f64())
                }
                _ => backoff.next(&mut random),
            };
            self.note(&trouble);
            tokio::select! {
                () = &mut ended => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Opens the link and uses it until something ends it.
    async fn attempt(&self, ended: &mut (impl Future<Output = ()> + Unpin)) -> Trouble {
        let opened = tokio::select! {
            () = &mut *ended => return Trouble::Over,
            opened = timeout(OPEN_TIME_MAX, self.connect()) => opened,
        };
        let (sender, connection) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(trouble)) => return trouble,
            Err(_) => return Trouble::Lost(format!("no connection within {} s", OPEN_TIME_MAX.as_secs())),
        };
        let mut connection = std::pin::pin!(connection);
        let mut session = std::pin::pin!(self.session(sender, ended));
        tokio::select! {
            trouble = &mut session => {
                // What was said last, an end of the streams or a refusal, still goes out.
                let _ = timeout(FLUSH_TIME_MAX, connection).await;
                trouble
            }
            broken = &mut connection => {
                // What came before the end may still say why.
                match timeout(FLUSH_TIME_MAX, session).await {
                    Ok(trouble @ (Trouble::Refused(_) | Trouble::Duplicate(_) | Trouble::Over)) => trouble,
                    Ok(Trouble::Lost(_)) | Err(_) => Trouble::Lost(why(broken)),
                }
            }
        }
    }

    async fn connect(&self) -> Result<(SendRequest<Bytes>, Connection<Stream, Bytes>), Trouble> {
        let lost = |error: &dyn std::fmt::Display| Trouble::Lost(format!("cannot connect: {error}"));
        let socket = TcpStream::connect(&*self.address).await.map_err(|error| lost(&error))?;
        socket.set_nodelay(true).map_err(|error| lost(&error))?;
        let stream = match &self.shared.tls {
            Some(tls) => self.shake(socket, tls).await?,
            None => {
                self.warn_plaintext(&socket);
                Stream::Plain(socket)
            }
        };
        h2::client::Builder::new()
            .initial_window_size(LINK_WINDOW_BYTES)
            .initial_connection_window_size(LINK_WINDOW_BYTES)
            .enable_push(false)
            .handshake(stream)
            .await
            .map_err(|error| lost(&error))
    }

    async fn shake(&self, socket: TcpStream, tls: &LinkTls) -> Result<Stream, Trouble> {
        let host = self.address.rsplit_once(':').map_or(&*self.address, |(host, _)| host);
        let name = tls.name.as_deref().unwrap_or(host);
        match tls.connector.connect(socket, name).await {
            Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(Trouble::Refused(format!("no TLS as {name:?}: {}", tls::explain(&error))))
            }
            Err(error) => Err(Trouble::Lost(format!("the TLS handshake broke: {error}"))),
        }
    }

    /// Says once for the node that what it pushes can be read on the way.
    fn warn_plaintext(&self, socket: &TcpStream) {
        let is_here = socket.peer_addr().is_ok_and(|peer| peer.ip().is_loopback());
        if !is_here && !self.shared.warned_plaintext.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                gateway = %self.address,
                "PLAINTEXT: links to other machines go without TLS; --link-tls-ca here and --link-tls-cert, \
                 --link-tls-key at the gateways change that"
            );
        }
    }

    /// Shows and logs why the link is not up; the same trouble again is not news.
    fn note(&self, trouble: &Trouble) {
        let (state, code, reason) = match trouble {
            Trouble::Over => return,
            Trouble::Lost(reason) => (State::Lost, "link_lost", reason),
            Trouble::Refused(reason) => (State::Refused, "refused", reason),
            Trouble::Duplicate(reason) => (State::Duplicate, crate::roster::DUPLICATE, reason),
        };
        self.shared.publisher.change_roster(|roster| roster.link_down(&self.address, code));
        if self.view.is_down(state, reason) {
            tracing::warn!(gateway = %self.address, state = state.as_str(), %reason, "no link: its clients get nothing from this node; it is tried again");
        }
    }
}

/// Why a connection ended, for people.
fn why(broken: Result<(), h2::Error>) -> String {
    match broken {
        Ok(()) => "the gateway closed the connection".to_owned(),
        Err(error) if error.is_io() || wants_tls(&error) => in_words(&error),
        Err(error) if error.is_remote() => format!("the gateway ended the connection: {error}"),
        Err(error) => format!("the address answers with something that is not our HTTP/2: {error}"),
    }
}

/// What broke a connection or a stream, for people.
fn in_words(error: &h2::Error) -> String {
    match error.get_io() {
        _ if wants_tls(error) => "the gateway wants TLS on its link port: --link-tls-ca FILE".to_owned(),
        Some(broken) => format!("the connection broke: {}", tls::explain(broken)),
        None => error.to_string(),
    }
}

/// Said by a gateway whose link port speaks TLS to a node that does not.
fn wants_tls(error: &h2::Error) -> bool {
    error.is_remote() && error.reason() == Some(Reason::INADEQUATE_SECURITY)
}

/// Which run of which gateway has answered.
#[derive(Debug, Clone)]
struct Peer {
    name: String,
    instance: Instance,
}
