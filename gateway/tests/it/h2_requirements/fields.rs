//! Requests in fields, and fields in bytes (RFC 9113 §8, RFC 7541). A case is a line.

use super::wire::*;
use super::*;

pub(super) fn cases() -> Vec<Case> {
    [names(), pseudo(), messages(), compression()].concat()
}

/// Without one of the fields that open a link.
fn without(name: &str) -> Vec<(&'static str, &'static str)> {
    opening(&[]).into_iter().filter(|(said, _)| *said != name).collect()
}

/// With another value of one.
fn with(name: &str, value: &'static str) -> Vec<u8> {
    let mut fields = opening(&[]);
    fields.iter_mut().filter(|(said, _)| *said == name).for_each(|(_, said)| *said = value);
    headers(1, 0, &fields)
}

const MALFORMED: Wants = Wants::Stream(1, &[PROTOCOL_ERROR]);

#[rustfmt::skip]
fn names() -> Vec<Case> {
    let field = |name: &'static str, value: &'static str| headers(1, 0, &opening(&[(name, value)]));
    vec![
        ("8.2.1", "a name in upper case", field("X-TEST", "ok"), MALFORMED),
        ("8.2.1", "a name with a blank", field("x test", "ok"), MALFORMED),
        ("8.2.1", "an empty name", field("", "ok"), MALFORMED),
        ("8.2.1", "a value with a line end", field("x-test", "a\nb"), MALFORMED),
        ("8.2.1", "a value with NUL", field("x-test", "a\0b"), MALFORMED),
        ("8.2.2", "Connection", field("connection", "keep-alive"), MALFORMED),
        ("8.2.2", "Proxy-Connection", field("proxy-connection", "keep-alive"), MALFORMED),
        ("8.2.2", "Keep-Alive", field("keep-alive", "5"), MALFORMED),
        ("8.2.2", "Transfer-Encoding", field("transfer-encoding", "chunked"), MALFORMED),
        ("8.2.2", "Upgrade", field("upgrade", "websocket"), MALFORMED),
        ("8.2.2", "TE that is not trailers", field("te", "trailers, deflate"), MALFORMED),
        ("8.2.2", "TE that is trailers", field("te", "trailers"), Wants::Alive),
    ]
}

#[rustfmt::skip]
fn pseudo() -> Vec<Case> {
    let field = |name: &'static str, value: &'static str| headers(1, 0, &opening(&[(name, value)]));
    let first = |name: &'static str, value: &'static str| headers(1, 0, &[&[(name, value)], &opening(&[])[..]].concat());
    vec![
        ("8.3", "one that is not known", first(":test", "ok"), MALFORMED),
        ("8.3", "one of an answer", first(":status", "200"), MALFORMED),
        ("8.3", "one behind a field", field(":authority", "gateway"), MALFORMED),
        ("8.3.1", "no method", headers(1, 0, &without(":method")), MALFORMED),
        ("8.3.1", "no scheme", headers(1, 0, &without(":scheme")), MALFORMED),
        ("8.3.1", "no path", headers(1, 0, &without(":path")), MALFORMED),
        ("8.3.1", "two methods", first(":method", "POST"), MALFORMED),
        ("8.3.1", "two schemes", first(":scheme", "http"), MALFORMED),
        ("8.3.1", "two paths", first(":path", "/"), MALFORMED),
        ("8.3.1", "an empty path", with(":path", ""), MALFORMED),
    ]
}

#[rustfmt::skip]
fn messages() -> Vec<Case> {
    let long = |length: &'static str, flags: u8| headers(1, flags, &opening(&[("content-length", length)]));
    let on = |bytes: Vec<u8>| [request(1, &[]), bytes].concat();
    vec![
        ("8.1.1", "less than its length", [long("5", 0), frame(kind::DATA, END_STREAM, 1, b"test")].concat(), MALFORMED),
        ("8.1.1", "more than its length", [long("1", 0), frame(kind::DATA, END_STREAM, 1, b"test")].concat(), MALFORMED),
        ("8.1.1", "more than its length, in two frames", [long("1", 0), frame(kind::DATA, 0, 1, b"t"), frame(kind::DATA, END_STREAM, 1, b"est")].concat(), MALFORMED),
        ("8.1.1", "a length and no body", long("5", END_STREAM), MALFORMED),
        ("8.1", "trailers that do not end the stream", on(headers(1, 0, &[("x-test", "ok")])), MALFORMED),
        // h2 forgets such fields without a word; the stream ends, as each does that the peer ends.
        ("8.1", "trailers with a field of the start", on(headers(1, END_STREAM, &[(":method", "POST")])), Wants::Stream(1, &[PROTOCOL_ERROR, CANCEL, NO_ERROR])),
    ]
}

#[rustfmt::skip]
fn compression() -> Vec<Case> {
    let raw = |tail: &[u8]| frame(kind::HEADERS, END_HEADERS, 1, &[&block(&opening(&[])), tail].concat());
    let front = |front: &[u8]| frame(kind::HEADERS, END_HEADERS, 1, &[front, &block(&opening(&[]))].concat());
    let bad = Wants::Connection(COMPRESSION_ERROR);
    vec![
        ("7541 6.1", "the index 0", raw(&[0x80]), bad),
        ("7541 2.3.3", "an index beyond both tables", raw(&[0xbf]), bad),
        ("7541 2.3.3", "a literal whose name is beyond both tables", raw(&[0x0f, 0x30, 0x02, b'o', b'k']), bad),
        ("7541 4.2", "a table size in the middle", raw(&[0x20]), bad),
        ("7541 6.3", "a table size past the settings", front(&[0x3f, 0xe1, 0x7f]), bad),
        ("7541 6.3", "a table size within the settings", front(&[0x20]), Wants::Alive),
        ("7541 5.2", "Huffman with a padding of more than 7 bits", raw(&[0x00, 0x85, 0xf2, 0xb2, 0x4a, 0x84, 0xff, 0x84, 0x49, 0x50, 0x9f, 0xff]), bad),
        ("7541 5.2", "Huffman with a padding of zeros", raw(&[0x00, 0x85, 0xf2, 0xb2, 0x4a, 0x87, 0xff, 0x83, 0x49, 0x50, 0x90]), bad),
        ("7541 5.2", "Huffman with EOS", raw(&[0x00, 0x85, 0xf2, 0xb2, 0x4a, 0x87, 0xff, 0x87, 0x49, 0x51, 0xff, 0xff, 0xff, 0xfa, 0x7f]), bad),
        ("7541 5.1", "a number that does not end", raw(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), bad),
    ]
}
