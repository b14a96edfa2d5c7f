//! What tungstenite reads from and writes to: the shared socket, and the outbox.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;

use crate::connection::Connection;

/// A connection as the protocol's byte stream. Reads never wait; what is written (pongs, the answer to a
/// close) takes its turn in the outbox, so no frame is ever torn by another.
pub(super) struct Wire<'a>(pub(super) &'a Arc<Connection>);

impl Read for Wire<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(into)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send_control(Bytes::copy_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
