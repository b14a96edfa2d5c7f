//! Strangers on the link port: each is refused with a reason, and the links that are up do not notice.

use bytes::Bytes;
use common::link::ask::Scope;
use common::link::ask::answer::Body as Said;
use common::link::ask::ask::Body as Asked;
use common::link::codec::{Inbound, Outbound};
use common::link::message::{ControlUp, Delivery, control_up};
use common::link::secret::Secret;
use common::link::{CONTROL_PATH, DATA_PATH, VERSION, stream};
use gateway::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::clients::{PATIENCE, connect};
use crate::logic::{hello, link, open, post, say, to_room};
use crate::node::{settings, start};

#[tokio::test]
async fn a_wrong_secret_is_refused() {
    let secret = Secret::parse("0123456789abcdef").unwrap();
    let gateway = start(Settings { link_secret: Some(secret.clone()), ..settings() }).await;
    let wrong = Secret::parse("0123456789abcdeX").unwrap().authorization();
    for (authorization, status) in
        [(None, 401), (Some(&*wrong), 401), (Some("Bearer "), 401), (Some(&*secret.authorization()), 200)]
    {
        let (mut client, _connection) = open(gateway.ingress).await;
        assert_eq!(post(&mut client, CONTROL_PATH, authorization).await.0, status);
    }
}

#[tokio::test]
async fn another_version_is_refused_with_a_reason() {
    let gateway = start(settings()).await;
    let (mut client, _connection) = open(gateway.ingress).await;
    let (_, mut send, mut receive) = post(&mut client, CONTROL_PATH, None).await;
    say(&mut send, &hello(VERSION + 1)).await;
    let mut inbound = Inbound::default();
    let refused = async {
        loop {
            while let Some(message) = inbound.next_message::<ControlUp>().unwrap() {
                if let Some(control_up::Body::Refused(refused)) = message.body {
                    return refused.reason;
                }
            }
            stream::receive(&mut receive, &mut inbound).await.expect("a reason before the end");
        }
    };
    let reason = tokio::time::timeout(PATIENCE, refused).await.unwrap();
    assert!(reason.contains("version 2"), "{reason}");
}

#[tokio::test]
async fn what_a_later_release_says_is_passed_over() {
    let gateway = start(Settings { window: std::time::Duration::ZERO, ..settings() }).await;
    let mut logic = link(gateway.ingress).await;
    let mut client = connect(gateway.clients, "room=r").await;
    logic.later().await;
    // To whom a later release may push: nobody here, and it is told so.
    let nobody = logic.push(Delivery { to: 99, ..to_room("r") }, "0").await;
    assert_eq!(logic.fate(nobody).await.matched, 0);
    logic.push(to_room("r"), "1").await;
    assert_eq!(client.items().await, [1]);
    // Behind it on the control stream.
    assert!(matches!(logic.ask(Asked::Count(Scope::all(None))).await, Said::Count(1)));
    assert_eq!(gateway.status("/links").await, 1);
}

#[tokio::test]
async fn strangers_harm_no_link_that_is_up() {
    let gateway = start(Settings { window: std::time::Duration::ZERO, ..settings() }).await;
    let mut logic = link(gateway.ingress).await;
    let mut client = connect(gateway.clients, "room=r").await;
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &[0xff; 1000],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x01\xff",
    ] {
        let mut stream = TcpStream::connect(gateway.ingress).await.unwrap();
        stream.write_all(garbage).await.ok();
        stream.shutdown().await.ok();
        let mut scrap = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut scrap)).await.expect("closed in time").ok();
    }
    for (path, status) in [("/elsewhere", 404), (DATA_PATH, 400)] {
        // Data before control is as wrong as a path that is not there, and one refusal ends the link.
        let (mut stranger, ends) = open(gateway.ingress).await;
        assert_eq!(post(&mut stranger, path, None).await.0, status);
        drop(stranger);
        tokio::time::timeout(PATIENCE, ends).await.expect("the gateway ends the link").unwrap();
    }
    logic.push(to_room("r"), "1").await;
    assert_eq!(client.items().await, [1]);
}

/// A stream that is refused and, in the same breath, a frame that breaks the connection (DATA on stream 0): what is left
/// of the link says its error again and again, and the thread is that of all links.
#[tokio::test]
async fn who_is_refused_and_breaks_the_connection_does_not_keep_the_thread() {
    let gateway = start(Settings { window: std::time::Duration::ZERO, ..settings() }).await;
    let mut logic = link(gateway.ingress).await;
    let mut client = connect(gateway.clients, "room=r").await;
    // SETTINGS, HEADERS of `POST /` (RFC 7541, appendix A), DATA.
    let frames = b"\0\0\0\x04\0\0\0\0\0\0\0\x06\x01\x04\0\0\0\x01\x83\x86\x84\x41\x01x\0\0\0\0\0\0\0\0\0";
    for n in 0..20 {
        let mut stream = TcpStream::connect(gateway.ingress).await.unwrap();
        stream.write_all(&[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frames[..]].concat()).await.unwrap();
        let mut scrap = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut scrap)).await.expect("closed in time").ok();
        logic.push(to_room("r"), &n.to_string()).await;
        assert_eq!(client.items().await, [n]);
    }
}

#[tokio::test]
async fn garbage_on_either_stream_ends_that_link_only() {
    let gateway = start(settings()).await;
    let mut logic = link(gateway.ingress).await;
    for path in [CONTROL_PATH, DATA_PATH] {
        let (mut client, connection) = open(gateway.ingress).await;
        let (_, mut control, _control_up) = post(&mut client, CONTROL_PATH, None).await;
        let (_, mut data, _data_up) = post(&mut client, DATA_PATH, None).await;
        say(&mut control, &hello(VERSION)).await;
        let garbage = Bytes::from_static(&[0xff; 512]);
        let on = if path == CONTROL_PATH { &mut control } else { &mut data };
        stream::send(on, garbage).await.unwrap();
        drop(client);
        tokio::time::timeout(PATIENCE, connection).await.expect("the gateway ends the link").unwrap();
    }
    let mut client = connect(gateway.clients, "room=r").await;
    logic.push(to_room("r"), "1").await;
    assert_eq!(client.items().await, [1]);
    assert_eq!(gateway.status("/links").await, 1);
}

#[tokio::test]
async fn a_first_message_that_is_no_hello_ends_the_link() {
    let gateway = start(settings()).await;
    let (mut client, connection) = open(gateway.ingress).await;
    let (_, mut send, _receive) = post(&mut client, CONTROL_PATH, None).await;
    let mut outbound = Outbound::default();
    outbound.put(&common::link::message::ControlDown { body: None });
    outbound.put_encoded(&[2, 0x1a, 0]);
    stream::send(&mut send, outbound.take().unwrap()).await.unwrap();
    drop(client);
    tokio::time::timeout(PATIENCE, connection).await.expect("the gateway ends the link").unwrap();
}

#[tokio::test]
async fn a_link_that_never_says_hello_is_ended_and_one_that_did_is_not() {
    let gateway = start(settings()).await;
    let mut logic = link(gateway.ingress).await;
    let (mut mute, mute_ends) = open(gateway.ingress).await;
    let (_, _control, _control_up) = post(&mut mute, CONTROL_PATH, None).await;
    // Five seconds for a hello; both links began together.
    tokio::time::timeout(PATIENCE, mute_ends).await.expect("the gateway ends the mute one").unwrap();
    let mut client = connect(gateway.clients, "room=r").await;
    logic.push(to_room("r"), "1").await;
    assert_eq!(client.items().await, [1]);
    assert_eq!(gateway.status("/links").await, 1);
}
