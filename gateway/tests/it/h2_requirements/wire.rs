//! HTTP/2 by hand: frames of any kind, and fields as literals (RFC 9113 §4.1, RFC 7541 §6.2.2).

use std::net::SocketAddr;

use common::link::{CONTROL_PATH, LINK_HEADER};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::clients::PATIENCE;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const ACK: u8 = 0x1;
pub(super) const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITY: u8 = 0x20;

pub(super) const ENABLE_PUSH: u16 = 2;
pub(super) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(super) const MAX_FRAME_SIZE: u16 = 5;

/// Kinds of frames.
pub(super) mod kind {
    pub(in super::super) const DATA: u8 = 0;
    pub(in super::super) const HEADERS: u8 = 1;
    pub(in super::super) const PRIORITY: u8 = 2;
    pub(in super::super) const RST_STREAM: u8 = 3;
    pub(in super::super) const SETTINGS: u8 = 4;
    pub(in super::super) const PUSH_PROMISE: u8 = 5;
    pub(in super::super) const PING: u8 = 6;
    pub(in super::super) const GOAWAY: u8 = 7;
    pub(in super::super) const WINDOW_UPDATE: u8 = 8;
    pub(in super::super) const CONTINUATION: u8 = 9;
}

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    /// The error code of RST_STREAM or GOAWAY.
    pub(super) fn code(&self) -> Option<u32> {
        let from = match self.kind {
            kind::RST_STREAM => 0,
            kind::GOAWAY => 4,
            _ => return None,
        };
        Some(u32::from_be_bytes(self.payload.get(from..from + 4)?.try_into().ok()?))
    }

    pub(super) fn says_one_of(&self, codes: &[u32]) -> bool {
        self.code().is_some_and(|code| codes.contains(&code))
    }
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

pub(super) fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = values
        .iter()
        .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    frame(kind::SETTINGS, 0, 0, &payload)
}

pub(super) fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

/// A block of fields, each a literal that is not indexed.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// The fields that open a link, and these.
pub(super) fn opening<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields =
        vec![(":method", "POST"), (":scheme", "http"), (":path", CONTROL_PATH), (":authority", "gateway")];
    fields.push((LINK_HEADER, "test-link"));
    fields.extend_from_slice(more);
    fields
}

pub(super) fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(kind::HEADERS, flags | END_HEADERS, stream, &block(fields))
}

/// The request that opens a link's first stream, and leaves it open.
pub(super) fn request(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    headers(stream, 0, &opening(more))
}

/// A client that does as it is told.
pub(super) struct Peer {
    stream: TcpStream,
    unread: Vec<u8>,
    settings: Vec<u8>,
}

impl Peer {
    /// A connection on which nothing was said.
    pub(super) async fn bare(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), unread: Vec::new(), settings: Vec::new() }
    }

    /// A connection on which both have told their settings, and both have acknowledged.
    pub(super) async fn connect(address: SocketAddr) -> Self {
        let mut peer = Self::bare(address).await;
        peer.send(&[PREFACE, &settings(&[])].concat()).await;
        peer.settings = peer.next_of(kind::SETTINGS).await.unwrap().payload;
        peer.send(&frame(kind::SETTINGS, ACK, 0, b"")).await;
        let acknowledged = peer.next_of(kind::SETTINGS).await.unwrap();
        assert_eq!(acknowledged.flags, ACK);
        peer
    }

    /// What the server's settings say.
    pub(super) fn setting(&self, name: u16) -> Option<u32> {
        let said = self.settings.chunks(6).find(|pair| pair[..2] == name.to_be_bytes())?;
        Some(u32::from_be_bytes(said[2..].try_into().ok()?))
    }

    /// Sends; a server that has had enough may have closed.
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.ok();
    }

    /// The next frame; `None`: the connection has ended.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, String> {
        loop {
            if let [a, b, c, kind, flags, s1, s2, s3, s4, rest @ ..] = &self.unread[..] {
                let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
                if let Some(payload) = rest.get(..length) {
                    let stream = u32::from_be_bytes([*s1, *s2, *s3, *s4]);
                    let frame = Frame { kind: *kind, flags: *flags, stream, payload: payload.to_vec() };
                    self.unread.drain(..9 + length);
                    return Ok(Some(frame));
                }
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.unread));
            // A reset is an end too: there was more of ours than the server has read.
            if read.await.map_err(|_| "nothing more, and no end")?.unwrap_or(0) == 0 {
                return Ok(None);
            }
        }
    }

    /// The next frame of a kind.
    pub(super) async fn next_of(&mut self, kind: u8) -> Result<Frame, String> {
        loop {
            let frame = self.next().await?.ok_or("the connection has ended")?;
            if frame.kind == kind {
                return Ok(frame);
            }
        }
    }
}
