//! What processes have used, by the kernel's account: their CPU time and memory, with all that they started.
//!
//! proc(5): `/proc/PID/stat` (the parent), `/proc/PID/smaps_rollup` (Pss: what is shared counts in parts, so the
//! sum over processes is what they take together). CPU time is that of [`crate::cpu_of`].

use std::collections::HashMap;
use std::time::Duration;

use crate::kernel;

/// What some processes have used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processes.
    pub processes: usize,
    /// CPU time, user and system.
    pub cpu: Duration,
    /// Memory: the sum of their proportional set sizes, in bytes.
    pub pss: u64,
}

impl Usage {
    /// Of these processes and of all that they started. Processes that have ended count as nothing.
    #[must_use]
    pub fn of(roots: &[u32]) -> Self {
        let mut usage = Self::default();
        for process in tree(roots) {
            let Some(cpu) = kernel::cpu_of(process) else { continue };
            usage.processes += 1;
            usage.cpu += cpu;
            usage.pss += pss(process);
        }
        usage
    }
}

/// These processes and all that they started, each once.
#[must_use]
pub fn tree(roots: &[u32]) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name in parentheses may contain spaces; the parent is the second field behind it.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        if let Some(parent) = fields.split_whitespace().nth(1).and_then(|parent| parent.parse().ok()) {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut all: Vec<u32> = roots.to_vec();
    let mut at = 0;
    while at < all.len() {
        all.extend(children.remove(&all[at]).into_iter().flatten());
        at += 1;
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// Memory of a process; 0: it cannot be read.
fn pss(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_counted_with_what_it_started() {
        let mut child = std::process::Command::new("sh");
        child.args(["-c", "read line"]).stdin(std::process::Stdio::piped());
        let mut child = child.spawn().unwrap();
        let (ours, its) = (std::process::id(), child.id());
        let all = tree(&[ours, its]);
        assert!(all.contains(&ours) && all.iter().filter(|process| **process == its).count() == 1, "{all:?}");
        assert_eq!(tree(&[its]), [its]);
        let usage = Usage::of(&[ours]);
        assert!(usage.processes >= 2 && usage.pss > 0 && usage.cpu > Duration::ZERO, "{usage:?}");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(Usage::of(&[its]), Usage::default());
    }
}
