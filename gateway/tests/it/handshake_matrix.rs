//! The opening handshake from the server's side (RFC 6455 §4.2 to §4.4), line by line. A case is a line: section, what
//! is said, and what must come back.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::clients::PATIENCE;
use crate::node::{settings, start};
use accept::sec_websocket_accept;

mod accept;
mod cases;

/// What must come back.
#[derive(Debug, Clone, Copy)]
enum Wants {
    /// 101 with everything that §4.2.2 has, and no more than this of subprotocols.
    Switch(Option<&'static str>),
    /// This status, words that say why, and the end of the connection.
    Refusal(u16),
    /// The same from whoever reads heads, which may say nothing.
    NotHttp(u16),
}

/// Section, what it is about, the request.
type Case = (&'static str, &'static str, String, Wants);

/// The value of a field of an answer.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(said, _)| said.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

/// The head of what comes back, and whether the connection has ended behind it.
async fn exchange(address: std::net::SocketAddr, request: &str) -> (String, bool) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // Who refuses early may close before all is written.
    stream.write_all(request.as_bytes()).await.ok();
    let mut bytes = Vec::new();
    let read = async {
        while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return true;
            }
        }
        let head = String::from_utf8_lossy(&bytes);
        if head.starts_with("HTTP/1.1 101 ") {
            return false;
        }
        // A refusal says the end of the connection, and is as good as its word.
        stream.read_to_end(&mut bytes).await.ok();
        true
    };
    let ended = tokio::time::timeout(PATIENCE, read).await.expect("an answer, and its end, in time");
    (String::from_utf8_lossy(&bytes).into_owned(), ended)
}

/// What is wrong with an answer, if anything.
fn verdict(request: &str, answer: &str, ended: bool, wants: Wants) -> Result<(), String> {
    let head = answer.split("\r\n\r\n").next().unwrap_or(answer);
    let status: u16 = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let must = |holds: bool, what: &str| if holds { Ok(()) } else { Err(format!("{what}: {answer}")) };
    match wants {
        Wants::Switch(protocol) => {
            must(status == 101 && !ended, "101")?;
            let key = field(request, "Sec-WebSocket-Key").unwrap_or("").trim();
            let accept = field(head, "sec-websocket-accept");
            must(accept == Some(&*sec_websocket_accept(key)), "§4.2.2 5.4 the accept of the key")?;
            must(
                field(head, "upgrade").is_some_and(|it| it.eq_ignore_ascii_case("websocket")),
                "§4.2.2 5.2",
            )?;
            must(
                field(head, "connection").is_some_and(|it| it.eq_ignore_ascii_case("upgrade")),
                "§4.2.2 5.3",
            )?;
            must(
                field(head, "sec-websocket-protocol") == protocol,
                "§4.2.2 5.5 one of those offered or none",
            )?;
            must(field(head, "sec-websocket-extensions").is_none(), "§4.2.2 5.6 none that was not offered")?;
            must(field(head, "content-length").is_none(), "9110 §8.6 no length")
        }
        Wants::Refusal(wanted) => {
            must(status == wanted && ended, "the status, and the end")?;
            must(field(head, "content-type") == Some("application/problem+json"), "words")?;
            must(
                (status == 426) == (field(head, "sec-websocket-version") == Some("13")),
                "§4.4 the version",
            )?;
            must((status == 426) == (field(head, "upgrade") == Some("websocket")), "9110 §15.5.22")?;
            must((status == 405) == field(head, "allow").is_some(), "9110 §15.5.6")
        }
        Wants::NotHttp(wanted) => must(status == wanted && ended, "the status, and the end"),
    }
}

#[tokio::test]
async fn each_handshake_gets_the_answer_of_the_rfc() {
    let gateway = start(settings()).await;
    let cases = cases::all();
    assert!(cases.len() >= 40, "{}", cases.len());
    let mut failed = Vec::new();
    for (section, what, request, wants) in &cases {
        let (answer, ended) = exchange(gateway.clients, request).await;
        if let Err(why) = verdict(request, &answer, ended, *wants) {
            failed.push(format!("§{section} {what}: wanted {wants:?}: {why}"));
        }
    }
    assert!(failed.is_empty(), "{} of {} cases:\n{}", failed.len(), cases.len(), failed.join("\n"));
    gateway.wait_for("/clients", 0).await;
}
