//! Items through one link: batches for a room with one member, so that the gateway's cost is that of taking,
//! merging and encoding, and hardly that of writing.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::cpu::Marks;
use crate::process::{Cluster, pause};
use crate::raw::Raw;
use crate::table::{Bound, Row, median, number};
use crate::{Bench, Case};

/// Pushes of a batch: as many as the API takes.
pub(crate) const BATCH: u32 = 1_000;

/// Callers beside each other.
const CALLERS: u32 = 4;

/// Items must be there so long after the last call.
const ARRIVE_TIME_MAX: Duration = Duration::from_secs(20);

/// What a round cost: µs an item at the gateway and at logic, and items a second on this machine.
struct Round {
    gateway: f64,
    logic: f64,
    rate: f64,
}

/// A batch of short items, each for the target that `to` names.
fn batch(first: u32, to: &impl Fn(u32) -> String) -> String {
    let mut body = String::from("[");
    for item in first..first + BATCH {
        let (comma, to) = (if item == first { "" } else { "," }, to(item));
        write!(body, r#"{comma}{{"to":{to},"data":{{"n":{item},"pad":"0123456789abcdef"}}}}"#)
            .expect("a String takes all");
    }
    body + "]"
}

/// So many batches, spread over callers beside each other.
pub(crate) fn call_all(address: &str, batches: u32, to: impl Fn(u32) -> String + Sync) -> Result<(), String> {
    std::thread::scope(|scope| {
        let call = |part| {
            let mine = (part..batches).step_by(CALLERS as usize);
            call(address, mine.map(|number| batch(number * BATCH, &to)))
        };
        let callers: Vec<_> = (0..CALLERS).map(|part| scope.spawn(move || call(part))).collect();
        callers.into_iter().try_for_each(|caller| caller.join().map_err(|_| "a caller panicked")?)
    })
}

/// Batches one after the other, on one connection.
fn call(address: &str, batches: impl Iterator<Item = String>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("a batch to {address}: {error}");
    let head = "POST /v1/push/batch HTTP/1.1\r\nContent-Type: application/json\r\n";
    let mut stream = BufReader::new(TcpStream::connect(address).map_err(failed)?);
    stream.get_ref().set_nodelay(true).map_err(failed)?;
    for body in batches {
        let request = format!("{head}Host: {address}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.get_mut().write_all(request.as_bytes()).map_err(failed)?;
        let (mut line, mut status, mut length) = (String::new(), String::new(), 0);
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line).map_err(failed)? == 0 {
                return Err("logic ended in an answer".into());
            }
            if status.is_empty() {
                status.clone_from(&line);
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer).map_err(failed)?;
        if !status.starts_with("HTTP/1.1 202") {
            return Err(format!("a batch was answered {status}{}", String::from_utf8_lossy(&answer)));
        }
    }
    Ok(())
}

fn round(cluster: &Cluster, batches: u32) -> Result<Round, String> {
    let (gateway, logic) = (&cluster.gateway, &cluster.logic);
    let [_, before, ..] = Marks::of(gateway)?.0;
    let begun = Instant::now();
    let (gateway_cpu, logic_cpu) = (gateway.cpu_us()?, logic.cpu_us()?);
    call_all(&logic.main, batches, |_| r#"{"room":"r"}"#.to_owned())?;
    let secs = begun.elapsed().as_secs_f64();
    let wanted = f64::from(batches * BATCH);
    while Marks::of(gateway)?.0[1] - before < wanted {
        if begun.elapsed().as_secs_f64() - secs > ARRIVE_TIME_MAX.as_secs_f64() {
            return Err("items that were accepted did not reach the member".into());
        }
        pause(Duration::from_millis(50));
    }
    Ok(Round {
        gateway: (gateway.cpu_us()? - gateway_cpu) / wanted,
        logic: (logic.cpu_us()? - logic_cpu) / wanted,
        rate: wanted / secs,
    })
}

fn rows(bench: &Bench) -> Result<Vec<Row>, String> {
    let cluster = Cluster::start(&["--window", "100ms"])?;
    let mut member = Raw::open(&cluster.gateway.main, "userId=u&room=r")?;
    member.wait_for("hello")?;
    let reader = std::thread::spawn(move || while member.next().is_ok() {});
    let mut rounds = Vec::new();
    for _ in 0..bench.rounds {
        rounds.push(round(&cluster, if bench.full { 2_000 } else { 400 })?);
    }
    drop(cluster);
    reader.join().map_err(|_| "the member panicked")?;
    let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure));
    let row = Row::plain(
        "items a second through one link, of a core of the gateway",
        Bound::AtLeast(1_000_000.0, 300_000.0),
        1e6 / of(|round| round.gateway),
        "/s",
    );
    Ok(vec![row.note(format!(
        "{} µs an item at the gateway, {} at logic, its API and batches of {BATCH} included; {} a second on this machine",
        number(of(|round| round.gateway)),
        number(of(|round| round.logic)),
        number(of(|round| round.rate))
    ))])
}

/// The case of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("link", false, rows)]
}
