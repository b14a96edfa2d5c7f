//! What tungstenite reads from and writes to: the shared socket, and the outbox.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;

use crate::connection::Connection;

/// A connection as the protocol's byte stream. Reads never wait; what is written (pongs, the answer to a
/// close) takes its turn in the outbox, so no frame is ever torn by another.
///
/// Reads end after a number of pieces, with `WouldBlock` as if nothing more had come: tungstenite reads on by
/// itself while a message is not complete, and a client that sends empty fragments for ever completes none.
pub(super) struct Wire<'a> {
    connection: &'a Arc<Connection>,
    pieces_left: u32,
}

/// Pieces that one turn may read, of the session's read buffer each.
const TURN_PIECES: u32 = 16;

impl<'a> Wire<'a> {
    pub(super) fn new(connection: &'a Arc<Connection>) -> Self {
        Self { connection, pieces_left: TURN_PIECES }
    }

    /// Whether reading ended because its turn was over.
    pub(super) fn is_spent(&self) -> bool {
        self.pieces_left == 0
    }
}

impl Read for Wire<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.is_spent() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.pieces_left -= 1;
        self.connection.try_read(into)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.connection.send_control(Bytes::copy_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
