//! What RFC 9110 and RFC 9112 demand of a server, case by case, over raw TCP on the API and the operator's port.
//!
//! The cases are those of two published lists, with our paths and bodies in them: all 33 of h1spec, and of Http11Probe
//! all that it counts as MUST, and what it has beyond where the answer is settled. A case's name is its name there.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::fake::{Fake, Manner};
use crate::rig::{Rig, logic};

mod bodies;
mod heads;

/// Nothing that a case waits for takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What must become of a request.
#[derive(Debug, Clone, Copy)]
enum Wants {
    /// One of these answers, and the connection serves the next request.
    Kept(&'static [u16]),
    /// One of these answers, which is the only one, and then the end of the connection.
    Last(&'static [u16]),
    /// An answer with this status and this code of ours: HTTP has nothing against the request.
    Ours(u16, &'static str),
    /// The peer ends here, before the message does: no success, and the end of the connection.
    Incomplete,
}

/// Name, section, bytes, what must become of them.
type Case = (&'static str, &'static str, Vec<u8>, Wants);

struct Answer {
    status: u16,
    text: String,
}

async fn send(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server that refuses before it has read all may close under our hands.
    let _ = stream.write_all(bytes).await;
    stream
}

/// Reads one answer; `100 Continue` is none.
async fn answer(stream: &mut TcpStream) -> Result<Answer, String> {
    let mut bytes = Vec::new();
    let read = async {
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let text = text.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(&text).to_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let head = head.to_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
                    return Ok(Answer { status: status.ok_or(format!("no status: {text}"))?, text });
                }
            }
            match stream.read_buf(&mut bytes).await {
                Ok(read @ 1..) => _ = read,
                other => return Err(format!("{other:?} after {text:?}")),
            }
        }
    };
    timeout(PATIENCE, read).await.unwrap_or_else(|_| Err("no answer in time".into()))
}

/// What still comes until the connection ends; a reset ends it too.
async fn rest(stream: &mut TcpStream) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    read.map_err(|_| "the connection does not end")?.ok();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn try_case(address: SocketAddr, bytes: &[u8], wants: Wants, next: &str) -> Result<(), String> {
    let mut stream = send(address, bytes).await;
    match wants {
        Wants::Kept(statuses) => {
            let first = answer(&mut stream).await?;
            if !statuses.contains(&first.status) {
                return Err(first.text);
            }
            stream.write_all(next.as_bytes()).await.map_err(|error| error.to_string())?;
            let second = answer(&mut stream).await?;
            if second.status == 200 { Ok(()) } else { Err(format!("and then {}", second.text)) }
        }
        Wants::Last(statuses) => {
            let first = answer(&mut stream).await?;
            let _ = stream.write_all(next.as_bytes()).await;
            let rest = rest(&mut stream).await?;
            let is_only = !first.text.contains("\r\nHTTP/1") && rest.is_empty();
            if statuses.contains(&first.status) && is_only { Ok(()) } else { Err(first.text + &rest) }
        }
        Wants::Ours(status, code) => {
            let first = answer(&mut stream).await?;
            let is_so = first.status == status && first.text.contains(&format!(r#""code":"{code}""#));
            if is_so { Ok(()) } else { Err(first.text) }
        }
        Wants::Incomplete => {
            // Fails where the server was quicker.
            let _ = stream.shutdown().await;
            let rest = rest(&mut stream).await?;
            let is_so = rest.is_empty() || rest.starts_with("HTTP/1.1 4");
            if is_so { Ok(()) } else { Err(rest) }
        }
    }
}

/// Tries all cases and says all that fail; `next` is a request that is answered 200.
async fn try_all(address: SocketAddr, cases: Vec<Case>, next: &str) {
    let mut failed = Vec::new();
    for (name, section, bytes, wants) in &cases {
        if let Err(got) = try_case(address, bytes, *wants, next).await {
            failed.push(format!("{name} ({section}): wanted {wants:?}, got {got:?}"));
        }
    }
    assert!(failed.is_empty(), "{} of {} cases:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

async fn rig() -> (Rig, Fake) {
    let mut gateway = Fake::start(Manner::default()).await;
    let logic = logic(&[&gateway.address]).await;
    gateway.linked().await;
    (logic, gateway)
}

#[tokio::test]
async fn heads_are_read_as_the_rfcs_have_it() {
    let (logic, _gateway) = rig().await;
    for (address, target) in [(logic.api, "/"), (logic.ops, "/healthz")] {
        try_all(address, heads::cases(target), &get(target)).await;
    }
}

#[tokio::test]
async fn bodies_are_read_as_the_rfcs_have_it() {
    let (logic, mut gateway) = rig().await;
    try_all(logic.api, bodies::refused(), &get("/")).await;
    assert!(!gateway.has_delivery(), "nothing of what was refused went on");
    try_all(logic.api, bodies::taken(), &get("/")).await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (logic, _gateway) = rig().await;
    let last = get("/v1/gateways").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let raw = [&bodies::push()[..], get("/nowhere").as_bytes(), &bodies::push(), last.as_bytes()].concat();
    let said = rest(&mut send(logic.api, &raw).await).await.unwrap();
    let statuses: Vec<_> = said.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["202", "404", "202", "200"], "{said}");
}

#[tokio::test]
async fn an_answer_to_head_has_the_length_and_no_body() {
    let (logic, _gateway) = rig().await;
    for (address, target) in [(logic.api, "/"), (logic.ops, "/healthz")] {
        let ask = |method: &str| {
            format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        };
        let whole = rest(&mut send(address, ask("GET").as_bytes()).await).await.unwrap();
        let head = rest(&mut send(address, ask("HEAD").as_bytes()).await).await.unwrap();
        let length = |answer: &str| {
            let line = answer.lines().find(|line| line.to_lowercase().starts_with("content-length: "));
            line.map(str::to_owned)
        };
        assert!(head.ends_with("\r\n\r\n") && head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(length(&head), length(&whole), "{target}");
    }
}

/// The first fifteen of h1spec: a request that has not ended is waited for.
#[tokio::test]
async fn what_is_not_whole_is_waited_for() {
    let (logic, _gateway) = rig().await;
    let whole = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    #[rustfmt::skip]
    let fragments = [
        "G", "GET ", "GET /", "GET / ", "GET / HTTP", "GET / HTTP/1.1", "GET / HTTP/1.1\r", "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nHos", "GET / HTTP/1.1\r\nHost:", "GET / HTTP/1.1\r\nHost: ",
        "GET / HTTP/1.1\r\nHost: localhost", "GET / HTTP/1.1\r\nHost: localhost\r",
        "GET / HTTP/1.1\r\nHost: localhost\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\n\r",
    ];
    for fragment in fragments {
        let mut begun = send(logic.api, fragment.as_bytes()).await;
        // Another's request, begun later and answered, shows that this one had its turn.
        let mut other = send(logic.api, whole.as_bytes()).await;
        assert_eq!(answer(&mut other).await.unwrap().status, 200);
        let said = begun.try_read(&mut [0; 1]).map_err(|error| error.kind());
        assert_eq!(said, Err(std::io::ErrorKind::WouldBlock), "{fragment:?}");
        begun.write_all(whole.strip_prefix(fragment).unwrap().as_bytes()).await.unwrap();
        assert_eq!(answer(&mut begun).await.unwrap().status, 200, "{fragment:?}");
    }
}
