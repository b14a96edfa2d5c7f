//! What an idle connection costs: memory at rest and after it has been used, CPU for its heartbeats.
//!
//! Memory is what the gateway's process has grown by since nobody was connected, over the clients; each client
//! is a user and in one of 1,000 rooms. On the same connections, one after the other: at rest; after each got a
//! frame of 64 KiB; then, with more clients beside them, after commands; and after many have come and gone.

use std::time::{Duration, Instant};

use crate::load::{Generator, Load, Stage};
use crate::process::{Cluster, Memory, SETTLE, pause};
use crate::raw::Raw;
use crate::table::{Bound, Row, number};
use crate::{Bench, Case};

const CLIENTS: u32 = 15_000;

/// Clients that send commands, beside those: fewer, for each is a blocking socket.
const COMMANDERS: u32 = 2_000;

/// Clients that come and go beside each other.
const CHURNERS: u32 = 64;

/// What each commander says; each has its answer.
const COMMANDS: [&str; 3] = [
    r#"{"seq":"1","cmd":"join","data":{"room":"other"}}"#,
    r#"{"seq":"2","cmd":"leave","data":{"room":"other"}}"#,
    r#"{"seq":"3","cmd":"heartbeat","data":{}}"#,
];

/// How one size of this differs from another.
struct Size {
    /// Periods of heartbeats that idle CPU is measured over.
    idle: Duration,
    heartbeat: Duration,
    churn: u32,
    /// After the frame, time for commands and churn.
    busy: Duration,
}

const QUICK: Size = Size {
    idle: Duration::from_secs(4),
    heartbeat: Duration::from_secs(2),
    churn: 10_000,
    busy: Duration::from_secs(12),
};

const FULL: Size = Size {
    idle: Duration::from_secs(50),
    heartbeat: Duration::from_secs(25),
    churn: 100_000,
    busy: Duration::from_secs(90),
};

/// The default heartbeat, which the figure is for.
const HEARTBEAT: Duration = Duration::from_secs(25);

fn rows(bench: &Bench) -> Result<Vec<Row>, String> {
    let size = if bench.full { FULL } else { QUICK };
    let beat = humantime::format_duration(size.heartbeat).to_string();
    let cluster = Cluster::start(&["--window", "200ms", "--heartbeat", &beat])?;
    let gateway = &cluster.gateway;
    let empty = gateway.settled_memory()?;
    let load = Load {
        rooms: 1_000,
        mix: "all=1".into(),
        size: 64 * 1024,
        // A frame to all at once; then this one's successor is long in coming.
        rate: 1.0 / size.busy.as_secs_f64(),
        publish: size.busy * 2,
        settle: size.idle + SETTLE * 2 + SETTLE / 2,
        drain: Duration::from_secs(30),
        ..Load::on(&cluster, CLIENTS)
    };
    let mut generator = Generator::start(&load)?;
    generator.reached(Stage::Connected)?;
    pause(SETTLE);
    let (before, since) = (gateway.cpu_us()?, Instant::now());
    pause(size.idle);
    let idle = (gateway.cpu_us()? - before) / since.elapsed().as_secs_f64() / f64::from(CLIENTS);
    let rest = gateway.settled_memory()?;
    generator.reached(Stage::Publishing)?;
    let begun = Instant::now();
    wait_for_frames(&cluster, size.busy)?;
    let framed = gateway.settled_memory()?;
    bench.say("memory: each client has had a long frame");
    let commanded = command(&cluster, empty)?;
    bench.say("memory: commands are answered");
    churn(&gateway.main, size.churn)?;
    bench.say("memory: clients have come and gone");
    let churned = gateway.settled_memory()?;
    if begun.elapsed() > size.busy {
        return Err("commands and churn took longer than the time for them".into());
    }
    generator.reached(Stage::Judging)?;
    let faults = generator.outcome()?.faults();
    let each = |now: Memory| Memory {
        rss: (now.rss - empty.rss) / f64::from(CLIENTS) / 1024.0,
        anon: (now.anon - empty.anon) / f64::from(CLIENTS) / 1024.0,
    };
    let memory = |what: &str, now: Memory, note: String| {
        let Memory { rss, anon } = each(now);
        Row::plain(format!("memory of an idle connection, {what}"), Bound::AtMost(1.0, 1.5), rss, "KiB")
            .note(format!("anonymous {} KiB{note}", number(anon)))
            .faults(faults.clone())
    };
    let grown = format!("; {COMMANDERS} more clients, {} commands each", COMMANDS.len());
    let churn = number(f64::from(size.churn));
    Ok(vec![
        memory(
            "at rest",
            rest,
            format!("; {CLIENTS} clients, process empty {} MiB", number(empty.rss / 1024.0 / 1024.0)),
        ),
        memory("after a frame of 64 KiB", framed, String::new()),
        memory("after commands", commanded, grown),
        memory(&format!("after {churn} came and went"), churned, "; the same clients connected".into()),
        heartbeats(idle, &size).faults(faults),
    ])
}

/// Waits until each client has the frame.
fn wait_for_frames(cluster: &Cluster, at_most: Duration) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let metrics = cluster.gateway.metrics()?;
        let of = |name: &str| metrics.get(name).copied().unwrap_or(0.0);
        if of("frames_written_total") + of("items_written_total") >= 2.0 * f64::from(CLIENTS)
            && of("outboxes") == 0.0
        {
            return Ok(());
        }
        if begun.elapsed() > at_most {
            return Err(format!("only {} of {CLIENTS} frames were written", of("frames_written_total")));
        }
        pause(Duration::from_millis(100));
    }
}

/// More clients, with commands: the gateway's memory as if all clients had sent them.
fn command(cluster: &Cluster, empty: Memory) -> Result<Memory, String> {
    let gateway = &cluster.gateway;
    let mut clients = Vec::new();
    for number in 0..COMMANDERS {
        let query = format!("userId=c{number}&room=c{}", number % 1_000);
        clients.push(Raw::open(&gateway.main, &query)?);
    }
    clients.iter_mut().try_for_each(|client| client.wait_for("hello"))?;
    let before = gateway.settled_memory()?;
    for client in &mut clients {
        for (number, command) in (1..).zip(COMMANDS) {
            client.send(command)?;
            client.wait_for(&format!(r#""seq":"{number}""#))?;
        }
    }
    let after = gateway.settled_memory()?;
    let (all, some) = (f64::from(CLIENTS), f64::from(COMMANDERS));
    // What the allocator gives back meanwhile is no gain of commands. What they left behind is scaled to all clients, on top of the clients without the commanders.
    let as_if = |empty: f64, before: f64, after: f64| {
        empty + (before - empty) * all / (all + some) + (after - before).max(0.0) * all / some
    };
    Ok(Memory {
        rss: as_if(empty.rss, before.rss, after.rss),
        anon: as_if(empty.anon, before.anon, after.anon),
    })
}

/// Clients that come, are greeted, and go.
fn churn(address: &str, count: u32) -> Result<(), String> {
    std::thread::scope(|scope| {
        let churners: Vec<_> = (0..CHURNERS)
            .map(|part| {
                scope.spawn(move || {
                    (part..count).step_by(CHURNERS as usize).try_for_each(|number| {
                        let query = format!("userId=x{number}&room=x{}", number % 1_000);
                        Raw::open(address, &query)?.wait_for("hello")
                    })
                })
            })
            .collect();
        churners
            .into_iter()
            .try_for_each(|churner| churner.join().map_err(|_| "a churner panicked".to_owned())?)
    })
}

fn heartbeats(idle: f64, size: &Size) -> Row {
    let scale = HEARTBEAT.as_secs_f64() / size.heartbeat.as_secs_f64();
    let figure = "idle CPU of a connection, heartbeat every 25 s";
    let row = Row::plain(figure, Bound::AtMost(0.3, 0.6), idle / scale, "µs/s");
    let measured =
        format!("{CLIENTS} clients over {} s, pings and pongs, kernel included", size.idle.as_secs());
    if size.heartbeat == HEARTBEAT {
        return row.note(measured);
    }
    let every = size.heartbeat.as_secs();
    row.note(format!(
        "measured with one every {every} s: {} µs/s, divided by {scale}; {measured}",
        number(idle)
    ))
}

/// The case of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("memory-and-idle", false, rows)]
}
