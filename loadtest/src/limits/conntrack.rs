//! The kernel's table of connections: it limits a run only where connections over loopback are entered in it.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use serde::Serialize;

use super::sysctl;

/// Connections that are opened to see whether they are entered: enough to stand out from what others do meanwhile.
const TRIES: u64 = 32;

/// The table and what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Conntrack {
    /// Entries that there may be (`net.netfilter.nf_conntrack_max`).
    pub max: u64,
    /// Entries that there are.
    pub count: u64,
}

impl Conntrack {
    /// Reads it; `None` where there is none, or connections over loopback are not entered: that depends on rules of the
    /// firewall, so it is tried.
    pub(super) fn read() -> Option<Self> {
        let count = || sysctl::<u64>("net.netfilter.nf_conntrack_count", 0);
        let (max, before) = (sysctl("net.netfilter.nf_conntrack_max", 0)?, count()?);
        let held = connect().ok()?;
        let is_tracked = count()? >= before + TRIES;
        drop(held);
        is_tracked.then_some(Self { max, count: before })
    }
}

fn connect() -> io::Result<Vec<(TcpStream, TcpStream)>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    (0..TRIES).map(|_| Ok((TcpStream::connect(address)?, listener.accept()?.0))).collect()
}
