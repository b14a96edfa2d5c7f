//! One frame of a sweep, and what of it each connection is sent.

use std::sync::OnceLock;

use super::span::Span;
use crate::connection::{Connection, Piece};
use crate::deflate::{Compressor, Window};
use crate::merger::Filter;

/// One frame of the sweep, the same bytes for all who are due it.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) piece: Piece,
    /// Its compressed twin for each window, made by the first who needs it; others wait for that rather than
    /// make it again. `None` inside: it did not get smaller.
    pub(super) twins: [OnceLock<Option<Box<Piece>>>; Window::KINDS],
    pub(super) filter: Filter,
    /// How many connections are due it, at the most.
    pub(super) readers: u64,
    /// What of a history it is, if it is of one. On the heap, for most are not.
    pub(super) span: Option<Box<Span>>,
}

impl Frame {
    /// What a connection is sent: the bytes that it may have.
    pub(super) fn piece(&self, connection: &Connection, compressor: &Compressor) -> &Piece {
        let Some(window) = connection.deflate.filter(|_| compressor.wants(&self.piece.bytes, self.readers))
        else {
            return &self.piece;
        };
        let twin = self.twins[window as usize].get_or_init(|| {
            let bytes = compressor.compress(&self.piece.bytes, window)?;
            Some(Box::new(Piece { bytes, ..self.piece.clone() }))
        });
        twin.as_deref().unwrap_or(&self.piece)
    }
}
