//! What a gateway's own structures cost at one size: connections in memory, in a process of their own.
//!
//! A write to a connection in memory is over at once, so a sweep's time is ours alone (in the kernel each frame
//! costs some 7 µs more). A part of two programs: the table of all sizes (`cargo bench -p gateway`) and the
//! gateway's table (`cargo bench -p deploy --bench gateway`). Both call [`role`] first, and have jemalloc as
//! their allocator, as the gateway has.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program that talks to people, may stop, and paces itself"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway::rig::Rig;

/// The first argument of a process that measures.
const ROLE: &str = "million-size";

/// A figure: what it is called, its unit, the most it may be.
pub(crate) const FIGURES: [(&str, &str, Option<f64>); 12] = [
    ("memory of an idle connection (a user, a room of 100)", "B", Some(1024.0)),
    ("register, with its user and a room", "µs", None),
    ("sweep to all, CPU a connection", "ns", None),
    ("sweep to one room of all, CPU a connection", "ns", None),
    ("sweep to rooms of 100, CPU a connection", "ns", None),
    ("join during sweeps, p99", "ms", Some(5.0)),
    ("leave during sweeps, p99", "ms", Some(5.0)),
    ("connect during sweeps, p99", "ms", Some(5.0)),
    ("disconnect during sweeps, p99", "ms", Some(5.0)),
    ("memory of a membership in one room of all", "B", None),
    ("memory of a membership in a room of one", "B", None),
    ("join of a room of one", "µs", None),
];

fn memory() -> f64 {
    // What handshakes and growing tables needed is given back within the allocator's decay.
    std::thread::sleep(Duration::from_millis(1200));
    drop(vec![0_u8; 1 << 20]);
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Anonymous:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
}

fn p99(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() * 99 / 100].as_secs_f64() * 1e3
}

/// CPU time of this process so far, in nanoseconds: steadier than the clock on a machine with other work.
fn cpu() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let spent = |stat: String| stat.split(' ').next().unwrap().parse::<f64>().unwrap();
    // A thread may end between the two looks.
    threads
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok())
        .map(spent)
        .sum()
}

/// Sweeps until it has lasted half a second, and gives the CPU time of the cheapest, by the connections it reaches.
async fn sweep(rig: &Rig, rooms: Option<&[String]>) -> f64 {
    let body = Bytes::from(format!("\"data\":\"{}\"}}", "x".repeat(200)));
    let mut best = f64::MAX;
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(500) {
        let before = rig.written();
        let start = cpu();
        let reach = rig.push(rooms, &body);
        rig.flush().await;
        best = best.min((cpu() - start) / reach as f64);
        assert_eq!(rig.written() - before, reach, "each connection is written to once");
    }
    best
}

/// Comings and goings while sweeps to all run one after the other.
async fn beside_sweeps(rig: &Arc<Rig>) -> [f64; 4] {
    let over = Arc::new(AtomicBool::new(false));
    let guests = std::thread::spawn({
        let (rig, over) = (rig.clone(), over.clone());
        move || {
            let mut times: [Vec<Duration>; 4] = Default::default();
            let mut note = |kind: usize, began: Instant| times[kind].push(began.elapsed());
            while !over.load(Ordering::Relaxed) {
                let began = Instant::now();
                let guest = rig.guest("guest", &[]);
                note(2, began);
                for room in 0..8 {
                    let room = format!("side {room}");
                    let began = Instant::now();
                    assert!(guest.join(&room));
                    note(0, began);
                    let began = Instant::now();
                    assert!(guest.leave(&room));
                    note(1, began);
                }
                let began = Instant::now();
                drop(guest);
                note(3, began);
                std::thread::sleep(Duration::from_micros(200));
            }
            times.map(p99)
        }
    });
    let began = Instant::now();
    let body = Bytes::from_static(b"\"data\":1}");
    while began.elapsed() < Duration::from_secs(1) {
        rig.push(None, &body);
        rig.flush().await;
    }
    over.store(true, Ordering::Relaxed);
    guests.join().unwrap()
}

/// All figures at one size, in the order of [`FIGURES`].
async fn measure(count: usize) -> Vec<f64> {
    let connections = count as f64;
    let rig =
        Arc::new(Rig::start(gateway::Settings { window: Duration::from_secs(3600), ..Default::default() }));
    let empty = memory();
    let start = Instant::now();
    for client in 0..count {
        rig.seat(format!("user {client}"), vec![format!("hundred {}", client / 100)]).await;
    }
    let register = start.elapsed().as_secs_f64() * 1e6 / connections;
    let idle = (memory() - empty) / connections;
    assert_eq!(rig.clients(), count);
    let all = sweep(&rig, None).await;
    let hundreds: Vec<String> = (0..count.div_ceil(100)).map(|room| format!("hundred {room}")).collect();
    let rooms = sweep(&rig, Some(&hundreds)).await;
    let [join, leave, connect, disconnect] = beside_sweeps(&rig).await;
    assert_eq!(rig.dropped(), 0);
    drop(rig);

    // Memberships: guests have no session, so that what a room adds is all that is seen.
    let rig = Rig::start(gateway::Settings { window: Duration::from_secs(3600), ..Default::default() });
    let guests: Vec<_> = (0..count).map(|client| rig.guest(&format!("user {client}"), &[])).collect();
    let before = memory();
    guests.iter().for_each(|guest| assert!(guest.join("everybody")));
    let in_one = (memory() - before) / connections;
    let one = sweep(&rig, Some(&["everybody".to_owned()])).await;
    let before = memory();
    let start = Instant::now();
    for (client, guest) in guests.iter().enumerate() {
        assert!(guest.join(&format!("own {client}")));
    }
    let join_own = start.elapsed().as_secs_f64() * 1e6 / connections;
    let in_own = (memory() - before) / connections;
    vec![idle, register, all, one, rooms, join, leave, connect, disconnect, in_one, in_own, join_own]
}

/// Measures in a process of its own, made of the program that runs.
pub(crate) fn child(count: usize) -> Vec<f64> {
    let program = std::env::current_exe().unwrap();
    let output = std::process::Command::new(program).args([ROLE, &count.to_string()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().map(|word| word.parse().unwrap()).collect()
}

/// If this process was started to measure: does its work, and ends.
pub(crate) fn role() {
    let words: Vec<String> = std::env::args().skip(1).take(2).collect();
    let [role, count] = &words[..] else { return };
    if role != ROLE {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let figures = runtime.block_on(measure(count.parse().unwrap()));
    println!("{}", figures.iter().map(f64::to_string).collect::<Vec<_>>().join(" "));
    // A million sessions need not be taken down one by one.
    std::process::exit(0);
}
