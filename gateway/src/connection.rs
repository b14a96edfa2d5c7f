//! The shared handle of one client: its socket, and the outbox behind it.
//!
//! Whoever has frames for a client writes them straight into the non-blocking socket, from whatever thread:
//! no task switch, no copy. Only when the socket would block does the rest wait in a bounded outbox, and a
//! task that exists just then empties it. What is sent before the hello waits there too.

mod outbox;
mod shared;

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use common::client::CloseCode;
use common::ids::ClientId;
use parking_lot::{Mutex, MutexGuard};

use crate::bucket::Local;
use crate::deflate::Window;
use crate::directory::Group;
use crate::frame;
use crate::settings::Slow;
use crate::tally::{Outcome, Tally};
use crate::transport::Transport;
use outbox::{Outbox, Queue, Queued};
pub(crate) use shared::Shared;

/// Slices given to one `writev`; a connection due more frames than this gets another call.
const SLICES_MAX: usize = 64;

/// One frame for one connection: shared bytes, and where to count what becomes of it.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) bytes: Bytes,
    pub(crate) tally: Option<Arc<Tally>>,
    /// The room it is of, to name in a `gap`.
    pub(crate) room: Option<Arc<Group>>,
}

/// What a handshake leaves.
#[derive(Debug)]
pub(crate) struct Shaken {
    pub(crate) transport: Transport,
    /// The head of the answer, which is yet to be written.
    pub(crate) answer: Bytes,
    /// Which compressed frames the client may have.
    pub(crate) deflate: Option<Window>,
}

impl From<Transport> for Shaken {
    /// A client that has its answer and takes nothing compressed.
    fn from(transport: Transport) -> Self {
        Self { transport, answer: Bytes::new(), deflate: None }
    }
}

/// What a write did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wrote {
    /// System calls.
    pub(crate) calls: u32,
    /// Bytes taken by the kernel.
    pub(crate) bytes: usize,
    /// Frames, from the first, that the kernel took whole.
    pub(crate) whole: usize,
}

/// The shared handle of one client.
#[derive(Debug)]
pub(crate) struct Connection {
    transport: Transport,
    outbox: Mutex<Outbox>,
    pub(crate) local: Local,
    /// How it may be sent compressed frames; `None`: not at all.
    pub(crate) deflate: Option<Window>,
    heard: AtomicU32,
    /// The second at which a message of the client began that has not ended, in 16 bits that are not zero; zero: there
    /// is none.
    begun: AtomicU16,
    shared: Arc<Shared>,
}

impl Connection {
    /// A connection that has shaken hands but for the answer, which goes before anything else.
    pub(crate) fn new(shaken: Shaken, local: Local, shared: Arc<Shared>) -> Self {
        let Shaken { transport, answer, deflate } = shaken;
        let now = shared.seconds();
        Self {
            transport,
            outbox: Mutex::new(Outbox::greeting(answer, now)),
            local,
            deflate,
            heard: AtomicU32::new(now.get()),
            begun: AtomicU16::new(0),
            shared,
        }
    }

    pub(crate) fn id(&self) -> ClientId {
        ClientId { gateway: self.shared.instance, local: self.local.0 }
    }

    /// Reads what has come, without waiting.
    pub(crate) fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.transport.try_read(into)?;
        self.heard.store(self.shared.seconds().get(), Ordering::Relaxed);
        Ok(read)
    }

    /// Ready when something may have come, or the peer has gone; for the one task that reads.
    pub(crate) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.poll_readable(context)
    }

    /// How long nothing has come, in whole seconds.
    pub(crate) fn silence(&self) -> Duration {
        Duration::from_secs(
            self.shared.seconds().get().saturating_sub(self.heard.load(Ordering::Relaxed)).into(),
        )
    }

    /// Notes whether a message of the client has begun and not ended.
    pub(crate) fn hears_a_part(&self, is_a_part: bool) {
        let is_known = self.begun.load(Ordering::Relaxed) != 0;
        if is_a_part != is_known {
            let now = (self.shared.seconds().get() as u16).max(1);
            self.begun.store(if is_a_part { now } else { 0 }, Ordering::Relaxed);
        }
    }

    /// For how long a message of the client has been incomplete, in whole seconds, up to nine hours.
    pub(crate) fn incomplete_for(&self) -> Duration {
        let (begun, now) = (self.begun.load(Ordering::Relaxed), self.shared.seconds().get() as u16);
        // As signed: a zero second was noted as one.
        let since = if begun == 0 { 0 } else { now.wrapping_sub(begun).cast_signed() };
        Duration::from_secs(since.try_into().unwrap_or(0))
    }

    /// For how long it has been here, in whole seconds.
    pub(crate) fn age(&self) -> Duration {
        let since = self.outbox.lock().since();
        Duration::from_secs(self.shared.seconds().get().saturating_sub(since).into())
    }

    /// Writes frames in order, all in one call where the socket takes them. Never waits. Counts what becomes of
    /// each frame, except of those that were written whole at once: the caller counts them together.
    pub(crate) fn send(self: &Arc<Self>, pieces: &[&Piece]) -> Wrote {
        self.send_locked(self.outbox.lock(), pieces)
    }

    /// The same if these are still due when nobody else writes; else nothing is done. So what a reply says has ended
    /// is never followed by more of it.
    pub(crate) fn send_if(
        self: &Arc<Self>,
        pieces: &[&Piece],
        are_due: impl FnOnce() -> bool,
    ) -> Option<Wrote> {
        let outbox = self.outbox.lock();
        are_due().then(|| self.send_locked(outbox, pieces))
    }

    fn send_locked(self: &Arc<Self>, mut outbox: MutexGuard<'_, Outbox>, pieces: &[&Piece]) -> Wrote {
        if outbox.is_closed() || outbox.closing.is_some() {
            drop(outbox);
            pieces.iter().for_each(|piece| count(piece, Outcome::Gone));
            return Wrote::default();
        }
        if outbox.queue.is_some() {
            self.queue(&mut outbox, pieces, 0);
            return Wrote::default();
        }
        let mut wrote = Wrote::default();
        while wrote.whole < pieces.len() {
            let batch = &pieces[wrote.whole..pieces.len().min(wrote.whole + SLICES_MAX)];
            let (result, total) = self.write_batch(batch);
            wrote.calls += 1;
            match result {
                Ok(written) if written == total => {
                    wrote.bytes += written;
                    wrote.whole += batch.len();
                }
                Ok(written) => {
                    wrote.bytes += written;
                    let mut part = written;
                    while part >= pieces[wrote.whole].bytes.len() {
                        part -= pieces[wrote.whole].bytes.len();
                        wrote.whole += 1;
                    }
                    self.queue(&mut outbox, &pieces[wrote.whole..], part);
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.queue(&mut outbox, &pieces[wrote.whole..], 0);
                    break;
                }
                Err(_) => {
                    self.end(&mut outbox);
                    pieces[wrote.whole..].iter().for_each(|piece| count(piece, Outcome::Gone));
                    break;
                }
            }
        }
        if outbox.queue.is_none() && self.transport.holds_back() {
            // Accepted whole, and not gone: somebody must see to it, and what follows waits behind it.
            outbox.queue = Some(Box::default());
            self.spawn_drain();
        }
        wrote
    }

    fn write_batch(&self, batch: &[&Piece]) -> (io::Result<usize>, usize) {
        if let [one] = batch {
            return (self.transport.try_write(&one.bytes), one.bytes.len());
        }
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut total = 0;
        for (slice, piece) in slices.iter_mut().zip(batch) {
            *slice = IoSlice::new(&piece.bytes);
            total += piece.bytes.len();
        }
        (self.transport.try_write_vectored(&slices[..batch.len()]), total)
    }

    /// Whether something waits that the socket has not taken yet.
    pub(crate) fn is_blocked(&self) -> bool {
        self.outbox.lock().queue.is_some()
    }

    /// Sends what is not a push: a reply, a pong, a ping. Counted against the same outbox.
    pub(crate) fn send_control(self: &Arc<Self>, bytes: Bytes) {
        self.send(&[&Piece { bytes, tally: None, room: None }]);
    }

    /// Sends the hello, if it is not empty, and after it what has gathered meanwhile.
    pub(crate) fn greet(self: &Arc<Self>, hello: Bytes) {
        let mut outbox = self.outbox.lock();
        if let Some(queue) = outbox.queue.as_mut().filter(|queue| queue.greeting) {
            queue.greet(hello);
            self.drain(&mut outbox);
            if outbox.queue.is_some() {
                self.spawn_drain();
            }
        }
    }

    /// Puts frames into the outbox; `written` bytes of the first are already with the kernel.
    fn queue(self: &Arc<Self>, outbox: &mut Outbox, pieces: &[&Piece], mut written: usize) {
        let fresh = outbox.queue.is_none();
        let tune = self.shared.tune.now();
        let most = tune.outbox_bytes_max;
        let queue = outbox.queue.get_or_insert_with(Box::<Queue>::default);
        let (mut full, mut reply_lost) = (false, false);
        for piece in pieces {
            // A frame that is half with the kernel must follow whole, whatever the bound says.
            full = full || (written == 0 && !queue.fits(piece.bytes.len(), most, piece.tally.is_some()));
            if full {
                count(piece, Outcome::Slow);
                if piece.tally.is_some() {
                    queue.note_gap(piece.room.as_ref());
                } else {
                    // A ping more or less is nothing, but each command has its reply.
                    reply_lost = reply_lost || piece.bytes != frame::PING;
                }
                continue;
            }
            if let Some(tally) = &piece.tally {
                tally.wait();
            }
            queue.torn = queue.torn || written > 0;
            queue.push(Queued { bytes: piece.bytes.slice(written..), tally: piece.tally.clone() });
            written = 0;
        }
        let greeting = queue.greeting;
        if reply_lost || (full && tune.slow == Slow::Close) {
            self.shared.counters.closed.slow.inc();
            self.close_locked(outbox, CloseCode::SlowConsumer, "too slow: the outbox is full");
        }
        if fresh && !greeting {
            self.spawn_drain();
        }
    }

    /// Empties the outbox as the socket takes it.
    fn spawn_drain(self: &Arc<Self>) {
        let connection = self.clone();
        self.shared.counters.outboxes.inc();
        self.shared.tasks.spawn(async move {
            loop {
                if connection.transport.writable().await.is_err() {
                    connection.end(&mut connection.outbox.lock());
                    break;
                }
                let mut outbox = connection.outbox.lock();
                connection.drain(&mut outbox);
                if outbox.queue.is_none() {
                    break;
                }
            }
            connection.shared.counters.outboxes.dec();
        });
    }

    /// Writes from the outbox until it is empty or the socket blocks.
    fn drain(&self, outbox: &mut Outbox) {
        while let Some(queue) = outbox.queue.as_mut() {
            if queue.is_empty() {
                let gaps = std::mem::take(&mut queue.gaps);
                if gaps.is_empty() {
                    let is_last = outbox.closing.is_some();
                    let gone = if is_last { self.transport.try_finish() } else { self.transport.try_flush() };
                    if !gone.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                        outbox.queue = None;
                    }
                    return;
                }
                gaps.into_iter()
                    .for_each(|gap| queue.push(Queued { bytes: frame::gap(gap.as_deref()), tally: None }));
            }
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let used = queue.slices(&mut slices);
            match self.transport.try_write_blocked(&slices[..used]) {
                Ok(written) => queue.written(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.end(outbox),
            }
        }
    }

    /// Says good-bye with a code and a reason of at most 123 bytes, and sends nothing after it. The session
    /// ends when the peer answers, or when the heart-beat sweep finds that it does not.
    pub(crate) fn close(self: &Arc<Self>, code: CloseCode, reason: &str) {
        let mut outbox = self.outbox.lock();
        if outbox.is_closed() || outbox.closing.is_some() {
            return;
        }
        let idle = outbox.queue.is_none();
        self.close_locked(&mut outbox, code, reason);
        self.hurry(&mut outbox, idle);
    }

    /// Answers the peer's good-bye, unless it is the answer to ours.
    pub(crate) fn answer_close(self: &Arc<Self>, code: Option<u16>) {
        let mut outbox = self.outbox.lock();
        if outbox.is_closed() || outbox.closing.is_some() {
            return self.end(&mut outbox);
        }
        let idle = outbox.queue.is_none();
        self.close_with(&mut outbox, frame::close_answer(code));
        self.hurry(&mut outbox, idle);
    }

    /// Writes what was just queued, if nobody else is about to.
    fn hurry(self: &Arc<Self>, outbox: &mut Outbox, idle: bool) {
        if let Some(queue) = outbox.queue.as_mut() {
            let greeting = std::mem::take(&mut queue.greeting);
            if idle || greeting {
                self.drain(outbox);
                if outbox.queue.is_some() {
                    self.spawn_drain();
                }
            }
        }
    }

    fn close_locked(&self, outbox: &mut Outbox, code: CloseCode, reason: &str) {
        let queue = outbox.queue.get_or_insert_with(Box::<Queue>::default);
        if code == CloseCode::SlowConsumer {
            // Nobody waits for a quarter of a megabyte to hear that it was too much.
            queue.drop_whole_frames(Outcome::Slow);
        } else if queue.greeting {
            // Closed before its hello, it gets nothing else.
            queue.drop_whole_frames(Outcome::Gone);
        }
        self.close_with(outbox, frame::close(code, reason));
    }

    fn close_with(&self, outbox: &mut Outbox, bytes: Bytes) {
        let queue = outbox.queue.get_or_insert_with(Box::<Queue>::default);
        queue.gaps.clear();
        queue.push(Queued { bytes, tally: None });
        outbox.closing = Some(self.shared.seconds());
    }

    /// How long ago the good-bye was said, if it was.
    pub(crate) fn closing_for(&self) -> Option<Duration> {
        let since = self.outbox.lock().closing?;
        Some(Duration::from_secs(self.shared.seconds().get().saturating_sub(since.get()).into()))
    }

    /// Ends the connection now. The session finds the socket at its end.
    pub(crate) fn cut(&self) {
        self.end(&mut self.outbox.lock());
    }

    fn end(&self, outbox: &mut Outbox) {
        outbox.close();
        self.transport.cut();
    }
}

fn count(piece: &Piece, outcome: Outcome) {
    if let Some(tally) = &piece.tally {
        tally.add(outcome, 1);
    }
}

#[cfg(test)]
mod tests;
