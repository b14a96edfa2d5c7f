//! One gateway, put together: bind everything, say what was bound, run, drain.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use common::ids::Instance;
use common::live::Live;
use common::metrics::Metrics;
use common::reloads::Reloads;
use common::shutdown::{JOIN_TIME_MAX, Shutdown};
use common::tasks::Tasks;
use common::tls::{Expiries, Shows};
use common::{accept as listening, ops};
use socket2::SockRef;
use tokio::net::TcpListener;

use crate::bucket::Local;
use crate::connection::{Connection, Shaken, Shared};
use crate::counters::Counters;
use crate::deflate::Compressor;
use crate::door::Door;
use crate::heartbeat::{Heartbeat, Times};
use crate::history::{Fetches, Repairs, Tracks};
use crate::ingress::Marks;
use crate::pusher::Pusher;
use crate::registry::Registry;
use crate::routes::Routes;
use crate::settings::Settings;
use crate::status::Status;
use crate::tune::{Tune, Tuner};
use crate::{accept, announce, drain, ingress};

/// A gateway whose ports are bound.
#[derive(Debug)]
pub struct Node {
    settings: Settings,
    metrics: Metrics,
    tuner: Tuner,
    clients: TcpListener,
    /// Not yet any runtime's: the ingress has its own.
    ingress: std::net::TcpListener,
    ops: TcpListener,
    addresses: [SocketAddr; 3],
}

/// A gateway that has drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Connections that had not ended by themselves when the drain was over.
    pub cut: usize,
}

/// A part of the node failed, and the node with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fallen(pub &'static str);

impl std::fmt::Display for Fallen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the gateway's {} failed", self.0)
    }
}

impl std::error::Error for Fallen {}

/// What the parts of a running gateway share.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) instance: Instance,
    pub(crate) client_url: String,
    /// What it was started with. What may change since stands in `tune`, and is read there.
    pub(crate) settings: Settings,
    pub(crate) tune: Arc<Live<Tune>>,
    pub(crate) reloads: Reloads,
    pub(crate) counters: Arc<Counters>,
    pub(crate) certificates: Expiries,
    pub(crate) door: Arc<Door>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) tracks: Arc<Tracks>,
    pub(crate) fetches: Arc<Fetches>,
    pub(crate) repairs: Repairs,
    pub(crate) marks: Marks,
    pub(crate) pusher: Arc<Pusher>,
    pub(crate) tasks: Tasks,
    pub(crate) shutdown: Shutdown,
    pub(crate) shared: Arc<Shared>,
    /// What the echo route compresses with, where there is one.
    pub(crate) echo: Option<Compressor>,
}

impl Parts {
    /// A connection's handle, once its place is known.
    pub(crate) fn connect(&self, shaken: Shaken, local: Local) -> Arc<Connection> {
        Arc::new(Connection::new(shaken, local, self.shared.clone()))
    }
}

impl Node {
    /// Binds the three ports.
    ///
    /// # Errors
    /// Which address cannot be listened on, and why.
    pub async fn bind(settings: Settings) -> io::Result<Self> {
        Self::bind_with(settings, None).await
    }

    /// Binds the ports; that of the clients only if nobody has opened it for us already.
    ///
    /// # Errors
    /// Which address cannot be listened on, and why.
    // Async, though nothing waits: sockets must be bound inside the runtime that will use them.
    #[allow(clippy::unused_async)]
    pub async fn bind_with(settings: Settings, passed: Option<std::net::TcpListener>) -> io::Result<Self> {
        let clients = passed.map_or_else(|| listening::bind(settings.listen), listening::adopt)?;
        let (asked, usable) =
            (settings.send_buffer_bytes, set_send_buffer(&clients, settings.send_buffer_bytes)?);
        if usable < asked {
            tracing::warn!(
                asked,
                usable,
                "the kernel gives clients a smaller send buffer: see net.core.wmem_max"
            );
        }
        let ingress = listening::bind(settings.ingress)?.into_std()?;
        let ops = listening::bind(settings.ops)?;
        let addresses = [clients.local_addr()?, ingress.local_addr()?, ops.local_addr()?];
        let metrics = Metrics::new("gateway");
        let tuner = Tuner::new(&settings, &metrics);
        Ok(Self { settings, metrics, tuner, clients, ingress, ops, addresses })
    }

    /// What tells it settings anew.
    #[must_use]
    pub fn tuner(&self) -> Tuner {
        self.tuner.clone()
    }

    /// Where clients connect.
    #[must_use]
    pub fn clients_addr(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Where logic nodes open their links.
    #[must_use]
    pub fn ingress_addr(&self) -> SocketAddr {
        self.addresses[1]
    }

    /// The operator's port.
    #[must_use]
    pub fn ops_addr(&self) -> SocketAddr {
        self.addresses[2]
    }

    /// How a client's URL begins: `ws`, or `wss` with TLS.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        self.settings.scheme()
    }

    /// What people call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Runs until `shutdown` asks for the end, and drains.
    ///
    /// # Errors
    /// [`Fallen`] when a part that the gateway cannot be without has failed.
    pub async fn run(self, shutdown: Shutdown) -> Result<Ended, Fallen> {
        let (metrics, tasks) = (self.metrics.clone(), Tasks::new(shutdown.clone()));
        let (clients, ingress) = (self.clients_addr(), self.ingress_addr());
        let parts = Arc::new(assemble(self.settings, self.tuner, clients, &metrics, &tasks, &shutdown));
        let heartbeat = Arc::new(Heartbeat::default());
        {
            let (heartbeat, parts) = (heartbeat.clone(), parts.clone());
            tasks.essential_thread("heartbeat", move || {
                let (period, tokens) = (parts.settings.heartbeat, parts.settings.wants_tokens());
                let times = || Times::new(period, tokens, &parts.tune.now());
                heartbeat.run(&parts.registry, &parts.counters, times);
            });
        }
        follow(&parts);
        let status = Arc::new(Status::new(parts.clone()));
        tasks.essential("ops port", ops::serve(self.ops, metrics, status, tasks.clone(), shutdown.clone()));
        let secret = parts.settings.link_secret.clone();
        {
            let (listener, parts) = (self.ingress, parts.clone());
            tasks.essential_thread("ingress", move || ingress::run_thread(listener, secret, parts));
        }
        tasks.essential("accept loop", accept::run(self.clients, parts.clone()));
        for url in &parts.settings.announce {
            tasks.essential("announcement", announce::run(url.clone(), ingress, parts.clone()));
        }
        tokio::select! {
            name = tasks.fallen() => {
                parts.pusher.end();
                heartbeat.end();
                shutdown.stop();
                return Err(Fallen(name));
            }
            () = shutdown.draining() => {}
        }
        // Bounded: should a part fail now, nothing else would end the node.
        let longest = parts.tune.now().drain + drain::OVERTIME_MAX;
        let drained = tokio::time::timeout(longest, drain::run(&parts)).await;
        let cut = drained.unwrap_or_else(|_| parts.registry.clients());
        parts.pusher.end();
        heartbeat.end();
        shutdown.stop();
        // What is left by now can only be a bug of ours; it must not keep the process from ending.
        let _ = tokio::time::timeout(JOIN_TIME_MAX, tasks.ended()).await;
        Ok(Ended { cut })
    }
}

/// Follows the files of keys and certificates.
fn follow(parts: &Parts) {
    let (settings, tasks, shutdown) = (&parts.settings, &parts.tasks, &parts.shutdown);
    if let Some(keys) = &settings.admission.tokens {
        tasks.essential("token keys", keys.clone().follow(shutdown.clone()));
        for place in &keys.now().fetched {
            tasks.essential("fetched token keys", place.clone().follow(shutdown.clone()));
        }
    }
    for tls in settings.tls.iter().chain(&settings.link_tls) {
        tasks.essential("TLS certificate", tls.clone().follow(shutdown.clone()));
    }
    if let Some(tls) = &settings.outgoing_tls {
        tasks.essential("TLS authorities", tls.clone().follow(shutdown.clone()));
    }
    tasks.essential("certificates", parts.certificates.clone().watch(shutdown.clone()));
}

/// Asks for a send buffer, which accepted sockets inherit, and says how much of it the kernel gave: past its own
/// maximum it gives less without a word.
fn set_send_buffer(clients: &TcpListener, bytes: usize) -> io::Result<usize> {
    let socket = SockRef::from(clients);
    socket.set_send_buffer_size(bytes)?;
    let said = socket.send_buffer_size()?;
    // Linux doubles what is asked, for its own bookkeeping, and says the double (socket(7)).
    Ok(if cfg!(target_os = "linux") { said / 2 } else { said })
}

/// Puts a gateway together and starts its threads; its ports are the caller's.
pub(crate) fn assemble(
    settings: Settings,
    tuner: Tuner,
    clients: SocketAddr,
    metrics: &Metrics,
    tasks: &Tasks,
    shutdown: &Shutdown,
) -> Parts {
    let Tuner { tune, reloads, slow, .. } = tuner;
    let instance = Instance::random();
    let counters = Arc::new(Counters::with(metrics, slow));
    let ports = [("clients", &settings.tls), ("links", &settings.link_tls)];
    let shown = ports.map(|(port, tls)| Some((port, Shows::Acceptor(tls.clone()?))));
    let certificates = Expiries::new(metrics, shown.into_iter().flatten());
    let routes = Arc::<Routes>::default();
    let registry = Arc::new(Registry::bounded(routes.clone(), tune.clone()));
    let door = Door::new(tune.clone());
    let pusher = Pusher::start(&settings, &tune, &registry, &counters, tasks);
    let shared = Arc::new(Shared {
        counters: counters.clone(),
        tasks: tasks.clone(),
        tune: tune.clone(),
        started: Instant::now(),
        instance,
    });
    Parts {
        name: settings.name.clone(),
        instance,
        echo: settings.echo.then(|| Compressor::new(&settings, &counters)),
        client_url: settings
            .advertise
            .clone()
            .unwrap_or_else(|| format!("{}://{clients}", settings.scheme())),
        settings,
        tune,
        reloads,
        certificates,
        tracks: Arc::default(),
        repairs: Repairs::default(),
        marks: Marks::default(),
        fetches: Arc::new(Fetches::new(tasks.clone(), counters.clone())),
        counters,
        door,
        registry,
        routes,
        pusher,
        tasks: tasks.clone(),
        shutdown: shutdown.clone(),
        shared,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_send_buffer_past_the_kernels_maximum_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert_eq!(set_send_buffer(&listener, 64 * 1024).unwrap(), 64 * 1024);
        let too_much = i32::MAX as usize;
        assert!(set_send_buffer(&listener, too_much).unwrap() < too_much);
    }
}
