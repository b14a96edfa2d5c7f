//! permessage-deflate (RFC 7692) as clients see it: what is agreed, compressed once for all, and read in bounds.

use std::net::SocketAddr;
use std::time::Duration;

use common::link::message::Delivery;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use gateway::Settings;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bad_frames::frame;
use crate::clients::{PATIENCE, connect, handshake};
use crate::logic::{link, to_all, to_client, to_room};
use crate::node::{Gateway, settings, start};

const PLAIN_TEXT: u8 = 0x81;
const COMPRESSED_TEXT: u8 = 0xc1;

/// A client that can be sent compressed frames, byte by byte.
pub(crate) struct Deflating {
    stream: TcpStream,
    unread: Vec<u8>,
    /// The answer's `Sec-WebSocket-Extensions`.
    pub(crate) agreed: Option<String>,
}

/// Connects with this offer.
async fn offer(address: SocketAddr, query: &str, offer: &str) -> Deflating {
    offers(address, query, &[offer]).await
}

/// Connects with these offers, a line each.
pub(crate) async fn offers(address: SocketAddr, query: &str, offers: &[&str]) -> Deflating {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let lines: String = offers.iter().map(|offer| format!("\r\nSec-WebSocket-Extensions: {offer}")).collect();
    let head = handshake(query).replace("\r\n\r\n", &format!("{lines}\r\n\r\n"));
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut client = Deflating { stream, unread: Vec::new(), agreed: None };
    let end = loop {
        if let Some(end) = client.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end;
        }
        client.read().await;
    };
    let head = String::from_utf8(client.unread.drain(..end + 4).collect()).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let named = |line: &str| line.strip_prefix("sec-websocket-extensions: ").map(str::to_owned);
    client.agreed = head.lines().find_map(named);
    client
}

/// Connects with the plainest offer and reads the hello.
async fn deflating(address: SocketAddr, query: &str) -> Deflating {
    let mut client = offer(address, query, "permessage-deflate").await;
    let plainest = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    assert_eq!(client.agreed.as_deref(), Some(plainest));
    let (first, hello) = client.next_text().await;
    assert_eq!(
        (first, &hello[..14]),
        (PLAIN_TEXT, r#"{"cmd":"hello""#),
        "one client's own frame is not compressed"
    );
    client
}

impl Deflating {
    async fn read(&mut self) {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.unread));
        assert!(read.await.expect("bytes in time").unwrap() > 0, "the connection is open");
    }

    /// The next frame: its first byte, and its payload as it came.
    async fn next_frame(&mut self) -> (u8, Vec<u8>) {
        loop {
            let (header, length) = match self.unread[..] {
                [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
                [_, 127, a, b, c, d, e, f, g, h, ..] => {
                    (10, u64::from_be_bytes([a, b, c, d, e, f, g, h]) as usize)
                }
                [_, short @ ..126, ..] => (2, usize::from(short)),
                _ => (usize::MAX, 0),
            };
            if header != usize::MAX && self.unread.len() >= header + length {
                let frame: Vec<u8> = self.unread.drain(..header + length).collect();
                return (frame[0], frame[header..].to_vec());
            }
            self.read().await;
        }
    }

    /// The next text, with the first byte of its frame.
    pub(crate) async fn next_text(&mut self) -> (u8, String) {
        loop {
            match self.next_frame().await {
                (0x89 | 0x8a, _) => {}
                (COMPRESSED_TEXT, payload) => {
                    let text = inflate(&payload);
                    return (COMPRESSED_TEXT, String::from_utf8(text).unwrap());
                }
                (first, payload) => return (first, String::from_utf8(payload).unwrap()),
            }
        }
    }

    /// The `data` of the items of the next push, which is compressed.
    async fn items(&mut self) -> Vec<Value> {
        let (first, text) = self.next_text().await;
        assert_eq!(first, COMPRESSED_TEXT, "{text}");
        let push: Value = serde_json::from_str(&text).unwrap();
        push["items"].as_array().unwrap().iter().map(|item| item["data"].clone()).collect()
    }

    pub(crate) async fn closed(&mut self) -> u16 {
        loop {
            if let (0x88, payload) = self.next_frame().await {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    }

    /// Sends frames; the gateway may have had enough before it has read them all.
    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.ok();
    }
}

/// Reads one message, with nothing of another.
fn inflate(message: &[u8]) -> Vec<u8> {
    let mut inflate = Decompress::new(false);
    let mut text = Vec::with_capacity(1 << 20);
    let input = [message, &[0x00, 0x00, 0xff, 0xff]].concat();
    inflate.decompress_vec(&input, &mut text, FlushDecompress::Sync).unwrap();
    assert_eq!(inflate.total_in(), input.len() as u64, "whole");
    text
}

/// A message as a client compresses it.
fn deflate(message: &[u8]) -> Vec<u8> {
    let mut compress = Compress::new(Compression::best(), false);
    let mut out = Vec::with_capacity(message.len() / 500 + message.len().min(10_000) + 100);
    compress.compress_vec(message, &mut out, FlushCompress::Sync).unwrap();
    assert!(out.ends_with(&[0x00, 0x00, 0xff, 0xff]));
    out.truncate(out.len() - 4);
    out
}

/// Pushed data that shrinks, about 250 bytes of it.
fn quote(n: u64) -> Value {
    json!({"symbol": "BTC-USD", "bid": 94_213 + n, "ask": 94_218 + n, "note": "a note that repeats a note that repeats ".repeat(30)})
}

async fn compressed(gateway: &Gateway) -> u64 {
    gateway.status("/deflate/frames").await
}

#[tokio::test]
async fn one_broadcast_is_compressed_once_for_all_who_agreed() {
    let gateway = start(settings()).await;
    let mut logic = link(gateway.ingress).await;
    let address = gateway.clients;
    let mut packed =
        [deflating(address, "room=r").await, deflating(address, "").await, deflating(address, "").await];
    let mut plain = [connect(address, "").await, connect(address, "room=r").await];
    assert_eq!(gateway.status("/deflate/handshakes").await, 3);
    // Many more, so that several workers come upon the frame.
    let mut others = Vec::new();
    for _ in 0..60 {
        others.push(deflating(address, "").await);
    }
    let pushes = (0..10).map(|n| (to_all(), quote(n).to_string())).collect();
    let last = logic.push_all(pushes).await;
    let expected: Vec<Value> = (0..10).map(quote).collect();
    for client in &mut packed {
        assert_eq!(client.items().await, expected);
    }
    for client in &mut plain {
        assert_eq!(client.items().await, expected);
    }
    for client in &mut others {
        assert_eq!(client.items().await, expected);
    }
    logic.fate(last).await;
    assert_eq!(compressed(&gateway).await, 1);
    let (before, after) =
        (gateway.status("/deflate/bytesBefore").await, gateway.status("/deflate/bytesAfter").await);
    assert!(after * 4 < before, "{before} became {after}");
    // The urgent lane, and a room that one of each is in.
    let urgent = Delivery { urgent: true, ..to_room("r") };
    let serial = logic.push(urgent, &quote(10).to_string()).await;
    assert_eq!(packed[0].items().await, [quote(10)]);
    assert_eq!(plain[1].items().await, [quote(10)]);
    logic.fate(serial).await;
    assert_eq!(compressed(&gateway).await, 2);
    let (_, metrics) = gateway.ops("/metrics").await;
    assert!(metrics.contains("tidegate_gateway_frames_compressed_total 2\n"), "{metrics}");
    assert!(metrics.contains("tidegate_gateway_deflate_seconds_total 0.0"), "{metrics}");
}

#[tokio::test]
async fn nobody_who_agreed_means_nothing_compressed() {
    let gateway = start(Settings { window: Duration::ZERO, ..settings() }).await;
    let mut logic = link(gateway.ingress).await;
    let mut plain = connect(gateway.clients, "room=r").await;
    let _elsewhere = deflating(gateway.clients, "room=other").await;
    logic.push(to_room("r"), &quote(1).to_string()).await;
    assert_eq!(plain.items().await, [quote(1)]);
    assert_eq!(compressed(&gateway).await, 0);
}

#[tokio::test]
async fn a_smaller_window_gets_a_stream_of_its_own() {
    let gateway = start(settings()).await;
    let mut logic = link(gateway.ingress).await;
    let ten = "permessage-deflate; server_max_window_bits=10; client_max_window_bits";
    let mut narrow = offer(gateway.clients, "room=r", ten).await;
    assert!(narrow.agreed.as_ref().unwrap().ends_with("; server_max_window_bits=10"), "{:?}", narrow.agreed);
    narrow.next_text().await;
    let mut also_narrow =
        offer(gateway.clients, "room=r", "permessage-deflate; server_max_window_bits=9").await;
    also_narrow.next_text().await;
    let mut wide = deflating(gateway.clients, "room=r").await;
    // What repeats is 2000 bytes apart, which only the wide one may be told.
    let mut seed = fastrand::Rng::with_seed(5);
    let noise: String = std::iter::repeat_with(|| seed.alphanumeric()).take(2000).collect();
    let last = logic.push_all(vec![(to_room("r"), json!(noise).to_string()); 8]).await;
    let expected = vec![json!(noise); 8];
    for client in [&mut narrow, &mut also_narrow, &mut wide] {
        assert_eq!(client.items().await, expected);
    }
    logic.fate(last).await;
    assert_eq!(compressed(&gateway).await, 2, "once for each window");
}

#[tokio::test]
async fn small_frames_stay_plain_and_so_do_those_that_would_not_shrink() {
    let gateway = start(Settings { window: Duration::ZERO, deflate_bytes_min: 2000, ..settings() }).await;
    let mut logic = link(gateway.ingress).await;
    let mut client = deflating(gateway.clients, "room=r").await;
    let payload = |data: &str| format!(r#"{{"cmd":"push","items":[{{"room":"r","data":{data}}}]}}"#);
    let around = payload("").len();
    for (length, first) in
        [(1, PLAIN_TEXT), (1999, PLAIN_TEXT), (2000, COMPRESSED_TEXT), (60_000, COMPRESSED_TEXT)]
    {
        let length = usize::max(length, around + 2);
        let data = format!("\"{}\"", "x".repeat(length - around - 2));
        logic.push(to_room("r"), &data).await;
        assert_eq!(client.next_text().await, (first, payload(&data)), "{length}");
    }
    assert_eq!(compressed(&gateway).await, 2);
    let mut seed = fastrand::Rng::with_seed(5);
    let noise: String = std::iter::repeat_with(|| seed.char('\u{4e00}'..'\u{9fff}')).take(1000).collect();
    let data = json!(noise).to_string();
    logic.push(to_room("r"), &data).await;
    let (first, text) = client.next_text().await;
    assert_eq!(text, payload(&data));
    assert!(first == PLAIN_TEXT || compressed(&gateway).await == 3);
}

#[tokio::test]
async fn an_offer_that_cannot_be_accepted_is_declined_and_the_client_is_served() {
    let gateway = start(Settings { window: Duration::ZERO, ..settings() }).await;
    let mut logic = link(gateway.ingress).await;
    for offered in [
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; magic",
        "; =,\"",
        "x-webkit-deflate-frame",
    ] {
        let mut client = offer(gateway.clients, "room=r", offered).await;
        assert_eq!(client.agreed, None, "{offered}");
        assert_eq!(client.next_text().await.0, PLAIN_TEXT);
        logic.push(to_room("r"), &quote(1).to_string()).await;
        assert_eq!(client.next_text().await.0, PLAIN_TEXT);
        client.say(&frame(COMPRESSED_TEXT, &deflate(b"ping"))).await;
        assert_eq!(client.closed().await, 1002, "{offered}");
    }
    let off = start(Settings { deflate_level: 0, ..settings() }).await;
    let client = offer(off.clients, "room=r", "permessage-deflate").await;
    assert_eq!(client.agreed, None, "switched off");
}

#[tokio::test]
async fn compressed_commands_are_understood() {
    let gateway = start(settings()).await;
    let mut client = deflating(gateway.clients, "").await;
    client.say(&frame(COMPRESSED_TEXT, &deflate(b"ping"))).await;
    assert_eq!(client.next_text().await, (PLAIN_TEXT, "pong".into()));
    // One is compressed, the next is not: each message says so itself.
    client.say(&frame(PLAIN_TEXT, b"ping")).await;
    assert_eq!(client.next_text().await, (PLAIN_TEXT, "pong".into()));
    // In fragments, with a ping between them, byte by byte.
    let join = deflate(br#"{"seq":"1","cmd":"join","data":{"room":"r"}}"#);
    let (one, two) = join.split_at(join.len() / 2);
    for byte in [frame(0x41, one), frame(0x89, b"mark"), frame(0x80, two)].concat() {
        client.say(&[byte]).await;
    }
    let (_, reply) = client.next_text().await;
    assert_eq!(serde_json::from_str::<Value>(&reply).unwrap()["response"]["code"], 200, "{reply}");
    // A stream that was ended in the message, as RFC 7692 §7.2.3.4 allows.
    let mut compress = Compress::new(Compression::best(), false);
    let mut ended = Vec::with_capacity(100);
    compress.compress_vec(b"ping", &mut ended, FlushCompress::Finish).unwrap();
    ended.push(0x00);
    client.say(&frame(COMPRESSED_TEXT, &ended)).await;
    assert_eq!(client.next_text().await, (PLAIN_TEXT, "pong".into()));
}

#[tokio::test]
async fn each_bad_compressed_message_gets_its_close_code() {
    let gateway = start(settings()).await;
    let bomb = deflate(&vec![b'x'; 16 * 1024 * 1024]);
    assert!(bomb.len() < 20_000, "a frame that may be sent: {}", bomb.len());
    let hello = deflate(b"{\"cmd\":\"heartbeat\"}");
    let (one, two) = hello.split_at(9);
    let pieces: Vec<u8> = bomb.chunks(100).map(|piece| frame(0x00, piece)).collect::<Vec<_>>().concat();
    let flushes: Vec<u8> = frame(0x00, &[0x00, 0x00, 0x00, 0xff, 0xff].repeat(200)).repeat(200);
    for (name, bytes, code) in [
        ("a bomb", frame(0xc1, &bomb), 1009),
        ("a bomb in fragments", [frame(0x41, b""), pieces, frame(0x80, b"")].concat(), 1009),
        ("nothing but flushes", [frame(0x41, b""), flushes].concat(), 1009),
        ("a long frame", frame(0xc1, &vec![0; 80_000]), 1009),
        ("one byte too much", frame(0xc1, &deflate(&vec![b'x'; 65_537])), 1009),
        ("not compressed", frame(0xc1, b"{\"cmd\":\"heartbeat\"}"), 1002),
        ("cut off", frame(0xc1, one), 1002),
        ("a bit on the second fragment", [frame(0x41, one), frame(0xc0, two)].concat(), 1002),
        ("a bit on the second fragment only", [frame(0x01, b"{"), frame(0xc0, two)].concat(), 1002),
        ("a compressed ping", frame(0xc9, &deflate(b"x")), 1002),
        ("another reserved bit", frame(0xa1, &hello), 1002),
        ("binary", frame(0xc2, &hello), 1003),
        ("not UTF-8", frame(0xc1, &deflate(&[0xff, 0xfe])), 1007),
    ] {
        let mut client = deflating(gateway.clients, "").await;
        client.say(&bytes).await;
        assert_eq!(client.closed().await, code, "{name}");
    }
    gateway.wait_for("/clients", 0).await;
}

/// Most memory that this process has had, in KiB.
fn memory_peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn a_hundred_bombs_take_no_memory() {
    let gateway = start(settings()).await;
    let bomb = frame(0xc1, &deflate(&vec![b'x'; 16 * 1024 * 1024]));
    let before = memory_peak();
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(deflating(gateway.clients, "").await);
    }
    for client in &mut clients {
        client.say(&bomb).await;
    }
    for client in &mut clients {
        assert_eq!(client.closed().await, 1009);
    }
    // Inflated they are 1.6 GB; as they come, 100 times 64 KiB and what reads them.
    let grown = memory_peak() - before;
    assert!(grown < 32 * 1024, "{grown} KiB more than before");
}

#[tokio::test]
async fn what_goes_to_one_client_is_compressed_too() {
    let gateway = start(Settings { window: Duration::ZERO, ..settings() }).await;
    let mut logic = link(gateway.ingress).await;
    let mut client = offer(gateway.clients, "", "permessage-deflate").await;
    let (_, hello) = client.next_text().await;
    let hello: Value = serde_json::from_str(&hello).unwrap();
    let id: common::ids::ClientId = hello["data"]["clientId"].as_str().unwrap().parse().unwrap();
    logic.push(to_client(id.local), &quote(3).to_string()).await;
    assert_eq!(client.items().await, [quote(3)]);
    // And the next needs nothing of it.
    logic.push(to_client(id.local), &quote(3).to_string()).await;
    assert_eq!(client.items().await, [quote(3)]);
}
