//! The memory that the nodes under attack may use together: a control group of their own where there may be one, and
//! what the kernel says they used at most everywhere.

use std::path::{Path, PathBuf};

use crate::cluster::Cluster;

/// What both nodes may use.
pub(super) const BYTES_MAX: u64 = 512 << 20;

/// Where control groups are, and what their files are called: version 2, then version 1.
const PLACES: [(&str, &str); 2] =
    [("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")];

/// A bound around the nodes of a cluster.
pub(super) struct Bound {
    pids: Vec<u32>,
    group: Option<PathBuf>,
}

impl Bound {
    /// Puts the nodes of a cluster into a control group with a limit, if this user may make one.
    pub(super) fn around(cluster: &Cluster) -> Self {
        let pids: Vec<u32> =
            cluster.gateways.iter().chain(&cluster.logics).map(crate::cluster::Node::pid).collect();
        let group = PLACES.iter().find_map(|(place, file)| group(Path::new(place), file, &pids));
        Self { pids, group }
    }

    /// What holds the bound.
    pub(super) fn kind(&self) -> &'static str {
        if self.group.is_some() { "control group" } else { "peak resident" }
    }

    /// What both nodes have used at most, together: the sum of what each did, at whatever times.
    pub(super) fn peak_bytes(&self) -> u64 {
        self.pids.iter().map(|pid| peak(*pid)).sum()
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Some(group) = &self.group {
            // Empty only when the nodes have ended: they are moved out first, back to where everything is.
            if let Some(root) = group.parent().map(|parent| parent.join("cgroup.procs")) {
                self.pids.iter().for_each(|pid| _ = std::fs::write(&root, pid.to_string()));
            }
            let _ = std::fs::remove_dir(group);
        }
    }
}

/// A group in which all these processes are, or none.
fn group(place: &Path, limit: &str, pids: &[u32]) -> Option<PathBuf> {
    let group = place.join(format!("tidegate-attacks-{}", pids.first()?));
    std::fs::create_dir(&group).ok()?;
    let moved = || -> std::io::Result<()> {
        // A file that is not there already belongs to no controller: the folder is one of an ordinary file system.
        std::fs::OpenOptions::new().write(true).open(group.join(limit))?;
        std::fs::write(group.join(limit), BYTES_MAX.to_string())?;
        pids.iter().try_for_each(|pid| std::fs::write(group.join("cgroup.procs"), pid.to_string()))
    };
    if moved().is_err() {
        let _ = std::fs::remove_dir(&group);
        return None;
    }
    Some(group)
}

/// The most memory that a process had resident (proc_pid_status(5)).
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}
