//! What this machine allows: every limit that a run with many clients meets, read and never assumed.
//!
//! [`Limits`] is plain numbers, so that a [`Layout`](crate::layout::Layout) can be planned for any machine, in a test too. A
//! number that cannot be read, as many cannot in a container, is `None`: unknown, and no reason to stop.

mod conntrack;
pub(crate) mod finding;
mod group;

use std::path::Path;
use std::str::FromStr;

use common::descriptors;
use serde::Serialize;

pub use conntrack::Conntrack;

/// What a machine allows this process and those that it starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Cores that this process may use.
    pub cores: u32,
    /// Descriptors that one process may have, once it has raised its limit (`RLIMIT_NOFILE`, hard).
    pub descriptors: Option<u64>,
    /// To how many descriptors that limit itself may be raised (`fs.nr_open`).
    pub nr_open: Option<u64>,
    /// Open files of the whole machine (`fs.file-max`).
    pub file_max: Option<u64>,
    /// Open files now (`fs.file-nr`).
    pub files_open: Option<u64>,
    /// Whether the kernel exempts this process from `fs.file-max` and from the limit of a user's threads
    /// (`CAP_SYS_ADMIN`: capabilities(7)).
    pub privileged: bool,
    /// Local ports for each source and destination (`net.ipv4.ip_local_port_range`).
    pub ports: Option<u64>,
    /// Connections that may wait at a listener (`net.core.somaxconn`).
    pub somaxconn: Option<u64>,
    /// The same before their handshake is done (`net.ipv4.tcp_max_syn_backlog`).
    pub syn_backlog: Option<u64>,
    /// Packets that may wait for a core (`net.core.netdev_max_backlog`).
    pub netdev_backlog: Option<u64>,
    /// The table of connections, where loopback is tracked.
    pub conntrack: Option<Conntrack>,
    /// Memory that can be had without swapping, in bytes (`MemAvailable`).
    pub memory: Option<u64>,
    /// What the control groups of this process leave of it, in bytes.
    pub memory_group: Option<u64>,
    /// Pages that all TCP sockets may hold (`net.ipv4.tcp_mem`, the last of its three).
    pub tcp_pages: Option<u64>,
    /// Descriptors that one user may have in epoll sets (`fs.epoll.max_user_watches`).
    pub watches: Option<u64>,
    /// Threads that may still be started: the least of what the kernel, the control groups and the user allow.
    pub threads: Option<u64>,
}

impl Limits {
    /// Those of this machine and process. The soft limit of descriptors is raised to the hard one, which the children
    /// inherit.
    #[must_use]
    pub fn read() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let privileged = is_privileged(&status);
        Self {
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
            descriptors: descriptors::raise().ok().map(|raised| raised.limit),
            nr_open: sysctl("fs.nr_open", 0),
            file_max: sysctl("fs.file-max", 0),
            files_open: sysctl("fs.file-nr", 0),
            privileged,
            ports: sysctl("net.ipv4.ip_local_port_range", 0)
                .zip(sysctl::<u64>("net.ipv4.ip_local_port_range", 1))
                .map(|(first, last)| (last + 1).saturating_sub(first)),
            somaxconn: sysctl("net.core.somaxconn", 0),
            syn_backlog: sysctl("net.ipv4.tcp_max_syn_backlog", 0),
            netdev_backlog: sysctl("net.core.netdev_max_backlog", 0),
            conntrack: Conntrack::read(),
            memory: memory_available(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default()),
            memory_group: group::memory_left(),
            tcp_pages: sysctl("net.ipv4.tcp_mem", 2),
            watches: sysctl("fs.epoll.max_user_watches", 0),
            threads: threads_left(privileged),
        }
    }

    /// Memory that can be had, as far as it is known.
    pub(crate) fn memory_left(&self) -> Option<u64> {
        [self.memory, self.memory_group].into_iter().flatten().min()
    }
}

/// A number of a kernel setting; `None` where this kernel has none, or shows it to nobody here.
fn sysctl<T: FromStr>(name: &str, at: usize) -> Option<T> {
    let path = Path::new("/proc/sys").join(name.replace('.', "/"));
    word(&std::fs::read_to_string(path).ok()?, at)
}

fn word<T: FromStr>(text: &str, at: usize) -> Option<T> {
    text.split_whitespace().nth(at)?.parse().ok()
}

/// `MemAvailable` of `/proc/meminfo`, in bytes.
fn memory_available(meminfo: &str) -> Option<u64> {
    let kib: u64 = word(meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?, 0)?;
    Some(kib * 1024)
}

/// Whether the effective capabilities of `/proc/self/status` contain `CAP_SYS_ADMIN`, which is number 21.
fn is_privileged(status: &str) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0);
    bits & (1 << 21) != 0
}

/// How many more threads there may be. The limits of the kernel and of the user count those that there are already;
/// the user's are taken to be all of them.
fn threads_left(privileged: bool) -> Option<u64> {
    let loadavg = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    // proc(5): the fourth field is runnable threads, a slash, all threads.
    let there = word::<String>(&loadavg, 3).and_then(|field| field.split_once('/')?.1.parse::<u64>().ok());
    let user = rlimit::Resource::NPROC.get().ok().map(|(soft, _)| soft).filter(|_| !privileged);
    let all = [sysctl("kernel.threads-max", 0), sysctl("kernel.pid_max", 0), user];
    let left = all.into_iter().flatten().map(|most| most.saturating_sub(there.unwrap_or(0)));
    left.chain(group::threads_left()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_limits() {
        let limits = Limits::read();
        assert!(limits.cores > 0 && limits.descriptors.is_some_and(|most| most > 0), "{limits:?}");
        assert!(limits.memory_left().is_some_and(|bytes| bytes > 1 << 20), "{limits:?}");
    }

    #[test]
    fn texts_of_the_kernel_are_read() {
        assert_eq!(memory_available("MemTotal: 9 kB\nMemAvailable:   2 kB\n"), Some(2048));
        assert_eq!(memory_available("MemTotal: 9 kB\n"), None);
        assert!(is_privileged("CapInh:\t0\nCapEff:\t000001fffeffffff\n"));
        assert!(!is_privileged("CapEff:\t00000000a80425fb\n") && !is_privileged(""));
        assert_eq!((word("1 2\t3\n", 2), word::<u64>("max", 0)), (Some(3_u64), None));
    }
}
