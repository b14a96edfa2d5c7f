//! Every limit of a logic node: what is just below passes, what is just above is answered as documented and counted.

use std::time::Duration;

use common::edge::{Edge, Field};
use common::fresh::Fresh;
use common::http1::Bounds;
use common::limits::rate::Rate;
use logic::{Keys, Limits, Settings, Sizes};
use serde_json::Value;

use crate::rig::{Answer, Rig, call, get, quick, with};

const ALL: &str = r#"{"to":{"all":true},"data":1}"#;
const SHOP: &str = "authorization: Bearer shop-0123456789abc\r\n";
const DESK: &str = "authorization: Bearer desk-0123456789abc\r\n";
const KEYS: &str = r#"
    [[key]]
    name = "shop"
    scopes = ["push"]
    key = "shop-0123456789abc"
    [[key]]
    name = "desk"
    scopes = ["read"]
    key = "desk-0123456789abc"
    rate = 0
"#;

/// So many, and no more while a test runs.
fn only(tokens: u32) -> Option<Rate> {
    Rate::new(1, Duration::from_secs(3600), tokens)
}

async fn limited(limits: Limits) -> Rig {
    with(Settings { limits, ..quick() }).await
}

/// How a limit stands: the most and how often it was refused, in `/statusz` and in `/metrics`.
async fn limit(rig: &Rig, name: &str) -> (Option<u64>, u64) {
    let status: Value = get(rig.ops, "/statusz").await.json();
    let rows = status["limits"].as_array().unwrap();
    let row = rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name}: {status}"));
    let refused = row["refused"].as_u64().unwrap();
    let metrics = get(rig.ops, "/metrics").await.body;
    let counter = format!("tidegate_logic_refused_total{{limit=\"{name}\"}} {refused}\n");
    assert!(metrics.contains(&counter), "{counter}: {metrics}");
    (row["max"].as_u64(), refused)
}

fn is_told_when(answer: &Answer) {
    answer.expect(429, "too_many_calls");
    assert!(answer.head.contains("\r\nretry-after: "), "{answer:?}");
    assert_eq!(answer.json()["retryable"], true);
}

#[tokio::test]
async fn calls_of_a_key_are_limited_and_counted_by_its_name() {
    let keys = Fresh::fixed("keys", Keys::parse(KEYS).unwrap());
    let api_keys = Some(keys.clone());
    let limits = Limits { calls_per_key: only(2), ..Limits::default() };
    let rig = with(Settings { limits, api_keys, ..quick() }).await;
    for _ in 0..2 {
        rig.post("/v1/push", SHOP, ALL).await.expect(503, "no_gateway");
    }
    let answer = rig.post("/v1/push", SHOP, ALL).await;
    is_told_when(&answer);
    assert!(answer.body.contains("shop"), "{answer:?}");
    for _ in 0..4 {
        assert_eq!(rig.get_with("/v1/gateways", DESK).await.status, 200, "its entry says that it may");
    }
    rig.post("/v1/push", DESK, ALL).await.expect(403, "insufficient_scope");
    // A file that is read again changes nothing of what was used.
    keys.set(Keys::parse(KEYS).unwrap());
    is_told_when(&rig.post("/v1/push", SHOP, ALL).await);
    assert_eq!(limit(&rig, "calls_per_key").await, (Some(1), 2));
    let metrics = get(rig.ops, "/metrics").await.body;
    for (name, outcome, count) in [
        ("shop", "passed", 2),
        ("shop", "limited", 2),
        ("shop", "forbidden", 0),
        ("desk", "passed", 4),
        ("desk", "forbidden", 1),
    ] {
        let line =
            format!("tidegate_logic_key_calls_total{{key=\"{name}\",outcome=\"{outcome}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
    let status = get(rig.ops, "/statusz").await.json();
    assert_eq!(status["keys"][1]["name"], "shop", "{status}");
    assert_eq!(status["keys"][1]["limited"], 2, "{status}");
}

#[tokio::test]
async fn calls_without_a_key_are_limited_by_address() {
    let rig = limited(Limits { calls_per_ip: only(3), ..Limits::default() }).await;
    rig.push(ALL).await.expect(503, "no_gateway");
    assert_eq!(rig.get("/v1/gateways").await.status, 200);
    assert_eq!(rig.get("/docs").await.status, 200);
    for path in ["/v1/gateways", "/docs", "/elsewhere"] {
        is_told_when(&rig.get(path).await);
    }
    assert_eq!(limit(&rig, "calls_per_ip").await, (Some(1), 3));
}

#[tokio::test]
async fn who_guesses_keys_is_slowed_down_and_who_has_one_is_not() {
    let api_keys = Some(Fresh::fixed("keys", Keys::parse(KEYS).unwrap()));
    let limits = Limits { calls_per_ip: only(2), ..Limits::default() };
    let rig = with(Settings { limits, api_keys, ..quick() }).await;
    let guess = "authorization: Bearer guess-0123456789\r\n";
    for _ in 0..2 {
        rig.post("/v1/push", guess, ALL).await.expect(401, "unauthorized");
    }
    is_told_when(&rig.post("/v1/push", guess, ALL).await);
    is_told_when(&rig.post("/v1/push", "", ALL).await);
    rig.post("/v1/push", SHOP, ALL).await.expect(503, "no_gateway");
    assert_eq!(limit(&rig, "calls_per_ip").await.1, 2);
}

#[tokio::test]
async fn bodies_have_bounds_that_can_be_set_and_are_counted() {
    let sizes = Sizes { data_bytes_max: 100, json_depth_max: 5 };
    let rig = limited(Limits { body_bytes_max: 2_000, sizes, ..Limits::default() }).await;
    let data = |text: &str| format!(r#"{{"to":{{"all":true}},"data":{text}}}"#);
    let string = |bytes: usize| data(&format!("\"{}\"", "x".repeat(bytes - 2)));
    let nested = |depth: usize| data(&format!("{}1{}", "[".repeat(depth), "]".repeat(depth)));
    let padded = |bytes: usize| format!("{ALL:<bytes$}");
    let batch = |pushes: usize| vec![ALL; pushes].join("\n");
    for (name, most, below, above, status, code) in [
        ("body_bytes", 2_000, padded(2_000), padded(2_001), 413, "body_too_large"),
        ("data_bytes", 100, string(100), string(101), 413, "data_too_large"),
        ("json_depth", 5, nested(4), nested(5), 400, "json_too_deep"),
    ] {
        rig.push(&below).await.expect(503, "no_gateway");
        rig.push(&above).await.expect(status, code);
        assert_eq!(limit(&rig, name).await, (Some(most), 1), "{name}");
    }
    let rig = limited(Limits::default()).await;
    let lines = "content-type: application/x-ndjson\r\n";
    rig.post("/v1/push/batch", lines, &batch(1_000)).await.expect(503, "no_gateway");
    rig.post("/v1/push/batch", lines, &batch(1_001)).await.expect(413, "batch_too_large");
    assert_eq!(limit(&rig, "batch_pushes").await, (Some(1_000), 1));
}

#[tokio::test]
async fn heads_have_bounds_that_can_be_set_and_are_counted() {
    let head = Bounds { head_bytes_max: 8_192, headers_max: 10, ..Bounds::default() };
    let rig = limited(Limits { head, ..Limits::default() }).await;
    // Two fields are there anyway.
    let fields = |count: usize| (2..count).map(|number| format!("x-{number}: y\r\n")).collect::<String>();
    assert_eq!(rig.get_with("/v1/gateways", &fields(10)).await.status, 200);
    rig.get_with("/v1/gateways", &fields(11)).await.expect(431, "too_many_headers");
    assert_eq!(limit(&rig, "header_fields").await, (Some(10), 1));
    let long = |bytes: usize| format!("x: {}\r\n", "x".repeat(bytes));
    assert_eq!(rig.get_with("/v1/gateways", &long(7_900)).await.status, 200);
    let answer = rig.get_with("/v1/gateways", &long(9_000)).await;
    assert_eq!(answer.status, 431, "{answer:?}");
    assert_eq!(limit(&rig, "head_bytes").await, (Some(8_192), 1));
}

#[tokio::test]
async fn heads_and_bodies_that_take_too_long_are_told_so_and_counted() {
    let time = Duration::from_millis(300);
    let head = Bounds { head_time_max: time, ..Bounds::default() };
    let rig = limited(Limits { head, body_time_max: time, ..Limits::default() }).await;
    for begun in ["", "POST /v1/push HTTP/1.1\r\nhost: x\r\n"] {
        call(rig.api, begun.as_bytes()).await.expect(408, "head_timeout");
    }
    assert_eq!(limit(&rig, "head_time").await, (Some(300), 2));
    let begun = "POST /v1/push HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n\
                 content-length: 28\r\n\r\n{\"to\"";
    call(rig.api, begun.as_bytes()).await.expect(408, "body_timeout");
    assert_eq!(limit(&rig, "body_time").await, (Some(300), 1));
    rig.push(ALL).await.expect(503, "no_gateway");
}

#[tokio::test]
async fn behind_proxies_the_address_is_the_callers() {
    let trusted = vec!["127.0.0.1".parse().unwrap()];
    let limits = Limits { calls_per_ip: only(1), ..Limits::default() };
    let edge = Edge { trusted, proxy_protocol: false, field: Field::XForwardedFor };
    let rig = with(Settings { limits: limits.clone(), edge: edge.clone(), ..quick() }).await;
    let from = |hops: &str| format!("x-forwarded-for: {hops}\r\n");
    assert_eq!(rig.get_with("/docs", &from("203.0.113.7")).await.status, 200);
    is_told_when(&rig.get_with("/docs", &from("198.51.100.1, 203.0.113.7")).await);
    assert_eq!(rig.get_with("/docs", &from("203.0.113.8")).await.status, 200);
    for _ in 0..3 {
        assert_eq!(rig.get("/docs").await.status, 200, "the proxy itself is not counted");
    }

    let rig = with(Settings { limits, edge: Edge { proxy_protocol: true, ..edge }, ..quick() }).await;
    let get = b"GET /docs HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let from = |last: u8| {
        let addresses = [203, 0, 113, last, 127, 0, 0, 1, 0xc3, 0x50, 0, 80];
        [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", &addresses[..], get].concat()
    };
    assert_eq!(call(rig.api, &from(7)).await.status, 200);
    is_told_when(&call(rig.api, &from(7)).await);
    assert_eq!(call(rig.api, &from(8)).await.status, 200);
    // A trusted proxy that does not send it is closed without a word.
    let mut stream = tokio::net::TcpStream::connect(rig.api).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, get).await.unwrap();
    let mut answer = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await.ok();
    assert!(answer.is_empty());
    assert_eq!(limit(&rig, "proxy_header").await.1, 1);
}
