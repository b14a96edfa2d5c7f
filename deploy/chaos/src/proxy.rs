//! A TCP proxy for one link, in this process: what passes is delayed, cut in pieces, held, swallowed or narrowed.

mod pump;

use std::net::SocketAddr;
use std::time::Duration;

use common::tasks::Tasks;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of bytes in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Flow {
    #[default]
    Pass,
    /// They wait, as behind a network that will come back.
    Hold,
    /// They are read and thrown away. A connection that lost some is cut when that is over.
    Swallow,
}

/// How a link is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Weather {
    pub(crate) latency: Duration,
    /// Up to so much more, anew for each chunk.
    pub(crate) jitter: Duration,
    /// To the server, and from it.
    pub(crate) flow: [Flow; 2],
    /// Bytes that are written at a time, at the most; 0: all.
    pub(crate) slice: usize,
    /// Bytes a second; 0: as many as there are.
    pub(crate) rate: u64,
    /// New connections are closed at once.
    pub(crate) is_shut: bool,
    /// Counts up: those that there are at that moment are cut.
    pub(crate) cuts: u64,
}

/// A link with a proxy in it.
#[derive(Debug)]
pub(crate) struct Proxy {
    weather: watch::Sender<Weather>,
}

impl Proxy {
    /// Listens at `at` and passes what comes on to `to`.
    pub(crate) async fn bind(at: SocketAddr, to: SocketAddr, tasks: &Tasks) -> std::io::Result<Self> {
        let listener = TcpListener::bind(at).await?;
        let (weather, heard) = watch::channel(Weather::default());
        let owner = tasks.clone();
        tasks.spawn(async move {
            let mut closed = heard.clone();
            tokio::select! {
                () = accept(&listener, to, heard, &owner) => {}
                // The proxy was dropped.
                () = async { while closed.changed().await.is_ok() {} } => {}
            }
        });
        Ok(Self { weather })
    }

    /// Changes the weather.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Weather)) {
        self.weather.send_modify(change);
    }

    /// Fair again; those that there are stay.
    pub(crate) fn calm(&self) {
        self.change(|weather| *weather = Weather { cuts: weather.cuts, ..Weather::default() });
    }
}

async fn accept(listener: &TcpListener, to: SocketAddr, weather: watch::Receiver<Weather>, tasks: &Tasks) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        if weather.borrow().is_shut {
            continue;
        }
        let weather = weather.clone();
        tasks.spawn(async move {
            let born = weather.borrow().cuts;
            let cut = gone(weather.clone(), born);
            tokio::select! {
                () = cut => {}
                _ = Box::pin(pass(stream, to, weather)) => {}
            }
        });
    }
}

/// Ends when the connections born at `born` are cut, or the proxy is dropped.
async fn gone(mut weather: watch::Receiver<Weather>, born: u64) {
    while weather.borrow_and_update().cuts == born {
        if weather.changed().await.is_err() {
            return;
        }
    }
}

async fn pass(
    client: TcpStream,
    to: SocketAddr,
    mut weather: watch::Receiver<Weather>,
) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    // Whoever connects while nothing passes reaches nobody until something does.
    while weather.borrow_and_update().flow.contains(&Flow::Hold) {
        if weather.changed().await.is_err() {
            return Ok(());
        }
    }
    if weather.borrow().flow.contains(&Flow::Swallow) {
        let (mut client, _) = client.into_split();
        return pump::swallow(&mut client, &mut weather).await;
    }
    let server = TcpStream::connect(to).await?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let up = pump::pump(from_client, to_server, 0, weather.clone());
    let down = pump::pump(from_server, to_client, 1, weather);
    // The end of one direction ends the connection: neither HTTP nor WebSocket half-closes.
    tokio::select! {
        ended = up => ended,
        ended = down => ended,
    }
}

#[cfg(test)]
mod tests;
