//! Taking connections from a listener, for every server of ours: no spinning when descriptors run out.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::descriptors;

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// The wait after an accept that failed for want of descriptors: short enough to recover at once when
/// they free up, long enough that a full node uses no CPU for it.
const EXHAUSTED_WAIT: Duration = Duration::from_millis(100);

/// Binds a listener whose accepted sockets have `TCP_NODELAY` (inherited from it) and a deep backlog.
///
/// # Errors
/// What the operating system answered; the text names the address.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let bound = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    bound().map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
}

/// A listener that somebody else has opened, as [`bind`] would have made it, but for its backlog, which is theirs to
/// say. Whoever holds it too (a supervisor) keeps it open: nothing but our own descriptor ends with us.
///
/// # Errors
/// What the operating system answered.
pub fn adopt(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    SockRef::from(&listener).set_tcp_nodelay(true)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// What a listener answered.
#[derive(Debug)]
pub enum Accepted {
    /// A connection.
    Connection(TcpStream, SocketAddr),
    /// Descriptors or kernel memory ran out; a pause was made, nothing was lost: the peer waits in the backlog.
    Exhausted(io::Error),
}

/// The next connection. Never spins, and passes over connections that were gone before they were taken.
///
/// Cancel safe: a cancelled call has taken nothing.
pub async fn next(listener: &TcpListener) -> Accepted {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return Accepted::Connection(stream, peer),
            Err(error) if descriptors::exhausted(&error) => {
                tokio::time::sleep(EXHAUSTED_WAIT).await;
                return Accepted::Exhausted(error);
            }
            // ECONNABORTED and the network errors of accept(2) concern one connection that no longer is.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}
