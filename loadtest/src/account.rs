//! What each role of a run used, from the kernel's accounting of its processes.
//!
//! CPU time and memory once a second, and exactly (`smaps_rollup`, which is slow) at the borders of phases, so
//! that the cost of connecting, of holding and of pushing are told apart. A process that ends is noted with
//! its second: what it used until then counts, and nobody is blamed here.

mod find;
mod machine;
mod process;
mod sampler;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::progress::Phase;
pub(crate) use find::listeners;
pub(crate) use machine::ticks_per_sec;
use process::{Process, Reading};
pub(crate) use sampler::{Sampler, Taken};

/// What a process is in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Takes pushes.
    Logic,
    /// Holds connections.
    Gateway,
    /// Holds clients.
    Generator,
    /// Publishes and leads the generators.
    Coordinator,
    /// Another server that is measured.
    Peer,
}

impl Role {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Logic => "logic",
            Self::Gateway => "gateway",
            Self::Generator => "generator",
            Self::Coordinator => "coordinator",
            Self::Peer => "peer",
        }
    }

    /// Whether it is a part of what is measured, and not of what measures.
    #[must_use]
    pub fn is_server(self) -> bool {
        matches!(self, Self::Logic | Self::Gateway | Self::Peer)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A process to account for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Watched {
    /// What it is.
    pub role: Role,
    /// What people call it.
    pub name: String,
    /// Its id on this machine.
    pub pid: u32,
}

/// What a role used in a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// CPU time divided by time: 1 is a whole core.
    pub cores: f64,
    /// Memory at the end of the second (resident).
    pub rss_bytes: u64,
}

/// CPU time, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cpu {
    /// In the program.
    pub user_secs: f64,
    /// In the kernel for the program.
    pub system_secs: f64,
}

impl Cpu {
    /// Both together.
    #[must_use]
    pub fn secs(self) -> f64 {
        self.user_secs + self.system_secs
    }

    fn since(self, before: Self) -> Self {
        Self {
            user_secs: (self.user_secs - before.user_secs).max(0.0),
            system_secs: (self.system_secs - before.system_secs).max(0.0),
        }
    }

    fn add(&mut self, other: Self) {
        self.user_secs += other.user_secs;
        self.system_secs += other.system_secs;
    }
}

/// Memory at a moment, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// Resident.
    pub rss_bytes: u64,
    /// Resident, with what is shared divided among those that share it. 0: it cannot be read.
    pub pss_bytes: u64,
}

impl Memory {
    fn add(&mut self, other: Self) {
        self.rss_bytes += other.rss_bytes;
        self.pss_bytes += other.pss_bytes;
    }

    /// Proportional where it is known, else resident.
    #[must_use]
    pub fn bytes(self) -> u64 {
        if self.pss_bytes > 0 { self.pss_bytes } else { self.rss_bytes }
    }
}

/// What the processes of one role used over a run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleUse {
    /// Which.
    pub role: Role,
    /// How many processes.
    pub processes: u64,
    /// CPU time over the whole run.
    pub cpu: Cpu,
    /// The same while clients connected and settled.
    pub cpu_connecting: Cpu,
    /// The same from the first push to the last receipt.
    pub cpu_pushing: Cpu,
    /// Memory before the first connect.
    pub memory_begin: Memory,
    /// Memory with all clients connected, before the first push.
    pub memory_hold: Memory,
    /// Memory after the last receipt, all clients still connected.
    pub memory_end: Memory,
    /// The most that it had at any second, resident.
    pub rss_bytes_max: u64,
    /// Bytes read by `read` and the like, from whatever: files, pipes, and sockets that are read so.
    pub read_bytes: u64,
    /// The same, written.
    pub written_bytes: u64,
    /// Bytes that came from disks.
    pub disk_read_bytes: u64,
    /// Bytes that went to disks.
    pub disk_written_bytes: u64,
    /// Processes that ended before the run did, and when.
    pub ended: Vec<Ended>,
}

/// A process that ended before its run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// Which.
    pub name: String,
    /// Its id.
    pub pid: u32,
    /// When it was first seen to be gone, since the run began.
    pub at_secs: f64,
}

/// The processes of a run and what they have used so far.
#[derive(Debug, Default)]
pub(crate) struct Account {
    processes: Vec<Process>,
    rss_bytes_max: BTreeMap<Role, u64>,
}

impl Account {
    /// Accounts for a process from now on. One that is known already, or is not there, is left out: whether
    /// it was taken.
    pub(crate) fn watch(&mut self, watched: Watched, at: Duration, phase: Phase) -> bool {
        if self.processes.iter().any(|process| process.watched.pid == watched.pid && process.ended.is_none())
        {
            return false;
        }
        let process = Process::open(watched, at, phase);
        let is_there = process.is_some();
        self.processes.extend(process);
        is_there
    }

    /// A look at all: what each role used since the last one.
    pub(crate) fn sample(&mut self, at: Duration) -> BTreeMap<Role, Usage> {
        let mut roles = BTreeMap::<Role, Usage>::new();
        for process in &mut self.processes {
            let usage = roles.entry(process.watched.role).or_default();
            let used = process.look(at);
            usage.cores += used.cores;
            usage.rss_bytes += used.rss_bytes;
        }
        for (role, usage) in &roles {
            let most = self.rss_bytes_max.entry(*role).or_default();
            *most = (*most).max(usage.rss_bytes);
        }
        roles
    }

    /// A new phase begins: exact readings of all.
    pub(crate) fn enter(&mut self, at: Duration, phase: Phase) {
        for process in &mut self.processes {
            process.mark(at, phase);
        }
    }

    /// What each role used, and each of its processes counts.
    pub(crate) fn roles(&self) -> Vec<RoleUse> {
        let mut roles: BTreeMap<Role, RoleUse> = BTreeMap::new();
        for process in &self.processes {
            let role = process.watched.role;
            let all = roles.entry(role).or_insert_with(|| RoleUse::none(role));
            all.add(process);
        }
        for (role, all) in &mut roles {
            all.rss_bytes_max = self.rss_bytes_max.get(role).copied().unwrap_or(0);
        }
        roles.into_values().collect()
    }
}

impl RoleUse {
    pub(crate) fn none(role: Role) -> Self {
        Self {
            role,
            processes: 0,
            cpu: Cpu::default(),
            cpu_connecting: Cpu::default(),
            cpu_pushing: Cpu::default(),
            memory_begin: Memory::default(),
            memory_hold: Memory::default(),
            memory_end: Memory::default(),
            rss_bytes_max: 0,
            read_bytes: 0,
            written_bytes: 0,
            disk_read_bytes: 0,
            disk_written_bytes: 0,
            ended: Vec::new(),
        }
    }

    fn add(&mut self, process: &Process) {
        let (first, last) = (process.first(), process.last());
        let at = |phase| process.at(phase);
        self.processes += 1;
        self.cpu.add(last.cpu.since(first.cpu));
        self.cpu_connecting.add(at(Phase::Publishing).cpu.since(at(Phase::Connecting).cpu));
        self.cpu_pushing.add(at(Phase::Judging).cpu.since(at(Phase::Publishing).cpu));
        self.memory_begin.add(at(Phase::Connecting).memory);
        self.memory_hold.add(at(Phase::Publishing).memory);
        self.memory_end.add(at(Phase::Judging).memory);
        let grown = |of: fn(&Reading) -> u64| of(last).saturating_sub(of(first));
        self.read_bytes += grown(|reading| reading.io.read);
        self.written_bytes += grown(|reading| reading.io.written);
        self.disk_read_bytes += grown(|reading| reading.io.disk_read);
        self.disk_written_bytes += grown(|reading| reading.io.disk_written);
        self.ended.extend(process.ended.map(|at| Ended {
            name: process.watched.name.clone(),
            pid: process.watched.pid,
            at_secs: at.as_secs_f64(),
        }));
    }

    /// By how much memory grew from before the first connect until all clients were connected.
    #[must_use]
    pub fn grown_bytes(&self) -> u64 {
        self.memory_hold.bytes().saturating_sub(self.memory_begin.bytes())
    }
}

#[cfg(test)]
#[path = "account/tests.rs"]
mod tests;
