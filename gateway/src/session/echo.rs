//! What a conformance suite asks of a server: each message goes back as it came, through all that a client's commands
//! come by and pushes go by (`Settings::echo`).

use std::sync::Arc;

use bytes::Bytes;

use crate::connection::Connection;
use crate::frame;
use crate::node::Parts;

/// Longest message: Autobahn sends 16 MiB.
pub(super) const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

pub(super) fn text(payload: &str, connection: &Arc<Connection>, parts: &Parts) {
    send(frame::text(payload.as_bytes()), connection, parts);
}

pub(super) fn binary(payload: &[u8], connection: &Arc<Connection>, parts: &Parts) {
    send(frame::binary(payload), connection, parts);
}

/// Compressed for whoever has agreed to it, however short it is: that is what is to be seen.
fn send(plain: Bytes, connection: &Arc<Connection>, parts: &Parts) {
    let compressor = connection.deflate.zip(parts.echo.as_ref());
    let packed = compressor.and_then(|(window, compressor)| compressor.compress(&plain, window));
    connection.send_control(packed.unwrap_or(plain));
}
