//! What a supervisor such as systemd is told of a node: that it is ready, that it lives, that it ends (sd_notify(3)).
//!
//! A datagram to the socket that `NOTIFY_SOCKET` names; nothing at all where nobody asks for it. The signs of life come from
//! the loop that runs the nodes, so a process whose runtime stands still is ended and started again.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

/// A sign of life comes so many times in the time after which its absence is death.
const SIGNS: u32 = 3;

/// Nobody asked for signs of life: it is looked again after this.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// Tells a supervisor, if there is one.
#[derive(Debug)]
pub(crate) struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
    signs: Interval,
    asks_for_signs: bool,
}

impl Supervisor {
    /// The supervisor that the environment names. One that cannot be reached is told nothing, with a warning.
    pub(crate) fn from_environment() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|name| {
            let opened = open(name.as_bytes());
            opened
                .inspect_err(
                    |error| tracing::warn!(%error, "cannot tell the supervisor how we are: NOTIFY_SOCKET names no socket that can be written to"),
                )
                .ok()
        });
        let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|micros| *micros > 0 && is_ours && socket.is_some());
        let every = watchdog.map_or(NEVER, |micros| Duration::from_micros(micros) / SIGNS);
        let mut signs = tokio::time::interval(every.max(Duration::from_millis(1)));
        signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { socket, signs, asks_for_signs: watchdog.is_some() }
    }

    /// All nodes of this process take work.
    pub(crate) fn is_ready(&self) {
        self.say("READY=1\nSTATUS=takes work");
    }

    /// They read their configuration; what comes of it is in their log, and [`Supervisor::is_ready`] follows.
    pub(crate) fn reloads(&self) {
        self.say("RELOADING=1\nSTATUS=reads its configuration");
    }

    /// They drain.
    pub(crate) fn ends(&self) {
        self.say("STOPPING=1\nSTATUS=draining: a second signal ends at once");
    }

    /// Says that we live, each time that it is due. Never ends.
    pub(crate) async fn live(&mut self) {
        loop {
            self.signs.tick().await;
            if self.asks_for_signs {
                self.say("WATCHDOG=1");
            }
        }
    }

    fn say(&self, what: &str) {
        if let Some((socket, to)) = &self.socket {
            // A supervisor that takes nothing has its own way of finding out.
            let _ = socket.send_to_addr(what.as_bytes(), to);
        }
    }
}

/// The socket of a path, or of an abstract name that begins with `@`.
fn open(name: &[u8]) -> std::io::Result<(UnixDatagram, SocketAddr)> {
    let to = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, to))
}
