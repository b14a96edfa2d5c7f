//! One small task per client that only reads: commands, heartbeats, close. What it answers goes the way of
//! everything else, through the connection's outbox.

mod commands;
mod wire;

use std::io;
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
use commands::Commander;
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

/// Runs one client's session from the handshake to its end.
pub(crate) async fn run(switched: Switched, ticket: Ticket, parts: Arc<Parts>, place: OwnedSemaphorePermit) {
    let _place = place;
    let Switched { stream, read } = switched;
    let (identity, refused) = (ticket.identity, ticket.refused);
    let registration = if refused.is_some() {
        // One who is refused is in no index: nothing may reach it.
        parts.registry.register(&Identity::default(), &[], |local| parts.connect(stream, local))
    } else {
        parts.registry.register(&identity, &ticket.rooms, |local| parts.connect(stream, local))
    };
    drop(ticket.rooms);
    if let Some((code, words)) = refused {
        parts.counters.closed_bad.inc();
        registration.connection.close(code, &words);
    } else {
        if !parts.routes.settled().await {
            parts.counters.routes_unsettled.inc();
        }
        registration.connection.greet(hello(&parts, &registration, &identity));
    }
    drop(identity);
    let context = WebSocketContext::from_partially_read(read.to_vec(), Role::Server, Some(config()));
    drop(read);
    if let Some((code, words)) = converse(context, &registration, &parts).await {
        parts.counters.closed_bad.inc();
        registration.connection.close(code, &words);
        finish(&registration.connection).await;
    }
    registration.connection.cut();
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

/// Reads until the client has gone, or must go for what it sent.
async fn converse(
    mut context: WebSocketContext,
    registration: &Registration,
    parts: &Arc<Parts>,
) -> Option<(CloseCode, String)> {
    let connection = &registration.connection;
    let mut commander = Commander::default();
    loop {
        for _ in 0..TURN_MESSAGES {
            match context.read(&mut Wire(connection)) {
                Ok(Message::Text(text)) => {
                    if let Err(close) = commander.hear(text.as_str(), registration, parts).await {
                        return Some(close);
                    }
                }
                Ok(Message::Binary(_)) => {
                    return Some((
                        CloseCode::Unsupported,
                        "text frames only: binary is not spoken here".into(),
                    ));
                }
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    if connection.readable().await.is_err() {
                        return None;
                    }
                }
                Err(error) => return fault(&error),
            }
        }
        tokio::task::yield_now().await;
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
    let mut scrap = [0_u8; 256];
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
