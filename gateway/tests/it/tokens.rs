//! Who may come and what it may join, where tokens are demanded: from the handshake to the end of the token.

use std::time::{Duration, SystemTime};

use common::fresh::Fresh;
use common::patterns::Pattern;
use common::token::{Claims, Key, SigningKey, Verifier, sign};
use gateway::{Admission, Settings};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::clients::{Client, connect, connect_unheard, handshake, raw};
use crate::logic::{link, to_user};
use crate::node::{Gateway, settings, start};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "another-secret-of-the-same-length";

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::parse(text).unwrap()).collect()
}

fn keys(secret: &str) -> Verifier {
    Verifier { keys: Key::read(secret).unwrap(), ..Verifier::default() }
}

async fn guarded() -> Gateway {
    let tokens = Some(Fresh::fixed("keys", keys(SECRET)));
    let admission = Admission { tokens, rooms: patterns(&["lobby"]), ..Admission::default() };
    start(Settings { admission, heartbeat: Duration::from_millis(400), ..settings() }).await
}

/// A token for a user and rooms that ends so many seconds from now.
fn token(user: &str, rooms: &[&str], secs: i64) -> String {
    let now = SystemTime::now();
    let away = Duration::from_secs(secs.unsigned_abs());
    let expires = Some(if secs < 0 { now.checked_sub(away).unwrap() } else { now + away });
    let claims = Claims { user: Some(user.into()), app: None, rooms: patterns(rooms), expires };
    sign(&claims, None, &SigningKey::read(SECRET, None).unwrap()).unwrap()
}

#[tokio::test]
async fn a_token_is_taken_from_the_query_a_header_or_a_subprotocol() {
    let gateway = guarded().await;
    let token = token("alice", &["r1"], 60);
    let by_query = connect(gateway.clients, &format!("room=r1&token={token}")).await;
    assert_eq!(by_query.hello["data"]["userId"], "alice");
    for (name, value, answered) in [
        ("authorization", format!("Bearer {token}"), None),
        ("sec-websocket-protocol", format!("tidegate.v1, tidegate.token.{token}"), Some("tidegate.v1")),
    ] {
        let mut request = format!("ws://{}/ws?room=lobby", gateway.clients).into_client_request().unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
        let stream = TcpStream::connect(gateway.clients).await.unwrap();
        let (socket, answer) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        let protocol = answer.headers().get("sec-websocket-protocol").map(|value| value.to_str().unwrap());
        assert_eq!(protocol, answered);
        let mut client = Client { socket, hello: json!(null) };
        assert_eq!(client.next().await["data"]["userId"], "alice", "{name}");
    }
}

#[tokio::test]
async fn who_has_no_good_token_or_wants_another_room_is_closed_with_words() {
    let gateway = guarded().await;
    let good = token("alice", &["r1"], 60);
    let forged = sign(&Claims::default(), None, &SigningKey::read(OTHER, None).unwrap()).unwrap();
    for (query, words) in [
        ("userId=alice".to_owned(), "a token is needed"),
        (format!("token={forged}"), "signature"),
        (format!("token={}", token("alice", &[], -600)), "expired"),
        (format!("token={good}&userId=bob"), "userId is not"),
        (format!("token={good}&room=r1&room=r2"), "\"r2\""),
    ] {
        let (code, said) = connect_unheard(gateway.clients, &query).await.closed().await;
        assert!(code == 4501 && said.contains(words), "{query}: {code} {said}");
    }
    gateway.wait_for("/clients", 0).await;
}

#[tokio::test]
async fn rooms_are_joined_as_the_token_allows_and_login_changes_that() {
    let gateway = guarded().await;
    let mut client = connect(gateway.clients, &format!("token={}", token("alice", &["news.*"], 60))).await;
    let ask = async |client: &mut Client, cmd: &str, data: serde_json::Value| {
        client.ask(&json!({"seq": "1", "cmd": cmd, "data": data}).to_string()).await["response"].clone()
    };
    for (room, code) in [("news.eu", 200), ("lobby", 200), ("secret", 403)] {
        assert_eq!(ask(&mut client, "join", json!({"room": room})).await["code"], code, "{room}");
    }
    assert_eq!(ask(&mut client, "login", json!({"userId": "root"})).await["code"], 401);
    let other = token("bob", &["secret"], 60);
    let login = ask(&mut client, "login", json!({"token": other})).await;
    assert_eq!(login["data"], json!({"userId": "bob", "appId": null, "left": ["news.eu"]}));
    assert_eq!(ask(&mut client, "join", json!({"room": "secret"})).await["code"], 200);
    assert_eq!(ask(&mut client, "join", json!({"room": "news.eu"})).await["code"], 403);
    let mut logic = link(gateway.ingress).await;
    logic.push(to_user("alice"), "1").await;
    logic.push(to_user("bob"), "2").await;
    assert_eq!(client.items().await, [json!(2)], "it is bob now");
}

#[tokio::test]
async fn a_token_that_ends_ends_the_connection_unless_it_was_renewed() {
    let gateway = guarded().await;
    // Clocks may be half a minute apart: this one ended, and has five seconds left.
    let soon = token("alice", &["r1"], -25);
    let mut ends = connect(gateway.clients, &format!("token={soon}")).await;
    let mut renewed = connect(gateway.clients, &format!("token={soon}&room=r1")).await;
    let login =
        json!({"seq": "1", "cmd": "login", "data": {"token": token("alice", &["r1"], 60)}}).to_string();
    assert_eq!(renewed.ask(&login).await["response"]["code"], 200);
    let (code, words) = ends.closed().await;
    assert!(code == 4501 && words.contains("expired"), "{code} {words}");
    assert_eq!(renewed.ask(r#"{"seq":"2","cmd":"heartbeat"}"#).await["response"]["code"], 200);
    gateway.wait_for("/clients", 1).await;
}

#[tokio::test]
async fn keys_are_changed_without_a_restart_and_those_connected_stay() {
    let keys_now = Fresh::fixed("keys", keys(SECRET));
    let admission = Admission { tokens: Some(keys_now.clone()), ..Admission::default() };
    let gateway = start(Settings { admission, ..settings() }).await;
    let query = format!("token={}", token("alice", &[], 60));
    let mut client = connect(gateway.clients, &query).await;
    keys_now.set(keys(OTHER));
    assert_eq!(connect_unheard(gateway.clients, &query).await.closed().await.0, 4501);
    assert_eq!(client.ask(r#"{"seq":"2","cmd":"heartbeat"}"#).await["response"]["code"], 200);
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_with_words() {
    let admission =
        Admission { open: true, origins: patterns(&["https://*.example.com"]), ..Admission::default() };
    let gateway = start(Settings { admission, ..settings() }).await;
    let from = |origin: &str| handshake("").replace("Host: test", &format!("Host: test\r\nOrigin: {origin}"));
    let refused = raw(gateway.clients, from("https://evil.org").as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 101") && refused.contains("may not connect here"), "{refused}");
    connect(gateway.clients, "").await;
    let mut request = format!("ws://{}/ws", gateway.clients).into_client_request().unwrap();
    request.headers_mut().insert("origin", "https://app.example.com".parse().unwrap());
    let stream = TcpStream::connect(gateway.clients).await.unwrap();
    let (socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    assert_eq!(Client { socket, hello: json!(null) }.next().await["cmd"], "hello");
}
