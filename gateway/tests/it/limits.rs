//! Every limit of a gateway: what is just below passes, what is just above is answered as documented and counted.

use std::time::Duration;

use common::limits::rate::Rate;
use gateway::{Limits, Settings};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::bad_frames::frame;
use crate::clients::{
    Client, connect, connect_unheard, handshake, raw, raw_bytes, raw_from, status_line, stream_from,
};
use crate::node::{Gateway, settings, start};

/// So many, and no more while a test runs.
fn only(tokens: u32) -> Option<Rate> {
    Rate::new(1, Duration::from_secs(3600), tokens)
}

async fn with(limits: Limits) -> Gateway {
    start(Settings { limits, ..settings() }).await
}

/// The answer to a handshake that is refused: its status, and whether it says when to come again.
async fn refused(gateway: &Gateway, status: u16) {
    let answer = raw(gateway.clients, handshake("").as_bytes()).await.to_lowercase();
    assert!(answer.starts_with(&format!("http/1.1 {status}")), "{answer}");
    assert!(answer.contains("retry-after: ") && answer.contains("application/problem+json"), "{answer}");
}

async fn code(client: &mut Client, cmd: &str, data: Value) -> (u16, String) {
    let reply = client.ask(&json!({"seq": "1", "cmd": cmd, "data": data}).to_string()).await;
    assert_eq!((&reply["seq"], &reply["cmd"]), (&json!("1"), &json!(cmd)), "{reply}");
    let said = &reply["response"];
    (said["code"].as_u64().unwrap() as u16, said["codeMsg"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn connections_of_one_address_are_limited_and_of_another_not() {
    let gateway = with(Limits { connections_per_ip: Some(2), ..Limits::default() }).await;
    let _first = connect(gateway.clients, "").await;
    let second = connect(gateway.clients, "").await;
    refused(&gateway, 429).await;
    assert_eq!(gateway.limit("connections_per_ip").await, [Some(2), Some(2), Some(1)]);
    let mut other = stream_from("127.0.0.2", gateway.clients).await;
    let line = status_line(&mut other, handshake("").as_bytes()).await;
    assert!(line.starts_with("HTTP/1.1 101"), "{line}");
    drop(second);
    gateway.wait_for("/addresses/busiest", 1).await;
    connect(gateway.clients, "").await;
}

#[tokio::test]
async fn connections_of_one_user_are_limited_at_connect_and_at_login() {
    let gateway = with(Limits { connections_per_user: Some(2), ..Limits::default() }).await;
    let mut first = connect(gateway.clients, "userId=u").await;
    let second = connect(gateway.clients, "userId=u&appId=7").await;
    let (closed, words) = connect_unheard(gateway.clients, "userId=u&room=r").await.closed().await;
    assert!(closed == 4504 && words.contains("as many connections"), "{closed} {words}");
    let mut other = connect(gateway.clients, "userId=v").await;
    let (refused, words) = code(&mut other, "login", json!({"userId": "u"})).await;
    assert!(refused == 409 && words.contains("as many connections"), "{refused} {words}");
    assert_eq!(gateway.limit("connections_per_user").await, [Some(2), None, Some(2)]);
    gateway.wait_for("/clients", 3).await;
    assert_eq!((gateway.status("/users").await, gateway.status("/rooms").await), (2, 0), "v stays v");
    assert_eq!(code(&mut first, "login", json!({"userId": "u"})).await.0, 200, "who is u may stay u");
    drop(second);
    gateway.wait_for("/clients", 2).await;
    assert_eq!(code(&mut other, "login", json!({"userId": "u"})).await.0, 200);
}

#[tokio::test]
async fn handshakes_are_limited_in_all_and_of_one_address() {
    let gateway = with(Limits { handshakes: only(2), ..Limits::default() }).await;
    let _both = (connect(gateway.clients, "").await, connect(gateway.clients, "").await);
    refused(&gateway, 503).await;
    assert_eq!(gateway.limit("handshakes_per_second").await, [Some(1), None, Some(1)]);

    let gateway = with(Limits { handshakes_per_ip: only(2), ..Limits::default() }).await;
    let _both = (connect(gateway.clients, "").await, connect(gateway.clients, "").await);
    refused(&gateway, 429).await;
    assert_eq!(gateway.limit("handshakes_per_ip").await[2], Some(1));
    let other = raw_from("127.0.0.2", gateway.clients, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(other.starts_with("HTTP/1.1 404"), "another address is another's: {other}");
}

#[tokio::test]
async fn messages_of_one_client_are_limited_answered_and_a_flood_is_closed() {
    let gateway = with(Limits { commands: only(3), ..Limits::default() }).await;
    let (mut client, mut bystander) =
        (connect(gateway.clients, "").await, connect(gateway.clients, "").await);
    assert_eq!(code(&mut client, "heartbeat", json!({})).await.0, 200);
    assert_eq!(code(&mut client, "join", json!({"room": "a"})).await.0, 200);
    client.say("ping").await;
    assert_eq!(client.next_text().await, "pong");
    for _ in 0..99 {
        let (refused, words) = code(&mut client, "join", json!({"room": "b"})).await;
        assert!(refused == 429 && words.contains("messages a second; try again in "), "{refused} {words}");
    }
    assert_eq!(gateway.status("/rooms").await, 1, "what was refused was not done");
    assert_eq!(client.ask("rubbish").await["response"]["code"], 429, "whatever it is");
    assert_eq!(gateway.limit("commands_per_client").await, [Some(1), None, Some(100)]);
    client.say("ping").await;
    let (closed, words) = client.closed().await;
    assert!(closed == 4005 && words.starts_with("too fast: at most "), "{closed} {words}");
    assert_eq!(gateway.limit("commands_per_client").await[2], Some(101));
    assert_eq!(code(&mut bystander, "heartbeat", json!({})).await.0, 200, "each has a bucket of its own");
}

#[tokio::test]
async fn control_frames_count_as_messages_and_a_good_bye_always_passes() {
    let gateway = with(Limits { commands: only(3), ..Limits::default() }).await;
    let pings = |count: usize| frame(0x89, b"x").repeat(count);
    let close = frame(0x88, &1000_u16.to_be_bytes());
    let pongs = |heard: &[u8]| heard.windows(3).filter(|three| *three == b"\x8a\x01x").count();
    let ends = |heard: &[u8], code: u16| {
        heard.windows(4).any(|four| four[0] == 0x88 && four[2..] == code.to_be_bytes())
    };
    let begin = handshake("").into_bytes();
    let heard = raw_bytes(gateway.clients, &[&begin[..], &pings(50), &close].concat()).await;
    assert!(pongs(&heard) == 3 && ends(&heard, 1000), "{heard:?}");
    let heard = raw_bytes(gateway.clients, &[begin, pings(104)].concat()).await;
    assert!(pongs(&heard) == 3 && ends(&heard, 4005), "{heard:?}");
}

#[tokio::test]
async fn bytes_of_one_client_are_limited_however_they_are_cut() {
    let gateway = with(Limits { bytes: only(2_000), ..Limits::default() }).await;
    let mut client = connect(gateway.clients, "").await;
    for _ in 0..10 {
        assert_eq!(client.ask(&format!("{:<100}", "rubbish")).await["response"]["code"], 400);
    }
    assert_eq!(gateway.limit("bytes_per_client").await, [Some(1), None, Some(0)]);
    client.say("x".repeat(1_000)).await;
    let (closed, words) = client.closed().await;
    assert!(closed == 4005 && words.contains("bytes a second"), "{closed} {words}");
    // Fragments of a message that does not end are no messages, but bytes.
    let mut stream = tokio::net::TcpStream::connect(gateway.clients).await.unwrap();
    stream.write_all(handshake("").as_bytes()).await.unwrap();
    stream.write_all(&frame(0x01, b"")).await.unwrap();
    stream.write_all(&frame(0x00, b"").repeat(400)).await.unwrap();
    gateway.wait_for_refusals("bytes_per_client", 2).await;
}

#[tokio::test]
async fn rooms_of_one_client_are_limited_by_command_and_at_connect() {
    let gateway = with(Limits { rooms_per_client: 2, ..Limits::default() }).await;
    let mut client = connect(gateway.clients, "room=a").await;
    assert_eq!(code(&mut client, "join", json!({"room": "b"})).await.0, 200);
    assert_eq!(code(&mut client, "join", json!({"room": "c"})).await.0, 409);
    assert_eq!(connect_unheard(gateway.clients, "room=a&room=b&room=c").await.closed().await.0, 4503);
    assert_eq!(gateway.limit("rooms_per_client").await, [Some(2), None, Some(2)]);
    connect(gateway.clients, "room=a&room=b").await;
}

#[tokio::test]
async fn names_of_rooms_are_limited_and_rooms_that_are_there_can_be_joined() {
    let gateway = with(Limits { rooms: 2, ..Limits::default() }).await;
    let mut first = connect(gateway.clients, "room=a&room=b").await;
    let mut other = connect(gateway.clients, "room=a").await;
    let (refused, words) = code(&mut other, "join", json!({"room": "c"})).await;
    assert!(refused == 503 && words.contains("as many rooms"), "{refused} {words}");
    let (closed, words) = connect_unheard(gateway.clients, "userId=u&room=a&room=c").await.closed().await;
    assert!(closed == 1013 && words.contains("as many rooms"), "{closed} {words}");
    assert_eq!(gateway.limit("rooms").await, [Some(2), Some(2), Some(2)]);
    gateway.wait_for("/clients", 2).await;
    assert_eq!(gateway.status("/users").await, 0, "who was refused left nothing behind");
    assert_eq!(code(&mut other, "join", json!({"room": "b"})).await.0, 200);
    for client in [&mut first, &mut other] {
        assert_eq!(code(client, "leave", json!({"room": "b"})).await.0, 200);
    }
    assert_eq!(code(&mut other, "join", json!({"room": "c"})).await.0, 200);
}

#[tokio::test]
async fn heads_messages_and_rubbish_have_bounds_that_are_counted() {
    let gateway = start(settings()).await;
    let fields = |count: usize| {
        let more: String = (0..count).map(|number| format!("X-{number}: y\r\n")).collect();
        handshake("").replace("Host: test\r\n", &format!("Host: test\r\n{more}"))
    };
    // Five fields are the handshake's own.
    let mut below = tokio::net::TcpStream::connect(gateway.clients).await.unwrap();
    assert!(status_line(&mut below, fields(59).as_bytes()).await.starts_with("HTTP/1.1 101"));
    let above = raw(gateway.clients, fields(60).as_bytes()).await;
    assert!(above.starts_with("HTTP/1.1 431"), "{above}");
    assert_eq!(gateway.limit("header_fields").await, [Some(64), None, Some(1)]);

    let long = |bytes: usize| {
        handshake("").replace("Host: test", &format!("Host: test\r\nX: {}", "x".repeat(bytes)))
    };
    let mut below = tokio::net::TcpStream::connect(gateway.clients).await.unwrap();
    assert!(status_line(&mut below, long(12 * 1024).as_bytes()).await.starts_with("HTTP/1.1 101"));
    let above = raw(gateway.clients, long(17 * 1024).as_bytes()).await;
    assert!(above.starts_with("HTTP/1.1 431"), "{above}");
    assert_eq!(gateway.limit("head_bytes").await, [Some(16_384), None, Some(1)]);

    let mut client = connect(gateway.clients, "").await;
    assert_eq!(client.ask(&"x".repeat(65_536)).await["response"]["code"], 400);
    for _ in 0..15 {
        assert_eq!(client.ask("rubbish").await["response"]["code"], 400);
    }
    assert_eq!(gateway.limit("bad_messages").await, [Some(16), None, Some(0)]);
    client.say("rubbish").await;
    assert_eq!(client.closed().await.0, 4500);
    assert_eq!(gateway.limit("bad_messages").await[2], Some(1));
    let mut client = connect(gateway.clients, "").await;
    client.say("x".repeat(65_537)).await;
    assert_eq!(client.closed().await.0, 1009);
    assert_eq!(gateway.limit("message_bytes").await, [Some(65_536), None, Some(1)]);
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_told_so_and_counted() {
    let gateway = start(Settings { handshake_time_max: Duration::from_millis(200), ..settings() }).await;
    for begin in ["", "GET /ws HTTP/1.1\r\nHost: "] {
        let answer = raw(gateway.clients, begin.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("head_timeout"), "{begin:?}: {answer}");
    }
    assert_eq!(gateway.limit("handshake_time").await, [Some(200), None, Some(2)]);
    connect(gateway.clients, "").await;
}

#[tokio::test]
async fn limits_with_tests_of_their_own_are_in_the_list_too() {
    let gateway = start(Settings { max_connections: 1, ..settings() }).await;
    let _only = connect(gateway.clients, "").await;
    refused(&gateway, 503).await;
    assert_eq!(gateway.limit("connections").await, [Some(1), Some(1), Some(1)]);
    let (_, body) = gateway.ops("/statusz").await;
    let status: Value = serde_json::from_str(&body).unwrap();
    for row in status["limits"].as_array().unwrap() {
        assert!(row["answer"].is_string() && row["refused"].is_u64(), "{row}");
        assert!(row["flag"].is_null() || row["flag"].as_str().unwrap().starts_with("--"), "{row}");
    }
    for (name, most) in [("outbox_bytes", 262_144), ("silence", 60_000), ("message_time", 30_000)] {
        assert_eq!(gateway.limit(name).await[0], Some(most), "{name}");
    }
    assert_eq!(gateway.limit("merger_bytes").await, [Some(67_108_864), Some(0), Some(0)]);
    assert_eq!(gateway.limit("connections_per_ip").await, [None, None, Some(0)], "off at first");
}
