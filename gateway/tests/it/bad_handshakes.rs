//! Handshakes that ask for what they may not have or never end, and what else strangers send. What the RFC has to say
//! of a handshake is in `handshake_matrix`.

use std::time::Duration;

use gateway::Settings;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::clients::{connect, connect_unheard, raw};
use crate::node::{settings, start};

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
