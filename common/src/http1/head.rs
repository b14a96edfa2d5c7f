//! What bare hyper takes and a careful server does not: checks of a request's head, and of its time.
//!
//! hyper removes `Content-Length` when `Transfer-Encoding` is there too, so a handler cannot see that both
//! were sent, which is how requests are smuggled (RFC 9112 §11.2). A [`Tap`] on the socket keeps the raw
//! bytes since the last answer, and a request with `Transfer-Encoding` is looked up in them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, StatusCode, Version, header};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::limits::HEAD_BYTES_MAX;
use crate::problem::Problem;

/// The raw bytes since the last answer, as many as a head may have, and when the first of them came.
#[derive(Debug)]
pub(super) struct Tap(Mutex<Seen>);

#[derive(Debug)]
struct Seen {
    bytes: Vec<u8>,
    /// A head is being read since then; `None` while a request is answered or none has begun.
    since: Option<Instant>,
    /// A request is being handled: what comes is its body.
    handling: bool,
}

impl Default for Tap {
    fn default() -> Self {
        // A new connection owes us a head from its first moment.
        Self(Mutex::new(Seen { bytes: Vec::new(), since: Some(Instant::now()), handling: false }))
    }
}

impl Tap {
    fn saw(&self, bytes: &[u8]) {
        let mut seen = self.0.lock();
        let room = (HEAD_BYTES_MAX * 2).saturating_sub(seen.bytes.len()).min(bytes.len());
        seen.bytes.extend_from_slice(&bytes[..room]);
        if !seen.handling && !bytes.is_empty() {
            seen.since.get_or_insert_with(Instant::now);
        }
    }

    fn head_is_complete(&self) {
        let mut seen = self.0.lock();
        seen.since = None;
        seen.handling = true;
    }

    /// The request is answered: what comes now is the next one.
    pub(super) fn answered(&self) {
        let mut seen = self.0.lock();
        seen.bytes = Vec::new();
        seen.handling = false;
    }

    /// Ends when a head has taken longer than `most`.
    pub(super) async fn late(&self, most: Duration) {
        loop {
            let since = self.0.lock().since;
            match since {
                Some(since) if since.elapsed() >= most => return,
                Some(since) => tokio::time::sleep_until(since + most).await,
                None => tokio::time::sleep(most / 4).await,
            }
        }
    }

    /// Whether the head that names `Transfer-Encoding` is seen to be without `Content-Length`.
    /// What cannot be seen is not trusted: pipelined behind another request, or longer than the tap.
    fn is_clean_of_content_length(&self) -> bool {
        let lower = self.0.lock().bytes.to_ascii_lowercase();
        let Some(named) = find(&lower, b"\ntransfer-encoding") else { return false };
        let Some(end) = head_end(&lower[named..]) else { return false };
        find(&lower[..named + end], b"\ncontent-length").is_none()
    }
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window == word)
}

fn head_end(text: &[u8]) -> Option<usize> {
    find(text, b"\r\n\r\n").or_else(|| find(text, b"\n\n"))
}

/// Checks what hyper does not.
pub(super) fn check<B>(request: &Request<B>, tap: &Tap) -> Result<(), Problem> {
    tap.head_is_complete();
    let bad = |code, detail: &str| Err(Problem::new(StatusCode::BAD_REQUEST, code, detail));
    let hosts = request.headers().get_all(header::HOST).iter().count();
    if request.version() == Version::HTTP_11 && hosts == 0 {
        return bad("host_missing", "an HTTP/1.1 request has a Host header (RFC 9112 section 3.2)");
    }
    if hosts > 1 {
        return bad("host_repeated", "a request has one Host header (RFC 9112 section 3.2)");
    }
    if request.headers().contains_key(header::TRANSFER_ENCODING) && !tap.is_clean_of_content_length() {
        let detail = "Transfer-Encoding together with Content-Length, or pipelined behind another request: \
                      send one of them, on a connection that waits for its answers (RFC 9112 section 6.1)";
        return bad("ambiguous_length", detail);
    }
    Ok(())
}

/// A socket with a [`Tap`] on what is read.
#[derive(Debug)]
pub(super) struct Tapped {
    stream: TcpStream,
    tap: std::sync::Arc<Tap>,
}

impl Tapped {
    pub(super) fn new(stream: TcpStream, tap: std::sync::Arc<Tap>) -> Self {
        Self { stream, tap }
    }

    pub(super) fn into_inner(self) -> TcpStream {
        self.stream
    }
}

impl AsyncRead for Tapped {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        this.tap.saw(&buf.filled()[before..]);
        polled
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tapped(raw: &str) -> Tap {
        let tap = Tap::default();
        tap.saw(raw.as_bytes());
        tap
    }

    #[test]
    fn both_lengths_are_seen_in_either_order_and_case() {
        let clean = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(tapped(clean).is_clean_of_content_length());
        let next = format!("{clean}0\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n");
        assert!(tapped(&next).is_clean_of_content_length(), "the next request's length is not ours");
        for (first, second) in [
            ("Content-Length: 3", "Transfer-Encoding: chunked"),
            ("transfer-encoding: chunked", "CONTENT-LENGTH: 3"),
        ] {
            let raw = format!("POST / HTTP/1.1\r\nHost: x\r\n{first}\r\n{second}\r\n\r\n");
            assert!(!tapped(&raw).is_clean_of_content_length(), "{raw}");
        }
        assert!(!tapped("").is_clean_of_content_length(), "what was not seen is not trusted");
    }
}
