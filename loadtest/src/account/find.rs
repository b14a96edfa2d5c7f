//! Which process listens at an address of this machine: `/proc/net/tcp`, then the descriptors of processes.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::{Role, Watched};

/// State of a socket that listens, in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// Descriptors of a process that are looked at: what listens was opened early.
const DESCRIPTORS_MAX: usize = 1_024;

/// The processes behind addresses on loopback, each once. One that is in two roles is a gateway: what it costs
/// cannot be told apart. Those of other users cannot be seen.
pub(crate) fn listeners(targets: &[(Role, String, SocketAddr)]) -> Vec<Watched> {
    let sockets = listening();
    let mut wanted: HashMap<u64, (Role, &str)> = HashMap::new();
    for (role, name, address) in targets.iter().filter(|(_, _, address)| address.ip().is_loopback()) {
        let found = sockets.iter().find(|(at, _)| {
            at.port() == address.port() && (at.ip() == address.ip() || at.ip().is_unspecified())
        });
        if let Some((_, inode)) = found {
            wanted.insert(*inode, (*role, name));
        }
    }
    if wanted.is_empty() {
        return Vec::new();
    }
    let mut found: Vec<Watched> = Vec::new();
    for pid in processes() {
        let mut own: Vec<(Role, &str)> =
            sockets_of(pid).filter_map(|inode| wanted.get(&inode).copied()).collect();
        own.sort_by_key(|(role, _)| *role != Role::Gateway);
        if let Some(&(role, _)) = own.first() {
            let names: Vec<&str> = own.iter().map(|(_, name)| *name).collect();
            found.push(Watched { role, name: names.join(" and "), pid });
        }
    }
    found
}

/// Where something listens, and the number of its socket.
fn listening() -> Vec<(SocketAddr, u64)> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let text = read("/proc/net/tcp") + &read("/proc/net/tcp6");
    text.lines().filter_map(parse).collect()
}

fn parse(line: &str) -> Option<(SocketAddr, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if *fields.get(3)? != LISTENING {
        return None;
    }
    let (ip, port) = fields[1].split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Words of the address as this machine has them in memory.
    let word = |at: usize| Some(u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    let ip: IpAddr = if ip.len() == 8 {
        word(0)?.into()
    } else {
        let bytes: [u8; 16] = [word(0)?, word(1)?, word(2)?, word(3)?].concat().try_into().ok()?;
        bytes.into()
    };
    Some((SocketAddr::new(ip, port), fields.get(9)?.parse().ok()?))
}

fn processes() -> impl Iterator<Item = u32> {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The numbers of the sockets of a process, as far as they may be seen.
fn sockets_of(pid: u32) -> impl Iterator<Item = u64> {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.take(DESCRIPTORS_MAX).filter_map(|entry| {
        let to = std::fs::read_link(entry.path()).ok()?;
        to.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_process_behind_a_port_is_found_once() {
        let (gateway, logic) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("[::1]:0").unwrap());
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let targets = [
            (Role::Logic, "l".to_owned(), logic.local_addr().unwrap()),
            (Role::Gateway, "g".to_owned(), gateway.local_addr().unwrap()),
            (Role::Gateway, "nobody".to_owned(), free),
            (Role::Gateway, "far".to_owned(), "192.0.2.1:80".parse().unwrap()),
        ];
        let wanted = Watched { role: Role::Gateway, name: "g and l".into(), pid: std::process::id() };
        assert_eq!(listeners(&targets), [wanted]);
        assert_eq!(listeners(&targets[2..]), []);
    }

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        let line = "   0: 0100007F:1BBC 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1";
        if cfg!(target_endian = "little") {
            assert_eq!(parse(line), Some(("127.0.0.1:7100".parse().unwrap(), 4_711)));
        }
        assert_eq!(parse(&line.replace(" 0A ", " 01 ")), None, "a connection");
        assert_eq!(parse("  sl  local_address rem_address   st"), None);
    }
}
