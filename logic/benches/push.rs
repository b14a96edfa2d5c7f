//! What a `POST /v1/push` costs, as a ratio of a bare hyper handler that reads the same body and answers as much.
//!
//! `cargo bench -p logic`, or with a word of a case: `cargo bench -p logic --bench push -- nobody`. Compared are
//! CPU seconds for each call on the *serving* side, kernel included: logic and the bare handler have runtimes of
//! their own and so threads of their own, whose time the kernel counts (`/proc/self/task/*/schedstat`). What the
//! callers and the fake gateway cost is in neither; what logic does for the gateway (a delivery down, a receipt
//! up) is in its own. So the ratio is that of the calls a second that a machine full of serving threads would
//! take, and load of others on this machine does not count. Rounds alternate, and the median of their ratios
//! counts. The rate is that of this machine, callers and gateway on the same cores.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program that talks to people and may stop")]

#[allow(dead_code, reason = "shared with the tests")]
#[path = "../tests/it/fake.rs"]
mod fake;

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::names::Kind;
use common::patterns::Pattern;
use common::shutdown::Shutdown;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use logic::{HistoryRule, HistoryRules};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// That of the program, for both.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const CALLERS: usize = 64;
const ROUND: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 5;

/// As long as logic's answer.
const ANSWER: &str = r#"{"id":"00000000000000000000000000","replayed":false,"matched":1,"gateways":{"known":1,"accepted":1,"failed":[]}}"#;

async fn bare(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    assert!(!body.is_empty());
    Ok(Response::builder().status(202).body(Full::new(Bytes::from_static(ANSWER.as_bytes()))).unwrap())
}

async fn floor(listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        connections.spawn(async move {
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(TokioIo::new(stream), service_fn(bare)).await;
        });
    }
}

/// One caller: as many calls as fit, one after the other, on one connection.
async fn calls(address: SocketAddr, request: Vec<u8>, until: Instant) -> u64 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut buffer, mut done) = (vec![0; 4096], 0);
    while Instant::now() < until {
        stream.write_all(&request).await.unwrap();
        let mut read = 0;
        loop {
            let more = stream.read(&mut buffer[read..]).await.unwrap();
            read += more;
            let so_far = String::from_utf8_lossy(&buffer[..read]);
            assert!(more > 0 && so_far.starts_with("HTTP/1.1 202"), "{so_far}");
            // The body is the only thing that ends so: with the gateways, or with the places in histories.
            if buffer[..read].ends_with(b"}}") || buffer[..read].ends_with(b"}]}") {
                break;
            }
        }
        done += 1;
    }
    done
}

/// A part of the bench on threads of its own, which bear its name.
fn part(name: &str) -> Runtime {
    Builder::new_multi_thread().worker_threads(2).thread_name(name).enable_all().build().unwrap()
}

/// What the threads of a part have spent on a CPU so far, in nanoseconds.
fn cpu(part: &str) -> f64 {
    let mut spent = 0.0;
    for thread in fs::read_dir("/proc/self/task").unwrap() {
        let path = thread.unwrap().path();
        if fs::read_to_string(path.join("comm")).unwrap().trim() == part {
            let stat = fs::read_to_string(path.join("schedstat")).unwrap();
            spent += stat.split(' ').next().unwrap().parse::<f64>().unwrap();
        }
    }
    spent
}

/// What one round found: nanoseconds a call on the serving side, and calls a second.
async fn round(part: &str, address: SocketAddr, request: &[u8]) -> (f64, f64) {
    let (start, before, mut callers) = (Instant::now(), cpu(part), JoinSet::new());
    for _ in 0..CALLERS {
        callers.spawn(calls(address, request.to_vec(), start + ROUND));
    }
    let done = callers.join_all().await.iter().sum::<u64>() as f64;
    ((cpu(part) - before) / done, done / start.elapsed().as_secs_f64())
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

/// A logic node with a gateway of its own that holds the room `r1`; where its API is.
fn node(gateways: &Runtime, serving: &Runtime, history: HistoryRules) -> SocketAddr {
    let manner = fake::Manner { holds: Some(vec![(Kind::Room, "r1")]), ..fake::Manner::default() };
    let mut gateway = gateways.block_on(fake::Fake::start(manner));
    let settings = logic::Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        ops: "127.0.0.1:0".parse().unwrap(),
        gateways: vec![gateway.address.clone()],
        history,
        ..logic::Settings::default()
    };
    let node = serving.block_on(logic::Node::bind(settings)).unwrap();
    let address = node.api_addr();
    serving.spawn(node.run(Shutdown::new()));
    gateways.block_on(gateway.linked());
    gateways.spawn(async move { while gateway.next_event().await.is_some() {} });
    address
}

fn main() {
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with('-')).unwrap_or_default();
    let (callers, gateways) = (part("callers"), part("gateway"));
    let (serving, bare) = (part("logic"), part("bare"));
    let floor_listener = bare.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let floor_address = floor_listener.local_addr().unwrap();
    bare.spawn(floor(floor_listener));
    let node = |history| node(&gateways, &serving, history);
    // Two nodes: without rules, and with one.
    let plain = node(HistoryRules::default());
    let age = Duration::from_secs(3600);
    let rule = HistoryRule { matches: Pattern::parse("*").unwrap(), items: 1000, age };
    let kept = node(HistoryRules { rooms: vec![rule], users: Vec::new() });
    for (what, address, room) in [
        ("a room that a gateway holds", plain, "r1"),
        ("a room that nobody holds", plain, "r2"),
        ("a room with history", kept, "r1"),
    ] {
        if !what.contains(&wanted) {
            continue;
        }
        let body =
            format!(r#"{{"to":{{"room":"{room}"}},"event":"price","data":{{"pad":"{}"}}}}"#, "x".repeat(120));
        let head = "POST /v1/push HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes();
        let (mut ratios, mut costs, mut rates) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (floor, _) = callers.block_on(round("bare", floor_address, &request));
            let (cost, rate) = callers.block_on(round("logic", address, &request));
            ratios.push(floor / cost);
            costs.push(cost / 1000.0);
            rates.push(rate);
        }
        let (cost, rate, ratio) = (median(costs), median(rates), median(ratios));
        println!("push to {what}: {cost:.1} µs of CPU, {rate:.0}/s; {ratio:.2} of a bare hyper handler");
    }
}
