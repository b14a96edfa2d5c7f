//! Callers that never finish what they began: each costs bounded time, and nobody else notices.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::cluster::cluster;
use crate::process::Running;

/// Sends bytes, then one more every half second until the peer has had enough; what it answered and when.
fn dribble(address: &str, start: &str, drip: &[u8]) -> (String, Duration) {
    let began = Instant::now();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(start.as_bytes()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let (mut answer, mut chunk) = (Vec::new(), [0; 1024]);
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&chunk[..read]),
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                if stream.write_all(drip).is_err() {
                    break;
                }
            }
            Err(_) => break,
        }
        assert!(began.elapsed() < Duration::from_secs(30), "it waits for ever for {start:?}");
    }
    (String::from_utf8_lossy(&answer).into_owned(), began.elapsed())
}

#[test]
fn a_second_logic_node_with_an_engine_of_its_own_is_refused_and_says_what_to_do() {
    let cluster = cluster().start();
    let any = "127.0.0.1:0";
    let link = &cluster.gateways[0].link;
    let mut second =
        Running::start(&["logic", "--insecure", "--listen", any, "--ops", any, "--gateway", link]);
    second.line("uses another store");
    assert_eq!(cluster.states(0), ["linked"], "the first goes on");
}

#[test]
fn heads_and_bodies_that_never_end_are_ended_and_others_are_served() {
    let cluster = cluster().start();
    let api = &*cluster.logics[0].main;
    let clients = &*cluster.gateways[0].main;
    let ops = &*cluster.gateways[0].ops;
    let head = "POST /v1/push HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let short = format!("{head}Content-Length: 1000\r\n\r\n{{\"to\":");
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    let cases = [
        ("a head on the API", api, head.to_owned(), "X-More: of it\r\n", "", 4..9),
        ("no byte on the API", api, String::new(), "", "", 4..9),
        ("a head on the ops port", ops, "GET /healthz HTTP/1.1\r\n".to_owned(), "X: y\r\n", "", 4..9),
        ("a handshake", clients, "GET /ws HTTP/1.1\r\nHost: x\r\n".to_owned(), "X: y\r\n", "", 4..9),
        ("a body", api, short, " ", "HTTP/1.1 408 ", 9..14),
        ("a chunked body", api, chunked, "1\r\n \r\n", "HTTP/1.1 408 ", 9..14),
    ];
    std::thread::scope(|scope| {
        for (name, address, start, drip, expected, seconds) in cases {
            scope.spawn(move || {
                let (answer, after) = dribble(address, &start, drip.as_bytes());
                assert!(answer.starts_with(expected), "{name}: {answer}");
                assert!(seconds.contains(&after.as_secs()), "{name} was ended after {after:?}");
            });
        }
        for _ in 0..50 {
            let began = Instant::now();
            let (status, _) = cluster.logics[0].push(r#"{"to":{"all":true},"data":1}"#);
            assert_eq!(status, 202);
            assert!(began.elapsed() < Duration::from_secs(1), "others wait for nobody");
        }
    });
}
