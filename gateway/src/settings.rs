//! What a gateway can be told, with the defaults of a node of its own.

use std::net::SocketAddr;
use std::time::Duration;

use common::edge::Edge;
use common::link::secret::Secret;
use common::tls::{Acceptor, Connector};

use crate::admission::Admission;
use crate::limits::Limits;

/// What happens to a client whose outbox is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Slow {
    /// It is closed with 4002.
    #[default]
    Close,
    /// What does not fit is dropped, and it is told `gap`.
    Drop,
}

/// When the first item after a quiet window leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WindowMode {
    /// With the others, at the end of the window that it opens.
    #[default]
    Trailing,
    /// At once, and the others of its window together at the end; a target that is busy and a gateway that is
    /// behind have plain windows.
    Leading,
}

/// Settings of one gateway.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What people call the node; unique in a cluster.
    pub name: String,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where logic nodes open their links.
    pub ingress: SocketAddr,
    /// The operator's port.
    pub ops: SocketAddr,
    /// Where clients reach this gateway from outside (`ws://host:port`); `None`: the address it listens on.
    pub advertise: Option<String>,
    /// Logic nodes (`http://host:port`) to announce itself to.
    pub announce: Vec<String>,
    /// What a link must prove; `None`: nothing of that kind.
    pub link_secret: Option<Secret>,
    /// Clients come with TLS; `None`: without.
    pub tls: Option<Acceptor>,
    /// Links come with TLS, and perhaps with a certificate that proves them.
    pub link_tls: Option<Acceptor>,
    /// What logic nodes and keys at `https://` are reached with.
    pub outgoing_tls: Option<Connector>,
    /// Client connections at a time.
    pub max_connections: usize,
    /// What else there is at most.
    pub limits: Limits,
    /// Which proxies in front of the client port are believed.
    pub edge: Edge,
    /// How long items gather; zero: they do not.
    pub window: Duration,
    /// When the first item after a quiet window leaves.
    pub window_mode: WindowMode,
    /// Over how long a drain spreads the good-byes.
    pub drain: Duration,
    /// Who may come, as whom, and into which rooms.
    pub admission: Admission,
    /// What happens to a slow consumer.
    pub slow: Slow,
    /// How often each client is pinged.
    pub heartbeat: Duration,
    /// A client from which nothing came for so long is closed.
    pub silence_max: Duration,
    /// A client that begins a message and does not end it in this time is closed; seconds count.
    pub message_time_max: Duration,
    /// A client that has been here for so long, a tenth more or less, is told to reconnect, so that gateways that came
    /// later get their share; `None`: it may stay.
    pub connection_age_max: Option<Duration>,
    /// Bytes that may wait for one client.
    pub outbox_bytes_max: usize,
    /// Bytes that the kernel may hold for one client (`SO_SNDBUF`, of which it takes twice as much, socket(7)).
    /// Left to itself it takes up to 4 MiB (`tcp_wmem`) for one who reads nothing, sixteen outboxes.
    pub send_buffer_bytes: usize,
    /// Writing threads; 0: the lanes write themselves.
    pub workers: usize,
    /// A handshake must be complete in this time.
    pub handshake_time_max: Duration,
    /// Bytes of items that may wait for their window; past it they leave early, and links are not read until
    /// they have.
    pub merger_bytes_max: usize,
    /// How hard push frames are compressed for those who can read it, 1 to 9; 0: it is not offered.
    pub deflate_level: u32,
    /// Push frames whose payload has fewer bytes are not compressed.
    pub deflate_bytes_min: usize,
    /// A push that takes longer than its window and this is counted and said in the log.
    pub slow_push: Duration,
    /// Whether `/echo` is there, which sends back what it hears, up to 16 MiB a message: for conformance suites, and
    /// nothing that strangers should reach.
    pub echo: bool,
}

impl Settings {
    /// How a client's URL begins.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "wss" } else { "ws" }
    }
}

impl Default for Settings {
    fn default() -> Self {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            name: "gateway".into(),
            listen: local(7200),
            ingress: local(7201),
            ops: local(7209),
            advertise: None,
            announce: Vec::new(),
            link_secret: None,
            tls: None,
            link_tls: None,
            outgoing_tls: None,
            max_connections: 1_000_000,
            limits: Limits::default(),
            edge: Edge::default(),
            window: Duration::from_secs(1),
            window_mode: WindowMode::Trailing,
            drain: Duration::from_secs(30),
            admission: Admission::default(),
            slow: Slow::Close,
            heartbeat: Duration::from_secs(25),
            silence_max: Duration::from_secs(60),
            message_time_max: Duration::from_secs(30),
            connection_age_max: None,
            outbox_bytes_max: 256 * 1024,
            send_buffer_bytes: 64 * 1024,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            handshake_time_max: Duration::from_secs(5),
            merger_bytes_max: 64 * 1024 * 1024,
            deflate_level: 6,
            deflate_bytes_min: 256,
            slow_push: Duration::from_secs(2),
            echo: false,
        }
    }
}
