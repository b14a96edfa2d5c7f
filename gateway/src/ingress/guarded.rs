//! The socket of a link, read slowly until the other end has said who it is.
//!
//! All links share one thread, and what HTTP/2 answers by itself (pings, settings) it answers for as long as there is
//! something to read. So a stranger has short turns and few of them, and a link that is up as many as it likes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Link;

/// What is read of a stranger before the others on the thread have a turn: 250 pings, about a millisecond.
const TURN_BYTES: usize = 4 * 1024;

/// What is read of a stranger at all. A hello with its heads is some hundred bytes; what follows it at once is read in
/// the turns that it takes to hear it.
const STRANGER_BYTES_MAX: usize = 128 * 1024;

/// A socket of somebody who may be a stranger.
pub(super) struct Guarded<S> {
    stream: S,
    link: Arc<Link>,
    /// Bytes read while it was a stranger; `None`: it is none any more.
    read: Option<usize>,
    /// Of them, those of this turn.
    turn: usize,
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S, link: Arc<Link>) -> Self {
        Self { stream, link, read: Some(0), turn: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.read.is_some() && this.link.greeted.is_cancelled() {
            this.read = None;
        }
        let Some(so_far) = this.read else { return Pin::new(&mut this.stream).poll_read(cx, buf) };
        if so_far > STRANGER_BYTES_MAX {
            let words = format!("more than {STRANGER_BYTES_MAX} bytes and no hello");
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, words)));
        }
        if this.turn >= TURN_BYTES {
            this.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let most = buf.remaining().min(TURN_BYTES - this.turn);
        let mut some = ReadBuf::new(buf.initialize_unfilled_to(most));
        let polled = Pin::new(&mut this.stream).poll_read(cx, &mut some);
        let read = some.filled().len();
        buf.advance(read);
        this.turn = if polled.is_pending() { 0 } else { this.turn + read };
        this.read = Some(so_far + read);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
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
