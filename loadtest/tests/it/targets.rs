//! Targets that are not what they should be: a clear error each, and never a hang.

use std::time::Duration;

use common::shutdown::Shutdown;
use common::tasks::Tasks;
use loadtest::{Error, Plan};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::fake::{Fake, Fault};
use super::plan;

/// What a bad server does with a connection, once it has read something.
#[derive(Debug, Clone, Copy)]
enum Bad {
    Reset,
    Say(&'static str),
    Hang,
    /// Agrees to the handshake, then says this.
    Agree(&'static [u8]),
}

async fn serve(bad: Bad, tasks: &Tasks) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let inner = tasks.clone();
    tasks.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            inner.spawn(async move { _ = misbehave(stream, bad).await });
        }
    });
    address
}

async fn misbehave(mut stream: TcpStream, bad: Bad) -> std::io::Result<()> {
    if matches!(bad, Bad::Reset) {
        // Closed with unread bytes in it: reset.
        stream.read_u8().await?;
        return Ok(());
    }
    let mut bytes = vec![0; 4096];
    let read = stream.read(&mut bytes).await?;
    match bad {
        Bad::Reset => {}
        Bad::Say(text) => stream.write_all(text.as_bytes()).await?,
        Bad::Hang => std::future::pending().await,
        Bad::Agree(then) => {
            let head = String::from_utf8_lossy(&bytes[..read]);
            let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
            let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.trim().as_bytes());
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).await?;
            stream.write_all(then).await?;
        }
    }
    stream.shutdown().await
}

async fn unreachable(plan: Plan) -> String {
    let ended = tokio::time::timeout(Duration::from_secs(20), loadtest::run(plan)).await.expect("no hang");
    let error = ended.expect_err("an error");
    assert!(matches!(error, Error::Unreachable(_)) && error.exit_code() == 69, "{error:?}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_gateway_is_named_with_what_it_did() {
    let tasks = Tasks::new(Shutdown::new());
    let fake = Fake::start(1, Fault::None).await;
    for (bad, said) in [
        (Bad::Reset, "reset"),
        (Bad::Say("HTTP/1.1 503 Service Unavailable\r\n\r\n{\"code\":\"full\"}"), "503"),
        (Bad::Say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), "200"),
        (Bad::Say("SSH-2.0-OpenSSH\r\n"), "does not speak HTTP"),
        (Bad::Say(""), "closed without an answer"),
        (Bad::Say("HTTP/1.1 101 x\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n"), "Accept"),
        (Bad::Hang, "says nothing"),
        (Bad::Agree(b""), "closed after the handshake"),
        (Bad::Agree(b"\x88\x02\x11\x95"), "code 4501"),
        (Bad::Agree(b"\x81\x02{}"), "no hello"),
        (Bad::Agree(b"\x83\x00"), "it sent a frame"),
    ] {
        let url = format!("ws://{}", serve(bad, &tasks).await);
        let error = unreachable(Plan { gateways: vec![url.clone()], ..plan(&fake) }).await;
        assert!(error.contains(said) && error.contains(&url), "{bad:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_logic_node_is_named_with_what_it_did() {
    let tasks = Tasks::new(Shutdown::new());
    let fake = Fake::start(1, Fault::None).await;
    for (bad, said) in [
        (Bad::Reset, "reset"),
        (Bad::Say("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}"), "401"),
        (Bad::Say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"), "not JSON"),
        (Bad::Say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi"), "breaks off"),
        (Bad::Say("SSH-2.0-OpenSSH\r\n"), "no answer"),
        (Bad::Hang, "says nothing"),
    ] {
        let url = format!("http://{}", serve(bad, &tasks).await);
        let error = unreachable(Plan { logics: vec![url.clone()], ..plan(&fake) }).await;
        assert!(error.contains(said) && error.contains(&url), "{bad:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_refuses_or_does_not_resolve_is_named() {
    let fake = Fake::start(1, Fault::None).await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gone = |scheme: &str| vec![format!("{scheme}://{free}")];
    let error = unreachable(Plan { gateways: gone("ws"), ..plan(&fake) }).await;
    assert!(error.contains("cannot connect") && error.contains(&free.to_string()), "{error}");
    let error = unreachable(Plan { logics: gone("http"), ..plan(&fake) }).await;
    assert!(error.contains("cannot connect") && error.contains(&free.to_string()), "{error}");
    let error =
        unreachable(Plan { gateways: vec!["ws://no-such-name.invalid:1".into()], ..plan(&fake) }).await;
    assert!(error.contains("does not resolve"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_that_are_not_given_are_asked_of_logic() {
    let fake = Fake::start(2, Fault::None).await;
    let report = loadtest::run(Plan { gateways: Vec::new(), ..plan(&fake) }).await.unwrap();
    assert!(report.verdict.ok, "{report}");
    let clients: Vec<_> = report.gateways.iter().map(|gateway| gateway.clients).collect();
    assert_eq!(clients, [30, 30], "{report}");
    let nobody = Fake::start(0, Fault::None).await;
    let error = unreachable(plan(&nobody)).await;
    assert!(error.contains("no gateway is linked") && error.contains("--gateway"), "{error}");
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = unreachable(Plan { logics: vec![format!("http://{free}")], ..plan(&nobody) }).await;
    assert!(error.contains("cannot connect") && error.contains("tidegate dev"), "{error}");
    let plan = Plan { expect_churn: vec!["ws://127.0.0.1:1".into()], gateways: Vec::new(), ..plan(&fake) };
    assert_eq!(loadtest::run(plan).await.unwrap_err().exit_code(), 2, "none of those that were found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_makes_no_sense_is_refused_before_anything_starts() {
    let fake = Fake::start(1, Fault::None).await;
    let error = loadtest::run(Plan { clients: 0, ..plan(&fake) }).await.unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let error = loadtest::run(Plan { clients: 3_999_999, processes: 1, ..plan(&fake) }).await.unwrap_err();
    assert!(matches!(error, Error::Limits(_)), "{error:?}");
}
