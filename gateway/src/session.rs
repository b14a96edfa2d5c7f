//! One small task per client that only reads: commands, heartbeats, close. What it answers goes the way of
//! everything else, through the connection's outbox.

mod commands;
mod wire;

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use common::client::{CloseCode, Hello, VERSION};
use common::http1::Switched;
use common::limits::CLIENT_MESSAGE_BYTES_MAX;
use tokio::sync::OwnedSemaphorePermit;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::connection::Connection;
use crate::frame;
use crate::handshake::Ticket;
use crate::node::Parts;
use crate::registry::{Identity, Registration};
use wire::Wire;

/// Messages that one client may have read before others get a turn.
const TURN_MESSAGES: usize = 32;

/// tungstenite's buffers: it reads in pieces of this size and keeps no more for an idle client. Its own
/// defaults are 128 KiB a connection, allocated eagerly.
const READ_BUFFER_BYTES: usize = 128;

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * 1024)
        .max_message_size(Some(CLIENT_MESSAGE_BYTES_MAX))
        .max_frame_size(Some(CLIENT_MESSAGE_BYTES_MAX))
}

/// One client from its hello to its end. What it holds is paid for every idle client: the handshake's
/// needs are gone before it begins, and what a command needs is boxed while it runs.
pub(crate) struct Session {
    context: WebSocketContext,
    registration: Registration,
    parts: Arc<Parts>,
    _place: OwnedSemaphorePermit,
    bad_messages: u32,
}

/// What reading came to.
enum Step {
    /// There may be more to read.
    Again,
    /// Nothing more has come.
    Wait,
    /// Others get a turn.
    Yield,
    /// A command is to be carried out before the next is read.
    Do(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// The client has gone, or must go with a code and words.
    End(Option<(CloseCode, String)>),
}

/// Registers a client that has shaken hands and greets it.
pub(crate) async fn begin(
    switched: Switched,
    ticket: Ticket,
    parts: Arc<Parts>,
    place: OwnedSemaphorePermit,
) -> Session {
    let Switched { stream, read } = switched;
    let Ticket { identity, rooms, refused } = ticket;
    // One who is refused is in no room and is no user: only what goes to all may reach it, and its outbox is
    // closed to that.
    let (entered, rooms) =
        if refused.is_some() { (Identity::default(), Vec::new()) } else { (identity, rooms) };
    let registration = parts.registry.register(&entered, &rooms, |local| parts.connect(stream, local));
    if let Some((code, words)) = refused {
        parts.counters.closed_bad.inc();
        registration.connection.close(code, &words);
    } else {
        if !parts.routes.settled().await {
            parts.counters.routes_unsettled.inc();
        }
        registration.connection.greet(hello(&parts, &registration, &entered));
    }
    let context = WebSocketContext::from_partially_read(read.to_vec(), Role::Server, Some(config()));
    Session { context, registration, parts, _place: place, bad_messages: 0 }
}

fn hello(parts: &Parts, registration: &Registration, identity: &Identity) -> bytes::Bytes {
    let data = Hello {
        client_id: registration.connection.id().to_string(),
        user_id: identity.user.clone(),
        app_id: identity.app,
        heartbeat_ms: parts.settings.heartbeat.as_millis() as u64,
        window_ms: parts.settings.window.as_millis() as u64,
        version: VERSION,
    };
    frame::json(&serde_json::json!({"cmd": "hello", "data": data}))
}

impl Session {
    /// Reads until the client has gone, or must go for what it sent.
    // An async fn would keep its argument twice in the future.
    #[allow(clippy::manual_async_fn)]
    pub(crate) fn run(mut self) -> impl Future<Output = ()> + Send {
        async move { self.converse().await }
    }

    async fn converse(&mut self) {
        let close = 'life: loop {
            for _ in 0..TURN_MESSAGES {
                match self.step() {
                    Step::Again => {}
                    Step::Wait => {
                        if self.registration.connection.readable().await.is_err() {
                            break 'life None;
                        }
                    }
                    Step::Yield => break,
                    Step::Do(command) => command.await,
                    Step::End(close) => break 'life close,
                }
            }
            tokio::task::yield_now().await;
        };
        if let Some((code, words)) = close {
            self.parts.counters.closed_bad.inc();
            self.registration.connection.close(code, &words);
            Box::pin(finish(&self.registration.connection)).await;
        }
        self.registration.connection.cut();
    }

    /// Reads one message, if one has come.
    fn step(&mut self) -> Step {
        let mut wire = Wire::new(&self.registration.connection);
        match self.context.read(&mut wire) {
            Ok(Message::Text(text)) => {
                commands::hear(text.as_str(), &mut self.bad_messages, &self.registration, &self.parts)
            }
            Ok(Message::Binary(_)) => {
                let words = "text frames only: binary is not spoken here";
                Step::End(Some((CloseCode::Unsupported, words.into())))
            }
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => Step::Again,
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                if wire.is_spent() {
                    Step::Yield
                } else {
                    Step::Wait
                }
            }
            Err(error) => Step::End(fault(&error)),
        }
    }
}

/// What a reading error means: whose fault, and which code says so.
fn fault(error: &Error) -> Option<(CloseCode, String)> {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => {
            Some((CloseCode::TooBig, format!("a message has at most {CLIENT_MESSAGE_BYTES_MAX} bytes")))
        }
        Error::Utf8(_) => Some((CloseCode::NotUtf8, "text is UTF-8".into())),
        // The peer went without a word, or we did: nobody is there to be told.
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(error) => Some((CloseCode::Protocol, error.to_string())),
        _ => None,
    }
}

/// Reads and forgets until the peer has gone: it may still be sending, and a socket closed with unread bytes
/// in it is reset before the close frame is read. The heartbeat sweep ends this if the peer does not.
async fn finish(connection: &Connection) {
    let mut scrap = vec![0_u8; 8 * 1024];
    loop {
        match connection.try_read(&mut scrap) {
            Ok(0) => return,
            Ok(_) => tokio::task::yield_now().await,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if connection.readable().await.is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What one idle client costs is paid a million times: growth must be noticed.
    #[test]
    fn an_idle_client_stays_small() {
        fn size<F>(_: impl FnOnce(Session) -> F) -> usize {
            size_of::<F>()
        }
        assert_eq!(size(Session::run), 560, "the task of a session");
        assert_eq!(size_of::<Connection>(), 88);
        assert_eq!(size_of::<crate::bucket::Slot>(), 40);
    }
}
