//! Frames between a coordinator and an agent: a length, a kind, and so many bytes.
//!
//! Four bytes of length, most significant first, that count the kind too; then one byte of kind: 0 is a message in
//! JSON, 1 a part of the ledger ([`crate::ledger::Ledger::export`]).

use std::io;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

const JSON: u8 = 0;
const LEDGER: u8 = 1;

/// Longest frame: a verdict with seven histograms of 20,000 steps, each 30 bytes of text, and the counts of a hundred
/// gateways are 4.3 MB.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// A peer that takes a frame for longer than this does not read.
const WRITE_TIME_MAX: Duration = Duration::from_secs(60);

/// Where nothing is said, the kernel asks whether the other machine is still there.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// A frame as it came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// JSON.
    Message(Vec<u8>),
    /// A part of the ledger.
    Ledger(Vec<u8>),
}

/// A message as bytes of a frame.
pub(crate) fn message(message: &impl Serialize) -> Bytes {
    frame(JSON, &serde_json::to_vec(message).expect("structs of numbers and text are JSON"))
}

/// A part of the ledger as bytes of a frame.
pub(crate) fn ledger(part: &[u8]) -> Bytes {
    frame(LEDGER, part)
}

fn frame(kind: u8, body: &[u8]) -> Bytes {
    let length = u32::try_from(body.len() + 1).expect("what we say is bounded");
    [&length.to_be_bytes()[..], &[kind], body].concat().into()
}

/// Reads a message.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("a message that cannot be read: {error}"))
}

/// Takes the next frame. Not to be dropped in the middle.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let length = stream.read_u32().await? as usize;
    if !(1..=BYTES_MAX).contains(&length) {
        return Err(wrong("a frame of a length that none has"));
    }
    let kind = stream.read_u8().await?;
    // It grows as bytes come: a length alone takes no memory.
    let mut body = Vec::new();
    let mut rest = stream.take(length as u64 - 1);
    if rest.read_to_end(&mut body).await? < length - 1 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match kind {
        JSON => Ok(Frame::Message(body)),
        LEDGER => Ok(Frame::Ledger(body)),
        _ => Err(wrong("a frame of a kind that is not known")),
    }
}

/// Writes frames as they come, until there are no more.
pub(crate) async fn write_all(
    mut frames: mpsc::Receiver<Bytes>,
    stream: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    while let Some(frame) = frames.recv().await {
        let written = async {
            stream.write_all(&frame).await?;
            stream.flush().await
        };
        tokio::time::timeout(WRITE_TIME_MAX, written).await.map_err(|_| io::ErrorKind::TimedOut)??;
    }
    stream.shutdown().await
}

/// Prepares a connection for talk.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_as_they_were_sent_and_nonsense_is_refused() {
        let (mut one, mut other) = tokio::io::duplex(1 << 20);
        let long = "x".repeat(100_000);
        for frame in [message(&7), ledger(b""), message(&long)] {
            one.write_all(&frame).await.unwrap();
        }
        assert_eq!(read(&mut other).await.unwrap(), Frame::Message(b"7".to_vec()));
        assert_eq!(read(&mut other).await.unwrap(), Frame::Ledger(Vec::new()));
        let Frame::Message(text) = read(&mut other).await.unwrap() else { panic!("a message") };
        assert_eq!(parse::<String>(&text), Ok(long));
        assert!(parse::<u32>(&text).is_err());
        for nonsense in
            [&b"\0\0\0\0"[..], b"\xff\xff\xff\xff\0", b"\0\0\0\x02\x07x", b"GET / HTTP/1.1\r\n\r\n"]
        {
            let (mut one, mut other) = tokio::io::duplex(1_024);
            one.write_all(nonsense).await.unwrap();
            assert_eq!(
                read(&mut other).await.unwrap_err().kind(),
                io::ErrorKind::InvalidData,
                "{nonsense:?}"
            );
        }
        one.write_all(b"\0\0\0\x09\0part").await.unwrap();
        drop(one);
        assert_eq!(read(&mut other).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
