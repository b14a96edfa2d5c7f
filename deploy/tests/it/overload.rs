//! More than a gateway can write, from the API to the clients: windows widen, callers are told 503, what was
//! accepted arrives in order, and all of it goes away with the load.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::{Cluster, cluster};
use crate::process::{Running, http, tidegate};

/// Far beyond what is needed.
const PATIENCE: Duration = Duration::from_secs(25);

/// Clients that read nothing, and need not: what they get fits into their sockets.
const CROWD: usize = 1_000;

/// Callers that push what fills the link.
const FILLERS: usize = 24;

fn crowd(cluster: &Cluster) -> Vec<TcpStream> {
    let address = &cluster.gateways[0].main;
    let crowd = (0..CROWD)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            let head = "GET /ws?room=crowd HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    wait_until("all clients are registered", || {
        cluster.gateways[0].statusz()["clients"].as_u64() == Some(CROWD as u64 + 2)
    });
    crowd
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}: not in {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// What became of the numbered pushes.
#[derive(Debug, Default)]
struct Numbered {
    /// Answered 202, in this order.
    accepted: Vec<u64>,
    /// Answered that nothing was sent.
    refused: Vec<u64>,
}

/// Pushes numbers to everybody, one after another, until it is enough.
fn push_numbers(logic: &str, enough: &AtomicBool, accepted: &AtomicU64) -> Numbered {
    let mut numbered = Numbered::default();
    for n in 0.. {
        if enough.load(Ordering::Relaxed) {
            break;
        }
        let answer = http(logic, "POST /v1/push", &format!(r#"{{"to":{{"all":true}},"data":{n}}}"#));
        if answer.starts_with("HTTP/1.1 202 ") {
            numbered.accepted.push(n);
            accepted.fetch_add(1, Ordering::Relaxed);
        } else if answer.contains(r#""code":"overloaded""#) {
            numbered.refused.push(n);
        } else {
            // Neither is known of what the gateway did not confirm in time.
            assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("gateways_failed"), "{answer}");
        }
    }
    numbered
}

/// Pushes what is large, to one client, until it is enough. Returns the answer that said no, head and body.
fn fill(logic: &str, enough: &AtomicBool) -> Option<String> {
    let one = format!(r#"{{"to":{{"room":"big"}},"data":"{}"}}"#, "x".repeat(60_000));
    let batch = format!("[{}]", vec![one; 16].join(","));
    let mut refusal = None;
    while !enough.load(Ordering::Relaxed) {
        let answer = http(logic, "POST /v1/push/batch", &batch);
        assert!(["202", "503"].contains(&&answer[9..12]), "{answer}");
        refusal = Some(answer).filter(|answer| answer.contains(r#""code":"overloaded""#)).or(refusal);
    }
    refusal
}

/// The numbers that `tail` printed up to the word that ends them.
fn numbers(tail: &mut Running) -> Vec<u64> {
    tail.line(r#""data":"end""#);
    let text = tail.text();
    let items = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    items.filter_map(|item| item["data"].as_u64()).collect()
}

#[test]
fn past_its_bound_a_gateway_makes_callers_wait_and_what_was_accepted_arrives_in_order() {
    let flags = &["--merger-bytes", "64KiB", "--workers", "1", "--outbox", "1GiB"];
    let cluster = cluster().window("1s").flags(flags).start();
    let (logic, gateway) = (&cluster.logics[0].main, &cluster.gateways[0]);
    let mut witness = Running::start(&["tail", "--url", &gateway.ws(), "--room", "witness"]);
    witness.line("connected to");
    // What fills the link is read by one client, which need not tell it on.
    let mut shell = Command::new("sh");
    let program = tidegate(&[]).get_program().to_str().unwrap().to_owned();
    shell.args(["-c", &format!("exec {program} tail --url {} --room big >/dev/null", gateway.ws())]);
    let mut big = Running::start_command(shell);
    big.line("connected to");
    let _crowd = crowd(&cluster);

    let (enough, accepted) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut was_held, mut most_bytes) = (false, 0);
    let (numbered, refusals) = std::thread::scope(|scope| {
        let numbers = scope.spawn(|| push_numbers(logic, &enough, &accepted));
        let fillers: Vec<_> = (0..FILLERS).map(|_| scope.spawn(|| fill(logic, &enough))).collect();
        wait_until("links held and callers refused", || {
            let status = gateway.statusz();
            was_held |= status["linksHeld"].as_u64() > Some(0);
            most_bytes = most_bytes.max(status["mergerBytes"].as_u64().unwrap());
            let overloaded = http(&cluster.logics[0].ops, "GET /metrics", "");
            let refused = overloaded.lines().any(|line| {
                line.starts_with("tidegate_logic_pushes_total")
                    && line.contains("overloaded")
                    && !line.ends_with(" 0")
            });
            was_held && refused && accepted.load(Ordering::Relaxed) > 20
        });
        // Long enough for the numbered ones to be refused too.
        std::thread::park_timeout(Duration::from_secs(1));
        enough.store(true, Ordering::Relaxed);
        let refusals: Vec<_> = fillers.into_iter().filter_map(|filler| filler.join().unwrap()).collect();
        (numbers.join().unwrap(), refusals)
    });
    // The bound is passed by what was read before it was looked at: a chunk of the link, and an item's own size.
    assert!(most_bytes < 4 * 64 * 1024, "{most_bytes} bytes waited");

    // The load is gone: everything is taken again, at once.
    wait_until("a push is accepted", || {
        cluster.logics[0].push(r#"{"to":{"all":true},"data":"end"}"#).0 == 202
    });
    let arrived = numbers(&mut witness);
    assert!(arrived.is_sorted_by(|a, b| a < b), "in order, and once: {arrived:?}");
    let is_there = |n: &u64| arrived.binary_search(n).is_ok();
    assert_eq!(numbered.accepted.iter().find(|n| !is_there(n)), None, "accepted, and lost: {numbered:?}");
    assert_eq!(numbered.refused.iter().find(|n| is_there(n)), None, "refused, and sent: {numbered:?}");
    assert!(!refusals.is_empty(), "callers were refused");
    for refusal in refusals {
        let head = refusal.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 503 ") && head.contains("\r\nretry-after: "), "{refusal}");
    }
    wait_until("windows of a second again", || {
        let status = gateway.statusz();
        status["behind"] == false && status["windowMs"] == 1_000 && status["mergerBytes"] == 0
    });
    assert_eq!(gateway.statusz()["items"]["dropped"]["slow"], 0, "nothing was dropped on the way");
}
