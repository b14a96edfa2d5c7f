//! Clients over TLS: all that a client without it has, and what only TLS can do wrong.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::tls::{Acceptor, AcceptorFiles, Connector, ConnectorFiles, Inside, Named, Stream};
use futures_util::StreamExt;
use gateway::Settings;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use crate::authority::{Authority, Kind};
use crate::clients::{Client, PATIENCE, connect, handshake, raw, raw_bytes};
use crate::logic::{link, to_client, to_room};
use crate::node::{Gateway, settings, start};

/// A gateway whose clients and links use TLS, and what reaches them.
struct Secure {
    gateway: Gateway,
    acceptor: Acceptor,
    connector: Connector,
    folder: TempDir,
}

fn acceptor(folder: &TempDir, inside: Inside) -> Acceptor {
    let named = |name: &str| Named::new("--file", folder.path().join(name));
    let files = AcceptorFiles { cert: named("a.pem"), key: named("a.key"), client_ca: None, inside };
    Acceptor::load(files).unwrap()
}

/// `change` has the last word on the settings.
async fn secure(change: impl FnOnce(&mut Settings)) -> Secure {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.write(folder.path(), "ca");
    authority.sign(folder.path(), "a", Kind::Good);
    authority.sign(folder.path(), "old", Kind::Expired);
    let acceptor = acceptor(&folder, Inside::Http1);
    let ca = Some(Named::new("--file", folder.path().join("ca.pem")));
    let connector = Connector::load(ConnectorFiles { ca, identity: None, inside: Inside::Http1 }).unwrap();
    let mut settings = Settings { tls: Some(acceptor.clone()), ..settings() };
    change(&mut settings);
    Secure { gateway: start(settings).await, acceptor, connector, folder }
}

impl Secure {
    async fn stream(&self, address: SocketAddr) -> Stream {
        let socket = TcpStream::connect(address).await.unwrap();
        Stream::Tls(Box::new(self.connector.connect(socket, "gateway.test").await.unwrap()))
    }

    async fn connect(&self, query: &str) -> Client<Stream> {
        let mut client = self.connect_to(self.gateway.clients, query).await;
        client.hello = client.next().await;
        assert_eq!(client.hello["cmd"], "hello");
        client
    }

    async fn connect_to(&self, address: SocketAddr, query: &str) -> Client<Stream> {
        let stream = self.stream(address).await;
        let (socket, _) =
            tokio_tungstenite::client_async(format!("wss://gateway.test/ws?{query}"), stream).await.unwrap();
        Client { socket, hello: json!(null) }
    }
}

#[tokio::test]
async fn a_client_over_tls_has_all_that_others_have() {
    let secure = secure(|_| ()).await;
    let mut client = secure.connect("room=r1&userId=alice").await;
    assert_eq!(client.hello["data"]["userId"], "alice");
    let joined = client.ask(r#"{"seq":"1","cmd":"join","data":{"room":"r2"}}"#).await;
    assert_eq!(joined["response"]["code"], 200);
    let mut logic = link(secure.gateway.ingress).await;
    for room in ["r1", "r2"] {
        logic.push(to_room(room), "1").await;
        assert_eq!(client.items().await, [json!(1)]);
    }
    client.socket.close(None).await.unwrap();
    assert_eq!(client.closed().await.0, 1006, "the answer to ours has no code");
    secure.gateway.wait_for("/clients", 0).await;
    assert_eq!(secure.gateway.status("/tls/refused").await, 0);
}

#[tokio::test]
async fn huge_frames_and_many_at_once_arrive_whole_and_in_order() {
    let secure = secure(|settings| settings.window = Duration::ZERO).await;
    let mut client = secure.connect("room=r1").await;
    let mut logic = link(secure.gateway.ingress).await;
    let big = |number: usize| format!("\"{number:06}{}\"", "x".repeat(60_000));
    let mut wanted = 0;
    for round in 0..20 {
        let some: Vec<_> = (0..5).map(|place| (to_room("r1"), big(round * 5 + place))).collect();
        let serial = logic.push_all(some).await;
        while wanted < (round + 1) * 5 {
            for item in client.items().await {
                assert_eq!(format!("{item}"), big(wanted));
                wanted += 1;
            }
        }
        assert_eq!(logic.fate(serial).await.written, 1);
    }
    // And from the client: the longest message that may be sent, and one that is longer.
    let word = "y".repeat(64 * 1024 - 60);
    let reply = client.ask(&format!(r#"{{"seq":"1","cmd":"join","data":{{"room":"{word}"}}}}"#)).await;
    assert_eq!(reply["response"]["code"], 400);
    client.say("z".repeat(65 * 1024)).await;
    assert_eq!(client.closed().await.0, 1009);
}

#[tokio::test]
async fn a_tls_client_that_reads_nothing_is_closed_with_4002_and_holds_up_nobody() {
    let secure = secure(|settings| {
        settings.window = Duration::ZERO;
        settings.outbox_bytes_max = 64 * 1024;
        settings.send_buffer_bytes = 16 * 1024;
    })
    .await;
    let mut slow = secure.connect("room=slow").await;
    let mut well = secure.connect("room=well").await;
    let mut logic = link(secure.gateway.ingress).await;
    let data = format!("\"{}\"", "x".repeat(30_000));
    let mut pushed = 0;
    // What the kernel holds on both sides is its own affair.
    while secure.gateway.status("/items/dropped/slow").await == 0 {
        logic.push(to_room("slow"), &data).await;
        let serial = logic.push(to_room("well"), "1").await;
        assert_eq!(well.items().await, [json!(1)]);
        assert_eq!(logic.fate(serial).await.written, 1);
        pushed += 1;
        assert!(pushed < 2_000, "nothing was ever too much");
    }
    let (code, words) = slow.closed().await;
    assert!(code == 4002 && words.contains("too slow"), "{code} {words}");
    secure.gateway.wait_for("/clients", 1).await;
    secure.gateway.wait_for("/outboxes", 0).await;
}

#[tokio::test]
async fn a_tls_client_that_reads_late_gets_everything_in_order() {
    let secure = secure(|settings| {
        settings.window = Duration::ZERO;
        settings.outbox_bytes_max = 16 * 1024 * 1024;
        settings.send_buffer_bytes = 16 * 1024;
    })
    .await;
    let mut late = secure.connect("room=r1").await;
    let mut logic = link(secure.gateway.ingress).await;
    let data = |number: usize| format!("\"{number:06}{}\"", "x".repeat(20_000));
    let mut pushed = 0;
    // Until it blocks, and then some more.
    while secure.gateway.status("/outboxes").await == 0 {
        logic.push(to_room("r1"), &data(pushed)).await;
        pushed += 1;
    }
    for _ in 0..50 {
        logic.push(to_room("r1"), &data(pushed)).await;
        pushed += 1;
    }
    let mut wanted = 0;
    while wanted < pushed {
        for item in late.items().await {
            assert_eq!(format!("{item}"), data(wanted));
            wanted += 1;
        }
    }
    secure.gateway.wait_for("/outboxes", 0).await;
    assert_eq!(secure.gateway.status("/items/dropped/slow").await, 0);
}

#[tokio::test]
async fn who_stalls_or_speaks_something_else_is_answered_or_closed_in_time_and_counted() {
    let secure = secure(|settings| settings.handshake_time_max = Duration::from_millis(300)).await;
    let clients = secure.gateway.clients;
    let plain = raw(clients, handshake("room=r1").as_bytes()).await;
    assert!(
        plain.starts_with("HTTP/1.1 400 ") && plain.contains("tls_needed") && plain.contains("wss://"),
        "{plain}"
    );
    let began = Instant::now();
    let (silent, half, garbage) = tokio::join!(
        raw_bytes(clients, b""),
        raw_bytes(clients, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        raw_bytes(clients, b"\x80\x80\x80\x80"),
    );
    assert!(silent.is_empty() && half.is_empty(), "{half:?}");
    assert!(garbage.is_empty() || garbage[0] == 21, "an alert or nothing: {garbage:?}");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    // A handshake of TLS and then nothing: the deadline is one for both.
    let mut stream = secure.stream(clients).await;
    let mut heard = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut heard)).await;
    read.expect("an end in time").ok();
    assert!(heard.is_empty() || heard.starts_with(b"HTTP/1.1 408 "), "{heard:?}");
    secure.gateway.wait_for("/tls/refused", 4).await;
    assert_eq!(secure.gateway.status("/clients").await, 0);
}

#[tokio::test]
async fn a_drain_says_good_bye_and_ends_cleanly() {
    let secure = secure(|_| ()).await;
    let mut client = secure.connect("").await;
    secure.gateway.shutdown.start_drain();
    assert_eq!(client.closed().await.0, 1012);
    // A cut would be an error: whoever reads until the end must be able to tell.
    loop {
        match tokio::time::timeout(PATIENCE, client.socket.next()).await.unwrap() {
            None => break,
            Some(Ok(_)) => {}
            Some(Err(error)) => panic!("no clean end: {error}"),
        }
    }
}

#[tokio::test]
async fn commands_may_come_in_single_bytes_and_many_in_one_record() {
    let secure = secure(|_| ()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let middle = listener.local_addr().unwrap();
    let target = secure.gateway.clients;
    // Between the two stands one who passes on what the client says a byte at a time.
    let drips = async {
        let (near, _) = listener.accept().await.unwrap();
        let far = TcpStream::connect(target).await.unwrap();
        far.set_nodelay(true).unwrap();
        let ((mut near_reads, mut near_writes), (mut far_reads, mut far_writes)) =
            (near.into_split(), far.into_split());
        let slowly = async {
            let mut byte = [0];
            while near_reads.read_exact(&mut byte).await.is_ok() {
                far_writes.write_all(&byte).await.unwrap();
            }
        };
        tokio::join!(slowly, tokio::io::copy(&mut far_reads, &mut near_writes)).1.ok();
    };
    let talks = async {
        let mut client = secure.connect_to(middle, "").await;
        assert_eq!(client.next().await["cmd"], "hello");
        for seq in 0..20 {
            let reply = client.ask(&format!(r#"{{"seq":{seq},"cmd":"heartbeat"}}"#)).await;
            assert_eq!(reply["seq"], seq);
        }
    };
    tokio::select! {
        () = drips => panic!("the connection ended first"),
        () = talks => {}
    }
    // Many in one record: each is answered, in order.
    let mut client = secure.connect("").await;
    for seq in 0..500 {
        use futures_util::SinkExt;
        client.socket.feed(Message::text(format!(r#"{{"seq":{seq},"cmd":"heartbeat"}}"#))).await.unwrap();
    }
    futures_util::SinkExt::flush(&mut client.socket).await.unwrap();
    for seq in 0..500 {
        assert_eq!(client.next().await["seq"], seq);
    }
}

#[tokio::test]
async fn a_new_certificate_is_for_those_who_come_and_those_here_stay() {
    let secure = secure(|_| ()).await;
    let mut here = secure.connect("").await;
    let at = secure.folder.path();
    for ending in ["pem", "key"] {
        std::fs::copy(at.join(format!("old.{ending}")), at.join(format!("a.{ending}"))).unwrap();
    }
    assert!(secure.acceptor.reload());
    let socket = TcpStream::connect(secure.gateway.clients).await.unwrap();
    let error = secure.connector.connect(socket, "gateway.test").await.unwrap_err();
    assert_eq!(common::tls::explain(&error), "its certificate has expired");
    assert_eq!(here.ask(r#"{"seq":"2","cmd":"heartbeat"}"#).await["response"]["code"], 200);
    let mut logic = link(secure.gateway.ingress).await;
    logic.push(to_client(here.id().local), "1").await;
    assert_eq!(here.items().await, [json!(1)]);
}

#[tokio::test]
async fn a_link_without_tls_is_told_so_and_one_that_stalls_is_ended() {
    let secure = secure(|_| ()).await;
    let link_tls = Some(acceptor(&secure.folder, Inside::Http2));
    let gateway = start(Settings { link_tls, ..settings() }).await;
    let stream = TcpStream::connect(gateway.ingress).await.unwrap();
    let (_sender, connection) = h2::client::handshake(stream).await.unwrap();
    let error = tokio::time::timeout(PATIENCE, connection).await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::INADEQUATE_SECURITY), "{error}");
    assert!(raw_bytes(gateway.ingress, b"\x16\x03\x01\x02\x00\x01\x00").await.is_empty());
    // Its clients are another matter.
    connect(gateway.clients, "").await;
    let (_, metrics) = gateway.ops("/metrics").await;
    assert!(metrics.contains("tidegate_gateway_links_refused_total 1"), "{metrics}");
}
