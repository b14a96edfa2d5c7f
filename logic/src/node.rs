//! The node: binds its ports, runs its parts, and ends them in order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use common::accept;
use common::http1::{self, Port};
use common::ids::Instance;
use common::metrics::Metrics;
use common::names::Kind;
use common::ops::{self, Status};
use common::shutdown::{JOIN_TIME_MAX, Shutdown};
use common::tasks::Tasks;
use common::tls::{Expiries, Shows};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::api::{Api, gateways};
use crate::counters::Counters;
use crate::engine::Engine;
use crate::engine::any::Any;
use crate::fleet::{self, Fleet};
use crate::limits::{Limit, Use};
use crate::link::Shared;
use crate::publish::Publisher;
use crate::publish::stored::Histories;
use crate::settings::{EngineChoice, Settings};
use crate::tune::Tuner;

/// How often old entries of the ledger are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(1);

/// How often the drain looks whether the links have sent everything.
const FLUSH_LOOK_EVERY: Duration = Duration::from_millis(5);

/// A node whose Redis is away at its start goes on without it after this time: plain pushes need none.
const JOIN_STORE_TIME_MAX: Duration = Duration::from_secs(1);

/// A logic node with its ports bound.
#[derive(Debug)]
pub struct Node {
    settings: Settings,
    metrics: Metrics,
    tuner: Tuner,
    histories: Histories,
    api: TcpListener,
    ops: TcpListener,
    api_addr: SocketAddr,
    ops_addr: SocketAddr,
}

/// A node ended as it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Connections of callers that were cut because the drain was over.
    pub cut: usize,
}

/// A part without which there is no node has failed; its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fallen(pub &'static str);

impl Node {
    /// Binds all ports.
    ///
    /// # Errors
    /// What the operating system answered, with the address; or what is wrong with the settings or the directory of data.
    pub async fn bind(settings: Settings) -> io::Result<Self> {
        Self::bind_with(settings, None).await
    }

    /// Binds the ports; that of the API only if nobody has opened it for us already.
    ///
    /// # Errors
    /// As of [`Node::bind`].
    pub async fn bind_with(settings: Settings, passed: Option<std::net::TcpListener>) -> io::Result<Self> {
        for address in settings.gateways.iter().chain(&settings.gateway_dns) {
            fleet::check(address).map_err(|bad| io::Error::new(io::ErrorKind::InvalidInput, bad))?;
        }
        let metrics = Metrics::new("logic");
        let engine = Any::open(&settings, &metrics)?;
        let tuner = Tuner::new(&settings, engine.bytes_max(), &metrics);
        let histories = Histories::new(tuner.clone(), engine);
        let api = passed.map_or_else(|| accept::bind(settings.listen), accept::adopt)?;
        let ops = accept::bind(settings.ops)?;
        let (api_addr, ops_addr) = (api.local_addr()?, ops.local_addr()?);
        Ok(Self { settings, metrics, tuner, histories, api, ops, api_addr, ops_addr })
    }

    /// Where the API listens.
    #[must_use]
    pub fn api_addr(&self) -> SocketAddr {
        self.api_addr
    }

    /// Where the operator's port listens.
    #[must_use]
    pub fn ops_addr(&self) -> SocketAddr {
        self.ops_addr
    }

    /// How the API's URL begins: `http`, or `https` with TLS.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.settings.tls.is_some() { "https" } else { "http" }
    }

    /// What people call the node.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// What tells it settings anew.
    #[must_use]
    pub fn tuner(&self) -> Tuner {
        self.tuner.clone()
    }

    /// Runs until the shutdown, and drains.
    ///
    /// # Errors
    /// [`Fallen`] names the part that failed; the node is then of no use.
    pub async fn run(self, shutdown: Shutdown) -> Result<Ended, Fallen> {
        let (settings, metrics, tuner) = (self.settings, self.metrics, self.tuner);
        let counters = Counters::new(&metrics);
        let instance = Instance::random();
        let publisher =
            Arc::new(Publisher::new(instance, settings.ack_time_max, counters.clone(), self.histories));
        let tasks = Tasks::new(shutdown.clone());
        // The callers' connections are counted apart: the drain waits for them first.
        let calls = Tasks::new(shutdown.clone());
        let shared = Arc::new(Shared {
            name: settings.name.clone(),
            publisher: publisher.clone(),
            secret: settings.link_secret.clone(),
            tls: settings.link_tls.clone(),
            warned_plaintext: AtomicBool::new(false),
            silence_max: settings.link_silence_max,
            stalled_after: settings.ack_time_max,
            queue_bytes_max: settings.link_queue_bytes_max,
            counters: counters.links.clone(),
            shutdown: shutdown.clone(),
            tasks: tasks.clone(),
        });
        let fleet = Arc::new(Fleet::new(shared));
        join(&publisher, &tasks, &shutdown).await;
        fleet.list(&settings.gateways);
        tasks.essential("leases", fleet.clone().keep_leases());
        tasks.essential("dns", fleet.clone().resolve(settings.gateway_dns.clone()));
        if let Some(redis) = publisher.histories.redis() {
            tasks.essential("shared leases", fleet.clone().share(redis.clone()));
        }
        tasks.essential("deadlines", look(publisher.clone(), shutdown.clone()));
        tasks.essential("feed", follow_store(publisher.clone(), shutdown.clone()));
        tasks.essential("ledger", forget(publisher.clone(), counters.clone(), shutdown.clone()));
        let certificates = certificates(&settings, &metrics);
        tasks.essential("certificates", certificates.clone().watch(shutdown.clone()));
        let status = Arc::new(Health {
            settings: settings.clone(),
            tuner: tuner.clone(),
            instance,
            fleet: fleet.clone(),
            publisher: publisher.clone(),
            counters: counters.clone(),
            calls: calls.clone(),
            certificates: certificates.clone(),
            shutdown: shutdown.clone(),
            start: Instant::now(),
        });
        let served = ops::serve(self.ops, metrics, status, tasks.clone(), shutdown.clone());
        tasks.essential("ops", served);
        follow(&settings, &tasks, &shutdown);
        let api = Api::new(publisher, fleet.clone(), counters, (&settings, tuner.clone()), calls.clone());
        let port = Port { listener: self.api, tls: settings.tls.clone() };
        let served = http1::serve(port, api, calls.clone(), shutdown.clone(), settings.connections_max);
        tasks.essential("api", served);
        let fallen = tokio::select! {
            part = tasks.fallen() => Some(part),
            () = shutdown.draining() => None,
        };
        if let Some(part) = fallen {
            shutdown.stop();
            let _ = timeout(JOIN_TIME_MAX, tasks.ended()).await;
            return Err(Fallen(part));
        }
        let cut = drain(&fleet, &calls, &shutdown, tuner.tune.now().drain).await;
        shutdown.stop();
        let _ = timeout(JOIN_TIME_MAX, async { tokio::join!(tasks.ended(), calls.ended()) }).await;
        Ok(Ended { cut })
    }
}

/// Begins to look after Redis, if that keeps histories, and waits a moment for it: links say at their beginning which
/// store it is and which run of this node they are of.
async fn join(publisher: &Publisher, tasks: &Tasks, shutdown: &Shutdown) {
    if let Some(redis) = publisher.histories.redis() {
        tasks.essential("engine", redis.clone().watch(shutdown.clone()));
        let _ = shutdown.or_stopped(timeout(JOIN_STORE_TIME_MAX, redis.joined())).await;
    }
}

/// Follows the files of keys and certificates.
fn follow(settings: &Settings, tasks: &Tasks, shutdown: &Shutdown) {
    if let Some(keys) = &settings.api_keys {
        tasks.essential("api keys", keys.clone().follow(shutdown.clone()));
    }
    if let Some(tls) = &settings.tls {
        tasks.essential("TLS certificate", tls.clone().follow(shutdown.clone()));
    }
    if let Some(tls) = &settings.link_tls {
        tasks.essential("TLS authorities", tls.connector.clone().follow(shutdown.clone()));
    }
    if let EngineChoice::Redis(redis) = &settings.engine
        && let Some(tls) = redis.connector()
    {
        tasks.essential("engine's authorities", tls.clone().follow(shutdown.clone()));
    }
}

/// What the node shows callers, and gateways that ask for it.
fn certificates(settings: &Settings, metrics: &Metrics) -> Expiries {
    let api = settings.tls.as_ref().map(|tls| ("api", Shows::Acceptor(tls.clone())));
    let links = settings.link_tls.as_ref().map(|tls| ("links", Shows::Connector(tls.connector.clone())));
    Expiries::new(metrics, api.into_iter().chain(links))
}

/// Finishes requests, then flushes the queues of the links; says how many callers were left when time was up.
async fn drain(fleet: &Fleet, calls: &Tasks, shutdown: &Shutdown, time_max: Duration) -> usize {
    let work = async {
        calls.ended().await;
        let mut look = interval(FLUSH_LOOK_EVERY);
        while fleet.outboxes().iter().flat_map(|(_, outbox)| outbox).any(|outbox| !outbox.is_idle()) {
            look.tick().await;
        }
    };
    // A second signal stops the node at once.
    let _ = shutdown.or_stopped(timeout(time_max, work)).await;
    calls.len()
}

async fn forget(publisher: Arc<Publisher>, counters: Counters, shutdown: Shutdown) {
    let mut every = interval(FORGET_EVERY);
    let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    while shutdown.or_stopped(every.tick()).await.is_some() {
        counters.ledger.set(gauge(publisher.forget()));
        publisher.histories.tidy().await;
        let holdings = publisher.histories.holdings();
        counters.histories.set(gauge(holdings.histories));
        counters.history_items.set(gauge(holdings.items));
        counters.history_bytes.set(gauge(holdings.bytes));
    }
}

async fn look(publisher: Arc<Publisher>, shutdown: Shutdown) {
    let mut every = interval(publisher.look_every());
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.or_stopped(every.tick()).await.is_some() {
        publisher.look();
    }
}

async fn follow_store(publisher: Arc<Publisher>, shutdown: Shutdown) {
    publisher.feed(shutdown).await;
}

/// The store, as operators see it.
fn engine(engine: &Any) -> serde_json::Value {
    let health = engine.health().err().unwrap_or_else(|| "ok".to_owned());
    json!({"kind": engine.kind(), "identity": Instance(engine.identity()).to_string(), "health": health})
}

/// What the operator's port says.
struct Health {
    settings: Settings,
    tuner: Tuner,
    instance: Instance,
    fleet: Arc<Fleet>,
    publisher: Arc<Publisher>,
    counters: Counters,
    calls: Tasks,
    certificates: Expiries,
    shutdown: Shutdown,
    start: Instant,
}

impl Status for Health {
    fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.shutdown.is_draining() {
            reasons.push("draining".to_owned());
        }
        if !self.publisher.with_roster(crate::roster::Roster::is_linked) {
            reasons.push("no gateway linked".to_owned());
        }
        let histories = &self.publisher.histories;
        if let Err(why) = histories.engine().health()
            && histories.is_store_needed()
        {
            reasons.push(format!("engine: {why}"));
        }
        reasons
    }

    fn status(&self) -> serde_json::Value {
        let queues = self.fleet.outboxes().into_iter().filter_map(|(_, outbox)| outbox);
        let queue_bytes = queues.map(|outbox| outbox.depth().0).max().unwrap_or(0);
        let tune = self.tuner.tune.keep();
        let now =
            Use { settings: &self.settings, limits: &tune.limits, callers: self.calls.len(), queue_bytes };
        json!({
            "role": "logic",
            "name": self.settings.name,
            "instance": self.instance.to_string(),
            "release": env!("CARGO_PKG_VERSION"),
            "upSecs": self.start.elapsed().as_secs(),
            "draining": self.shutdown.is_draining(),
            "ledgerEntries": self.counters.ledger.get(),
            "tls": {"api": self.settings.tls.is_some(), "links": self.settings.link_tls.is_some(), "refused": self.counters.tls_refused.total()},
            "certificates": self.certificates.status(),
            "engine": engine(self.publisher.histories.engine()),
            "history": {
                "histories": self.counters.histories.get(),
                "items": self.counters.history_items.get(),
                "bytes": self.counters.history_bytes.get(),
                "bytesMax": tune.history_bytes_max,
            },
            "gateways": gateways::list(&self.fleet),
            "limits": self.counters.limits.status(|place| Limit::ALL[place].figures(&now)),
            "keys": self.counters.keys.status(),
            "configuration": self.tuner.reloads.status(),
        })
    }

    fn refresh(&self) {
        self.fleet.refresh();
        self.certificates.refresh();
        for (kind, label) in [(Kind::Room, "room"), (Kind::User, "user"), (Kind::App, "app")] {
            let count = self.publisher.with_roster(|roster| roster.routing.count(kind));
            let gauge = self.counters.routes.get_or_create_owned(&[("kind", label.to_owned())]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
