//! Frames by themselves: their form, their sizes, what stands in them (RFC 9113 §4, §5.5, §6). A case is a line.

use super::wire::*;
use super::*;

/// A link message that has begun and goes on for longer than any case: bytes that may come on the stream.
fn data(length: usize) -> Vec<u8> {
    let mut bytes = vec![0x80, 0x80, 0x40];
    bytes.resize(length, 0);
    bytes
}

pub(super) fn cases() -> Vec<Case> {
    [form(), sizes(), data_and_headers(), small(), settings_frames(), windows()].concat()
}

#[rustfmt::skip]
fn form() -> Vec<Case> {
    vec![
        ("4.1", "a kind that is not known", frame(0xff, 0, 0, b"\0\0\0\0\0\0\0\0"), Wants::Alive),
        ("5.5", "a kind that is not known, on a stream", [request(1, &[]), frame(0xff, 0xff, 1, b"x")].concat(), Wants::Alive),
        ("5.5", "a kind that is not known, inside of fields", [frame(kind::HEADERS, 0, 1, &block(&opening(&[]))), frame(0xff, 0, 1, b"")].concat(), Wants::Connection(&[PROTOCOL_ERROR])),
        ("4.1", "flags that have no meaning", frame(kind::PING, 0x16, 0, b"pingping"), Wants::Alive),
        ("4.1", "the reserved bit", frame(kind::PING, 0, 0x8000_0000, b"pingping"), Wants::Alive),
        ("6.6", "PUSH_PROMISE of a client", [request(1, &[]), frame(kind::PUSH_PROMISE, END_HEADERS, 1, &[&2_u32.to_be_bytes()[..], &block(&opening(&[]))].concat())].concat(), Wants::Connection(&[PROTOCOL_ERROR])),
    ]
}

#[rustfmt::skip]
fn sizes() -> Vec<Case> {
    let on = |bytes: Vec<u8>| [request(1, &[]), bytes].concat();
    let bad = Wants::Connection(FRAME_SIZE_ERROR);
    vec![
        ("4.2", "DATA of 16,384", on(frame(kind::DATA, 0, 1, &data(16_384))), Wants::Alive),
        ("4.2", "DATA of 16,385", on(frame(kind::DATA, 0, 1, &data(16_385))), Wants::Stream(1, FRAME_SIZE_ERROR)),
        ("4.2", "HEADERS of 16,385", frame(kind::HEADERS, END_HEADERS, 1, &vec![0; 16_385]), bad),
        ("6.3", "PRIORITY of 4", on(frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 3])), Wants::Stream(1, FRAME_SIZE_ERROR)),
        ("6.4", "RST_STREAM of 3", on(frame(kind::RST_STREAM, 0, 1, &[0, 0, 0])), bad),
        ("6.5", "SETTINGS of 3", frame(kind::SETTINGS, 0, 0, &[0, 3, 0]), bad),
        ("6.5", "an acknowledgement of settings with settings", frame(kind::SETTINGS, ACK, 0, &[0; 6]), bad),
        ("6.7", "PING of 6", frame(kind::PING, 0, 0, b"pingpi"), bad),
        ("6.9", "WINDOW_UPDATE of 3", frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 1]), bad),
        ("6.8", "GOAWAY of 4", frame(kind::GOAWAY, 0, 0, &[0; 4]), bad),
    ]
}

#[rustfmt::skip]
fn data_and_headers() -> Vec<Case> {
    let on = |bytes: Vec<u8>| [request(1, &[]), bytes].concat();
    let fields = block(&opening(&[]));
    let padded = |pad: u8| [&[pad], &fields[..], &[0; 4]].concat();
    let bad = Wants::Connection(&[PROTOCOL_ERROR]);
    let halves = |flags: u8| {
        let (one, two) = fields.split_at(9);
        let (two, three) = two.split_at(9);
        [frame(kind::HEADERS, flags, 1, one), frame(kind::CONTINUATION, 0, 1, two), frame(kind::CONTINUATION, END_HEADERS, 1, three)].concat()
    };
    vec![
        ("6.1", "DATA of the connection", frame(kind::DATA, 0, 0, b"x"), bad),
        ("6.1", "DATA with a padding", on(frame(kind::DATA, PADDED, 1, &[&[4], &data(5)[..], &[0; 4]].concat())), Wants::Alive),
        ("6.1", "DATA with nothing but padding", on(frame(kind::DATA, PADDED, 1, &[2, 0, 0])), Wants::Alive),
        ("6.1", "DATA with more padding than there is", on(frame(kind::DATA, PADDED, 1, &[6, 0, 0, 0, 0])), bad),
        ("6.2", "HEADERS of the connection", headers(0, 0, &opening(&[])), bad),
        ("6.2", "HEADERS with a padding", frame(kind::HEADERS, PADDED | END_HEADERS, 1, &padded(4)), Wants::Alive),
        ("6.2", "HEADERS with more padding than there is", frame(kind::HEADERS, PADDED | END_HEADERS, 1, &padded(255)), bad),
        ("6.2", "HEADERS with a priority", frame(kind::HEADERS, PRIORITY | END_HEADERS, 1, &[&[0, 0, 0, 0, 15], &fields[..]].concat()), Wants::Alive),
        ("6.10", "fields in three frames", halves(0), Wants::Alive),
        ("6.10", "CONTINUATION of the connection", [frame(kind::HEADERS, 0, 1, &fields), frame(kind::CONTINUATION, END_HEADERS, 0, b"")].concat(), bad),
        ("6.10", "CONTINUATION of another stream", [frame(kind::HEADERS, 0, 1, &fields), frame(kind::CONTINUATION, END_HEADERS, 3, b"")].concat(), bad),
        ("6.10", "CONTINUATION behind the end of fields", on(frame(kind::CONTINUATION, END_HEADERS, 1, b"")), bad),
        ("6.10", "CONTINUATION behind a CONTINUATION that ended them", [frame(kind::HEADERS, 0, 1, &fields), frame(kind::CONTINUATION, END_HEADERS, 1, b""), frame(kind::CONTINUATION, END_HEADERS, 1, b"")].concat(), bad),
        ("6.10", "DATA inside of fields", [frame(kind::HEADERS, 0, 1, &fields), frame(kind::DATA, 0, 1, b"x")].concat(), bad),
        ("4.3", "PRIORITY inside of fields", [frame(kind::HEADERS, 0, 1, &fields), frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 9])].concat(), bad),
        ("4.3", "HEADERS of another stream inside of fields", [frame(kind::HEADERS, 0, 1, &fields), headers(3, 0, &opening(&[]))].concat(), bad),
        ("4.3", "PING inside of fields", [frame(kind::HEADERS, 0, 1, &fields), frame(kind::PING, 0, 0, b"pingping")].concat(), bad),
        ("4.3", "fields that end in the middle", frame(kind::HEADERS, END_HEADERS, 1, &fields[..fields.len() - 3]), Wants::Connection(COMPRESSION_ERROR)),
    ]
}

#[rustfmt::skip]
fn small() -> Vec<Case> {
    let on = |bytes: Vec<u8>| [request(1, &[]), bytes].concat();
    let bad = Wants::Connection(&[PROTOCOL_ERROR]);
    vec![
        ("6.3", "PRIORITY of the connection", frame(kind::PRIORITY, 0, 0, &[0, 0, 0, 0, 9]), bad),
        ("5.3", "PRIORITY of a stream that is idle", frame(kind::PRIORITY, 0, 5, &[0, 0, 0, 1, 9]), Wants::Alive),
        ("6.4", "RST_STREAM of the connection", frame(kind::RST_STREAM, 0, 0, &[0, 0, 0, 8]), bad),
        ("6.7", "PING of a stream", on(frame(kind::PING, 0, 1, b"pingping")), bad),
        ("6.8", "GOAWAY of a stream", on(frame(kind::GOAWAY, 0, 1, &[0; 8])), bad),
        ("6.9", "WINDOW_UPDATE of a stream", on(window_update(1, 1)), Wants::Alive),
    ]
}

#[rustfmt::skip]
fn settings_frames() -> Vec<Case> {
    let bad = Wants::Connection(&[PROTOCOL_ERROR]);
    vec![
        ("6.5", "SETTINGS of a stream", frame(kind::SETTINGS, 0, 1, &[0, 3, 0, 0, 0, 100]), bad),
        ("6.5.2", "a push that is neither on nor off", settings(&[(ENABLE_PUSH, 2)]), bad),
        ("6.5.2", "a window of 2^31", settings(&[(INITIAL_WINDOW_SIZE, 1 << 31)]), Wants::Connection(WINDOW_ERROR)),
        ("6.5.2", "frames of 16,383", settings(&[(MAX_FRAME_SIZE, 16_383)]), bad),
        ("6.5.2", "frames of 2^24", settings(&[(MAX_FRAME_SIZE, 1 << 24)]), bad),
        ("6.5.2", "one that is not known", settings(&[(0xff, 1)]), Wants::Alive),
        ("6.5.3", "the same twice, of which the last counts", settings(&[(INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1)]), Wants::Alive),
    ]
}

#[rustfmt::skip]
fn windows() -> Vec<Case> {
    let on = |bytes: Vec<u8>| [request(1, &[]), bytes].concat();
    let most = (1 << 31) - 1;
    vec![
        ("6.9", "the connection's window by 0", window_update(0, 0), Wants::Connection(&[PROTOCOL_ERROR])),
        ("6.9", "a stream's window by 0", on(window_update(1, 0)), Wants::Stream(1, &[PROTOCOL_ERROR])),
        ("6.9.1", "the connection's window past 2^31", [window_update(0, most), window_update(0, most)].concat(), Wants::Connection(&[FLOW_CONTROL_ERROR])),
        ("6.9.1", "a stream's window past 2^31", on([window_update(1, most), window_update(1, most)].concat()), Wants::Stream(1, &[FLOW_CONTROL_ERROR])),
        ("6.9.2", "a stream's window past 2^31 by settings", on([window_update(1, most - 65_535), settings(&[(INITIAL_WINDOW_SIZE, 65_536)])].concat()), Wants::Connection(&[FLOW_CONTROL_ERROR])),
    ]
}
