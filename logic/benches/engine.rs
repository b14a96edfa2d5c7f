//! How many pushes a second become stored ones: `POST /v1/push` to a room with history until its 202, kept in Redis and
//! kept in the process, beside a bare pipelined XADD loop on the same redis-server.
//!
//! `cargo bench -p logic --bench engine`; needs redis-server. All three have as many calls on their way at a time; the
//! floor has one connection, as the engine has. Redis writes its log of appends (`appendonly yes`, `everysec`). Rounds
//! alternate, and the median of their ratios counts: callers, node, gateway and Redis share this machine.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program that talks to people and may stop")]

#[allow(dead_code, reason = "shared with the tests")]
#[path = "../tests/it/fake.rs"]
mod fake;
#[allow(dead_code, reason = "shared with the tests")]
#[path = "../tests/support/redis.rs"]
mod redis;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::names::Kind;
use common::patterns::Pattern;
use common::shutdown::Shutdown;
use logic::{EngineChoice, HistoryRule, HistoryRules, RedisBeside, RedisSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// Calls on their way at a time.
const CALLERS: usize = 64;
const ROUND: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 5;

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
            // The places in histories are at the end.
            if buffer[..read].ends_with(b"}]}") {
                break;
            }
        }
        done += 1;
    }
    done
}

/// Pushes a second.
async fn pushes(address: SocketAddr, body: &str) -> f64 {
    let head = "POST /v1/push HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes();
    let (start, mut callers) = (Instant::now(), JoinSet::new());
    for _ in 0..CALLERS {
        callers.spawn(calls(address, request.clone(), start + ROUND));
    }
    callers.join_all().await.iter().sum::<u64>() as f64 / start.elapsed().as_secs_f64()
}

/// XADD a second, as many on their way at a time as there are callers.
async fn xadds(address: SocketAddr, body: &str) -> f64 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let words = ["XADD", "bare", "MAXLEN", "~", "1000", "*", "b", body];
    let mut one = format!("*{}\r\n", words.len());
    words.iter().for_each(|word| one.push_str(&format!("${}\r\n{word}\r\n", word.len())));
    let (start, mut done, mut buffer) = (Instant::now(), 0_u64, vec![0; 64 * 1024]);
    stream.write_all(one.repeat(CALLERS).as_bytes()).await.unwrap();
    while start.elapsed() < ROUND {
        let read = stream.read(&mut buffer).await.unwrap();
        // An answer is a length and an id, each with its line end.
        let lines = buffer[..read].iter().filter(|byte| **byte == b'\n').count();
        done += lines as u64;
        stream.write_all(one.repeat(lines / 2).as_bytes()).await.unwrap();
        if lines % 2 == 1 {
            // The other half of an answer is read with the next.
            stream.read_exact(&mut buffer[..1]).await.unwrap();
            while buffer[0] != b'\n' {
                stream.read_exact(&mut buffer[..1]).await.unwrap();
            }
            done += 1;
            stream.write_all(one.as_bytes()).await.unwrap();
        }
    }
    done as f64 / 2.0 / start.elapsed().as_secs_f64()
}

fn part(name: &str) -> Runtime {
    Builder::new_multi_thread().worker_threads(2).thread_name(name).enable_all().build().unwrap()
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

/// A logic node with a gateway of its own that holds the room `r1`; where its API is.
fn node(gateways: &Runtime, serving: &Runtime, engine: EngineChoice) -> SocketAddr {
    let manner = fake::Manner { holds: Some(vec![(Kind::Room, "r1")]), ..fake::Manner::default() };
    let mut gateway = gateways.block_on(fake::Fake::start(manner));
    let age = Duration::from_secs(3600);
    let rule = HistoryRule { matches: Pattern::parse("*").unwrap(), items: 1000, age };
    let settings = logic::Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        ops: "127.0.0.1:0".parse().unwrap(),
        gateways: vec![gateway.address.clone()],
        history: HistoryRules { rooms: vec![rule], users: Vec::new() },
        engine,
        ..logic::Settings::default()
    };
    let node = serving.block_on(logic::Node::bind(settings)).unwrap();
    let address = node.api_addr();
    serving.spawn(node.run(Shutdown::new()));
    gateways.block_on(gateway.linked());
    gateways.spawn(async move { while gateway.next_event().await.is_some() {} });
    address
}

/// Pushes until one is stored: a node that has just started may not have reached Redis yet.
async fn ready(address: SocketAddr, body: &str) {
    let raw = format!(
        "POST /v1/push HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let began = Instant::now();
    loop {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(raw.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        if answer.starts_with("HTTP/1.1 202") {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn main() {
    let (callers, gateways, serving) = (part("callers"), part("gateway"), part("logic"));
    let server =
        callers.block_on(redis::Server::start(&["--appendonly", "yes", "--appendfsync", "everysec"]));
    let beside = RedisBeside { prefix: "tidegate".to_owned(), ..RedisBeside::default() };
    let redis = EngineChoice::Redis(RedisSettings::parse(&server.url(), beside).unwrap());
    let nodes = [node(&gateways, &serving, redis), node(&gateways, &serving, EngineChoice::Embedded)];
    let pad = "x".repeat(120);
    let body = format!(r#"{{"to":{{"room":"r1"}},"event":"price","data":{{"pad":"{pad}"}}}}"#);
    nodes.iter().for_each(|address| callers.block_on(ready(*address, &body)));
    let mut found = [Vec::new(), Vec::new(), Vec::new()];
    let mut ratios = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        let floor = callers.block_on(xadds(server.address(), &body));
        found[2].push(floor);
        for (at, address) in nodes.iter().enumerate() {
            let rate = callers.block_on(pushes(*address, &body));
            found[at].push(rate);
            ratios[at].push(rate / floor);
        }
    }
    let [in_redis, embedded, floor] = found.map(median);
    let [of_redis, of_embedded] = ratios.map(median);
    println!("bare pipelined XADD, {CALLERS} on their way: {floor:.0}/s");
    println!("pushes to 202, kept in Redis: {in_redis:.0}/s, {of_redis:.3} of it");
    println!("pushes to 202, kept in the process: {embedded:.0}/s, {of_embedded:.3} of it");
}
