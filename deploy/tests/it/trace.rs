//! What the log says of one push: lines that can be joined by its trace, and a warning with the stage that was slow.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio_tungstenite::tungstenite;

use crate::cluster::cluster;
use crate::process::{http, said, tidegate};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

#[test]
fn a_push_is_found_in_the_logs_of_both_nodes_by_its_trace() {
    let mut cluster = cluster().flags(&["--log", "debug"]).logic_flags(&["--log", "debug"]).start();
    let stream = TcpStream::connect(&cluster.gateways[0].main).unwrap();
    let url = format!("ws://{}/ws?room=r", cluster.gateways[0].main);
    let (_socket, _) = tungstenite::client(url, stream).unwrap();
    let url = cluster.logics[0].http();
    let push =
        ["push", "--url", &url, "--room", "r", "--data", "1", "--wait", "written", "--traceparent", TRACE];
    let (code, out, err) = said(tidegate(&push));
    assert_eq!(code, 0, "{err}");
    let id = json(&out)["id"].clone();
    let taken = json(&cluster.logics[0].line("a push was taken"));
    assert_eq!((&taken["id"], &taken["to"]), (&id, &Value::from("room r")), "{taken}");
    assert_eq!(
        (&taken["trace_id"], &taken["parent_id"]),
        (&TRACE[3..35].into(), &TRACE[36..52].into()),
        "{taken}"
    );
    let written = json(&cluster.gateways[0].line("a push is written"));
    assert_eq!((&written["id"], &written["written"]), (&id, &Value::from(1)), "{written}");
    assert_eq!(
        (&written["trace_id"], &written["parent_id"]),
        (&TRACE[3..35].into(), &taken["span_id"]),
        "{written}"
    );
    // One that is invalid is as good as none: the push is taken, and nothing is made up.
    let push = "POST /v1/push HTTP/1.1\r\nTraceparent: 00-xyz\r\nX-Rest:";
    let answer = http(&cluster.logics[0].main, push, r#"{"to":{"room":"r"},"data":2}"#);
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    let plain = json(&cluster.logics[0].line("a push was taken"));
    assert_eq!(plain["trace_id"], "", "{plain}");
    let bad = ["push", "--url", &url, "--room", "r", "--data", "1", "--traceparent", "00-1"];
    let (code, _, err) = said(tidegate(&bad));
    assert!(code == 2 && err.contains("32, 16 and 2"), "{err}");
}

#[test]
fn a_gateway_that_stands_still_is_named_as_what_was_slow() {
    let mut cluster = cluster().logic_flags(&["--slow-push", "500ms"]).start();
    cluster.gateways[0].signal("STOP");
    let (status, _) = cluster.logics[0].push(r#"{"to":{"all":true},"data":1}"#);
    cluster.gateways[0].signal("CONT");
    assert_eq!(status, 503, "nobody took it in time");
    let line = json(&cluster.logics[0].line("a push was slow here"));
    assert_eq!((&line["stage"], &line["level"]), (&"receipts".into(), &"WARN".into()), "{line}");
    assert!(line["total_ms"].as_u64().unwrap() >= 500 && line["to"] == "all", "{line}");
    assert!(line["failed"].as_str().unwrap().contains("gw-0 ("), "{line}");
    let metrics = http(&cluster.logics[0].ops, "GET /metrics", "");
    assert!(metrics.contains("tidegate_logic_pushes_slow_total{stage=\"receipts\"} 1"), "{metrics}");
}

#[test]
fn a_store_that_stands_still_is_named_as_what_was_slow() {
    let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    std::fs::write(file.path(), "[[rooms]]\nmatch = \"*\"\nhistory = 10\nttl = \"1h\"\n").unwrap();
    let flags = ["--slow-push", "300ms", "--config", file.path().to_str().unwrap()];
    let mut cluster = cluster().logics(2).logic_flags(&flags).start();
    let push = r#"{"to":{"room":"r"},"data":1}"#;
    assert_eq!(cluster.logics[0].push(push).0, 202);
    cluster.pause_store();
    assert_eq!(cluster.logics[0].push(push).0, 503);
    let line = json(&cluster.logics[0].line("a push was slow here"));
    assert_eq!((&line["stage"], &line["to"]), (&"store".into(), &"room r".into()), "{line}");
}

#[test]
fn a_client_that_does_not_read_is_what_was_slow_at_its_gateway() {
    let flags = ["--slow-push", "100ms", "--outbox", "16MiB"];
    let mut cluster = cluster().window("0s").flags(&flags).start();
    // Little room for what is not read.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address: std::net::SocketAddr = cluster.gateways[0].main.parse().unwrap();
    socket.connect(&SockAddr::from(address)).unwrap();
    let url = format!("ws://{address}/ws?room=r");
    let (client, _) = tungstenite::client(url, TcpStream::from(socket)).unwrap();
    let body = format!(r#"{{"to":{{"room":"r"}},"data":"{}"}}"#, "x".repeat(60_000));
    let until = Instant::now() + Duration::from_secs(20);
    while cluster.gateways[0].statusz()["outboxes"].as_u64().unwrap_or_default() == 0 {
        assert!(Instant::now() < until, "everything fits into buffers");
        assert_eq!(cluster.logics[0].push(&body).0, 202);
    }
    let waits = Instant::now();
    while waits.elapsed() < Duration::from_millis(150) {
        std::thread::yield_now();
    }
    let mut stream = client.get_ref().try_clone().unwrap();
    std::thread::spawn(move || _ = stream.read_to_end(&mut Vec::new()));
    let line = json(&cluster.gateways[0].line("a push was slow here"));
    assert_eq!((&line["stage"], &line["written"]), (&"outbox".into(), &Value::from(1)), "{line}");
    assert!(line["stages"].as_str().unwrap().starts_with("merger "), "{line}");
}
