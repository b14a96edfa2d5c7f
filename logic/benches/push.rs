//! `POST /v1/push` per second, as a ratio of a bare hyper handler that reads the same body and answers as much.
//!
//! `cargo bench -p logic`. Both servers, their callers and a fake gateway share one runtime and the machine;
//! rounds alternate, and the median of their ratios counts. The caller's own cost is in both.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program that talks to people and may stop")]

#[allow(dead_code, reason = "shared with the tests")]
#[path = "../tests/it/fake.rs"]
mod fake;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::names::Kind;
use common::shutdown::Shutdown;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

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

async fn floor(tasks: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            connections.spawn(async move {
                let http = hyper::server::conn::http1::Builder::new();
                let _ = http.serve_connection(TokioIo::new(stream), service_fn(bare)).await;
            });
        }
    });
    address
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
            // The body is the only thing that ends so.
            if buffer[..read].ends_with(b"}}") {
                break;
            }
        }
        done += 1;
    }
    done
}

async fn rate(address: SocketAddr, request: &[u8]) -> f64 {
    let (start, mut callers) = (Instant::now(), JoinSet::new());
    for _ in 0..CALLERS {
        callers.spawn(calls(address, request.to_vec(), start + ROUND));
    }
    let done: u64 = callers.join_all().await.iter().sum();
    done as f64 / start.elapsed().as_secs_f64()
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

#[tokio::main]
async fn main() {
    let mut tasks = JoinSet::new();
    let floor = floor(&mut tasks).await;
    let holds = Some(vec![(Kind::Room, "r1")]);
    let mut gateway = fake::Fake::start(fake::Manner { holds, ..fake::Manner::default() }).await;
    let settings = logic::Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        ops: "127.0.0.1:0".parse().unwrap(),
        gateways: vec![gateway.address.clone()],
        ..logic::Settings::default()
    };
    let node = logic::Node::bind(settings).await.unwrap();
    let logic = node.api_addr();
    tasks.spawn(async move { _ = node.run(Shutdown::new()).await });
    gateway.linked().await;
    tasks.spawn(async move { while gateway.next_event().await.is_some() {} });
    for (what, room) in [("a room that a gateway holds", "r1"), ("a room that nobody holds", "r2")] {
        let body =
            format!(r#"{{"to":{{"room":"{room}"}},"event":"price","data":{{"pad":"{}"}}}}"#, "x".repeat(120));
        let head = "POST /v1/push HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes();
        let (mut ratios, mut rates) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (bare, push) = (rate(floor, &request).await, rate(logic, &request).await);
            ratios.push(push / bare);
            rates.push(push);
        }
        println!("push to {what}: {:.0}/s, {:.2} of a bare hyper handler", median(rates), median(ratios));
    }
}
