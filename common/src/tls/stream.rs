//! The server's end of a TLS connection on a socket: what a [`TcpStream`] promises, for encrypted bytes.
//!
//! Two ways to use it. As a socket that never waits, from any thread (`try_`): what was accepted is sent in order, and
//! where something of it could not be given to the kernel yet, [`TlsStream::holds_back`] says so. And as an
//! [`AsyncRead`] and [`AsyncWrite`].

use std::cell::RefCell;
use std::io::{self, IoSlice, Read};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::session::{Sealed, Session};

/// Bytes of one read: the longest record (RFC 8446 §5.2) stands whole in it.
const READ_BYTES: usize = 16 * 1024 + 256 + 5;

/// Most plaintext that is encrypted at once, and so most that is held back where the socket takes no more; as much as
/// a target that leaves early has, so that its frame leaves with one system call.
const WRITE_BYTES: usize = 64 * 1024;

/// Memory of a thread, used by all its connections in turn.
struct Scratch {
    read: Box<[u8]>,
    plain: Vec<u8>,
    sealed: Sealed,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        read: vec![0; READ_BYTES].into(),
        plain: Vec::new(),
        sealed: Sealed::default(),
    });
}

/// The server's end of a TLS connection. As small as a pointer.
#[derive(Debug)]
pub struct TlsStream(Box<Inner>);

struct Inner {
    socket: TcpStream,
    /// Taken for reading and for writing, for as long as one of them lasts; nothing waits under it.
    session: Mutex<Session>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tls({:?})", self.socket)
    }
}

/// How the socket is asked to take bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    /// Without looking first whether it is ready: it nearly always is.
    Directly,
    /// The runtime notes whether it blocks, so that one may wait for it.
    Noting,
}

impl TlsStream {
    /// A connection that has yet to shake hands.
    pub(super) fn new(socket: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let session = Session::new(config).map_err(io::Error::other)?;
        Ok(Self(Box::new(Inner { socket, session: Mutex::new(session) })))
    }

    /// The socket beneath.
    pub(super) fn into_socket(self) -> TcpStream {
        self.0.socket
    }

    /// Shakes hands. `looks` is shown the first bytes of the peer and may refuse them.
    pub(super) async fn shake(&mut self, looks: impl Fn(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut is_first = true;
        loop {
            while let Err(error) = self.try_flush() {
                if error.kind() != io::ErrorKind::WouldBlock {
                    return Err(error);
                }
                self.0.socket.writable().await?;
            }
            let session = self.0.session.get_mut();
            if !session.is_handshaking() {
                return Ok(());
            }
            self.0.socket.readable().await?;
            let heard = SCRATCH.with_borrow_mut(|scratch| {
                let read = match read_socket(&self.0.socket, &mut scratch.read) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    read => read?,
                };
                if std::mem::take(&mut is_first) {
                    looks(&scratch.read[..read])?;
                }
                session.hear(&mut scratch.read[..read]).map_err(broken)
            });
            if heard.is_err() {
                // The alert that says why; it fits, or the peer does without.
                let _ = self.try_flush();
                return heard;
            }
        }
    }

    /// Reads what has come, without waiting; 0: the peer has said that nothing more comes.
    ///
    /// # Errors
    /// `WouldBlock`; `UnexpectedEof` if the connection was cut, which is never taken for its end; what broke it.
    pub fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        let Inner { socket, session } = &*self.0;
        let mut session = session.lock();
        if session.heard.is_empty() && !session.is_over {
            let heard = SCRATCH.with_borrow_mut(|scratch| match read_socket(socket, &mut scratch.read) {
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => session.hear(&mut scratch.read[..read]).map_err(broken),
                Err(error) => Err(error),
            });
            // What TLS itself answers. It can wait for the next write.
            let _ = flush(socket, &mut session, Ask::Directly);
            heard?;
        }
        let left = session.heard.left();
        let read = left.len().min(into.len());
        into[..read].copy_from_slice(&left[..read]);
        session.heard.go(read);
        if read == 0 && !session.is_over && !into.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(read)
    }

    /// Ready when something may have come, or the peer has gone. Only the last task that asked is woken.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let session = self.0.session.lock();
        if !session.heard.is_empty() || session.is_over {
            return Poll::Ready(Ok(()));
        }
        drop(session);
        self.0.socket.poll_read_ready(context)
    }

    /// Waits until the socket may take more.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn writable(&self) -> io::Result<()> {
        self.0.socket.writable().await
    }

    /// Writes slices in order, without waiting; says how many bytes were accepted. Of these up to 64 KiB may be held
    /// back: then nothing more is accepted until they have gone.
    ///
    /// # Errors
    /// `WouldBlock`; what broke the connection.
    pub fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write(slices, Ask::Directly)
    }

    /// The same for a socket that has blocked: the runtime notes whether it still does, so that
    /// [`TlsStream::writable`] waits.
    ///
    /// # Errors
    /// As for [`TlsStream::try_write`].
    pub fn try_write_blocked(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write(slices, Ask::Noting)
    }

    fn write(&self, slices: &[IoSlice<'_>], ask: Ask) -> io::Result<usize> {
        let Inner { socket, session } = &*self.0;
        let mut session = session.lock();
        flush(socket, &mut session, ask)?;
        let mut accepted = 0;
        SCRATCH.with_borrow_mut(|Scratch { plain, sealed, .. }| {
            while session.unsent.is_empty() {
                let piece = piece(slices, accepted, plain);
                if piece.is_empty() {
                    break;
                }
                sealed.clear();
                session.say(piece, sealed).map_err(broken)?;
                accepted += piece.len();
                let sent = match send(socket, sealed.bytes(), ask) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                    sent => sent?,
                };
                session.unsent.put(&sealed.bytes()[sent..]);
            }
            Ok(accepted)
        })
    }

    /// Whether something that was accepted is not with the kernel yet.
    #[must_use]
    pub fn holds_back(&self) -> bool {
        !self.0.session.lock().unsent.is_empty()
    }

    /// Gives the kernel what is held back.
    ///
    /// # Errors
    /// `WouldBlock` while something is left; what broke the connection.
    pub fn try_flush(&self) -> io::Result<()> {
        flush(&self.0.socket, &mut self.0.session.lock(), Ask::Noting)
    }

    /// Says that nothing more comes (`close_notify`, RFC 8446 §6.1), and ends this direction once that has gone.
    ///
    /// # Errors
    /// `WouldBlock` while something is left; what broke the connection.
    pub fn try_finish(&self) -> io::Result<()> {
        let Inner { socket, session } = &*self.0;
        let mut session = session.lock();
        flush(socket, &mut session, Ask::Noting)?;
        SCRATCH.with_borrow_mut(|Scratch { sealed, .. }| {
            sealed.clear();
            // A connection that can say nothing any more is ended all the same.
            if session.say_over(sealed).is_ok() {
                session.unsent.put(sealed.bytes());
            }
        });
        flush(socket, &mut session, Ask::Noting)?;
        SockRef::from(socket).shutdown(Shutdown::Write)
    }

    /// Ends both directions now, whatever was yet to be said.
    pub fn cut(&self) {
        // Fails only where the peer was quicker.
        let _ = SockRef::from(&self.0.socket).shutdown(Shutdown::Both);
    }
}

/// The bytes of slices from a place on, as many as are encrypted at once: as they stand where one slice has them, else
/// copied together, for fewer and fuller records.
fn piece<'a>(slices: &'a [IoSlice<'_>], mut from: usize, plain: &'a mut Vec<u8>) -> &'a [u8] {
    let mut rest = slices
        .iter()
        .filter_map(|slice| {
            let skipped = from.min(slice.len());
            from -= skipped;
            (skipped < slice.len()).then(|| &slice[skipped..])
        })
        .peekable();
    let Some(first) = rest.next() else { return &[] };
    if first.len() >= WRITE_BYTES || rest.peek().is_none() {
        return &first[..first.len().min(WRITE_BYTES)];
    }
    plain.clear();
    plain.extend_from_slice(first);
    for slice in rest {
        let room = WRITE_BYTES - plain.len();
        plain.extend_from_slice(&slice[..slice.len().min(room)]);
    }
    plain
}

fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Gives the kernel what is held back.
fn flush(socket: &TcpStream, session: &mut Session, ask: Ask) -> io::Result<()> {
    while !session.unsent.is_empty() {
        let sent = send(socket, session.unsent.left(), ask)?;
        session.unsent.go(sent);
    }
    Ok(())
}

fn send(socket: &TcpStream, bytes: &[u8], ask: Ask) -> io::Result<usize> {
    match ask {
        Ask::Directly => SockRef::from(socket).send(bytes),
        Ask::Noting => socket.try_write(bytes),
    }
}

/// A read that leaves bytes of the buffer free has emptied the socket (epoll(7), question 9), so readiness is
/// cleared with it: the next read waits for an event, instead of asking the kernel in vain. Inside `try_io`,
/// because what comes during the read must not be cleared.
///
/// # Errors
/// `WouldBlock`; what the socket says.
pub fn read_socket(socket: &TcpStream, into: &mut [u8]) -> io::Result<usize> {
    let mut short = None;
    let read = socket.try_io(Interest::READABLE, || match (&*SockRef::from(socket)).read(into) {
        Ok(read) if read > 0 && read < into.len() => {
            short = Some(read);
            Err(io::ErrorKind::WouldBlock.into())
        }
        other => other,
    });
    short.map_or(read, Ok)
}

impl AsyncRead for TlsStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.try_read(buf.initialize_unfilled()) {
                Ok(read) => {
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
                // The socket may be readable still: of what came nothing was for us. The runtime counts our turns.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.0.socket.poll_read_ready(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl TlsStream {
    /// Does it, waiting for the socket where it blocks.
    fn poll_write_with<T>(
        &self,
        cx: &mut Context<'_>,
        mut work: impl FnMut(&Self) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            match work(self) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.0.socket.poll_write_ready(cx))?;
                }
                done => return Poll::Ready(done),
            }
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |stream| stream.try_write_blocked(&[IoSlice::new(bytes)]))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |stream| stream.try_write_blocked(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_with(cx, Self::try_flush)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_with(cx, Self::try_finish)
    }
}
