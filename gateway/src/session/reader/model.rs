//! The reader against tungstenite: whatever comes, in whatever pieces, both hear the same.

use std::io::{self, Read, Write};

use proptest::collection::vec;
use proptest::prelude::*;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{self, Error};

use super::*;

/// What was heard before the end, and whether the end was a fault.
#[derive(Debug, PartialEq, Eq)]
struct Story {
    messages: Vec<Message<'static>>,
    faulty: bool,
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
fn ours(bytes: &[u8], pieces: &[usize]) -> Story {
    let mut reader = Reader::default();
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
            match reader.next(&mut piece) {
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

fn theirs(bytes: &[u8]) -> Story {
    let config = WebSocketConfig::default()
        .max_message_size(Some(CLIENT_MESSAGE_BYTES_MAX))
        .max_frame_size(Some(CLIENT_MESSAGE_BYTES_MAX));
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
    let mut rest = bytes;
    while let Ok(Some((header, length))) = FrameHeader::parse(&mut Cursor::new(rest)) {
        let start = header.len(length);
        let Some(payload) = rest.get(start..start + length as usize) else { return false };
        if header.opcode == OpCode::Control(Control::Close) {
            let mask = header.mask.unwrap_or_default();
            return payload.len() >= 2
                && u16::from_be_bytes([payload[0] ^ mask[0], payload[1] ^ mask[1]]) == code;
        }
        rest = &rest[start + length as usize..];
    }
    false
}

fn frame(first: u8, mask: [u8; 4], masked: bool, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        is_final: first & 0x80 != 0,
        rsv1: first & 0x40 != 0,
        rsv2: first & 0x20 != 0,
        rsv3: first & 0x10 != 0,
        opcode: OpCode::Data(Data::Text),
        mask: masked.then_some(mask),
    };
    let mut bytes = Vec::new();
    header.format(payload.len() as u64, &mut bytes).unwrap();
    bytes[0] = first;
    let mask = if masked { mask } else { [0; 4] };
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// First bytes that make sense often, and sometimes none.
fn first() -> impl Strategy<Value = u8> {
    prop_oneof![
        8 => prop::sample::select(vec![0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a]),
        1 => Just(0x88),
        1 => any::<u8>(),
    ]
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "\\PC{0,40}".prop_map(String::into_bytes),
        2 => "[ä€𝄞]{0,60}".prop_map(|text| text.into_bytes()),
        1 => vec(any::<u8>(), 0..200),
        1 => (1000_u16..5000, "[a-zä]{0,10}").prop_map(|(code, reason)| [&code.to_be_bytes(), reason.as_bytes()].concat()),
        1 => (0_usize..70_000).prop_map(|length| vec![b'x'; length]),
    ]
}

/// Characters cut in two by a fragment's end are the hard part of text.
fn cut_text() -> impl Strategy<Value = Vec<Vec<u8>>> {
    ("[aä€𝄞]{1,40}", 0_usize..160, any::<[u8; 4]>()).prop_map(|(text, at, mask)| {
        let (one, two) = text.as_bytes().split_at(at.min(text.len()));
        vec![frame(0x01, mask, true, one), frame(0x89, mask, true, b"!"), frame(0x80, mask, true, two)]
    })
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    let any_frame = (first(), any::<[u8; 4]>(), prop::bool::weighted(0.97), payload())
        .prop_map(|(first, mask, masked, payload)| vec![frame(first, mask, masked, &payload)]);
    vec(prop_oneof![4 => any_frame, 1 => cut_text()], 1..12).prop_map(|parts| parts.concat().concat())
}

/// We may find the fault of a frame before all of it has come.
fn agree(ours: &Story, theirs: &Story) -> Result<(), TestCaseError> {
    prop_assert_eq!(&ours.messages, &theirs.messages);
    prop_assert!(ours.faulty || !theirs.faulty);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn both_hear_the_same(bytes in frames(), pieces in vec(1_usize..2000, 1..6)) {
        agree(&ours(&bytes, &pieces), &theirs(&bytes))?;
    }

    #[test]
    fn pieces_make_no_difference(bytes in frames(), pieces in vec(1_usize..40, 1..6)) {
        prop_assert_eq!(ours(&bytes, &pieces), ours(&bytes, &[usize::MAX]));
    }

    #[test]
    fn garbage_does_no_harm(bytes in vec(any::<u8>(), 0..300), pieces in vec(1_usize..40, 1..6)) {
        agree(&ours(&bytes, &pieces), &theirs(&bytes))?;
    }
}

#[test]
fn bad_text_is_refused_before_its_frame_ends() {
    let whole = frame(0x81, [1, 2, 3, 4], true, &[b"abc\xff".as_slice(), &[b'x'; 100]].concat());
    let mut reader = Reader::default();
    let mut begun = whole[..6 + 10].to_vec();
    assert_eq!(reader.next(&mut &mut begun[..]), Err(Fault::NotUtf8));
}

#[test]
fn an_idle_reader_holds_nothing() {
    let mut reader = Reader::default();
    for piece in [frame(0x81, [9; 4], true, b"hello"), frame(0x89, [9; 4], true, b"")].concat().chunks(1) {
        let mut piece = piece.to_vec();
        let mut piece = &mut piece[..];
        while reader.next(&mut piece).unwrap().is_some() {}
    }
    assert!(reader.begun.is_none());
    reader.keep(b"rest");
    assert_eq!(reader.take_kept().as_deref(), Some(b"rest".as_slice()));
    assert!(reader.begun.is_none());
}
