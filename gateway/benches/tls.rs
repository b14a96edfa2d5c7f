//! What an idle client costs a gateway in memory, with TLS and without: real sockets, the clients in a process of
//! their own, whose memory is not counted.
//!
//! `cargo bench -p gateway --bench tls`, or `-- 15000` for another number of clients.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program that talks to people, may stop, and paces itself"
)]

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::shutdown::Shutdown;
use common::tls::{Acceptor, AcceptorFiles, Connector, ConnectorFiles, Inside, Named, Stream};
use gateway::{Admission, Node, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[path = "../../common/tests/support/authority.rs"]
#[allow(dead_code, unreachable_pub)]
mod authority;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The first argument of a process that holds clients.
const ROLE: &str = "tls-clients";

/// Clients that connect at a time.
const AT_ONCE: usize = 32;

fn memory() -> f64 {
    // What handshakes needed is given back within the allocator's decay.
    std::thread::sleep(Duration::from_millis(2500));
    drop(vec![0_u8; 1 << 20]);
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Anonymous:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
}

/// Connects clients, says so, and holds them until its input ends.
async fn clients(address: SocketAddr, ca: &str, count: usize) {
    common::descriptors::raise().unwrap();
    let ca = (ca != "-").then(|| Named::new("--ca", ca));
    let tls = ca.map(|ca| {
        Connector::load(ConnectorFiles { ca: Some(ca), identity: None, inside: Inside::Http1 }).unwrap()
    });
    let mut held = Vec::new();
    while held.len() < count {
        let mut some = tokio::task::JoinSet::new();
        for _ in 0..AT_ONCE.min(count - held.len()) {
            some.spawn(connect(address, tls.clone()));
        }
        held.extend(some.join_all().await);
    }
    println!("{}", held.len());
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

async fn connect(address: SocketAddr, tls: Option<Connector>) -> Stream {
    let socket = TcpStream::connect(address).await.unwrap();
    let mut stream = match tls {
        None => Stream::Plain(socket),
        Some(tls) => Stream::Tls(Box::new(tls.connect(socket, "localhost").await.unwrap())),
    };
    let request = "GET /ws?userId=u HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    while !heard.windows(7).any(|word| word == b"\"hello\"") {
        assert!(stream.read_buf(&mut heard).await.unwrap() > 0, "it closed");
    }
    stream
}

/// Bytes a client, and CPU time of its handshakes in this process.
async fn measure(folder: &Path, has_tls: bool, count: usize) -> (f64, Duration) {
    let named = |name: &str| Named::new("--file", folder.join(name));
    let files =
        AcceptorFiles { cert: named("a.pem"), key: named("a.key"), client_ca: None, inside: Inside::Http1 };
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let settings = Settings {
        listen: free,
        ingress: free,
        ops: free,
        admission: Admission { open: true, ..Admission::default() },
        tls: has_tls.then(|| Acceptor::load(files).unwrap()),
        drain: Duration::ZERO,
        ..Settings::default()
    };
    let node = Node::bind(settings).await.unwrap();
    let (address, shutdown) = (node.clients_addr(), Shutdown::new());
    let running = tokio::spawn(node.run(shutdown.clone()));
    // Memory that is used once, whoever comes.
    drop(hold(address, folder, has_tls, 64));
    let (before, began) = (memory(), cpu());
    let mut child = hold(address, folder, has_tls, count);
    let spent = cpu().saturating_sub(began);
    let bytes = (memory() - before) / count as f64;
    drop(child.stdin.take());
    child.wait().unwrap();
    shutdown.stop();
    running.await.unwrap().unwrap();
    (bytes, spent / count as u32)
}

/// A process that holds so many clients.
fn hold(address: SocketAddr, folder: &Path, has_tls: bool, count: usize) -> Child {
    let ca = if has_tls { folder.join("ca.pem").display().to_string() } else { "-".into() };
    let program = std::env::current_exe().unwrap();
    let mut child = Command::new(program)
        .args([ROLE, &address.to_string(), &ca, &count.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 1];
    let began = Instant::now();
    while line != *b"\n" {
        child.stdout.as_mut().unwrap().read_exact(&mut line).expect("it says that all are there");
        assert!(began.elapsed() < Duration::from_secs(300));
    }
    child
}

/// CPU time of this process so far.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let spent = |stat: String| stat.split(' ').next().unwrap().parse::<u64>().unwrap();
    let all: u64 = threads
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok())
        .map(spent)
        .sum();
    Duration::from_nanos(all.max(spent(stat)))
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if let [role, address, ca, count] = &words[..]
        && role == ROLE
    {
        return runtime.block_on(clients(address.parse().unwrap(), ca, count.parse().unwrap()));
    }
    common::descriptors::raise().unwrap();
    let count = words.first().map_or(5_000, |word| word.parse().expect("a number of clients"));
    let folder = tempfile::tempdir().unwrap();
    let authority = authority::Authority::new();
    authority.write(folder.path(), "ca");
    authority.sign(folder.path(), "a", authority::Kind::Good);
    println!("{count} idle clients of one gateway");
    for (name, has_tls) in [("without TLS", false), ("with TLS", true)] {
        let (bytes, spent) = runtime.block_on(Box::pin(measure(folder.path(), has_tls, count)));
        println!("{name:<12} {bytes:>8.0} B a client   {spent:>8.0?} of CPU for its handshakes");
    }
}
