//! The cases. Each is the handshake of the RFC's own example with something else in it.

use super::{Case, Wants};
use crate::clients::handshake;

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";
const UPGRADE: &str = "Upgrade: websocket\r\n";
const CONNECTION: &str = "Connection: Upgrade\r\n";
const LINE: &str = "GET /ws? HTTP/1.1\r\n";
const HOST: &str = "Host: test\r\n";

const OK: Wants = Wants::Switch(None);

/// The good handshake with one line replaced or left out.
fn with(line: &str, by: &str) -> String {
    let good = handshake("");
    assert!(good.contains(line), "{line}");
    good.replace(line, by)
}

/// The good handshake with more lines, the last without its end.
fn and(lines: &str) -> String {
    with(HOST, &format!("{HOST}{lines}\r\n"))
}

pub(super) fn all() -> Vec<Case> {
    [request_line(), host(), upgrade(), connection(), key(), version(), rest(), hostile()].concat()
}

#[rustfmt::skip]
fn request_line() -> Vec<Case> {
    let line = |line: &str| with(LINE, &format!("{line}\r\n"));
    vec![
        ("4.2.1 1", "the example", handshake(""), OK),
        ("4.2.1 1", "absolute form", line("GET http://test/ws HTTP/1.1"), OK),
        ("4.2.1 1", "a query of anything", line("GET /ws?x=1&y&&=%20 HTTP/1.1"), OK),
        ("4.2.1 1", "POST", line("POST /ws HTTP/1.1"), Wants::Refusal(405)),
        ("4.2.1 1", "HEAD", line("HEAD /ws HTTP/1.1"), Wants::Refusal(405)),
        ("4.2.1 1", "CONNECT", line("CONNECT test:80 HTTP/1.1"), Wants::Refusal(501)),
        ("4.2.1 1", "get, as methods have a case", line("get /ws HTTP/1.1"), Wants::Refusal(405)),
        ("4.2.1 1", "HTTP/1.0", line("GET /ws HTTP/1.0"), Wants::Refusal(426)),
        ("4.2.1 1", "HTTP/0.9", line("GET /ws"), Wants::NotHttp(400)),
        ("4.2.1 1", "HTTP/2.0", line("GET /ws HTTP/2.0"), Wants::NotHttp(400)),
        ("4.2.2 4", "a resource that is not there", line("GET /elsewhere HTTP/1.1"), Wants::Refusal(404)),
        ("4.2.2 4", "a resource below it", line("GET /ws/ HTTP/1.1"), Wants::Refusal(404)),
        ("3", "the resource in another case", line("GET /WS HTTP/1.1"), Wants::Refusal(404)),
        ("4.2.1 1", "a target that is not ASCII", line("GET /ws?room=é HTTP/1.1"), Wants::Refusal(400)),
    ]
}

#[rustfmt::skip]
fn host() -> Vec<Case> {
    let host = |by: &str| with(HOST, by);
    vec![
        ("4.2.1 2", "with a port", host("Host: test:7200\r\n"), OK),
        ("4.2.1 2", "an address", host("Host: [::1]:7200\r\n"), OK),
        ("4.2.1 2", "none", host(""), Wants::Refusal(400)),
        ("4.2.1 2", "two", host("Host: a\r\nHost: b\r\n"), Wants::Refusal(400)),
        ("4.2.1 2", "an empty one", host("Host: \r\n"), Wants::Refusal(400)),
        ("4.2.1 2", "one with a path", host("Host: test/ws\r\n"), Wants::Refusal(400)),
    ]
}

#[rustfmt::skip]
fn upgrade() -> Vec<Case> {
    let upgrade = |by: &str| with(UPGRADE, by);
    vec![
        ("4.2.1 3", "in any case", upgrade("uPgRaDe: WebSocket\r\n"), OK),
        ("4.2.1 3", "in a list", upgrade("Upgrade: h2c, websocket\r\n"), OK),
        ("4.2.1 3", "in the second line", upgrade("Upgrade: h2c\r\nUpgrade: websocket\r\n"), OK),
        ("4.2.1 3", "with blanks around it", upgrade("Upgrade: \t websocket \t \r\n"), OK),
        ("4.2.1 3", "none", upgrade(""), Wants::Refusal(426)),
        ("4.2.1 3", "another", upgrade("Upgrade: h2c\r\n"), Wants::Refusal(426)),
        ("4.2.1 3", "an empty one", upgrade("Upgrade: \r\n"), Wants::Refusal(426)),
        ("4.2.1 3", "one that begins so", upgrade("Upgrade: websockets\r\n"), Wants::Refusal(426)),
        ("4.2.1 3", "one of two words", upgrade("Upgrade: web socket\r\n"), Wants::Refusal(426)),
    ]
}

#[rustfmt::skip]
fn connection() -> Vec<Case> {
    let connection = |by: &str| with(CONNECTION, by);
    vec![
        ("4.2.1 4", "in any case", connection("CONNECTION: uPGRADE\r\n"), OK),
        ("4.2.1 4", "last of a list", connection("Connection: keep-alive, Upgrade\r\n"), OK),
        ("4.2.1 4", "first of a list", connection("Connection: Upgrade,keep-alive\r\n"), OK),
        ("4.2.1 4", "in the second line", connection("Connection: keep-alive\r\nConnection: Upgrade\r\n"), OK),
        ("4.2.1 4", "with empty elements", connection("Connection: ,, Upgrade ,\r\n"), OK),
        ("4.2.1 4", "none", connection(""), Wants::Refusal(400)),
        ("4.2.1 4", "another", connection("Connection: keep-alive\r\n"), Wants::Refusal(400)),
        ("4.2.1 4", "one that begins so", connection("Connection: Upgrades\r\n"), Wants::Refusal(400)),
    ]
}

#[rustfmt::skip]
fn key() -> Vec<Case> {
    let key = |by: &str| with(KEY, by);
    vec![
        ("4.2.1 5", "another", key("Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n"), OK),
        ("4.2.1 5", "with blanks around it", key("Sec-WebSocket-Key:   AQIDBAUGBwgJCgsMDQ4PEA==  \r\n"), OK),
        ("4.2.1 5", "in a field of any case", key("sec-websocket-key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n"), OK),
        ("4.2.1 5", "none", key(""), Wants::Refusal(400)),
        ("11.3.1", "two", key(&format!("{KEY}{KEY}")), Wants::Refusal(400)),
        ("4.2.1 5", "an empty one", key("Sec-WebSocket-Key: \r\n"), Wants::Refusal(400)),
        ("4.2.1 5", "of 3 bytes", key("Sec-WebSocket-Key: dGhl\r\n"), Wants::Refusal(400)),
        ("4.2.1 5", "of 15 bytes", key("Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4P\r\n"), Wants::Refusal(400)),
        ("4.2.1 5", "of 17 bytes", key("Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEBE=\r\n"), Wants::Refusal(400)),
        ("4.2.1 5", "without its padding", key("Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA\r\n"), Wants::Refusal(400)),
        ("4.2.1 5", "in base64url", key("Sec-WebSocket-Key: __________________________==\r\n"), Wants::Refusal(400)),
        ("4.2.1 5", "of what is no base64", key("Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!!!\r\n"), Wants::Refusal(400)),
    ]
}

#[rustfmt::skip]
fn version() -> Vec<Case> {
    let version = |by: &str| with(VERSION, by);
    vec![
        ("4.4", "none", version(""), Wants::Refusal(426)),
        ("4.4", "0", version("Sec-WebSocket-Version: 0\r\n"), Wants::Refusal(426)),
        ("4.4", "8", version("Sec-WebSocket-Version: 8\r\n"), Wants::Refusal(426)),
        ("4.4", "14", version("Sec-WebSocket-Version: 14\r\n"), Wants::Refusal(426)),
        ("4.4", "25, which a client must not say first", version("Sec-WebSocket-Version: 25\r\n"), Wants::Refusal(426)),
        ("4.4", "words", version("Sec-WebSocket-Version: thirteen\r\n"), Wants::Refusal(426)),
        ("4.3", "013, as a version has no leading zero", version("Sec-WebSocket-Version: 013\r\n"), Wants::Refusal(426)),
        ("4.3", "a list, which servers alone send", version("Sec-WebSocket-Version: 13, 8\r\n"), Wants::Refusal(426)),
        ("11.3.5", "twice", version(&format!("{VERSION}{VERSION}")), Wants::Refusal(400)),
    ]
}

/// What may come beside, and is answered only if it is known.
#[rustfmt::skip]
fn rest() -> Vec<Case> {
    vec![
        ("4.2.1 7", "an origin", and("Origin: https://example.com"), OK),
        ("4.2.1 7", "an origin that is null", and("Origin: null"), OK),
        ("4.2.1 8", "a subprotocol that is known", and("Sec-WebSocket-Protocol: tidegate.v1"), Wants::Switch(Some("tidegate.v1"))),
        ("4.2.1 8", "among others", and("Sec-WebSocket-Protocol: chat, tidegate.v1 ,x"), Wants::Switch(Some("tidegate.v1"))),
        ("4.2.1 8", "in the second line", and("Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: tidegate.v1"), Wants::Switch(Some("tidegate.v1"))),
        ("4.2.2 5.5", "subprotocols that are not known", and("Sec-WebSocket-Protocol: chat, superchat"), OK),
        ("4.2.1 9", "an extension that is not known", and("Sec-WebSocket-Extensions: x-foo; bar=1"), OK),
        ("9.1", "an extension that is nonsense", and("Sec-WebSocket-Extensions: ; =,\""), OK),
        ("4.2.1 10", "fields that are not known", and("Cookie: a=b\r\nX-Other: 1\r\nX-Other: 2"), OK),
        ("4.2.1", "a body of no bytes", and("Content-Length: 0"), OK),
        ("4.2.1", "a body", and("Content-Length: 3"), Wants::Refusal(400)),
        ("4.2.1", "a body in chunks", and("Transfer-Encoding: chunked"), Wants::Refusal(400)),
    ]
}

/// What is no handshake at all, or too much of one.
#[rustfmt::skip]
fn hostile() -> Vec<Case> {
    vec![
        ("4.2.1", "TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".to_owned(), Wants::NotHttp(400)),
        ("10.5", "a line without a colon", and("Sec-WebSocket-Key"), Wants::NotHttp(400)),
        ("10.5", "a control character", and("X: a\x07"), Wants::NotHttp(400)),
        ("10.4", "a huge head", and(&format!("X: {}", "x".repeat(40_000))), Wants::NotHttp(431)),
        ("10.4", "many fields", and("X: y\r\n".repeat(200).trim_end()), Wants::NotHttp(431)),
        ("10.4", "a few too many fields", and("X: y\r\n".repeat(60).trim_end()), Wants::Refusal(431)),
    ]
}
