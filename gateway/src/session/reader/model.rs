//! The reader against tungstenite: whatever comes, in whatever pieces, both hear the same.

use common::limits::CLIENT_MESSAGE_BYTES_MAX;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::session::story::{Story, heard, theirs};

fn terms(deflate: bool) -> Terms {
    Terms { deflate, bytes_max: CLIENT_MESSAGE_BYTES_MAX }
}

/// Our story of bytes that come in pieces of these lengths, over and over.
fn ours(bytes: &[u8], pieces: &[usize]) -> Story {
    heard(bytes, pieces, false)
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

/// A message as a client compresses it.
fn deflated(payload: &[u8]) -> Vec<u8> {
    let mut compress = flate2::Compress::new(flate2::Compression::default(), false);
    let mut out = Vec::with_capacity(payload.len() * 2 + 100);
    compress.compress_vec(payload, &mut out, flate2::FlushCompress::Sync).unwrap();
    out.truncate(out.len() - 4);
    out
}

/// A compressed message in fragments of so many bytes, with a pong between them.
fn fragments(payload: &[u8], length: usize) -> Vec<u8> {
    let count = payload.len().div_ceil(length);
    let one = |(index, part): (usize, &[u8])| {
        let (first, last) = (index == 0, index == count - 1);
        let opcode = if first { 0x41 } else { 0 } | if last { 0x80 } else { 0 };
        [
            frame(opcode, [5, 6, 7, 8], true, part),
            if last { Vec::new() } else { frame(0x8a, [1; 4], true, b"") },
        ]
        .concat()
    };
    payload.chunks(length).enumerate().flat_map(one).collect()
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
    fn compressed_messages_say_the_same(
        texts in vec("\\PC{0,200}|(abc){0,900}", 1..6), fragment in 1_usize..400, pieces in vec(1_usize..700, 1..6),
    ) {
        let plain: Vec<u8> = texts.iter().flat_map(|text| frame(0x81, [7; 4], true, text.as_bytes())).collect();
        let packed: Vec<u8> = texts.iter().flat_map(|text| fragments(&deflated(text.as_bytes()), fragment)).collect();
        let mut story = heard(&packed, &pieces, true);
        story.messages.retain(|message| *message != Message::Pong);
        prop_assert_eq!(story, ours(&plain, &[usize::MAX]));
        prop_assert!(ours(&packed, &pieces).faulty, "compression that was not agreed on");
    }

    #[test]
    fn agreeing_on_compression_changes_nothing_else(bytes in frames(), pieces in vec(1_usize..2000, 1..6)) {
        let (with, without) = (heard(&bytes, &pieces, true), ours(&bytes, &pieces));
        prop_assert!(with.messages.starts_with(&without.messages));
        prop_assert!(without.faulty || with == without);
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
    assert_eq!(reader.next(&mut &mut begun[..], terms(false)), Err(Fault::NotUtf8));
}

#[test]
fn an_idle_reader_holds_nothing() {
    let mut reader = Reader::default();
    for piece in [frame(0x81, [9; 4], true, b"hello"), frame(0x89, [9; 4], true, b"")].concat().chunks(1) {
        let mut piece = piece.to_vec();
        let mut piece = &mut piece[..];
        while reader.next(&mut piece, terms(false)).unwrap().is_some() {}
    }
    assert!(reader.begun.is_none());
    reader.keep(b"rest");
    assert_eq!(reader.take_kept().as_deref(), Some(b"rest".as_slice()));
    assert!(reader.begun.is_none());
}

#[test]
fn a_reserved_bit_belongs_to_the_first_frame_of_a_message() {
    let mask = [3; 4];
    let hello = deflated(b"Hello");
    let (one, two) = hello.split_at(3);
    for (name, bytes) in [
        ("a compressed ping", frame(0xc9, mask, true, b"")),
        ("a compressed continuation", [frame(0x41, mask, true, one), frame(0xc0, mask, true, two)].concat()),
        ("the second bit", frame(0xa1, mask, true, &hello)),
        ("both bits", frame(0xe1, mask, true, &hello)),
    ] {
        let fault = Fault::Protocol("a reserved bit is set");
        let mut bytes = bytes;
        assert_eq!(Reader::default().next(&mut &mut bytes[..], terms(true)), Err(fault), "{name}");
    }
}
