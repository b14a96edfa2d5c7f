//! Streams in their states, and their numbers (RFC 9113 §5.1, §5.1.1, §5.3.1). A case is a line.

use super::wire::*;
use super::*;

#[rustfmt::skip]
pub(super) fn cases() -> Vec<Case> {
    let bad = Wants::Connection(&[PROTOCOL_ERROR]);
    let closed = Wants::Stream(1, &[STREAM_CLOSED, PROTOCOL_ERROR]);
    let ended = headers(1, END_STREAM, &opening(&[]));
    let reset = [request(1, &[]), frame(kind::RST_STREAM, 0, 1, &8_u32.to_be_bytes())].concat();
    let data = frame(kind::DATA, END_STREAM, 1, b"x");
    vec![
        ("5.1", "idle: DATA", data.clone(), bad),
        ("5.1", "idle: RST_STREAM", frame(kind::RST_STREAM, 0, 1, &8_u32.to_be_bytes()), bad),
        ("5.1", "idle: WINDOW_UPDATE", window_update(1, 100), bad),
        ("5.1", "idle: CONTINUATION", frame(kind::CONTINUATION, END_HEADERS, 1, &block(&opening(&[]))), bad),
        ("5.1", "half closed: DATA", [&ended[..], &data].concat(), closed),
        ("5.1", "half closed: HEADERS", [&ended[..], &ended].concat(), closed),
        ("5.1", "half closed: CONTINUATION", [&ended[..], &frame(kind::CONTINUATION, END_HEADERS, 1, b"")].concat(), Wants::Connection(&[STREAM_CLOSED, PROTOCOL_ERROR])),
        ("5.1", "half closed: PRIORITY and WINDOW_UPDATE", [&ended[..], &frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 9]), &window_update(1, 1)].concat(), Wants::Stream(1, &[NO_ERROR])),
        ("5.1", "closed by RST_STREAM: CONTINUATION", [&reset[..], &frame(kind::CONTINUATION, END_HEADERS, 1, b"")].concat(), Wants::Connection(&[STREAM_CLOSED, PROTOCOL_ERROR])),
        ("5.1.1", "an even number", headers(2, 0, &opening(&[])), bad),
        ("5.1.1", "a number below that of a stream before", [request(5, &[]), headers(3, 0, &opening(&[]))].concat(), Wants::Connection(&[PROTOCOL_ERROR, STREAM_CLOSED])),
        ("5.4.1", "an error of the connection ends it", frame(kind::PING, 0, 0, b"short"), Wants::Connection(FRAME_SIZE_ERROR)),
    ]
}
