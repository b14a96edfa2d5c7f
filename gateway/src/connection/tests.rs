//! A connection over TLS, whose encryption takes what the socket does not.

use std::time::Duration;

use common::tls::{Acceptor, AcceptorFiles, Connector, ConnectorFiles, Inside, Named, TlsStream};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

#[path = "../../../common/tests/support/authority.rs"]
#[allow(dead_code)]
mod authority;

/// Both ends of a connection with TLS.
async fn pair() -> (impl AsyncRead + Unpin, TlsStream) {
    let folder = tempfile::tempdir().unwrap();
    let named = |name: &str| Named::new("--file", folder.path().join(name));
    let authority = authority::Authority::new();
    authority.write(folder.path(), "ca");
    authority.sign(folder.path(), "a", authority::Kind::Good);
    let (cert, key, inside) = (named("a.pem"), named("a.key"), Inside::Http1);
    let acceptor = Acceptor::load(AcceptorFiles { cert, key, client_ca: None, inside }).unwrap();
    let files = ConnectorFiles { ca: Some(named("ca.pem")), identity: None, inside };
    let connector = Connector::load(files).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(
        async { connector.connect(TcpStream::connect(address).await.unwrap(), "localhost").await.unwrap() },
        async { acceptor.accept(listener.accept().await.unwrap().0).await.unwrap() },
    );
    (client, server)
}

#[tokio::test]
async fn what_tls_holds_back_leaves_without_another_write() {
    let (mut client, server) = pair().await;
    let shared = Arc::new(Shared::test());
    let connection = Arc::new(Connection::new(Transport::from(server).into(), Local(1), shared));
    connection.greet(Bytes::from_static(b"hello"));
    let piece = Piece { bytes: Bytes::from(vec![b'x'; 10_000]), tally: None, room: None };
    let mut sent = 0;
    while !connection.transport.holds_back() {
        assert_eq!(connection.send(&[&piece]).whole, 1, "it is taken whole as long as it is taken");
        sent += 1;
    }
    // Nobody writes any more; what is held back must still arrive.
    let mut heard = vec![0; 5 + sent * piece.bytes.len()];
    let read = tokio::time::timeout(Duration::from_secs(10), client.read_exact(&mut heard));
    read.await.expect("all of it in time").unwrap();
    while connection.outbox.lock().queue.is_some() {
        tokio::task::yield_now().await;
    }
    assert!(!connection.transport.holds_back());
}

impl Connection {
    /// All that was written to a connection in memory.
    pub(crate) fn heard(&self) -> Vec<u8> {
        match &self.transport {
            Transport::Memory(memory) => memory.heard.lock().clone(),
            Transport::Tcp(_) | Transport::Tls(_) => Vec::new(),
        }
    }
}
