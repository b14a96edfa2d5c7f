//! What can be set on a logic node, and what it is when nobody sets it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::edge::Edge;
use common::fresh::Fresh;
use common::link::secret::Secret;
use common::tls::{Acceptor, Connector};

use crate::engine::redis::settings::RedisSettings;
use crate::engine::rules::HistoryRules;
use crate::keys::Keys;
use crate::limits::Limits;

/// Where that lives which outlives a push.
#[derive(Debug, Clone, Default)]
pub enum EngineChoice {
    /// In this process, and no other's.
    #[default]
    Embedded,
    /// In Redis, for many logic nodes.
    Redis(RedisSettings),
}

/// What a logic node needs to know. Made by the program, checked there.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What people call the node.
    pub name: String,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Where the operator's port listens.
    pub ops: SocketAddr,
    /// Link addresses of gateways that are always there, `host:port`.
    pub gateways: Vec<String>,
    /// DNS names whose addresses are gateways, `name:port`; looked up again every five seconds.
    pub gateway_dns: Vec<String>,
    /// What proves to a gateway that we are logic, and to us that an announcement is a gateway's.
    pub link_secret: Option<Secret>,
    /// The API is called with TLS; `None`: without.
    pub tls: Option<Acceptor>,
    /// Links are opened with TLS; `None`: without.
    pub link_tls: Option<LinkTls>,
    /// Who may call the API; `None`: anyone.
    pub api_keys: Option<Arc<Fresh<Keys>>>,
    /// How long ending may take: requests in progress, then the queues of the links.
    pub drain: Duration,
    /// A gateway that has not taken a delivery after this long counts as failed for its push.
    pub ack_time_max: Duration,
    /// A gateway answers a question in this time, and makes a change in five times as much, or the call fails.
    pub answer_time_max: Duration,
    /// A gateway that says nothing for this long is dead.
    pub link_silence_max: Duration,
    /// What may wait for one link, in bytes; beyond it pushes that concern it are answered 503.
    ///
    /// 8 MiB is 40,000 items of 200 B. Memory usage will be at most 8 MiB for each gateway.
    pub link_queue_bytes_max: usize,
    /// Where histories are kept.
    pub engine: EngineChoice,
    /// Whose items are kept, so that clients who were away get them.
    pub history: HistoryRules,
    /// What histories may take of memory, in bytes; beyond it pushes that would be kept are answered 503.
    ///
    /// An item of 200 B takes 360 B: 512 MiB are 1,490,000 of them, as 15,000 rooms of 100 have.
    pub history_bytes_max: usize,
    /// Where histories are kept over restarts, a directory of this node alone; `None`: they end with the process.
    pub data_dir: Option<PathBuf>,
    /// Connections to the API at a time; more wait in the backlog.
    pub connections_max: usize,
    /// A call to push that takes longer is counted and said in the log.
    pub slow_push: Duration,
    /// What else there is at most.
    pub limits: Limits,
    /// Which proxies in front of the API are believed.
    pub edge: Edge,
}

/// How links are opened with TLS.
#[derive(Debug, Clone)]
pub struct LinkTls {
    /// Whom we trust, and what we show.
    pub connector: Connector,
    /// The name that the certificate of every gateway is for; `None`: the host of its address.
    pub name: Option<String>,
    /// We show a certificate, so a gateway may do without a secret.
    pub shows_certificate: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: "logic".to_owned(),
            listen: (Ipv4Addr::LOCALHOST, 7100).into(),
            ops: (Ipv4Addr::LOCALHOST, 7109).into(),
            gateways: Vec::new(),
            gateway_dns: Vec::new(),
            link_secret: None,
            tls: None,
            link_tls: None,
            api_keys: None,
            drain: Duration::from_secs(30),
            ack_time_max: Duration::from_secs(1),
            answer_time_max: Duration::from_secs(2),
            link_silence_max: Duration::from_millis(2500),
            link_queue_bytes_max: 8 * 1024 * 1024,
            engine: EngineChoice::default(),
            history: HistoryRules::default(),
            history_bytes_max: 512 * 1024 * 1024,
            data_dir: None,
            connections_max: 10_000,
            slow_push: Duration::from_secs(2),
            limits: Limits::default(),
            edge: Edge::default(),
        }
    }
}
