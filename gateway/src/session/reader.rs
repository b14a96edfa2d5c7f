//! From bytes of a client to messages: RFC 6455 §5 as a server hears it. Pure: no socket, no clock.
//!
//! Whoever has read bytes calls [`Reader::next`] until it has nothing more to say. A message that stands whole
//! in those bytes is unmasked and given out where it stands; only what is incomplete is kept, on the heap, and
//! only for as long as it is. So an idle client owns one null pointer here, and no buffer.
//!
//! tungstenite reads the frame headers; its own context is not used, since it keeps a buffer for each client
//! (384 B at the least, of a target of 1 KiB for all), finds bad UTF-8 only at the end of a frame and does not
//! inflate. That both hear the same is a test (`model`).

use std::borrow::Cow;
use std::io::Cursor;
use std::sync::Arc;

use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use super::incomplete::Held;
use crate::counters::Counters;
use crate::deflate;

/// Longest header of a masked frame (RFC 6455 §5.2).
const HEADER_BYTES_MAX: usize = 14;

/// Longest payload of a control frame (RFC 6455 §5.5).
const CONTROL_BYTES_MAX: u64 = 125;

/// What a client said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Text(Cow<'a, str>),
    Binary(Cow<'a, [u8]>),
    Ping(Cow<'a, [u8]>),
    Pong,
    /// Good-bye, with its code if it gave one.
    Close(Option<u16>),
}

impl Message<'_> {
    /// Bytes that it says.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) | Self::Ping(bytes) => bytes.len(),
            Self::Pong | Self::Close(_) => 0,
        }
    }
}

/// Why a client cannot be heard any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A message longer than [`Terms::bytes_max`]; 1009.
    TooBig,
    /// Text that is not UTF-8; 1007.
    NotUtf8,
    /// Against RFC 6455, in which way; 1002.
    Protocol(&'static str),
}

/// What a client may send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// permessage-deflate was agreed on, so messages may be compressed.
    pub(crate) deflate: bool,
    /// Bytes of the longest message, inflated.
    pub(crate) bytes_max: usize,
}

/// The incoming side of one client.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    begun: Option<Box<Begun>>,
}

/// What has come of something incomplete.
#[derive(Debug, Default)]
struct Begun {
    /// Of a header.
    head: Vec<u8>,
    frame: Option<Open>,
    /// Of a control frame's payload: control frames come between the fragments of a message.
    control: Vec<u8>,
    message: Option<Fragments>,
    /// Bytes that were read and not looked at yet.
    unread: Vec<u8>,
    /// Of what all clients may leave incomplete.
    held: Option<Held>,
}

/// A frame whose header has been read.
#[derive(Debug, Clone, Copy)]
struct Open {
    opcode: OpCode,
    is_final: bool,
    /// It begins a message that is compressed.
    is_deflated: bool,
    mask: [u8; 4],
    /// Bytes of the payload that have not come.
    left: usize,
}

/// A data message that is not whole.
#[derive(Debug)]
struct Fragments {
    is_text: bool,
    /// As it came: what is compressed is inflated when it is whole, so nobody makes us hold more than was sent.
    payload: Vec<u8>,
    is_deflated: bool,
    /// So many bytes of the payload are known to be UTF-8.
    valid: usize,
}

impl From<deflate::Fault> for Fault {
    fn from(fault: deflate::Fault) -> Self {
        match fault {
            deflate::Fault::TooBig => Self::TooBig,
            deflate::Fault::Garbage => Self::Protocol("a compressed message that is not DEFLATE"),
        }
    }
}

impl Reader {
    /// The next message in `bytes`, which are taken from the front as they are used; `None`: all are used.
    pub(crate) fn next<'a>(
        &mut self,
        bytes: &mut &'a mut [u8],
        terms: Terms,
    ) -> Result<Option<Message<'a>>, Fault> {
        loop {
            let open = match self.begun.as_mut().and_then(|begun| begun.frame.take()) {
                Some(open) => open,
                None => match self.open(bytes, terms)? {
                    Some(open) => open,
                    None => return Ok(None),
                },
            };
            if let Some(message) = self.payload(open, bytes, terms)? {
                self.forget();
                return Ok(Some(message));
            }
            if bytes.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Whether something has begun to come and not ended.
    pub(crate) fn has_a_part(&self) -> bool {
        let has = |begun: &Begun| !begun.head.is_empty() || begun.frame.is_some() || begun.message.is_some();
        self.begun.as_deref().is_some_and(has)
    }

    /// Whether a message is in the midst of its fragments.
    pub(crate) fn has_fragments(&self) -> bool {
        self.begun.as_deref().is_some_and(|begun| begun.message.is_some())
    }

    /// Whether there is room for what has come of something incomplete, beside what others have not ended.
    pub(crate) fn has_room(&mut self, counters: &Arc<Counters>) -> bool {
        let Some(begun) = self.begun.as_deref_mut() else { return true };
        let payload = begun.message.as_ref().map_or(0, |message| message.payload.capacity());
        let rest = begun.head.capacity() + begun.control.capacity() + begun.unread.capacity();
        Held::note(&mut begun.held, payload + rest, counters)
    }

    /// Keeps bytes that were read for later.
    pub(crate) fn keep(&mut self, unread: &[u8]) {
        if !unread.is_empty() {
            self.begun().unread.extend_from_slice(unread);
        }
    }

    /// What was kept, if anything.
    pub(crate) fn take_kept(&mut self) -> Option<Vec<u8>> {
        let kept = std::mem::take(&mut self.begun.as_mut()?.unread);
        self.forget();
        (!kept.is_empty()).then_some(kept)
    }

    fn begun(&mut self) -> &mut Begun {
        self.begun.get_or_insert_default()
    }

    /// Lets go of what is empty.
    fn forget(&mut self) {
        let idle = |begun: &&mut Box<Begun>| {
            begun.head.is_empty()
                && begun.frame.is_none()
                && begun.message.is_none()
                && begun.unread.is_empty()
        };
        if self.begun.as_mut().filter(idle).is_some() {
            self.begun = None;
        }
    }

    /// Reads the header of a frame; `None`: it is not whole yet.
    fn open(&mut self, bytes: &mut &mut [u8], terms: Terms) -> Result<Option<Open>, Fault> {
        let before = self.begun.as_ref().map_or(0, |begun| begun.head.len());
        let mut head = [0; HEADER_BYTES_MAX];
        if let Some(begun) = &self.begun {
            head[..before].copy_from_slice(&begun.head);
        }
        let fresh = bytes.len().min(HEADER_BYTES_MAX - before);
        head[before..before + fresh].copy_from_slice(&bytes[..fresh]);
        let mut cursor = Cursor::new(&head[..before + fresh]);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| Fault::Protocol("a reserved opcode"))?;
        let Some((header, length)) = parsed else {
            if fresh > 0 {
                self.begun().head.extend_from_slice(&bytes[..fresh]);
                take(bytes, fresh);
            }
            return Ok(None);
        };
        take(bytes, usize::try_from(cursor.position()).unwrap_or(0) - before);
        if let Some(begun) = &mut self.begun {
            begun.head = Vec::new();
        }
        self.check(&header, length, terms).map(Some)
    }

    /// Whether a frame may come now, and be so long.
    fn check(&self, header: &FrameHeader, length: u64, terms: Terms) -> Result<Open, Fault> {
        let message = self.begun.as_ref().and_then(|begun| begun.message.as_ref());
        // RFC 7692 §6.1: the first frame of a message says that the message is compressed.
        let is_deflated =
            header.rsv1 && terms.deflate && matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary));
        if header.rsv1 != is_deflated || header.rsv2 || header.rsv3 {
            return Err(Fault::Protocol("a reserved bit is set"));
        }
        let Some(mask) = header.mask else {
            return Err(Fault::Protocol("frames of a client are masked"));
        };
        match (header.opcode, message) {
            (OpCode::Control(_), _) if !header.is_final => {
                return Err(Fault::Protocol("a control frame in fragments"));
            }
            (OpCode::Control(_), _) if length > CONTROL_BYTES_MAX => {
                return Err(Fault::Protocol("a control frame of more than 125 bytes"));
            }
            (OpCode::Data(Data::Continue), None) => {
                return Err(Fault::Protocol("a continuation of nothing"));
            }
            (OpCode::Data(Data::Text | Data::Binary), Some(_)) => {
                return Err(Fault::Protocol("a message inside another"));
            }
            _ => {}
        }
        let most = match is_deflated || message.is_some_and(|message| message.is_deflated) {
            true => deflate::compressed_bytes_max(terms.bytes_max),
            false => terms.bytes_max,
        };
        let most = most - message.map_or(0, |message| message.payload.len());
        let left = usize::try_from(length).ok().filter(|left| *left <= most).ok_or(Fault::TooBig)?;
        Ok(Open { opcode: header.opcode, is_final: header.is_final, is_deflated, mask, left })
    }

    /// Takes what has come of a frame's payload; the message, if the frame completes one.
    fn payload<'a>(
        &mut self,
        mut open: Open,
        bytes: &mut &'a mut [u8],
        terms: Terms,
    ) -> Result<Option<Message<'a>>, Fault> {
        let some = open.left.min(bytes.len());
        let piece = take(bytes, some);
        for word in piece.chunks_mut(open.mask.len()) {
            word.iter_mut().zip(open.mask).for_each(|(byte, mask)| *byte ^= mask);
        }
        open.mask.rotate_left(some % 4);
        open.left -= some;
        match open.opcode {
            OpCode::Control(control) => {
                let kept = self.begun.as_ref().is_some_and(|begun| !begun.control.is_empty());
                if open.left == 0 && !kept {
                    return answerable(control, Cow::Borrowed(piece)).map(Some);
                }
                self.begun().control.extend_from_slice(piece);
                if open.left == 0 {
                    let whole = std::mem::take(&mut self.begun().control);
                    return answerable(control, Cow::Owned(whole)).map(Some);
                }
            }
            OpCode::Data(data) => {
                let whole = open.left == 0 && open.is_final;
                let kept = self.begun.as_ref().is_some_and(|begun| begun.message.is_some());
                let (is_text, is_deflated) = (data == Data::Text, open.is_deflated);
                if whole && !kept {
                    return if is_deflated {
                        inflated(is_text, piece, terms.bytes_max).map(Some)
                    } else {
                        text_or_binary(is_text, piece).map(Some)
                    };
                }
                let fresh = || Fragments { is_text, is_deflated, payload: Vec::new(), valid: 0 };
                let message = self.begun().message.get_or_insert_with(fresh);
                message.append(piece)?;
                if whole {
                    let message = self.begun().message.take();
                    return message.map(|message| message.complete(terms.bytes_max)).transpose();
                }
            }
        }
        if open.left > 0 {
            self.begun().frame = Some(open);
        }
        Ok(None)
    }
}

impl Fragments {
    fn append(&mut self, piece: &[u8]) -> Result<(), Fault> {
        self.payload.extend_from_slice(piece);
        if self.is_text && !self.is_deflated {
            // Now and not at the end: who sends what is no text is told at once.
            match std::str::from_utf8(&self.payload[self.valid..]) {
                Ok(_) => self.valid = self.payload.len(),
                Err(error) if error.error_len().is_none() => self.valid += error.valid_up_to(),
                Err(_) => return Err(Fault::NotUtf8),
            }
        }
        Ok(())
    }

    fn complete(self, bytes_max: usize) -> Result<Message<'static>, Fault> {
        if self.is_deflated {
            inflated(self.is_text, &self.payload, bytes_max)
        } else {
            owned(self.is_text, self.payload)
        }
    }
}

fn owned(is_text: bool, payload: Vec<u8>) -> Result<Message<'static>, Fault> {
    if is_text {
        let text = String::from_utf8(payload).map_err(|_| Fault::NotUtf8)?;
        Ok(Message::Text(Cow::Owned(text)))
    } else {
        Ok(Message::Binary(Cow::Owned(payload)))
    }
}

/// A compressed message.
fn inflated(is_text: bool, payload: &[u8], bytes_max: usize) -> Result<Message<'static>, Fault> {
    owned(is_text, deflate::inflate(payload, bytes_max)?)
}

/// Takes so many bytes from the front.
fn take<'a>(bytes: &mut &'a mut [u8], count: usize) -> &'a mut [u8] {
    let (front, rest) = std::mem::take(bytes).split_at_mut(count);
    *bytes = rest;
    front
}

fn text_or_binary(is_text: bool, payload: &[u8]) -> Result<Message<'_>, Fault> {
    if is_text {
        let text = std::str::from_utf8(payload).map_err(|_| Fault::NotUtf8)?;
        Ok(Message::Text(Cow::Borrowed(text)))
    } else {
        Ok(Message::Binary(Cow::Borrowed(payload)))
    }
}

/// A control frame as a message.
fn answerable(control: Control, payload: Cow<'_, [u8]>) -> Result<Message<'_>, Fault> {
    match control {
        Control::Ping => Ok(Message::Ping(payload)),
        Control::Close => close(&payload).map(Message::Close),
        Control::Pong | Control::Reserved(_) => Ok(Message::Pong),
    }
}

/// The code of a close frame (RFC 6455 §5.5.1, §7.4).
fn close(payload: &[u8]) -> Result<Option<u16>, Fault> {
    match payload {
        [] => Ok(None),
        [_] => Err(Fault::Protocol("a close frame of one byte")),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !CloseCode::from(code).is_allowed() {
                return Err(Fault::Protocol("a close code that nobody may send"));
            }
            std::str::from_utf8(reason).map_err(|_| Fault::NotUtf8)?;
            Ok(Some(code))
        }
    }
}

#[cfg(test)]
mod model;
