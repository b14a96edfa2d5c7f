//! A socket that whoever started us has opened for us (sd_listen_fds(3)): systemd with a .socket unit, or what speaks the same.
//!
//! It outlives the process: while a node ends and the next one starts, whoever connects waits in its backlog. The variables
//! are read, and taken away, while there is no thread but the first.

use std::env;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use socket2::SockRef;

use crate::failure::Failure;

/// A port of a node: a socket for it, if one was passed, and where it is.
#[derive(Debug)]
pub(crate) struct Passed {
    /// `None`: the node opens its port itself.
    pub(crate) listener: Option<TcpListener>,
    /// The socket's, or the one that was asked for.
    pub(crate) address: SocketAddr,
}

/// Takes the socket for the port `name` of `node`, which would otherwise listen on `asked`.
///
/// # Errors
/// A socket that no port can use, more than one, or one for something else (78).
pub(crate) fn take(node: &str, name: &str, asked: SocketAddr) -> Result<Passed, Failure> {
    let mut sockets = ListenFd::from_env();
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names: Vec<_> = names.split(':').chain(std::iter::repeat("")).take(sockets.len()).collect();
    if !is_one(node, name, &names).map_err(Failure::config)? {
        return Ok(Passed { listener: None, address: asked });
    }
    let listener = listener(&mut sockets)
        .map_err(|why| Failure::config(format!("the socket that was passed for {name} {why}")))?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::failed(format!("the socket that was passed for {name}: {error}")))?;
    tracing::info!(port = name, %address, "listening on a socket that was passed: it stays open when this node ends");
    // One on [::] takes IPv4 too.
    let is_same = address == asked
        || address.port() == asked.port() && address.ip().is_unspecified() && asked.ip().is_unspecified();
    if !is_same && asked.port() != 0 {
        tracing::warn!(%address, listen = %asked, "the socket that was passed has another address than --listen: it counts, and --listen does not");
    }
    Ok(Passed { listener: Some(listener), address })
}

/// Whether there is a socket for the port `wanted`; of others none knows what they are for.
fn is_one(node: &str, wanted: &str, names: &[&str]) -> Result<bool, String> {
    // systemd calls one that was given no name after its unit; others, if they name it at all, "unknown".
    let is_ours = |name: &str| name == wanted || name.ends_with(".socket") || matches!(name, "" | "unknown");
    if let Some(other) = names.iter().find(|name| !is_ours(name)) {
        return Err(format!(
            "a socket with the name {other:?} was passed; {node} takes one, and its name is {wanted:?} \
             (FileDescriptorName={wanted} in the .socket unit)"
        ));
    }
    match names.len() {
        0 => Ok(false),
        1 => Ok(true),
        many => Err(format!(
            "{many} sockets were passed; {node} takes one, for {wanted}. One on [::]:PORT with BindIPv6Only=both \
             takes IPv4 as well"
        )),
    }
}

/// The first of the sockets, or what is wrong with it.
fn listener(sockets: &mut ListenFd) -> Result<TcpListener, String> {
    const NEEDED: &str = "a TCP socket that listens is needed (ListenStream=ADDRESS:PORT, Accept=no)";
    match sockets.take_tcp_listener(0) {
        Ok(Some(listener)) if SockRef::from(&listener).is_listener().unwrap_or(false) => Ok(listener),
        Ok(_) => Err(format!("does not listen: {NEEDED}")),
        Err(error) => {
            let kind = if sockets.take_udp_socket(0).is_ok() {
                "is one of UDP"
            } else if sockets.take_unix_listener(0).is_ok() || sockets.take_unix_datagram(0).is_ok() {
                "is a Unix socket"
            } else {
                return Err(format!("cannot be used ({error}): {NEEDED}"));
            };
            Err(format!("{kind}: {NEEDED}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_one;

    #[test]
    fn one_socket_is_taken_and_what_nobody_knows_is_refused() {
        let asked = |names: &[&str]| is_one("a gateway", "clients", names);
        assert_eq!(asked(&[]), Ok(false));
        for name in ["clients", "tidegate-gateway.socket", "unknown", ""] {
            assert_eq!(asked(&[name]), Ok(true), "{name}");
        }
        assert!(asked(&["ops"]).unwrap_err().contains("FileDescriptorName=clients"));
        assert!(asked(&["clients", "link"]).unwrap_err().contains("\"link\""));
        assert!(asked(&["clients", "clients"]).unwrap_err().contains("2 sockets"));
    }
}
