//! Healthy clients, and a backend that pushes to them: how long items take from the call to each client.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::client::Incoming;
use futures_util::StreamExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::cluster::Cluster;
use crate::process::http;

/// How many there are.
const CLIENTS: usize = 50;

/// How often something is pushed to all of them.
const EVERY: Duration = Duration::from_millis(20);

/// Healthy clients of a cluster.
pub(super) struct Healthy {
    seen: Arc<Seen>,
    threads: Vec<JoinHandle<()>>,
}

/// What they and the backend have seen.
struct Seen {
    began: Instant,
    /// How long each item took to each client.
    latencies: Mutex<Vec<Duration>>,
    joined: AtomicU64,
    pushed: AtomicU64,
    received: AtomicU64,
    /// What went wrong.
    wrong: Mutex<Vec<String>>,
    enough: AtomicBool,
}

impl Healthy {
    /// Connects them to the first gateway with `query`, and has the first logic node told to push from now on.
    pub(super) fn join(cluster: &Cluster, query: &str) -> Self {
        let seen = Arc::new(Seen {
            began: Instant::now(),
            latencies: Mutex::default(),
            joined: AtomicU64::new(0),
            pushed: AtomicU64::new(0),
            received: AtomicU64::new(0),
            wrong: Mutex::default(),
            enough: AtomicBool::new(false),
        });
        let (gateway, logic) = (cluster.gateways[0].main.clone(), cluster.logics[0].main.clone());
        let clients = {
            let seen = seen.clone();
            let url = format!("ws://{gateway}/ws?room=healthy{query}");
            std::thread::spawn(move || clients(&gateway, &url, &seen))
        };
        while seen.joined.load(Ordering::Relaxed) < CLIENTS as u64 {
            assert!(seen.began.elapsed() < Duration::from_secs(20), "they do not come in");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let backend = {
            let seen = seen.clone();
            std::thread::spawn(move || push(&logic, &seen))
        };
        Self { seen, threads: vec![clients, backend] }
    }

    /// The 99th of a hundred latencies of items that came while something was done.
    pub(super) fn p99_of(&self, something: impl FnOnce()) -> Duration {
        self.seen.latencies.lock().unwrap().clear();
        something();
        let mut latencies = std::mem::take(&mut *self.seen.latencies.lock().unwrap());
        assert!(latencies.len() >= CLIENTS, "only {} items came", latencies.len());
        let place = latencies.len() * 99 / 100;
        *latencies.select_nth_unstable(place).1
    }

    /// Ends the pushes. Each client must have got every item, and none must have been sent away.
    pub(super) fn leaves_in_health(mut self) {
        self.seen.enough.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
        let wrong = self.seen.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{wrong:#?}");
        let (pushed, received) = (&self.seen.pushed, &self.seen.received);
        assert_eq!(received.load(Ordering::Relaxed), pushed.load(Ordering::Relaxed) * CLIENTS as u64);
    }
}

impl Drop for Healthy {
    fn drop(&mut self) {
        self.seen.enough.store(true, Ordering::Relaxed);
    }
}

impl Seen {
    fn goes_wrong(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }

    /// Whether all that was pushed has come, and no more is pushed. Items that never come are waited for only so long.
    fn is_over(&self, since: &mut Option<Instant>) -> bool {
        if !self.enough.load(Ordering::Relaxed) {
            return false;
        }
        let since = since.get_or_insert_with(Instant::now);
        let all = self.pushed.load(Ordering::Relaxed) * CLIENTS as u64;
        self.received.load(Ordering::Relaxed) >= all && since.elapsed() > 20 * EVERY
            || since.elapsed() > Duration::from_secs(5)
    }
}

/// Pushes what time it is, until it is enough.
fn push(logic: &str, seen: &Seen) {
    let mut next = Instant::now();
    while !seen.enough.load(Ordering::Relaxed) {
        let now = seen.began.elapsed().as_micros();
        let answer = http(logic, "POST /v1/push", &format!(r#"{{"to":{{"room":"healthy"}},"data":{now}}}"#));
        if answer.starts_with("HTTP/1.1 202 ") {
            seen.pushed.fetch_add(1, Ordering::Relaxed);
        } else {
            seen.goes_wrong(answer);
        }
        next = (next + EVERY).max(Instant::now());
        std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
    }
}

/// All clients, on one thread.
fn clients(gateway: &str, url: &str, seen: &Seen) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let all = futures_util::future::join_all((0..CLIENTS).map(|_| client(gateway, url, seen)));
        let mut since = None;
        let over = async {
            while !seen.is_over(&mut since) {
                tokio::time::sleep(EVERY).await;
            }
        };
        tokio::select! {
            _ = all => {}
            () = over => {}
        }
    });
}

async fn client(gateway: &str, url: &str, seen: &Seen) {
    let stream = TcpStream::connect(gateway).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => hear(&text, seen),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => return seen.goes_wrong(format!("a healthy client heard {other:?}")),
        }
    }
}

fn hear(text: &str, seen: &Seen) {
    let message: Incoming<'_> = serde_json::from_str(text).unwrap();
    if message.cmd == "hello" {
        seen.joined.fetch_add(1, Ordering::Relaxed);
    }
    let now = seen.began.elapsed();
    let since = |data: &str| now.saturating_sub(Duration::from_micros(data.parse().unwrap()));
    let latencies: Vec<_> = message.items.iter().map(|item| since(item.data.get())).collect();
    seen.received.fetch_add(latencies.len() as u64, Ordering::Relaxed);
    seen.latencies.lock().unwrap().extend(latencies);
}
