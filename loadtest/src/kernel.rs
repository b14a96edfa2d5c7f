//! What the kernel says of the run: drops that make its times invalid, and what this process used.
//!
//! proc(5): `/proc/net/netstat`, `/proc/net/snmp`, `/proc/net/softnet_stat`, `/proc/self/stat`, `/proc/self/status`.

use serde::Serialize;

/// Ticks a second in `/proc/self/stat`: 100 on every Linux that has a C library (`sysconf(_SC_CLK_TCK)`).
const TICKS_PER_SEC: f64 = 100.0;

/// Packets and connections that the kernel of this machine dropped or sent again while the run went,
/// whoever's they were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Kernel {
    /// Connections that found a full backlog.
    pub listen_overflows: u64,
    /// TCP segments sent again.
    pub retransmits: u64,
    /// Packets that found a full queue of a core (`netdev_max_backlog`).
    pub softnet_drops: u64,
}

impl Kernel {
    /// The counters since the machine started. What cannot be read counts as 0.
    pub(crate) fn now() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let softnet = read("/proc/net/softnet_stat");
        let dropped = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
        Self {
            listen_overflows: counter(&read("/proc/net/netstat"), "TcpExt:", "ListenOverflows"),
            retransmits: counter(&read("/proc/net/snmp"), "Tcp:", "RetransSegs"),
            softnet_drops: softnet.lines().filter_map(dropped).sum(),
        }
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            listen_overflows: self.listen_overflows.saturating_sub(before.listen_overflows),
            retransmits: self.retransmits.saturating_sub(before.retransmits),
            softnet_drops: self.softnet_drops.saturating_sub(before.softnet_drops),
        }
    }

    /// Whether nothing was dropped.
    pub(crate) fn is_clean(self) -> bool {
        self == Self::default()
    }
}

/// A counter from a file of pairs of lines: names, then values.
fn counter(text: &str, group: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter(|line| line.starts_with(group));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return 0 };
    let at = names.split_whitespace().position(|each| each == name);
    at.and_then(|at| values.split_whitespace().nth(at)?.parse().ok()).unwrap_or(0)
}

/// CPU time of this process so far, in seconds.
pub(crate) fn cpu_secs() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may contain spaces; user and system time are fields 14 and 15.
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SEC
}

/// Memory of this process now, in bytes.
pub(crate) fn rss_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read() {
        let text = "TcpExt: A ListenOverflows B\nTcpExt: 1 22 3\nIpExt: A\nIpExt: 7\n";
        assert_eq!(counter(text, "TcpExt:", "ListenOverflows"), 22);
        assert_eq!(counter(text, "TcpExt:", "Nothing"), 0);
        assert_eq!(counter("", "TcpExt:", "A"), 0);
        assert!(rss_bytes() > 0 && cpu_secs() >= 0.0);
    }
}
