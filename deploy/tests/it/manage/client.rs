//! A client that holds a socket and waits.

use std::net::TcpStream;

use serde_json::Value;
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

use super::PATIENCE;

pub(super) struct Client {
    socket: WebSocket<TcpStream>,
    pub(super) id: String,
}

impl Client {
    pub(super) fn connect(address: &str, query: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (socket, _) = client(format!("ws://{address}/ws?{query}"), stream).unwrap();
        let mut client = Self { socket, id: String::new() };
        let hello = client.next();
        client.id = hello["data"]["clientId"].as_str().unwrap_or_else(|| panic!("{hello}")).to_owned();
        client
    }

    fn next(&mut self) -> Value {
        loop {
            match self.socket.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The data of the items of the next push.
    pub(super) fn data(&mut self) -> Vec<u64> {
        let push = self.next();
        let items = push["items"].as_array().unwrap_or_else(|| panic!("{push}"));
        items.iter().map(|item| item["data"].as_u64().unwrap()).collect()
    }

    /// Code and words of the close.
    pub(super) fn closed(&mut self) -> (u16, String) {
        loop {
            match self.socket.read().unwrap() {
                Message::Close(Some(frame)) => return (frame.code.into(), frame.reason.to_string()),
                // A drain says when to go; a ping may come at any time.
                Message::Text(_) | Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}
