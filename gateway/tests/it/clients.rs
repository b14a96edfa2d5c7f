//! Clients for a test: a real WebSocket client, and raw bytes for what no client would send.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// Nothing that a test waits for takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Client<S = TcpStream> {
    pub(crate) socket: WebSocketStream<S>,
    pub(crate) hello: Value,
}

/// Connects with this query and reads the hello.
pub(crate) async fn connect(address: SocketAddr, query: &str) -> Client {
    let mut client = connect_unheard(address, query).await;
    client.hello = client.next().await;
    assert_eq!(client.hello["cmd"], "hello", "{}", client.hello);
    client
}

/// Connects and reads nothing.
pub(crate) async fn connect_unheard(address: SocketAddr, query: &str) -> Client {
    let stream = TcpStream::connect(address).await.unwrap();
    let url = format!("ws://{address}/ws?{query}");
    let (socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    Client { socket, hello: Value::Null }
}

/// Connects from an address of this machine.
pub(crate) async fn stream_from(from: &str, address: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
    socket.connect(address).await.unwrap()
}

/// Sends bytes and reads until the peer closes.
pub(crate) async fn raw_from(from: &str, address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = stream_from(from, address).await;
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.expect("the peer closes in time").ok();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends bytes and reads the first line of the answer; the connection stays.
pub(crate) async fn status_line(stream: &mut TcpStream, bytes: &[u8]) -> String {
    stream.write_all(bytes).await.unwrap();
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let read = tokio::time::timeout(PATIENCE, stream.read_u8()).await;
        line.push(read.expect("an answer in time").unwrap());
    }
    String::from_utf8(line).unwrap()
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn id(&self) -> common::ids::ClientId {
        self.hello["data"]["clientId"].as_str().unwrap().parse().unwrap()
    }

    /// The next text message as it came.
    pub(crate) async fn next_text(&mut self) -> String {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("a message in time");
            match next.expect("the connection is open").expect("a good frame") {
                Message::Text(text) => return text.to_string(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("expected text, got {other:?}"),
            }
        }
    }

    /// The next text message as JSON.
    pub(crate) async fn next(&mut self) -> Value {
        serde_json::from_str(&self.next_text().await).unwrap()
    }

    /// The `data` of the items of the next push.
    pub(crate) async fn items(&mut self) -> Vec<Value> {
        let push = self.next().await;
        assert_eq!(push["cmd"], "push", "{push}");
        push["items"].as_array().unwrap().iter().map(|item| item["data"].clone()).collect()
    }

    pub(crate) async fn say(&mut self, text: impl Into<String>) {
        self.socket.send(Message::text(text.into())).await.unwrap();
    }

    /// Sends a command and gives the response in its reply.
    pub(crate) async fn ask(&mut self, text: &str) -> Value {
        self.say(text).await;
        let reply = self.next().await;
        assert!(reply["response"].is_object(), "{reply}");
        reply
    }

    /// Waits for the close frame and gives its code and reason.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            match tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("a close in time") {
                Some(Ok(Message::Close(Some(frame)))) => {
                    return (frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(Message::Close(None)) | Err(_)) | None => return (1006, String::new()),
                Some(Ok(_)) => {}
            }
        }
    }
}

/// Sends bytes and reads until the peer closes.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    String::from_utf8_lossy(&raw_bytes(address, bytes).await).into_owned()
}

/// The same, for what is not text.
pub(crate) async fn raw_bytes(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.expect("the peer closes in time").ok();
    answer
}

/// The handshake of a well-behaved client, to which a test adds its own bytes.
pub(crate) fn handshake(query: &str) -> String {
    format!(
        "GET /ws?{query} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}
