//! Handshakes with every header missing or wrong (RFC 6455 §4.2.1), and what else strangers send.

use std::time::Duration;

use gateway::Settings;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::clients::{connect, connect_unheard, handshake, raw};
use crate::node::{settings, start};

/// The good handshake with one line replaced or left out.
fn with(line: &str, by: &str) -> String {
    let good = handshake("");
    assert!(good.contains(line), "{line}");
    good.replace(line, by)
}

#[tokio::test]
async fn each_wrong_handshake_gets_its_answer() {
    let gateway = start(settings()).await;
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let version = "Sec-WebSocket-Version: 13\r\n";
    let upgrade = "Upgrade: websocket\r\n";
    let connection = "Connection: Upgrade\r\n";
    let line = "GET /ws? HTTP/1.1\r\n";
    let host = "Host: test\r\n";
    for (name, request, status) in [
        ("no upgrade", with(upgrade, ""), 426),
        ("another upgrade", with(upgrade, "Upgrade: h2c\r\n"), 426),
        ("no connection", with(connection, ""), 400),
        ("another connection", with(connection, "Connection: keep-alive\r\n"), 400),
        ("no version", with(version, ""), 426),
        ("version 8", with(version, "Sec-WebSocket-Version: 8\r\n"), 426),
        ("version words", with(version, "Sec-WebSocket-Version: thirteen\r\n"), 426),
        ("two versions", with(version, "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 13\r\n"), 400),
        ("no key", with(key, ""), 400),
        ("short key", with(key, "Sec-WebSocket-Key: dGhl\r\n"), 400),
        ("key of rubbish", with(key, "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!!!\r\n"), 400),
        ("two keys", with(key, &format!("{key}{key}")), 400),
        ("no host", with(host, ""), 400),
        ("two hosts", with(host, "Host: a\r\nHost: b\r\n"), 400),
        ("post", with(line, "POST /ws HTTP/1.1\r\n"), 405),
        ("HTTP/1.0", with(line, "GET /ws HTTP/1.0\r\n"), 426),
        ("another path", with(line, "GET /elsewhere HTTP/1.1\r\n"), 404),
        ("a body", with(host, "Host: test\r\nContent-Length: 3\r\n"), 400),
        ("not HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".to_owned(), 400),
        ("a huge head", with(host, &format!("Host: test\r\nX: {}\r\n", "x".repeat(40_000))), 431),
        ("many headers", with(host, &format!("Host: test\r\n{}", "X: y\r\n".repeat(200))), 431),
    ] {
        let answer = raw(gateway.clients, request.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}"))
                || answer.starts_with(&format!("HTTP/1.0 {status}")),
            "{name}: {answer}"
        );
        let lower = answer.to_lowercase();
        assert_eq!(lower.contains("sec-websocket-version: 13"), status == 426, "{name}: {answer}");
        assert_eq!(lower.contains("allow: get"), status == 405, "{name}: {answer}");
    }
    gateway.wait_for("/clients", 0).await;
}

#[tokio::test]
async fn what_a_handshake_may_not_have_is_refused_with_words_after_it() {
    let gateway = start(settings()).await;
    let many: String = (0..65).map(|n| format!("room=r{n}&")).collect();
    for (query, code) in [("room=", 4500), ("userId=a%0Ab", 4500), ("appId=x", 4500), (&*many, 4503)] {
        let mut client = connect_unheard(gateway.clients, query).await;
        let (closed, words) = client.closed().await;
        assert_eq!(closed, code, "{query}");
        assert!(!words.is_empty());
    }
    let closed = start(Settings { admission: gateway::Admission::default(), ..settings() }).await;
    assert_eq!(connect_unheard(closed.clients, "userId=u").await.closed().await.0, 4501);
}

#[tokio::test]
async fn one_who_never_ends_a_handshake_is_closed_and_others_are_served() {
    let gateway = start(Settings { handshake_time_max: Duration::from_millis(300), ..settings() }).await;
    let mut mute = TcpStream::connect(gateway.clients).await.unwrap();
    let mut slow = TcpStream::connect(gateway.clients).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut slow, b"GET /ws HTTP/1.1\r\nHost: ").await.unwrap();
    connect(gateway.clients, "").await;
    let mut scrap = Vec::new();
    mute.read_to_end(&mut scrap).await.ok();
    slow.read_to_end(&mut scrap).await.ok();
    connect(gateway.clients, "").await;
}

#[tokio::test]
async fn the_browser_library_is_served_to_any_origin() {
    let gateway = start(settings()).await;
    let request = b"GET /client/tidegate.js HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    let answer = raw(gateway.clients, request).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.to_lowercase().contains("access-control-allow-origin: *"), "{answer}");
    assert!(answer.contains("export"), "a module");
}
