//! The story that bytes of a client tell, as our reader hears it and as tungstenite does: for the tests that compare
//! both, and for fuzzing. The running gateway does not call this.

use std::io::{self, Cursor, Read, Write};

use common::limits::CLIENT_MESSAGE_BYTES_MAX;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, OpCode};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{self, Error};

use super::reader::{Message, Reader, Terms};

/// Any bytes as frames of a client: the first byte says whether compression was agreed on, and in pieces of how many
/// bytes the rest comes.
///
/// # Panics
/// If pieces make a difference, if a message is longer than allowed, or if tungstenite hears something else.
pub fn frames(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else { return };
    let (deflate, piece) = (first & 1 == 1, 1 + usize::from(first >> 1));
    let plain = heard(bytes, &[usize::MAX], false);
    let whole = heard(bytes, &[usize::MAX], deflate);
    assert_eq!(heard(bytes, &[piece], deflate), whole, "in pieces of {piece}");
    assert!(whole.messages.iter().all(|message| message.len() <= CLIENT_MESSAGE_BYTES_MAX));
    assert!(whole.messages.starts_with(&plain.messages), "what is not compressed is the same");
    assert!(plain.faulty || whole == plain, "and so is its end");
    let theirs = theirs(bytes);
    assert_eq!(plain.messages, theirs.messages);
    // We may find the fault of a frame before all of it has come.
    assert!(plain.faulty || !theirs.faulty);
}

/// What was heard before the end, and whether the end was a fault.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Story {
    pub(crate) messages: Vec<Message<'static>>,
    pub(crate) faulty: bool,
}

fn owned(message: Message<'_>) -> Message<'static> {
    match message {
        Message::Text(text) => Message::Text(text.into_owned().into()),
        Message::Binary(bytes) => Message::Binary(bytes.into_owned().into()),
        Message::Ping(bytes) => Message::Ping(bytes.into_owned().into()),
        Message::Pong => Message::Pong,
        Message::Close(code) => Message::Close(code),
    }
}

/// Our story of bytes that come in pieces of these lengths, over and over.
pub(crate) fn heard(bytes: &[u8], pieces: &[usize], deflate: bool) -> Story {
    let mut reader = Reader::default();
    let terms = Terms { deflate, bytes_max: CLIENT_MESSAGE_BYTES_MAX };
    let mut story = Story { messages: Vec::new(), faulty: false };
    let mut rest = bytes;
    for length in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, later) = rest.split_at((*length).min(rest.len()));
        rest = later;
        let mut piece = piece.to_vec();
        let mut piece = &mut piece[..];
        loop {
            match reader.next(&mut piece, terms) {
                Ok(None) => break,
                Ok(Some(message)) => {
                    let is_close = matches!(message, Message::Close(_));
                    story.messages.push(owned(message));
                    if is_close {
                        return story;
                    }
                }
                Err(_) => {
                    story.faulty = true;
                    return story;
                }
            }
        }
        assert!(piece.is_empty(), "what is not used is lost");
    }
    story
}

/// Bytes as a peer that then goes silent; what is answered is forgotten.
struct Peer<'a>(&'a [u8]);

impl Read for Peer<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.0.read(into)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            read => Ok(read),
        }
    }
}

impl Write for Peer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The story of the same bytes as tungstenite hears them.
pub(crate) fn theirs(bytes: &[u8]) -> Story {
    let config = WebSocketConfig::default()
        .max_message_size(Some(CLIENT_MESSAGE_BYTES_MAX))
        .max_frame_size(Some(CLIENT_MESSAGE_BYTES_MAX))
        // It is filled with zeros at each read.
        .read_buffer_size(4 * 1024);
    let mut context = WebSocketContext::new(Role::Server, Some(config));
    let mut peer = Peer(bytes);
    let mut story = Story { messages: Vec::new(), faulty: false };
    loop {
        match context.read(&mut peer) {
            Ok(tungstenite::Message::Text(text)) => {
                story.messages.push(Message::Text(text.as_str().to_owned().into()));
            }
            Ok(tungstenite::Message::Binary(bytes)) => {
                story.messages.push(Message::Binary(bytes.to_vec().into()));
            }
            Ok(tungstenite::Message::Ping(bytes)) => {
                story.messages.push(Message::Ping(bytes.to_vec().into()))
            }
            Ok(tungstenite::Message::Pong(_)) => story.messages.push(Message::Pong),
            Ok(tungstenite::Message::Close(None)) => {
                story.messages.push(Message::Close(None));
                return story;
            }
            Ok(tungstenite::Message::Close(Some(close))) => {
                // A code that nobody may send is a close with 1002 there, and a fault here.
                match bytes_name_code(bytes, close.code.into()) {
                    true => story.messages.push(Message::Close(Some(close.code.into()))),
                    false => story.faulty = true,
                }
                return story;
            }
            Ok(tungstenite::Message::Frame(_)) => unreachable!("only written"),
            Err(Error::Io(_)) => return story,
            Err(_) => {
                story.faulty = true;
                return story;
            }
        }
    }
}

/// Whether the code that tungstenite gives for a close is the one that was sent: the last frame is a close.
fn bytes_name_code(bytes: &[u8], code: u16) -> bool {
    let mut rest = Cursor::new(bytes);
    while let Ok(Some((header, length))) = FrameHeader::parse(&mut rest) {
        // Where the cursor stands: a length may be written longer than it must be.
        let start = rest.position() as usize;
        let end = start.saturating_add(length as usize);
        let Some(payload) = bytes.get(start..end) else { return false };
        if header.opcode == OpCode::Control(Control::Close) {
            let mask = header.mask.unwrap_or_default();
            return payload.len() >= 2
                && u16::from_be_bytes([payload[0] ^ mask[0], payload[1] ^ mask[1]]) == code;
        }
        rest.set_position(end as u64);
    }
    false
}
