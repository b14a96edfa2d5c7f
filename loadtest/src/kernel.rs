//! What the kernel says of the run: drops that make its times invalid, and what this process used.
//!
//! proc(5): `/proc/net/netstat`, `/proc/net/snmp`, `/proc/net/softnet_stat`, `/proc/self/stat`,
//! `/proc/self/status`, `/proc/PID/task/TID/schedstat` and `comm`.

use std::path::Path;
use std::time::Duration;

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
    #[must_use]
    pub fn now() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let softnet = read("/proc/net/softnet_stat");
        let dropped = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
        Self {
            listen_overflows: counter(&read("/proc/net/netstat"), "TcpExt:", "ListenOverflows"),
            retransmits: counter(&read("/proc/net/snmp"), "Tcp:", "RetransSegs"),
            softnet_drops: softnet.lines().filter_map(dropped).sum(),
        }
    }

    /// What was counted after `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            listen_overflows: self.listen_overflows.saturating_sub(before.listen_overflows),
            retransmits: self.retransmits.saturating_sub(before.retransmits),
            softnet_drops: self.softnet_drops.saturating_sub(before.softnet_drops),
        }
    }

    /// Whether nothing was dropped.
    #[must_use]
    pub fn is_clean(self) -> bool {
        self == Self::default()
    }

    /// What was dropped or sent again, each in words.
    #[must_use]
    pub fn faults(self) -> Vec<String> {
        let Self { listen_overflows, retransmits, softnet_drops } = self;
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
    fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SEC
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
    fn work_is_seen_in_the_cpu_time_of_the_process_that_did_it() {
        let before = cpu_of(std::process::id()).unwrap();
        let begun = std::time::Instant::now();
        // Longer than the kernel's tick, at which the time of a thread that runs is brought up to date.
        while begun.elapsed() < Duration::from_millis(50) {}
        assert!(cpu_of(std::process::id()).unwrap() > before);
        assert_eq!(cpu_of(u32::MAX), None);
    }
}
