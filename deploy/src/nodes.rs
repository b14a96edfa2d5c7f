//! Running nodes to their end: signals in, drains in order, the exit that follows.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};

use common::descriptors::{self, Descriptors};
use common::shutdown::{Shutdown, Signals};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::reload::Reloader;
use crate::failure::Failure;
use crate::supervisor::Supervisor;

/// A node about to run.
pub(crate) struct Part {
    name: String,
    /// Its own: a node that has drained stops its switch, and must not stop the others with it.
    shutdown: Shutdown,
    run: Pin<Box<dyn Future<Output = Result<usize, &'static str>> + Send>>,
}

impl Part {
    /// A gateway.
    pub(crate) fn gateway(node: ::gateway::Node) -> Self {
        let shutdown = Shutdown::new();
        let name = node.name().to_owned();
        let ended = Box::pin(node.run(shutdown.clone()));
        let run = Box::pin(async { ended.await.map(|ended| ended.cut).map_err(|fallen| fallen.0) });
        Self { name, shutdown, run }
    }

    /// A logic node.
    pub(crate) fn logic(node: ::logic::Node) -> Self {
        let shutdown = Shutdown::new();
        let name = node.name().to_owned();
        let ended = Box::pin(node.run(shutdown.clone()));
        let run = Box::pin(async { ended.await.map(|ended| ended.cut).map_err(|fallen| fallen.0) });
        Self { name, shutdown, run }
    }
}

/// Runs a command on a runtime of its own, one worker for each core.
///
/// # Errors
/// What the command says, or that there is no runtime.
pub(crate) fn on_runtime(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    let done = runtime.block_on(work);
    // Whoever asked twice for the end does not wait for anything that still runs.
    runtime.shutdown_background();
    done
}

/// The signals that a node hears.
pub(crate) struct Heard {
    ends: Signals,
    hangup: Signal,
}

/// Takes the signals from now on.
///
/// # Errors
/// What the operating system answered.
pub(crate) fn signals() -> Result<Heard, Failure> {
    let say = |error| Failure::failed(format!("cannot take signals: {error}"));
    Ok(Heard { ends: Signals::listen().map_err(say)?, hangup: signal(SignalKind::hangup()).map_err(say)? })
}

/// Raises the limit of descriptors and says what it allows; a refusal is no reason not to start.
pub(crate) fn raise_descriptors() -> Descriptors {
    match descriptors::raise() {
        Ok(raised) => {
            let (limit, before, connections) = (raised.limit, raised.before, raised.connections());
            tracing::info!(limit, before, connections, "file descriptors");
            raised
        }
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of file descriptors: what it is bounds the clients; raise it outside (LimitNOFILE, ulimit -n)");
            Descriptors { limit: 1024, before: 1024 }
        }
    }
}

/// A port that cannot be had, with the flag that chooses another.
pub(crate) fn not_bound(error: &io::Error, flags: &[(&str, SocketAddr)]) -> Failure {
    if error.kind() == io::ErrorKind::InvalidInput {
        return Failure::config(error);
    }
    if matches!(error.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::StorageFull) {
        return Failure::unavailable(error);
    }
    let text = error.to_string();
    match flags.iter().find(|(_, address)| text.contains(&format!("on {address}:"))) {
        Some((flag, _)) => Failure::failed(format!("{text}; choose another with {flag}")),
        None => Failure::failed(text),
    }
}

/// Runs all parts until a signal, then drains them wave by wave. SIGHUP is a reload.
///
/// # Errors
/// A part that failed (exit code 1), or the second signal (130, 143).
pub(crate) async fn run(
    waves: Vec<Vec<Part>>,
    ready: impl Future<Output = Result<(), Failure>>,
    mut signals: Heard,
    mut reloader: Reloader,
) -> Result<(), Failure> {
    let mut drain = Drain { waves: Vec::new(), at: None };
    let mut running = FuturesUnordered::new();
    for (wave, parts) in waves.into_iter().enumerate() {
        drain.waves.push(Vec::new());
        for Part { name, shutdown, run } in parts {
            drain.waves[wave].push((name.clone(), shutdown));
            running.push(async move { (name, run.await) });
        }
    }
    let mut ready = pin!(ready);
    let mut is_ready = false;
    let mut supervisor = Supervisor::from_environment();
    loop {
        tokio::select! {
            () = supervisor.live() => {}
            asked = signals.ends.next() => {
                if drain.at.is_some() {
                    let code = u8::try_from(asked.exit_code()).unwrap_or(1);
                    return Err(Failure::Said { code, text: "ended at once, as the second signal asked".into() });
                }
                tracing::info!(signal = ?asked, "draining; a second signal ends at once");
                supervisor.ends();
                drain.next();
            }
            Some(()) = signals.hangup.recv() => {
                supervisor.reloads();
                reloader.reload();
                // Only who was ready is so again.
                if is_ready && drain.at.is_none() {
                    supervisor.is_ready();
                }
            }
            Some((name, ended)) = running.next() => match ended {
                Err(part) => return Err(Failure::failed(format!("{name}: its part \"{part}\" failed"))),
                // A signal asked, or an operator over the API: nothing else ends a node well.
                Ok(cut) => {
                    tracing::info!(node = %name, cut, "ended");
                    if drain.ended(&name) {
                        return Ok(());
                    }
                }
            },
            said = &mut ready, if !is_ready => {
                is_ready = true;
                supervisor.is_ready();
                // Whoever does not read our output may still want the cluster.
                if let Err(failure @ Failure::Said { .. }) = said {
                    return Err(failure);
                }
            }
        }
    }
}

/// Which nodes are left, and which wave of them drains now.
struct Drain {
    waves: Vec<Vec<(String, Shutdown)>>,
    at: Option<usize>,
}

impl Drain {
    /// Begins with the next wave.
    fn next(&mut self) {
        let at = self.at.map_or(0, |at| at + 1);
        self.at = Some(at);
        self.waves.get(at).into_iter().flatten().for_each(|(_, shutdown)| shutdown.start_drain());
    }

    /// A node is done; whether it was the last.
    fn ended(&mut self, name: &str) -> bool {
        self.waves.iter_mut().for_each(|wave| wave.retain(|(left, _)| left != name));
        while self.at.is_some_and(|at| self.waves.get(at).is_some_and(Vec::is_empty)) {
            self.next();
        }
        self.waves.iter().all(Vec::is_empty)
    }
}
