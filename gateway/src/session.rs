//! One small task per client that only reads: commands, heartbeats, close. What it answers goes the way of
//! everything else, through the connection's outbox.
//!
//! A task is paid for each idle client, so it is a future written by hand: it owns no buffer (bytes are read
//! into one of the thread's), and what a command or an incomplete message needs is on the heap while it lasts.

mod commands;
mod echo;
mod incomplete;
mod pace;
mod reader;
pub(crate) mod story;

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::connection::Shaken;
use crate::directory::Group;
use crate::door::Place;
use crate::frame;
use crate::handshake::Ticket;
use crate::history::resume;
use crate::limits::Limit;
use crate::node::Parts;
use crate::registry::{Identity, Overflow, Registration};
use crate::transport::Transport;
use bytes::Bytes;
pub(crate) use commands::BAD_MESSAGES_MAX;
use common::client::{Begin, CloseCode, Hello, VERSION};
use common::http1::Switched;
use common::limits::CLIENT_MESSAGE_BYTES_MAX;
use pace::{Hearing, Pace};
use reader::{Fault, Message, Reader, Terms};

/// Messages that one client may have heard before others get a turn.
const TURN_MESSAGES: usize = 32;

/// The same in bytes of messages, which may be many more than were read: clients compress.
const TURN_BYTES: usize = 64 * 1024;

/// Reads that one client may have before others get a turn.
const TURN_READS: usize = 4;

/// Bytes of one read: a command is some hundred, and the longest message comes in eight.
const READ_BYTES: usize = 8 * 1024;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Something that is to be done before the client is heard again.
type Doing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One client from its hello to its end.
pub(crate) struct Session {
    registration: Registration,
    parts: Arc<Parts>,
    _place: Place,
    reader: Reader,
    doing: Option<Doing>,
    pace: Pace,
    /// Messages that came too fast, lately.
    refused: u8,
    bad_messages: u8,
    /// It is heard no more: what it still sends is read and forgotten until it has gone, since a socket closed
    /// with unread bytes in it is reset before the close frame is read. The heartbeat sweep ends one who stays.
    ending: bool,
    /// Its messages are no commands: they go back as they came.
    is_echo: bool,
}

/// What one message came to.
enum Step {
    /// Nothing more.
    Done,
    /// A command is to be carried out before the next is heard.
    Do(Doing),
    /// The client must go, with a code and words.
    Refuse(CloseCode, String),
    /// The client says good-bye, or has answered ours.
    Close(Option<u16>),
}

/// Registers a client that has shaken hands and greets it.
pub(crate) async fn begin(
    switched: Switched<impl Into<Transport>>,
    ticket: Ticket,
    parts: Arc<Parts>,
    place: Place,
) -> Session {
    let Switched { stream, read, answer } = switched;
    let mut session = begin_on(stream.into(), answer, ticket, parts, place).await;
    session.measure(read.len());
    session.reader.keep(&read);
    session
}

/// The same on any transport; `answer` goes before the hello.
pub(crate) async fn begin_on(
    transport: Transport,
    answer: Bytes,
    ticket: Ticket,
    parts: Arc<Parts>,
    place: Place,
) -> Session {
    let Ticket { identity, rights, rooms, deflate, refused, is_echo } = ticket;
    let shaken = Shaken { transport, answer, deflate };
    // One who is refused is in no room and is no user: only what goes to all may reach it, and its outbox is
    // closed to that.
    let (entered, rooms) =
        if refused.is_some() { (Identity::default(), Vec::new()) } else { (identity, rooms) };
    let mut held = Vec::new();
    let hold = |local, group: &Arc<Group>| held.extend(resume::hold(&parts, group, local));
    let connect = |local| parts.connect(shaken, local);
    let (registration, admitted) = parts.registry.admit(&entered, &rooms, connect, hold);
    if let Some((code, words)) = refused.or_else(|| admitted.err().map(no_room)) {
        parts.counters.closed.bad.inc();
        if let Some(limit) = limit_of(code) {
            parts.counters.refuse(limit);
        }
        registration.connection.close(code, &words);
    } else if is_echo {
        registration.connection.greet(Bytes::new());
    } else {
        if let Some(rights) = rights {
            parts.registry.allow(registration.connection.local, rights);
        }
        let settled = parts.routes.settled().await;
        if !settled {
            parts.counters.routes_unsettled.inc();
        }
        let positions = if settled { resume::positions(&parts, held).await } else { Vec::new() };
        registration.connection.greet(hello(&parts, &registration, &entered, positions));
    }
    Session {
        registration,
        parts,
        _place: place,
        reader: Reader::default(),
        doing: None,
        pace: Pace::default(),
        refused: 0,
        bad_messages: 0,
        ending: false,
        is_echo,
    }
}

/// The good-bye to a client that a limit keeps out.
fn no_room(overflow: Overflow) -> (CloseCode, String) {
    let code = match overflow {
        Overflow::User => CloseCode::TooManyConnections,
        // Another gateway may have room.
        Overflow::Rooms => CloseCode::TryLater,
    };
    (code, overflow.words().to_owned())
}

/// The limit that a client is closed for.
fn limit_of(code: CloseCode) -> Option<Limit> {
    match code {
        CloseCode::TooBig => Some(Limit::MessageBytes),
        CloseCode::TryLater => Some(Limit::Rooms),
        CloseCode::TooManyRooms => Some(Limit::RoomsPerClient),
        CloseCode::TooManyConnections => Some(Limit::ConnectionsPerUser),
        _ => None,
    }
}

fn hello(parts: &Parts, registration: &Registration, identity: &Identity, positions: Vec<Begin>) -> Bytes {
    let data = Hello {
        client_id: registration.connection.id().to_string(),
        user_id: identity.user.clone(),
        app_id: identity.app,
        heartbeat_ms: parts.settings.heartbeat.as_millis() as u64,
        window_ms: parts.settings.window.as_millis() as u64,
        version: VERSION,
        positions,
    };
    frame::json(&serde_json::json!({"cmd": "hello", "data": data}))
}

/// Reads until the client has gone.
impl Future for Session {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let session = self.get_mut();
        READ.with_borrow_mut(|buffer| {
            for _ in 0..TURN_READS {
                ready!(session.finish_doing(context));
                if let Some(mut kept) = session.reader.take_kept() {
                    ready!(session.hear_all(&mut kept, context));
                    continue;
                }
                match session.registration.connection.try_read(buffer) {
                    Ok(read @ 1..) => {
                        session.measure(read);
                        ready!(session.hear_all(&mut buffer[..read], context));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        if ready!(session.registration.connection.poll_readable(context)).is_err() {
                            return session.end();
                        }
                    }
                    Ok(_) | Err(_) => return session.end(),
                }
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
    }
}

impl Session {
    fn end(&self) -> Poll<()> {
        self.registration.connection.cut();
        Poll::Ready(())
    }

    fn finish_doing(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(doing) = &mut self.doing {
            ready!(doing.as_mut().poll(context));
            self.doing = None;
        }
        Poll::Ready(())
    }

    /// Counts bytes that came; past the limit, the client is heard no more.
    fn measure(&mut self, read: usize) {
        if self.ending || self.is_echo {
            return;
        }
        let clock = || self.parts.shared.started.elapsed();
        if !self.pace.reads(read, &self.parts.tune.now().limits, clock) {
            let most = self.parts.tune.now().limits.bytes.map_or(0, |rate| rate.per_second());
            let words = format!("too fast: at most {most} bytes a second");
            self.parts.counters.refuse(Limit::Bytes);
            self.refuse(CloseCode::TooFast, &words);
        }
    }

    /// Hears what was read. Pending: something is being done, or it is others' turn; the rest is kept.
    fn hear_all(&mut self, mut bytes: &mut [u8], context: &mut Context<'_>) -> Poll<()> {
        let (mut messages, mut heard) = (0, 0);
        let terms = self.terms();
        while messages < TURN_MESSAGES && heard < TURN_BYTES {
            if self.ending {
                return Poll::Ready(());
            }
            messages += 1;
            match self.reader.next(&mut bytes, terms) {
                Ok(None) => {
                    self.registration.connection.hears_a_part(self.reader.has_a_part());
                    if !self.reader.has_room(&self.parts.counters) {
                        self.parts.counters.closed.late.inc();
                        self.end_hearing(CloseCode::LateMessage, "too many messages are incomplete here");
                    }
                    return Poll::Ready(());
                }
                Ok(Some(message)) => {
                    if !self.reader.has_fragments() {
                        self.registration.connection.hears_a_part(false);
                    }
                    heard += message.len();
                    let step = self.hear(message);
                    if self.take(step, context).is_pending() {
                        self.reader.keep(bytes);
                        return Poll::Pending;
                    }
                }
                Err(fault) => {
                    let (code, words) = blame(fault, terms);
                    if let Some(limit) = limit_of(code) {
                        self.parts.counters.refuse(limit);
                    }
                    self.refuse(code, &words);
                }
            }
        }
        self.reader.keep(bytes);
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Pending: a command is being carried out.
    fn take(&mut self, step: Step, context: &mut Context<'_>) -> Poll<()> {
        match step {
            Step::Done => {}
            Step::Do(doing) => {
                self.doing = Some(doing);
                return self.finish_doing(context);
            }
            Step::Refuse(code, words) => self.refuse(code, &words),
            Step::Close(code) => {
                self.registration.connection.answer_close(code);
                self.ending = true;
            }
        }
        Poll::Ready(())
    }

    fn terms(&self) -> Terms {
        let deflate = self.registration.connection.deflate.is_some();
        let bytes_max = if self.is_echo { echo::MESSAGE_BYTES_MAX } else { CLIENT_MESSAGE_BYTES_MAX };
        Terms { deflate, bytes_max }
    }

    fn hear(&mut self, message: Message<'_>) -> Step {
        let connection = &self.registration.connection;
        if connection.closing_for().is_some() && !matches!(message, Message::Close(_)) {
            // It was told good-bye; what it still sends changes nothing.
            return Step::Done;
        }
        match self.patience(&message) {
            Hearing::Now => {}
            Hearing::Refused(wait) => {
                self.parts.counters.refuse(Limit::Commands);
                if let Message::Text(text) = message {
                    commands::refuse(&text, wait, &self.registration, &self.parts);
                }
                return Step::Done;
            }
            Hearing::Over => {
                self.parts.counters.refuse(Limit::Commands);
                return Step::Refuse(CloseCode::TooFast, commands::too_fast(&self.parts));
            }
        }
        let connection = &self.registration.connection;
        match message {
            Message::Text(text) if self.is_echo => {
                echo::text(&text, connection, &self.parts);
                Step::Done
            }
            Message::Binary(bytes) if self.is_echo => {
                echo::binary(&bytes, connection, &self.parts);
                Step::Done
            }
            Message::Text(text) => {
                commands::hear(&text, &mut self.bad_messages, &self.registration, &self.parts)
            }
            Message::Binary(_) => {
                Step::Refuse(CloseCode::Unsupported, "text frames only: binary is not spoken here".into())
            }
            Message::Ping(payload) => {
                connection.send_control(frame::pong(&payload));
                Step::Done
            }
            Message::Pong => Step::Done,
            Message::Close(code) => Step::Close(code),
        }
    }

    /// Whether a message may come now. A good-bye always may, and what goes back as it came.
    fn patience(&mut self, message: &Message<'_>) -> Hearing {
        if self.is_echo || matches!(message, Message::Close(_)) {
            return Hearing::Now;
        }
        let clock = || self.parts.shared.started.elapsed();
        self.pace.hears(&mut self.refused, &self.parts.tune.now().limits, clock)
    }

    fn refuse(&mut self, code: CloseCode, words: &str) {
        self.parts.counters.closed.bad.inc();
        self.end_hearing(code, words);
    }

    fn end_hearing(&mut self, code: CloseCode, words: &str) {
        self.registration.connection.close(code, words);
        self.ending = true;
        // What has come of a message is nobody's memory while the client takes its time to go.
        self.reader = Reader::default();
    }
}

/// Which code and words a fault is answered with.
fn blame(fault: Fault, terms: Terms) -> (CloseCode, String) {
    match fault {
        Fault::TooBig => (CloseCode::TooBig, format!("a message has at most {} bytes", terms.bytes_max)),
        Fault::NotUtf8 => (CloseCode::NotUtf8, "text is UTF-8".into()),
        Fault::Protocol(what) => (CloseCode::Protocol, what.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Connection;

    /// What one idle client costs is paid a million times: growth must be noticed. tokio adds 96 B to a
    /// session's task and rounds up to 128 B: so the task is 256 B, of which 72 B are free.
    #[test]
    fn an_idle_client_stays_small() {
        assert_eq!(size_of::<Session>(), 88, "the task of a session");
        assert_eq!(size_of::<Connection>(), 80, "96 with its counts, a size that the allocator has");
        assert_eq!(size_of::<crate::bucket::Slot>(), 48);
    }
}
