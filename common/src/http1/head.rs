//! What bare hyper takes and a careful server does not: checks of a request's head, and of its time.
//!
//! hyper removes `Content-Length` when `Transfer-Encoding` is there too, so a handler cannot see that both
//! were sent, which is how requests are smuggled (RFC 9112 §11.2). A [`Tap`] on the socket keeps the raw
//! bytes of the head, and a request with `Transfer-Encoding` is looked up in them; the framing of its body is
//! followed as it comes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request, StatusCode, Version, header};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::chunks::Chunks;
use super::fields::{self, Coding};
use crate::limits::HEAD_BYTES_MAX;
use crate::problem::Problem;

/// What is kept for the next head: most heads and small bodies fit, so no request allocates.
const KEPT_BYTES: usize = 2 * 1024;

/// What is kept of a head and what came with it. More comes only in one read with a head, and is not trusted.
const SEEN_BYTES_MAX: usize = HEAD_BYTES_MAX * 2;

/// The raw bytes from the last answer to the end of the head, as many as a head may have, and where it stands.
#[derive(Debug)]
pub(super) struct Tap(Mutex<Seen>);

#[derive(Debug)]
struct Seen {
    bytes: Vec<u8>,
    stage: Stage,
    is_switched: bool,
    /// The chunks of the body that is being read, if it has chunks.
    chunks: Option<Chunks>,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// No byte of the next request has come since the last answer.
    Idle(Instant),
    /// A head is being read since then.
    Head(Instant),
    /// A request is being handled: what comes is its body.
    Handling,
}

/// What has not come in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    /// The end of a head, or the first head of all.
    Head,
    /// Another request.
    Next,
}

impl Default for Tap {
    fn default() -> Self {
        // A new connection owes us a head from its first moment.
        Self(Mutex::new(Seen {
            bytes: Vec::new(),
            stage: Stage::Head(Instant::now()),
            is_switched: false,
            chunks: None,
        }))
    }
}

impl Tap {
    /// Notes what was read; false: it is no body that may be read on.
    pub(super) fn saw(&self, bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            return true;
        }
        let mut seen = self.0.lock();
        match seen.stage {
            Stage::Handling => return seen.chunks.as_mut().is_none_or(|chunks| chunks.follow(bytes)),
            Stage::Idle(_) => seen.stage = Stage::Head(Instant::now()),
            Stage::Head(_) => {}
        }
        let room = SEEN_BYTES_MAX.saturating_sub(seen.bytes.len()).min(bytes.len());
        seen.bytes.extend_from_slice(&bytes[..room]);
        true
    }

    fn head_is_complete(&self) {
        self.0.lock().stage = Stage::Handling;
    }

    /// Whether the last answer was 101.
    pub(super) fn is_switched(&self) -> bool {
        self.0.lock().is_switched
    }

    /// The request is answered: what comes now is the next one, or after 101 something else.
    pub(super) fn answered(&self, is_switched: bool) {
        let mut seen = self.0.lock();
        seen.bytes.clear();
        seen.bytes.shrink_to(KEPT_BYTES);
        seen.is_switched = is_switched;
        seen.stage = Stage::Idle(Instant::now());
        seen.chunks = None;
    }

    /// Ends when a head has taken longer than `head_max`, or the next request does not begin for `idle_max`.
    pub(super) async fn late(&self, head_max: Duration, idle_max: Duration) -> Late {
        loop {
            let stage = self.0.lock().stage;
            let left = match stage {
                Stage::Head(since) => head_max.saturating_sub(since.elapsed()),
                // Looked at again soon enough for a head that begins meanwhile.
                Stage::Idle(since) => idle_max.saturating_sub(since.elapsed()).min(head_max / 4),
                Stage::Handling => head_max / 4,
            };
            if left.is_zero() {
                return if matches!(stage, Stage::Idle(_)) { Late::Next } else { Late::Head };
            }
            tokio::time::sleep(left).await;
        }
    }

    /// Whether the head of a request that names `Transfer-Encoding` is seen whole, and without
    /// `Content-Length`. What cannot be seen is not trusted: a head that began before the last answer, or is
    /// longer than the tap. Whole is a head that begins with the request's own line and has as many fields as
    /// hyper found; hyper takes the length away, so it finds one less where there was one.
    fn is_clean_of_content_length(&self, method: &str, fields: usize) -> bool {
        let lower = self.0.lock().bytes.to_ascii_lowercase();
        if lower.len() >= SEEN_BYTES_MAX {
            return false;
        }
        let begins = lower.strip_prefix(method.to_ascii_lowercase().as_bytes());
        let Some(end) = head_end(&lower).filter(|_| begins.is_some_and(|rest| rest.starts_with(b" "))) else {
            return false;
        };
        let lines = lower[..end].iter().filter(|byte| **byte == b'\n').count();
        lines == fields && find(&lower[..end], b"\ncontent-length").is_none()
    }

    /// Follows the chunks of the body, of which what has come with the head is looked at now; false: it is no such
    /// body. To be called where the head is seen whole.
    fn follow_chunks(&self) -> bool {
        let seen = &mut *self.0.lock();
        let begun =
            head_end(&seen.bytes).map_or(&[][..], |end| &seen.bytes[end + end_length(&seen.bytes, end)..]);
        seen.chunks.insert(Chunks::default()).follow(begun)
    }
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window == word)
}

/// Where the empty line that ends a head begins, from the end of the line before it on.
fn head_end(text: &[u8]) -> Option<usize> {
    find(text, b"\r\n\r\n").or_else(|| find(text, b"\n\n"))
}

fn end_length(text: &[u8], end: usize) -> usize {
    if text[end] == b'\r' { 4 } else { 2 }
}

/// Checks what hyper does not.
pub(super) fn check<B>(request: &Request<B>, tap: &Tap, headers_max: usize) -> Result<(), Problem> {
    tap.head_is_complete();
    let bad = |code, detail: &str| Err(Problem::new(StatusCode::BAD_REQUEST, code, detail));
    // Here and not in hyper's builder, where a limit of ours costs 1 % of a request.
    if request.headers().len() > headers_max {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        let detail = format!("a request has at most {headers_max} header fields");
        return Err(Problem::new(status, "too_many_headers", detail));
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if request.version() == Version::HTTP_11 => {
            return bad("host_missing", "an HTTP/1.1 request has a Host header (RFC 9112 section 3.2)");
        }
        (Some(_), Some(_)) => {
            return bad("host_repeated", "a request has one Host header (RFC 9112 section 3.2)");
        }
        (Some(host), None) if !fields::is_host(host) => {
            return bad("host_invalid", "a Host header is a host and perhaps a port (RFC 9112 section 3.2)");
        }
        _ => {}
    }
    check_target(request)?;
    if request.headers().contains_key(header::TRANSFER_ENCODING) {
        check_framing(request, tap)?;
    }
    Ok(())
}

/// Checks what a request is for (RFC 9112 §3.2).
fn check_target<B>(request: &Request<B>) -> Result<(), Problem> {
    if *request.method() == Method::CONNECT {
        let detail = "no tunnels are made here";
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "no_tunnels", detail));
    }
    let target = request.uri().path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    let detail = if target == "*" && *request.method() != Method::OPTIONS {
        "only OPTIONS asks about all of a server (RFC 9112 section 3.2.4)"
    } else if request.uri().path().is_empty() {
        "a target begins with / (RFC 9112 section 3.2)"
    } else if !target.is_ascii() {
        "a path and its query are ASCII; other characters are percent-encoded (RFC 3986 section 2)"
    } else {
        return Ok(());
    };
    Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_target", detail))
}

/// Checks where the body of a request with `Transfer-Encoding` ends (RFC 9112 §6.1).
fn check_framing<B>(request: &Request<B>, tap: &Tap) -> Result<(), Problem> {
    let bad = |code, detail: &str| Err(Problem::new(StatusCode::BAD_REQUEST, code, detail));
    if !tap.is_clean_of_content_length(request.method().as_str(), request.headers().len()) {
        let detail = "Transfer-Encoding together with Content-Length, or pipelined behind another request: \
                      send one of them, on a connection that waits for its answers (RFC 9112 section 6.1)";
        return bad("ambiguous_length", detail);
    }
    match fields::transfer_coding(request.headers()) {
        Coding::Chunked if tap.follow_chunks() => Ok(()),
        Coding::Chunked => bad("invalid_chunk", "a chunk is not as RFC 9112 section 7.1 has it"),
        Coding::Faulty => bad("transfer_coding_faulty", "a body is chunked once (RFC 9112 section 7)"),
        Coding::Unknown => {
            let detail = "chunked is the one transfer coding that is understood here";
            Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "transfer_coding_unknown", detail))
        }
    }
}

/// A socket with a [`Tap`] on what is read. The head of a 101 is held back: who takes the socket over has more to
/// say, and one segment is cheaper than two at both ends.
#[derive(Debug)]
pub(super) struct Tapped<'a, S> {
    stream: S,
    tap: &'a Tap,
    held: Vec<u8>,
}

impl<'a, S> Tapped<'a, S> {
    pub(super) fn new(stream: S, tap: &'a Tap) -> Self {
        Self { stream, tap, held: Vec::new() }
    }

    /// The socket, and what was held back.
    pub(super) fn into_inner(self) -> (S, Vec<u8>) {
        (self.stream, self.held)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<'_, S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        if !this.tap.saw(&buf.filled()[before..]) {
            let error = io::Error::new(io::ErrorKind::InvalidData, "a chunk is not as RFC 9112 has it");
            return Poll::Ready(Err(error));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tapped<'_, S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.tap.is_switched() {
            this.held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut this.stream).poll_write(cx, bytes)
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
        let this = self.get_mut();
        if this.tap.is_switched() {
            slices.iter().for_each(|slice| this.held.extend_from_slice(slice));
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        Pin::new(&mut this.stream).poll_write_vectored(cx, slices)
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
        assert!(tap.saw(raw.as_bytes()));
        tap
    }

    fn is_clean(raw: &str, fields: usize) -> bool {
        tapped(raw).is_clean_of_content_length("POST", fields)
    }

    #[test]
    fn both_lengths_are_seen_in_either_order_and_case() {
        let clean = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(is_clean(clean, 2));
        let next = format!("{clean}0\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n");
        assert!(is_clean(&next, 2), "the next request's length is not ours");
        for (first, second) in [
            ("Content-Length: 3", "Transfer-Encoding: chunked"),
            ("transfer-encoding: chunked", "CONTENT-LENGTH: 3"),
        ] {
            let raw = format!("POST / HTTP/1.1\r\nHost: x\r\n{first}\r\n{second}\r\n\r\n");
            assert!(!is_clean(&raw, 2) && !is_clean(&raw, 3), "{raw}");
        }
    }

    #[test]
    fn a_head_that_is_not_seen_whole_is_not_trusted() {
        assert!(!is_clean("", 1));
        // Its first part, with the length, came before the last answer; what is left is made to look whole.
        assert!(!is_clean("Host: x\r\nTransfer-Encoding: chunked\r\n\r\n", 2));
        let value = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(!is_clean(value, 3), "a line that ends a field of the first part");
        assert!(!is_clean("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", 1), "no end");
    }
}
