//! The two halves of an HTTP/2 stream of the link: sending with back-pressure, receiving with release.

use std::future::poll_fn;

use bytes::Bytes;
use h2::{RecvStream, SendStream};

use super::codec::{Garbage, Inbound};

/// Most bytes handed to h2 at once: four default DATA frames.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// Why a link's stream ended.
#[derive(Debug)]
pub enum Lost {
    /// The connection or the stream broke.
    Broken(h2::Error),
    /// The peer ended the stream.
    Ended,
    /// What came cannot be read.
    Garbage(Garbage),
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Broken(_) => f.write_str("the connection broke"),
            Self::Ended => f.write_str("the peer ended the stream"),
            Self::Garbage(_) => f.write_str("unreadable message"),
        }
    }
}

impl std::error::Error for Lost {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Broken(error) => Some(error),
            Self::Ended => None,
            Self::Garbage(error) => Some(error),
        }
    }
}

/// Sends `bytes` when the peer's window has room for them, piece by piece.
///
/// Not cancel safe: a cancelled call may have sent a part, after which the stream is of no use.
///
/// # Errors
/// [`Lost`] when the stream broke or the peer wants no more of it.
pub async fn send(stream: &mut SendStream<Bytes>, mut bytes: Bytes) -> Result<(), Lost> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len().min(PIECE_BYTES_MAX));
        let capacity = match poll_fn(|cx| stream.poll_capacity(cx)).await {
            None => return Err(Lost::Ended),
            Some(Err(error)) => return Err(Lost::Broken(error)),
            Some(Ok(capacity)) => capacity,
        };
        if capacity > 0 {
            let piece = bytes.split_to(capacity.min(bytes.len()));
            stream.send_data(piece, false).map_err(Lost::Broken)?;
        }
    }
    Ok(())
}

/// Waits for the next chunk, puts it into `inbound` and gives its room in the window back to the peer.
///
/// Cancel safe: a cancelled call has taken nothing.
///
/// # Errors
/// [`Lost`] at the end of the stream, whatever ended it.
pub async fn receive(stream: &mut RecvStream, inbound: &mut Inbound) -> Result<(), Lost> {
    match stream.data().await {
        None => Err(inbound.end().map_or_else(Lost::Garbage, |()| Lost::Ended)),
        Some(Err(error)) => Err(Lost::Broken(error)),
        Some(Ok(chunk)) => {
            inbound.put(&chunk);
            stream.flow_control().release_capacity(chunk.len()).map_err(Lost::Broken)
        }
    }
}
