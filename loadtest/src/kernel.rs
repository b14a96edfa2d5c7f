//! What the kernel says of the run: drops that make its times invalid, and what this process used.
//!
//! proc(5): `/proc/net/netstat`, `/proc/net/snmp`, `/proc/net/softnet_stat`, `/proc/self/stat`,
//! `/proc/self/status`, `/proc/PID/task/TID/schedstat` and `comm`.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::account::ticks_per_sec;

/// Packets and connections that the kernel of this machine dropped or sent again while the run went,
/// whoever's they were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Kernel {
    /// Connections that found a full backlog.
    pub listen_overflows: u64,
    /// TCP segments sent again because one was lost, or held to be lost.
    pub retransmits: u64,
    /// Packets that found a full queue of a core (`netdev_max_backlog`).
    pub softnet_drops: u64,
    /// Segments sent again to ask whether they came (RFC 8985 §7), and they had: nothing was lost. It happens to two
    /// small segments in a row, as an answer to a handshake and a hello, whose ACK is delayed as it should be.
    pub loss_probes: u64,
}

/// The counters behind a [`Kernel`] at one moment, since the machine started.
#[derive(Debug, Clone, Copy, Default)]
pub struct KernelCounters {
    listen_overflows: u64,
    softnet_drops: u64,
    /// Segments sent again for whatever reason.
    again: u64,
    probes: u64,
    probes_repaired: u64,
}

impl KernelCounters {
    /// The counters now. What cannot be read counts as 0.
    #[must_use]
    pub fn now() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let (softnet, netstat) = (read("/proc/net/softnet_stat"), read("/proc/net/netstat"));
        let tcp = |name| counter(&netstat, "TcpExt:", name);
        let dropped = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
        Self {
            listen_overflows: tcp("ListenOverflows"),
            softnet_drops: softnet.lines().filter_map(dropped).sum(),
            again: counter(&read("/proc/net/snmp"), "Tcp:", "RetransSegs"),
            probes: tcp("TCPLossProbes"),
            probes_repaired: tcp("TCPLossProbeRecovery"),
        }
    }

    /// What was counted after `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Kernel {
        let again = self.again.saturating_sub(before.again);
        let repaired = self.probes_repaired.saturating_sub(before.probes_repaired);
        // Probes that sent what was new are counted among the probes and not among those sent again.
        let loss_probes = self.probes.saturating_sub(before.probes).saturating_sub(repaired).min(again);
        Kernel {
            listen_overflows: self.listen_overflows.saturating_sub(before.listen_overflows),
            retransmits: again - loss_probes,
            softnet_drops: self.softnet_drops.saturating_sub(before.softnet_drops),
            loss_probes,
        }
    }
}

impl Kernel {
    /// Whether nothing was dropped.
    #[must_use]
    pub fn is_clean(self) -> bool {
        self.faults().is_empty()
    }

    /// What was dropped or sent again, each in words.
    #[must_use]
    pub fn faults(self) -> Vec<String> {
        let Self { listen_overflows, retransmits, softnet_drops, loss_probes: _ } = self;
        let faults = [
            (listen_overflows, "connections found a full backlog (ListenOverflows)"),
            (retransmits, "TCP segments were sent again (RetransSegs)"),
            (softnet_drops, "packets were dropped before a core took them (softnet_stat)"),
        ];
        faults.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect()
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
    fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / ticks_per_sec()
}

/// CPU time that the threads of a process have used, to the nanosecond for those that sleep; `None`: there is
/// no such process. Threads that have ended are not in it: a difference is right when the same threads live
/// at both of its ends.
#[must_use]
pub fn cpu_of(process: u32) -> Option<Duration> {
    cpu_of_threads(process, "")
}

/// The same for its threads whose names begin so.
pub(crate) fn cpu_of_threads(process: u32, name: &str) -> Option<Duration> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let nanos = threads.filter_map(|thread| {
        let read = |folder: &Path, file| std::fs::read_to_string(folder.join(file)).ok();
        let folder = thread.ok()?.path();
        if !read(&folder, "comm")?.starts_with(name) {
            return None;
        }
        read(&folder, "schedstat")?.split_whitespace().next()?.parse::<u64>().ok()
    });
    Some(Duration::from_nanos(nanos.sum()))
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

    #[test]
    fn a_probe_is_no_loss_unless_it_repaired_one() {
        let before = KernelCounters { again: 100, probes: 150, probes_repaired: 2, ..Default::default() };
        for (again, probes, repaired, seen) in [
            (0, 0, 0, (0, 0)),
            (10, 0, 0, (10, 0)),
            (10, 10, 0, (0, 10)),
            // Two were sent for other reasons, three repaired a loss.
            (10, 8, 3, (5, 5)),
            (7, 10, 0, (0, 7)),
        ] {
            let after = KernelCounters {
                again: before.again + again,
                probes: before.probes + probes,
                probes_repaired: before.probes_repaired + repaired,
                ..before
            };
            let kernel = after.since(before);
            assert_eq!((kernel.retransmits, kernel.loss_probes), seen, "{again} {probes} {repaired}");
        }
        let probed = Kernel { loss_probes: 3, ..Kernel::default() };
        assert!(probed.is_clean() && probed.faults().is_empty());
        assert!(!Kernel { retransmits: 1, ..probed }.is_clean());
    }

    #[test]
    fn work_is_seen_in_the_cpu_time_of_the_process_that_did_it() {
        let before = cpu_of(std::process::id()).unwrap();
        let begun = std::time::Instant::now();
        // Longer than the kernel's tick, at which the time of a thread that runs is brought up to date.
        while begun.elapsed() < Duration::from_millis(50) {}
        assert!(cpu_of(std::process::id()).unwrap() > before);
        assert_eq!(cpu_of(u32::MAX), None);
    }
}
