//! The kernel's accounting, on processes of our own.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::progress::Progress;

/// A process that waits for its end of input, in so many bytes of memory.
fn process() -> Child {
    Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
}

fn watched(role: Role, pid: u32) -> Watched {
    Watched { role, name: format!("{role} {pid}"), pid }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn work_and_memory_are_on_the_account_of_the_role_that_did_it() {
    let mut other = process();
    let mut account = Account::default();
    assert!(account.watch(watched(Role::Generator, std::process::id()), secs(0), Phase::Connecting));
    assert!(account.watch(watched(Role::Gateway, other.id()), secs(0), Phase::Connecting));
    assert!(!account.watch(watched(Role::Gateway, other.id()), secs(0), Phase::Connecting), "twice");
    assert!(!account.watch(watched(Role::Gateway, u32::MAX), secs(0), Phase::Connecting), "nobody");
    account.enter(secs(1), Phase::Publishing);
    let (worked, mut held) = (crate::kernel::cpu_secs(), Vec::new());
    // Bounded by its own CPU time: others may have the cores.
    while crate::kernel::cpu_secs() < worked + 0.2 {
        held.push(vec![7_u8; 64 * 1024]);
        held.truncate(256);
    }
    let used = account.sample(secs(2));
    assert!(used[&Role::Generator].cores > 0.03 && used[&Role::Gateway].cores < 0.03, "{used:?}");
    account.enter(secs(3), Phase::Judging);
    let roles = account.roles();
    let [gateway, generator] = &roles[..] else { panic!("{roles:?}") };
    assert!(generator.cpu_pushing.secs() > 0.1, "{generator:?}");
    assert!(generator.memory_end.pss_bytes > generator.memory_hold.pss_bytes + 8 * 1024 * 1024, "{roles:?}");
    assert!(gateway.role == Role::Gateway && gateway.processes == 1 && gateway.cpu.secs() < 0.1);
    assert!(gateway.memory_begin.rss_bytes >= gateway.memory_begin.pss_bytes);
    drop(other.stdin.take());
    other.wait().unwrap();
}

#[test]
fn a_process_that_ends_is_noted_with_its_second() {
    let mut other = process();
    let mut account = Account::default();
    account.watch(watched(Role::Gateway, other.id()), secs(0), Phase::Connecting);
    account.sample(secs(1));
    other.kill().unwrap();
    // It is dead, but nobody has taken notice: that is no process any more either.
    while std::fs::read_to_string(format!("/proc/{}/stat", other.id()))
        .is_ok_and(|stat| !stat.contains(") Z"))
    {}
    let used = account.sample(secs(2));
    assert_eq!(used[&Role::Gateway], Usage::default());
    other.wait().unwrap();
    account.sample(secs(3));
    let roles = account.roles();
    assert_eq!(roles[0].ended.len(), 1);
    assert_eq!((roles[0].ended[0].at_secs, roles[0].ended[0].pid), (2.0, other.id()));

    let mut last = process();
    let mut account = Account::default();
    account.watch(watched(Role::Generator, last.id()), secs(0), Phase::Connecting);
    account.enter(secs(1), Phase::Judging);
    last.kill().unwrap();
    last.wait().unwrap();
    account.sample(secs(2));
    assert_eq!(account.roles()[0].ended, [], "its part was done");
}

#[test]
fn a_run_is_looked_at_until_it_ends() {
    let progress = Arc::new(Progress::default());
    let watched = vec![watched(Role::Generator, std::process::id()), watched(Role::Logic, u32::MAX)];
    let mut sampler = Sampler::start(watched, progress, Instant::now()).unwrap();
    sampler.enter(Phase::Connecting);
    sampler.watch(Watched { role: Role::Gateway, name: "late".into(), pid: std::process::id() });
    sampler.enter(Phase::Publishing);
    sampler.enter(Phase::Judging);
    let taken = sampler.end();
    assert_eq!(taken.roles.len(), 1);
    assert_eq!(taken.notes.len(), 2, "one is not there, one is known: {:?}", taken.notes);
    let points = taken.timeline.into_points();
    assert_eq!((points.len(), points[0].phase), (1, Phase::Judging), "the last look");
    assert!(taken.machine_memory_hold > 0 && points[0].machine_memory_bytes > 0);
}
