//! The route for conformance suites (`deploy/tests/autobahn`): what it hears it sends back, and it is not there unless
//! asked for.

use gateway::Settings;
use tokio_tungstenite::tungstenite::Message;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;

use crate::clients::{PATIENCE, handshake, raw};
use crate::node::{settings, start};

#[tokio::test]
async fn what_is_said_comes_back_as_it_was() {
    let gateway = start(Settings { echo: true, ..settings() }).await;
    let stream = TcpStream::connect(gateway.clients).await.unwrap();
    let url = format!("ws://{}/echo", gateway.clients);
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    // The first that comes is the first that was said: there is no hello. The last is longer than commands may be.
    for message in [
        Message::text(""),
        Message::text("ping"),
        Message::text("not JSON, and longer than a frame of one size: ä ".repeat(10)),
        Message::binary(vec![]),
        Message::binary(vec![0xff; 70_000]),
        Message::binary(vec![0xfe; 16 * 1024 * 1024]),
    ] {
        socket.send(message.clone()).await.unwrap();
        let echo = async {
            loop {
                match socket.next().await.unwrap().unwrap() {
                    Message::Ping(_) => {}
                    echo => break echo,
                }
            }
        };
        let echo = tokio::time::timeout(PATIENCE, echo).await.expect("an echo in time");
        let said = format!("{echo:?}");
        assert!(echo == message, "{} bytes came back as {}", message.len(), &said[..said.len().min(200)]);
    }
}

#[tokio::test]
async fn it_is_not_there_unless_it_is_asked_for() {
    let gateway = start(settings()).await;
    let answer = raw(gateway.clients, handshake("").replace("/ws?", "/echo").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}
