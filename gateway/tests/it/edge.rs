//! A gateway behind proxies: whose connection it is decides what it counts for.

use std::time::Duration;

use common::edge::{Edge, Field};
use gateway::{Limits, Settings};
use tokio::net::TcpStream;

use crate::clients::{handshake, raw, raw_from, status_line};
use crate::node::{Gateway, settings, start};

/// A gateway that believes 127.0.0.1, and lets each address have one connection.
async fn behind(proxy_protocol: bool, field: Field) -> Gateway {
    let edge = Edge { trusted: vec!["127.0.0.1".parse().unwrap()], proxy_protocol, field };
    let limits = Limits { connections_per_ip: Some(1), ..Limits::default() };
    let handshake_time_max = Duration::from_millis(500);
    start(Settings { edge, limits, handshake_time_max, ..settings() }).await
}

/// A PROXY header of version 2 from this address.
fn header(ip: &[u8]) -> Vec<u8> {
    let family = if ip.len() == 4 { 0x11 } else { 0x21 };
    let addresses = [ip, ip, &50_000_u16.to_be_bytes(), &443_u16.to_be_bytes()].concat();
    let length = (addresses.len() as u16).to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n\x21", &[family][..], &length, &addresses].concat()
}

fn forwarded(line: &str) -> Vec<u8> {
    handshake("").replace("Host: test", &format!("Host: test\r\n{line}")).into_bytes()
}

async fn passes(gateway: &Gateway, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.clients).await.unwrap();
    let line = status_line(&mut stream, bytes).await;
    assert!(line.starts_with("HTTP/1.1 101"), "{line}");
    stream
}

async fn is_told(gateway: &Gateway, bytes: &[u8], status: u16) {
    let answer = raw(gateway.clients, bytes).await;
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
}

#[tokio::test]
async fn a_proxy_header_says_for_which_address_a_connection_counts() {
    let gateway = behind(true, Field::XForwardedFor).await;
    let from = |ip: &[u8]| [header(ip), handshake("").into_bytes()].concat();
    let one = passes(&gateway, &from(&[203, 0, 113, 7])).await;
    is_told(&gateway, &from(&[203, 0, 113, 7]), 429).await;
    let _two = passes(&gateway, &from(&[203, 0, 113, 8])).await;
    // Of IPv6 a network counts, not an address.
    let v6 = |network: u8, last: u8| [0x20, 1, 0xd, 0xb8, 0, 0, 0, network, 0, 0, 0, 0, 0, 0, 0, last];
    let _three = passes(&gateway, &from(&v6(1, 1))).await;
    is_told(&gateway, &from(&v6(1, 2)), 429).await;
    let _four = passes(&gateway, &from(&v6(2, 2))).await;
    assert_eq!(gateway.limit("connections_per_ip").await, [Some(1), Some(1), Some(2)]);
    assert_eq!(gateway.status("/addresses/known").await, 4);
    drop(one);
    gateway.wait_for("/addresses/known", 3).await;
    let _again = passes(&gateway, &from(&[203, 0, 113, 7])).await;
}

#[tokio::test]
async fn a_trusted_proxy_without_its_header_is_closed_and_a_stranger_with_one_gets_nothing_by_it() {
    let gateway = behind(true, Field::XForwardedFor).await;
    let whole = header(&[203, 0, 113, 7]);
    let mut wrong = whole.clone();
    wrong[12] = 0x2f;
    for (number, bytes) in [handshake("").as_bytes(), &wrong, &whole[..20], b""].into_iter().enumerate() {
        assert_eq!(raw(gateway.clients, bytes).await, "", "closed without a word");
        gateway.wait_for_refusals("proxy_header", number as u64 + 1).await;
    }
    let with_header = [&whole[..], handshake("").as_bytes()].concat();
    let answer = raw_from("127.0.0.2", gateway.clients, &with_header).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "from a stranger it is bad HTTP: {answer}");
    let library = b"GET /client/tidegate.js HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = raw_from("127.0.0.3", gateway.clients, library).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "and without one a stranger is served: {answer}");
    // A check of the proxy's own has no address to count for, and ends as it likes.
    let local = [b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", &library[..]].concat();
    assert!(raw(gateway.clients, &local).await.starts_with("HTTP/1.1 200"));
    assert_eq!(gateway.limit("proxy_header").await[2], Some(4));
}

#[tokio::test]
async fn what_a_request_says_of_its_way_counts_from_a_trusted_proxy_only() {
    for (field, name, value) in
        [(Field::XForwardedFor, "X-Forwarded-For", ""), (Field::Forwarded, "Forwarded", "for=")]
    {
        let gateway = behind(false, field).await;
        let from = |hops: &[&str]| {
            let hops: Vec<_> = hops.iter().map(|hop| format!("{value}{hop}")).collect();
            forwarded(&format!("{name}: {}", hops.join(", ")))
        };
        let one = passes(&gateway, &from(&["203.0.113.7"])).await;
        is_told(&gateway, &from(&["203.0.113.7"]), 429).await;
        is_told(&gateway, &from(&["198.51.100.1", "203.0.113.7"]), 429).await;
        is_told(&gateway, &from(&["203.0.113.7", "127.0.0.1"]), 429).await;
        let _two = passes(&gateway, &from(&["203.0.113.7", "203.0.113.8"])).await;
        // The proxy itself is nobody's address.
        let _own = (passes(&gateway, &from(&[])).await, passes(&gateway, &from(&["127.0.0.1"])).await);
        assert_eq!(gateway.limit("connections_per_ip").await[2], Some(3));
        drop(one);
        gateway.wait_for("/addresses/known", 1).await;
        let _again = passes(&gateway, &from(&["203.0.113.7"])).await;

        // A stranger counts for its own address, whatever it writes.
        let mut stranger = crate::clients::stream_from("127.0.0.2", gateway.clients).await;
        let line = status_line(&mut stranger, &from(&["198.51.100.9"])).await;
        assert!(line.starts_with("HTTP/1.1 101"), "{line}");
        let answer = raw_from("127.0.0.2", gateway.clients, &from(&["198.51.100.10"])).await;
        assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    }
}
