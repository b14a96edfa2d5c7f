//! Both ends on real loopback: bytes both ways however they are cut, ends clean and not, who is refused and in which
//! words, certificates that change.

use std::io::{self, IoSlice};
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::authority::{Authority, Kind};
use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

fn named(folder: &Path, name: &str) -> Named {
    Named::new("--file", folder.join(name))
}

fn files(folder: &Path, name: &str, client_ca: Option<&str>) -> AcceptorFiles {
    AcceptorFiles {
        cert: named(folder, &format!("{name}.pem")),
        key: named(folder, &format!("{name}.key")),
        client_ca: client_ca.map(|ca| named(folder, ca)),
        inside: Inside::Http1,
    }
}

fn connector(folder: &Path, ca: &str, identity: Option<&str>) -> Connector {
    let identity =
        identity.map(|name| (named(folder, &format!("{name}.pem")), named(folder, &format!("{name}.key"))));
    let files = ConnectorFiles { ca: Some(named(folder, ca)), identity, inside: Inside::Http1 };
    Connector::load(files).unwrap()
}

/// A folder with an authority `ca` that has signed `a`, `b` and the expired `old`, and another authority `other` that has
/// signed `stranger`.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (authority, other) = (Authority::new(), Authority::new());
    authority.write(folder.path(), "ca");
    other.write(folder.path(), "other");
    for (name, kind) in [("a", Kind::Good), ("b", Kind::Good), ("old", Kind::Expired)] {
        authority.sign(folder.path(), name, kind);
    }
    other.sign(folder.path(), "stranger", Kind::Good);
    folder
}

/// A socket, and the other end of it.
async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (connected, accepted) =
        tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (connected.unwrap(), accepted.unwrap().0)
}

type Client = tokio_rustls::client::TlsStream<TcpStream>;

/// Both ends of a connection with TLS.
async fn pair() -> (Client, TlsStream) {
    let folder = folder();
    let acceptor = Acceptor::load(files(folder.path(), "a", None)).unwrap();
    let connector = connector(folder.path(), "ca.pem", None);
    let (near, far) = sockets().await;
    let (client, server) = tokio::join!(connector.connect(near, "localhost"), acceptor.accept(far));
    (client.unwrap(), server.unwrap())
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[tokio::test]
async fn what_is_said_arrives_both_ways_in_order() {
    let (client, mut server) = pair().await;
    let said = pattern(1_000_000);
    let (mut reads, mut writes) = tokio::io::split(client);
    let answers = async {
        let mut heard = vec![0; said.len()];
        server.read_exact(&mut heard).await.unwrap();
        assert!(heard == said);
        server.write_all(&heard).await.unwrap();
        server.shutdown().await.unwrap();
    };
    let mut back = Vec::new();
    let asks = async { writes.write_all(&said).await.unwrap() };
    let (_, (), read) = tokio::join!(answers, asks, reads.read_to_end(&mut back));
    read.expect("a clean end");
    assert!(back == said);
}

/// Passes on what comes, a byte at a time.
async fn drip(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin) {
    let mut bytes = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        for byte in &bytes[..read] {
            if to.write_all(std::slice::from_ref(byte)).await.is_err() {
                return;
            }
        }
    }
    let _ = to.shutdown().await;
}

#[tokio::test]
async fn records_may_come_in_single_bytes() {
    let folder = folder();
    let acceptor = Acceptor::load(files(folder.path(), "a", None)).unwrap();
    let connector = connector(folder.path(), "ca.pem", None);
    let ((near, middle), (other, far)) = (sockets().await, sockets().await);
    other.set_nodelay(true).unwrap();
    let (middle_reads, middle_writes) = middle.into_split();
    let (other_reads, other_writes) = other.into_split();
    let talk = async {
        let (client, server) = tokio::join!(connector.connect(near, "127.0.0.1"), acceptor.accept(far));
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        let said = pattern(20_000);
        let (sent, heard) = tokio::join!(client.write_all(&said), async {
            let mut heard = vec![0; said.len()];
            server.read_exact(&mut heard).await.map(|_| heard)
        });
        sent.unwrap();
        assert!(heard.unwrap() == said);
        client.shutdown().await.unwrap();
        assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0, "a clean end");
    };
    tokio::select! {
        () = async { tokio::join!(drip(middle_reads, other_writes), drip(other_reads, middle_writes)); } => {
            panic!("the connection ended first");
        }
        () = talk => {}
    }
}

#[tokio::test]
async fn what_the_socket_does_not_take_is_held_back_and_sent_later_in_order() {
    let (mut client, server) = pair().await;
    let frame = pattern(30_001);
    let mut accepted = Vec::new();
    loop {
        match server.try_write(&[IoSlice::new(&frame[..7]), IoSlice::new(&frame[7..])]) {
            Ok(taken) => accepted.extend_from_slice(&frame[..taken]),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                break;
            }
        }
    }
    assert!(server.holds_back() && accepted.len() > 100_000, "{} accepted", accepted.len());
    let total = accepted.len();
    let reads = async {
        let mut heard = vec![0; total];
        client.read_exact(&mut heard).await.unwrap();
        assert!(heard == accepted);
        // The end comes behind all that was held back.
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
    };
    let finishes = async {
        while let Err(error) = server.try_finish() {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            server.writable().await.unwrap();
        }
    };
    timeout(PATIENCE, async { tokio::join!(reads, finishes) }).await.expect("all of it in time");
    assert!(!server.holds_back());
}

#[tokio::test]
async fn an_end_is_told_from_a_cut() {
    let (mut client, mut server) = pair().await;
    client.write_all(b"last words").await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = Vec::new();
    server.read_to_end(&mut heard).await.expect("a clean end");
    assert_eq!(heard, b"last words");
    // We may still speak: only their direction has ended.
    server.write_all(b"good-bye").await.unwrap();
    server.shutdown().await.unwrap();
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.expect("a clean end");
    assert_eq!(heard, b"good-bye");

    let (client, mut server) = pair().await;
    let (mut socket, _) = client.into_inner();
    socket.shutdown().await.unwrap();
    let error = server.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
}

#[tokio::test]
async fn garbage_behind_the_handshake_ends_the_connection_with_an_alert() {
    for garbage in [
        &b"\x17\x03\x03\xff\xff"[..],
        b"\x17\x03\x03\x00\x20................................",
        b"\x16\x03\x03\x00\x04\x01\x00\x00\x00",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let (client, mut server) = pair().await;
        let (mut socket, mut state) = client.into_inner();
        socket.write_all(garbage).await.unwrap();
        let error = timeout(PATIENCE, server.read(&mut [0; 8])).await.expect("an end in time").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        assert!(server.try_write(&[IoSlice::new(b"more")]).is_err(), "nothing follows an alert");
        drop(server);
        let mut raw = Vec::new();
        socket.read_to_end(&mut raw).await.ok();
        let mut unread = &raw[..];
        while state.read_tls(&mut unread).unwrap_or(0) > 0 {}
        let said = state.process_new_packets();
        assert!(matches!(said, Err(Error::AlertReceived(_))), "{garbage:?}: {said:?}");
    }
}

#[tokio::test]
async fn who_speaks_no_tls_is_told_in_its_own_words() {
    let folder = folder();
    for (inside, said, words) in [
        (Inside::Http1, &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &b"HTTP/1.1 400 Bad Request\r\n"[..]),
        (Inside::Http2, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x00\x00\x00\x04"),
    ] {
        let acceptor = Acceptor::load(AcceptorFiles { inside, ..files(folder.path(), "a", None) }).unwrap();
        let (mut near, far) = sockets().await;
        near.write_all(said).await.unwrap();
        let mut answer = Vec::new();
        let (accepted, read) = tokio::join!(acceptor.accept(far), near.read_to_end(&mut answer));
        assert!(matches!(accepted, Err(Refused::Plaintext)));
        read.unwrap();
        let text = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(words) && text.contains("TLS is spoken on this port"), "{text}");
    }
    let acceptor = Acceptor::load(files(folder.path(), "a", None)).unwrap();
    let (mut near, far) = sockets().await;
    near.write_all(b"\x00\x01\x02 no protocol at all").await.unwrap();
    assert!(matches!(acceptor.accept(far).await, Err(Refused::Failed(_))));
}

/// What the client and the server say of a handshake, `None` if they are content. The client reads once: with TLS 1.3
/// it hears only then what the server thinks of its certificate.
async fn shake(acceptor: &Acceptor, connector: &Connector, name: &str) -> (Option<String>, Option<String>) {
    let (near, far) = sockets().await;
    let client = async {
        let mut stream = connector.connect(near, name).await?;
        stream.read(&mut [0; 1]).await
    };
    let server = async {
        match acceptor.accept(far).await {
            Ok(mut stream) => _ = stream.shutdown().await,
            Err(refused) => return Some(refused.to_string()),
        }
        None
    };
    let (client, server) = tokio::join!(client, server);
    (client.err().map(|error| explain(&error)), server)
}

#[tokio::test]
async fn who_is_not_trusted_is_refused_and_both_say_why() {
    let folder = folder();
    let at = folder.path();
    for (server, client_ca, ca, identity, name, at_client, at_server) in [
        ("a", None, "ca.pem", None, "localhost", "", ""),
        ("a", None, "ca.pem", None, "[::1]", "another name", "accept our certificate"),
        ("a", None, "ca.pem", None, "elsewhere", "another name", "accept our certificate"),
        ("a", None, "other.pem", None, "localhost", "not signed by an authority", "accept our certificate"),
        ("old", None, "ca.pem", None, "localhost", "has expired", "accept our certificate"),
        (
            "stranger",
            None,
            "ca.pem",
            None,
            "localhost",
            "not signed by an authority",
            "accept our certificate",
        ),
        ("a", Some("ca.pem"), "ca.pem", Some("b"), "localhost", "", ""),
        ("a", Some("ca.pem"), "ca.pem", None, "localhost", "a certificate of ours", "showed no certificate"),
        (
            "a",
            Some("ca.pem"),
            "ca.pem",
            Some("stranger"),
            "localhost",
            "accept our certificate",
            "not signed by",
        ),
        ("a", Some("ca.pem"), "ca.pem", Some("old"), "localhost", "accept our certificate", "has expired"),
    ] {
        let acceptor = Acceptor::load(files(at, server, client_ca)).unwrap();
        let connector = connector(at, ca, identity);
        let said = timeout(PATIENCE, shake(&acceptor, &connector, name)).await.expect("an end in time");
        for (said, words) in [(&said.0, at_client), (&said.1, at_server)] {
            let is_as_expected =
                said.as_ref().map_or(words.is_empty(), |said| !words.is_empty() && said.contains(words));
            assert!(
                is_as_expected,
                "{server} {client_ca:?} {ca} {identity:?} {name}: {said:?}, not {words:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_certificate_changes_under_way_and_a_bad_one_changes_nothing() {
    let folder = folder();
    let at = folder.path();
    let copy = |from: &str, to: &str| {
        for ending in ["pem", "key"] {
            std::fs::copy(at.join(format!("{from}.{ending}")), at.join(format!("{to}.{ending}"))).unwrap();
        }
    };
    copy("a", "now");
    let acceptor = Acceptor::load(files(at, "now", None)).unwrap();
    let connector = connector(at, "ca.pem", None);
    let is_well = async || shake(&acceptor, &connector, "localhost").await.0.is_none();
    assert!(is_well().await);
    copy("stranger", "now");
    assert!(acceptor.reload() && !is_well().await, "the new one is shown, which nobody trusts");
    copy("b", "now");
    assert!(acceptor.reload() && is_well().await);
    std::fs::write(at.join("now.pem"), "-----BEGIN CERTIFICATE-----\nbroken").unwrap();
    assert!(!acceptor.reload() && is_well().await, "a broken one changes nothing");
    std::fs::copy(at.join("a.pem"), at.join("now.pem")).unwrap();
    assert!(!acceptor.reload() && is_well().await, "nor does one with another's key");
    std::fs::remove_file(at.join("now.key")).unwrap();
    assert!(!acceptor.reload() && is_well().await, "nor one without its key");
}

#[test]
fn files_that_are_wrong_are_named_with_what_to_change() {
    let folder = folder();
    let at = folder.path();
    std::fs::write(at.join("empty.pem"), "").unwrap();
    std::fs::copy(at.join("a.key"), at.join("mixed.pem")).unwrap();
    std::fs::copy(at.join("b.key"), at.join("mixed.key")).unwrap();
    std::fs::copy(at.join("a.pem"), at.join("wrong.pem")).unwrap();
    std::fs::copy(at.join("b.key"), at.join("wrong.key")).unwrap();
    std::fs::write(
        at.join("empty.key"),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    let load = |files: AcceptorFiles| Acceptor::load(files).map(drop).unwrap_err();
    for (name, words) in [
        ("none", "none.pem: No such file"),
        ("empty", "it holds no certificate"),
        ("mixed", "are the two mixed up?"),
        ("wrong", "not the key of the certificate in"),
    ] {
        let said = load(files(at, name, None));
        assert!(said.contains(words) && said.contains("--file"), "{name}: {said}");
    }
    let encrypted = AcceptorFiles { key: named(at, "empty.key"), ..files(at, "a", None) };
    assert!(load(encrypted).contains("the key is encrypted"));
    assert!(load(files(at, "a", Some("empty.pem"))).contains("it holds no certificate"));
}

#[tokio::test]
async fn a_client_that_comes_again_needs_no_new_signature() {
    let folder = folder();
    let acceptor = Acceptor::load(files(folder.path(), "a", None)).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    for certificate in named(folder.path(), "ca.pem").certificates().unwrap() {
        roots.add(certificate).unwrap();
    }
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let (near, far) = sockets().await;
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let (client, server) = tokio::join!(connector.connect(name, near), acceptor.accept(far));
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        server.shutdown().await.unwrap();
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
        kinds.push(client.get_ref().1.handshake_kind().unwrap());
        assert!(acceptor.reload(), "what was given to clients outlives a reading");
    }
    assert_eq!(kinds, [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed]);
}

#[test]
fn urls_are_taken_apart_or_refused_with_a_reason() {
    let of = |url: &str| Origin::parse(url, "http").map(|(_, origin)| (origin.is_tls, origin.address()));
    assert_eq!(of("http://127.0.0.1:7100"), Ok((false, "127.0.0.1:7100".into())));
    assert_eq!(of("http://[::1]/x"), Ok((false, "[::1]:80".into())));
    assert_eq!(of("https://a/x"), Ok((true, "a:443".into())));
    for (url, reason) in [
        ("wss://a:1", "must begin with http:// or https://"),
        ("httpx://a:1", "must begin with"),
        ("a:1", "must begin with"),
        ("/x", "has no host"),
        ("http://a b", "is not a URL"),
        ("http://me@a", "has a user in it"),
    ] {
        let why = of(url).unwrap_err();
        assert!(why.contains(reason), "{url}: {why}");
    }
    let is_here = |url: &str| Origin::parse(url, "http").unwrap().1.is_loopback();
    assert!(
        is_here("http://localhost") && is_here("http://[::1]:1") && !is_here("http://localhost.evil.org")
    );
}

#[test]
fn a_connection_stays_small() {
    assert_eq!(
        size_of::<TlsStream>(),
        size_of::<usize>(),
        "a connection without TLS must not pay for one with"
    );
}
