//! Redis is away, slow, silent, full, of the wrong kind or wants another password: calls end in a second, and the node
//! knows why.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A proxy that can swallow all that goes through it.
struct Proxy {
    address: SocketAddr,
    swallows: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, swallows) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let mut tasks = JoinSet::new();
        let swallowing = swallows.clone();
        tasks.spawn(async move {
            let mut pipes = JoinSet::new();
            loop {
                let (here, _) = listener.accept().await.unwrap();
                let there = TcpStream::connect(to).await.unwrap();
                let ((from_here, to_here), (from_there, to_there)) = (here.into_split(), there.into_split());
                pipes.spawn(pipe(from_here, to_there, swallowing.clone()));
                pipes.spawn(pipe(from_there, to_here, swallowing.clone()));
            }
        });
        Self { address, swallows, _tasks: tasks }
    }
}

async fn pipe(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    swallows: Arc<AtomicBool>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read) = from.read(&mut buffer).await
        && read > 0
    {
        if !swallows.load(Ordering::Relaxed) && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// Pushes, which must fail within a second; why it does.
async fn refused(node: &Node) -> String {
    let began = Instant::now();
    let result = node.try_push(&["r"], "x").await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    match result {
        Err(NotAppended::Away(Away(why))) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_redis_that_hangs_is_known_in_two_seconds_both_ways() {
    let redis = Server::start(&[]).await;
    let node = node(&redis.url(), "a").await;
    let before = node.push("r", "x").await;
    redis.stop();
    let first = refused(&node).await;
    assert!(first.contains("no answer") || first.contains("lost"), "{first}");
    assert!(node.is_away("").await < Duration::from_secs(2));
    let began = Instant::now();
    refused(&node).await;
    assert!(began.elapsed() < Duration::from_millis(100), "it is known");
    assert!(node.read(whose("r"), None, Most { items: 1, bytes: 1 }, Moment::now()).await.is_err());
    redis.go_on();
    assert!(node.is_well().await < Duration::from_secs(2));
    assert_eq!(node.push("r", "y").await.epoch, before.epoch);
}

#[tokio::test]
async fn a_connection_that_is_swallowed_is_replaced() {
    let redis = Server::start(&[]).await;
    let proxy = Proxy::start(redis.address()).await;
    let node = node(&format!("redis://{}", proxy.address), "a").await;
    node.push("r", "x").await;
    proxy.swallows.store(true, Ordering::Relaxed);
    refused(&node).await;
    assert!(node.is_away("").await < Duration::from_secs(2));
    proxy.swallows.store(false, Ordering::Relaxed);
    assert!(node.is_well().await < Duration::from_secs(2));
    node.push("r", "y").await;
}

#[tokio::test]
async fn more_calls_than_redis_takes_are_refused_at_once() {
    let redis = Server::start(&[]).await;
    let node = node(&redis.url(), "a").await;
    redis.stop();
    let calls = (0..=CALLS_MAX).map(|_| node.try_push(&["r"], "x"));
    let refused = futures_util::future::join_all(calls).await;
    let is_busy = |result: &Result<_, NotAppended>| matches!(result, Err(NotAppended::Away(Away(why))) if why.contains("too many calls"));
    assert_eq!(refused.iter().filter(|result| is_busy(result)).count(), 1);
}

#[tokio::test]
async fn a_replica_is_not_written_to_and_a_promoted_one_is() {
    let redis = Server::start(&[]).await;
    let node = node(&redis.url(), "a").await;
    let before = node.push("r", "x").await;
    redis.ask(&["REPLICAOF", "127.0.0.1", "1"]).await;
    assert!(refused(&node).await.contains("replica"));
    node.is_away("replica").await;
    redis.ask(&["REPLICAOF", "NO", "ONE"]).await;
    assert!(node.is_well().await < Duration::from_secs(2));
    assert_eq!(node.push("r", "y").await, Position { offset: 2, ..before }, "nothing was lost");
}

#[tokio::test]
async fn a_full_redis_stores_nothing_and_is_still_read() {
    let redis = Server::start(&[]).await;
    let node = node(&redis.url(), "a").await;
    let at = node.push("r", "x").await;
    redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_eq!(node.try_push(&["r", "new"], "y").await, Err(NotAppended::Full));
    assert_eq!(node.head("r").await, at, "nothing of the call is there");
    assert!(node.read_from("r", at).await.continues);
    assert_eq!(node.head("unknown").await.offset, 0);
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(node.health(), Ok(()), "plain pushes and readers need not know");
    redis.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(node.push("r", "y").await.offset, 2);
}

#[tokio::test]
async fn a_redis_that_cannot_save_is_away() {
    let redis = Server::start(&[]).await;
    let node = node(&redis.url(), "a").await;
    redis.ask(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    assert!(refused(&node).await.contains("min-replicas-to-write"));
    assert!(node.is_away("min-replicas-to-write").await < Duration::from_secs(2));
    redis.ask(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await;
    assert!(node.is_well().await < Duration::from_secs(2));
}

#[tokio::test]
async fn scripts_that_redis_forgot_are_sent_again() {
    let redis = Server::start(&[]).await;
    let node = node(&redis.url(), "a").await;
    redis.ask(&["SCRIPT", "FLUSH"]).await;
    assert_eq!(node.push("r", "x").await.offset, 1);
}

#[tokio::test]
async fn passwords_are_asked_for_in_words_and_never_shown() {
    let redis = Server::start(&["--requirepass", "open sesame"]).await;
    let url = |login: &str| format!("redis://{login}{}", redis.address());
    for (login, why) in [("", "wants a password"), (":sesame@", "WRONGPASS"), ("me:sesame@", "WRONGPASS")] {
        let node = node_with(settings(&url(login)), "a");
        node.is_away(why).await;
        let said = format!("{:?} {:?}", node.health(), node.engine);
        assert!(!said.contains("sesame"), "{said}");
        assert!(refused(&node).await.contains(why));
    }
    node(&url(":open%20sesame@"), "a").await.push("r", "x").await;
}

/// A server that says this to INFO, and OK to everything else.
async fn fake(about: &'static str) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, mut tasks) = (listener.local_addr().unwrap(), JoinSet::new());
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 4096];
            while let Ok(read) = stream.read(&mut buffer).await
                && read > 0
            {
                let answer = if buffer[..read].windows(4).any(|word| word == b"INFO") {
                    format!("${}\r\n{about}\r\n", about.len())
                } else {
                    "+OK\r\n".to_owned()
                };
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    (address, tasks)
}

#[tokio::test]
async fn a_server_that_is_not_what_is_needed_is_told_from_what_it_says() {
    for (about, why) in [
        (
            "redis_version:6.2.14\r\nredis_mode:standalone\r\n",
            "it is Redis 6.2.14; 7.0 or newer is needed, or Valkey",
        ),
        ("hello", "of no version that it says"),
        ("redis_version:7.2.0\r\nredis_mode:standalone\r\nloading:1\r\n", "is loading its data"),
        ("redis_version:7.2.0\r\nredis_mode:cluster\r\n", "begins with redis+cluster"),
        ("redis_version:7.2.0\r\nredis_mode:sentinel\r\n", "begins with redis+sentinel"),
    ] {
        let (address, _server) = fake(about).await;
        let said = settings(&format!("redis://{address}")).try_out().await.unwrap_err();
        assert!(said.contains(why) && said.contains(&address.to_string()), "{said}");
    }
    let nobody = settings("redis://127.0.0.1:1").try_out().await.unwrap_err();
    assert!(nobody.contains("cannot be reached") && nobody.contains("127.0.0.1:1"), "{nobody}");
}

#[tokio::test]
async fn a_redis_that_may_throw_things_away_is_warned_of() {
    let redis = Server::start(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]).await;
    let warnings = settings(&redis.url()).try_out().await.unwrap();
    assert!(
        warnings.iter().any(|warning| warning.contains("maxmemory-policy is allkeys-lru")),
        "{warnings:?}"
    );
    assert!(warnings.iter().any(|warning| warning.contains("appendonly is off")), "{warnings:?}");
    redis.ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    redis.ask(&["CONFIG", "SET", "appendonly", "yes"]).await;
    assert_eq!(settings(&redis.url()).try_out().await, Ok(Vec::new()));
}
