//! One process, as proc(5) shows it: `stat`, `statm`, `smaps_rollup`, `io`.

use std::time::Duration;

use super::machine::{page_bytes, ticks_per_sec};
use super::{Cpu, Memory, Usage, Watched};
use crate::progress::Phase;

/// Bytes read and written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Io {
    pub(super) read: u64,
    pub(super) written: u64,
    pub(super) disk_read: u64,
    pub(super) disk_written: u64,
}

/// A process at a moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reading {
    at: Duration,
    /// When it was started, in ticks since the machine was: with the id, this is who it is.
    started: u64,
    pub(super) cpu: Cpu,
    pub(super) memory: Memory,
    pub(super) io: Io,
}

/// A process and what was read of it.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) watched: Watched,
    /// Since when it is gone.
    pub(super) ended: Option<Duration>,
    last: Reading,
    /// The first reading, and one at the beginning of each phase since.
    marks: Vec<(Phase, Reading)>,
}

impl Process {
    /// `None`: there is no such process.
    pub(super) fn open(watched: Watched, at: Duration, phase: Phase) -> Option<Self> {
        let first = Reading::exact(watched.pid, at)?;
        Some(Self { watched, ended: None, last: first, marks: vec![(phase, first)] })
    }

    /// What it used since the last look.
    pub(super) fn look(&mut self, at: Duration) -> Usage {
        let before = self.last;
        self.take(at, Reading::quick(self.watched.pid, at));
        let secs = self.last.at.saturating_sub(before.at).as_secs_f64();
        let cpu = self.last.cpu.since(before.cpu).secs();
        let cores = if secs > 0.0 { cpu / secs } else { 0.0 };
        Usage { cores, rss_bytes: if self.ended.is_some() { 0 } else { self.last.memory.rss_bytes } }
    }

    /// A phase begins.
    pub(super) fn mark(&mut self, at: Duration, phase: Phase) {
        let before = self.last;
        self.take(at, Reading::exact(self.watched.pid, at));
        self.marks.push((phase, self.last));
        // The next look is a difference from the last one, not from here.
        self.last = Reading { at: before.at, cpu: before.cpu, ..self.last };
    }

    fn take(&mut self, at: Duration, reading: Option<Reading>) {
        if self.ended.is_some() {
            return;
        }
        match reading {
            Some(reading) if reading.started == self.last.started => {
                // A quick look does not know what is slow to read.
                let known = self.last;
                self.last = reading;
                if reading.memory.pss_bytes == 0 {
                    (self.last.memory.pss_bytes, self.last.io) = (known.memory.pss_bytes, known.io);
                }
            }
            // When clients are judged, processes may end: nothing is measured any more.
            _ if self.marks.last().is_some_and(|(phase, _)| *phase == Phase::Judging) => {}
            _ => self.ended = Some(at),
        }
    }

    pub(super) fn first(&self) -> &Reading {
        self.marks.first().map_or(&self.last, |(_, reading)| reading)
    }

    /// The latest that is known of it: a look, or a mark beyond it.
    pub(super) fn last(&self) -> &Reading {
        match self.marks.last() {
            Some((_, mark)) if mark.at >= self.last.at => mark,
            _ => &self.last,
        }
    }

    /// As it was when a phase began. A process that came later had not begun; where the phase has not come,
    /// the latest.
    pub(super) fn at(&self, phase: Phase) -> &Reading {
        self.marks.iter().find(|(each, _)| *each >= phase).map_or(self.last(), |(_, reading)| reading)
    }
}

impl Reading {
    /// CPU time and resident memory.
    fn quick(pid: u32, at: Duration) -> Option<Self> {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
        let stat = read("stat")?;
        let (started, cpu) = parse_stat(&stat)?;
        let pages = read("statm")?.split_whitespace().nth(1)?.parse::<u64>().ok()?;
        let memory = Memory { rss_bytes: pages * page_bytes(), pss_bytes: 0 };
        Some(Self { at, started, cpu, memory, io: Io::default() })
    }

    /// The same, memory to the page (`statm` may be late by some pages for each core), shared memory divided,
    /// and what was read and written.
    fn exact(pid: u32, at: Duration) -> Option<Self> {
        let mut reading = Self::quick(pid, at)?;
        // Both are readable for the same user only; without them there is less to tell.
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let rollup = read("smaps_rollup");
        if let (Some(rss), Some(pss)) = (field(&rollup, "Rss:"), field(&rollup, "Pss:")) {
            reading.memory = Memory { rss_bytes: rss * 1_024, pss_bytes: pss * 1_024 };
        }
        let io = read("io");
        let of = |name| field(&io, name).unwrap_or(0);
        reading.io = Io {
            read: of("rchar:"),
            written: of("wchar:"),
            disk_read: of("read_bytes:"),
            disk_written: of("write_bytes:"),
        };
        Some(reading)
    }
}

/// When a process was started, and its CPU time; `None` also for one that is dead and waits for its parent.
fn parse_stat(stat: &str) -> Option<(u64, Cpu)> {
    // The name in parentheses may contain spaces and parentheses. State is field 3, user and system time
    // fields 14 and 15, the start field 22.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at - 3)?.parse::<u64>().ok();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    let secs = |ticks: u64| ticks as f64 / ticks_per_sec();
    Some((number(22)?, Cpu { user_secs: secs(number(14)?), system_secs: secs(number(15)?) }))
}

/// A number after a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_hides_nothing() {
        let stat = format!("17 (a ) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 4711 {}", "0 ".repeat(20));
        let (started, cpu) = parse_stat(&stat).unwrap();
        assert_eq!(started, 4_711);
        assert!((cpu.user_secs - 250.0 / ticks_per_sec()).abs() < 1e-9);
        assert!((cpu.secs() - 300.0 / ticks_per_sec()).abs() < 1e-9);
        assert!(parse_stat(&stat.replace(" S ", " Z ")).is_none(), "dead");
        assert!(parse_stat("17 (a) S 1").is_none() && parse_stat("").is_none());
    }

    #[test]
    fn a_mark_between_two_looks_takes_nothing_from_the_second() {
        let reading = |at: u64, user_secs: f64| Reading {
            at: Duration::from_secs(at),
            cpu: Cpu { user_secs, system_secs: 0.0 },
            ..Reading::default()
        };
        let watched = Watched { role: super::super::Role::Gateway, name: "g".into(), pid: 1 };
        let marks = vec![(Phase::Checking, reading(0, 1.0)), (Phase::Publishing, reading(3, 4.0))];
        let process = Process { watched, ended: None, last: reading(2, 2.0), marks };
        assert!((process.at(Phase::Connecting).cpu.secs() - 4.0).abs() < 1e-9, "the next that is known");
        assert!((process.last().cpu.secs() - 4.0).abs() < 1e-9);
        assert!((process.at(Phase::Judging).cpu.secs() - 4.0).abs() < 1e-9, "it never came");
    }
}
