//! Requests with a body: a push, which is answered 202 if its body is read as it was meant. A case is a line.

use super::{Case, Wants};

const PUSH: &str = r#"{"to":{"all":true},"data":12}"#;

const BAD: Wants = Wants::Last(&[400]);

/// A push as it should be.
pub(super) fn push() -> Vec<u8> {
    long(&PUSH.len().to_string())
}

/// A push with these fields and this body.
fn post(fields: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let head = format!(
        "POST /v1/push HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{fields}\r\n\r\n"
    );
    [head.as_bytes(), body.as_ref()].concat()
}

/// A push of this length, as it is said.
fn long(length: &str) -> Vec<u8> {
    post(&format!("Content-Length: {length}"), PUSH)
}

/// A push with these codings, whose body would be good.
fn coded(codings: &str) -> Vec<u8> {
    post(codings, chunk("", PUSH))
}

/// The same with a length, which fits it without a coding.
fn coded_and_long(codings: &str) -> Vec<u8> {
    post(&format!("{codings}\r\nContent-Length: {}", PUSH.len()), PUSH)
}

/// A chunked push whose first line ends so.
fn chunked(line_end: &str) -> Vec<u8> {
    post("Transfer-Encoding: chunked", chunk(line_end, PUSH))
}

/// The same with a body of one's own.
fn raw(body: impl AsRef<[u8]>) -> Vec<u8> {
    post("Transfer-Encoding: chunked", body)
}

fn chunk(line_end: &str, data: &str) -> String {
    format!("{:x}{line_end}\r\n{data}\r\n0\r\n\r\n", data.len())
}

/// What must not be taken for a push.
pub(super) fn refused() -> Vec<Case> {
    [lengths(), codings(), both(), chunks(), cut_off()].concat()
}

/// Lengths that are none (RFC 9110 §8.6, RFC 9112 §6.3).
#[rustfmt::skip]
fn lengths() -> Vec<Case> {
    let n = PUSH.len();
    let two = format!("Content-Length: {n}\r\nContent-Length: {}", n + 1);
    vec![
        ("RFC9112-6.1-CL-NON-NUMERIC", "9112 6.3", long("abc"), BAD),
        ("RFC9112-6.1-CL-PLUS-SIGN", "9112 6.3", long(&format!("+{n}")), BAD),
        ("SMUG-DUPLICATE-CL", "9110 8.6", post(&two, PUSH), BAD),
        ("SMUG-CL-COMMA-DIFFERENT", "9110 8.6", long(&format!("{n}, {}", n + 1)), BAD),
        ("SMUG-CL-NEGATIVE", "9110 8.6", long("-1"), BAD),
        ("SMUG-CL-NEGATIVE-ZERO", "9110 8.6", long("-0"), BAD),
        ("SMUG-CL-UNDERSCORE", "9110 8.6", long("2_9"), BAD),
        ("SMUG-CL-OCTAL", "9110 8.6", long("0o35"), BAD),
        ("SMUG-CL-HEX-PREFIX", "9110 8.6", long("0x1d"), BAD),
        ("SMUG-CL-INTERNAL-SPACE", "9110 8.6", long("2 9"), BAD),
        ("MAL-CL-OVERFLOW", "9110 8.6", long("99999999999999999999"), BAD),
        ("MAL-CL-EMPTY", "9110 8.6", long(""), BAD),
        ("MAL-POST-CL-HUGE-NO-BODY", "9112 6.2", post("Content-Length: 999999999", ""), Wants::Last(&[413])),
    ]
}

/// Codings that are not understood, or not chunked at the end (RFC 9112 §6.1).
#[rustfmt::skip]
fn codings() -> Vec<Case> {
    let no = Wants::Last(&[400, 501]);
    vec![
        ("COMP-UNKNOWN-TE-501", "9112 6.1", coded("Transfer-Encoding: gzip"), no),
        ("gzip and chunked", "9112 6.1", coded("Transfer-Encoding: gzip, chunked"), Wants::Last(&[501])),
        ("gzip and chunked in two lines", "9112 6.1", coded("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked"), Wants::Last(&[501])),
        ("identity and chunked", "9112 7", coded("Transfer-Encoding: identity, chunked"), Wants::Last(&[501])),
        ("chunked twice", "9112 7", coded("Transfer-Encoding: chunked, chunked"), BAD),
        ("chunked in two lines", "9112 7", coded("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), BAD),
        ("xchunked alone", "9112 6.1", coded("Transfer-Encoding: xchunked"), no),
        ("SMUG-CHUNKED-WITH-PARAMS", "9112 7", coded("Transfer-Encoding: chunked;ext=val"), no),
        ("SMUG-TE-NOT-FINAL-CHUNKED", "9112 6.3", coded("Transfer-Encoding: chunked, gzip"), BAD),
        ("empty alone", "9112 6.1", coded("Transfer-Encoding: "), BAD),
        ("SMUG-TE-HTTP10", "9112 6.1", http10(coded("Transfer-Encoding: chunked")), BAD),
    ]
}

fn http10(request: Vec<u8>) -> Vec<u8> {
    String::from_utf8(request).unwrap().replace("HTTP/1.1", "HTTP/1.0").into_bytes()
}

/// A coding and a length, in every way to hide one of them (RFC 9112 §6.1, §6.3 and §11.2).
#[rustfmt::skip]
fn both() -> Vec<Case> {
    let push = chunk("", PUSH);
    let two = |first: &str, second: &str, body: &str| post(&format!("{first}\r\n{second}"), body);
    let te = "Transfer-Encoding: chunked";
    let smuggled = "0\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    vec![
        ("SMUG-CL-TE-BOTH", "9112 6.1", two(&format!("Content-Length: {}", push.len()), te, &push), BAD),
        ("SMUG-CLTE-PIPELINE", "9112 6.1", two("Content-Length: 4", te, &push), BAD),
        ("SMUG-TECL-PIPELINE", "9112 6.1", two(te, "Content-Length: 30", &push), BAD),
        ("SMUG-CLTE-CONN-CLOSE", "9112 6.1", two("Content-Length: 5", te, "0\r\n\r\n"), BAD),
        ("SMUG-TECL-CONN-CLOSE", "9112 6.1", two(te, "Content-Length: 5", "0\r\n\r\n"), BAD),
        ("SMUG-CLTE-DESYNC", "9112 6.1", two("Content-Length: 6", te, "0\r\n\r\nX"), BAD),
        ("SMUG-CLTE-SMUGGLED-GET", "9112 6.1", two(&format!("Content-Length: {}", smuggled.len()), te, smuggled), BAD),
        ("SMUG-TE-XCHUNKED", "9112 6.1", coded_and_long("Transfer-Encoding: xchunked"), Wants::Last(&[400, 501])),
        ("SMUG-TE-IDENTITY", "9112 7", coded_and_long("Transfer-Encoding: identity"), Wants::Last(&[400, 501])),
        ("SMUG-TE-TRAILING-SPACE", "9112 6.1", coded_and_long("Transfer-Encoding: chunked "), BAD),
        ("SMUG-TE-TAB-BEFORE-VALUE", "9110 5.5", coded_and_long("Transfer-Encoding:\tchunked"), BAD),
        ("SMUG-TE-CASE-MISMATCH", "9112 6.1", coded_and_long("Transfer-Encoding: Chunked"), BAD),
        ("SMUG-TE-DOUBLE-CHUNKED", "9112 6.1", coded_and_long("Transfer-Encoding: chunked, chunked"), BAD),
        ("SMUG-TE-LEADING-COMMA", "9110 5.6.1", coded_and_long("Transfer-Encoding: , chunked"), BAD),
        ("SMUG-TE-TRAILING-COMMA", "9110 5.6.1", coded_and_long("Transfer-Encoding: chunked,"), BAD),
        ("SMUG-TE-EMPTY-VALUE", "9112 6.1", coded_and_long("Transfer-Encoding: "), BAD),
        ("SMUG-TE-DUPLICATE-HEADERS", "9112 6.1", coded_and_long("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"), BAD),
        ("SMUG-TE-SP-BEFORE-COLON", "9112 5.1", coded_and_long("Transfer-Encoding : chunked"), BAD),
        ("SMUG-TE-OBS-FOLD", "9112 5.2", coded_and_long("Transfer-Encoding:\r\n chunked"), BAD),
        ("SMUG-TE-VTAB", "9112 6.1", coded_and_long("Transfer-Encoding: \x0bchunked"), BAD),
        ("SMUG-TE-FORMFEED", "9112 6.1", coded_and_long("Transfer-Encoding: \x0cchunked"), BAD),
        ("SMUG-TE-NULL", "9110 5.5", coded_and_long("Transfer-Encoding: chunked\0"), BAD),
    ]
}

/// Chunks beside the grammar (RFC 9112 §7.1).
#[rustfmt::skip]
fn chunks() -> Vec<Case> {
    let n = format!("{:x}", PUSH.len());
    let body = |size: &str| raw(format!("{size}\r\n{PUSH}\r\n0\r\n\r\n"));
    // What comes behind the head, and apart from it, is looked at too.
    let second = |line: &str| raw(format!("1\r\n{{\r\n{line}\r\n{}\r\n0\r\n\r\n", &PUSH[1..]));
    let late = format!("{}{{\"x\":1", " ".repeat(100_000));
    vec![
        ("SMUG-CHUNK-BARE-SEMICOLON", "9112 7.1.1", chunked(";"), BAD),
        ("bare semicolon on the second chunk", "9112 7.1.1", second("1c;"), BAD),
        ("SMUG-CHUNK-EXT-INVALID-TOKEN", "9112 7.1.1", chunked(";bad[=x"), BAD),
        ("SMUG-CHUNK-EXT-CTRL", "9112 7.1.1", chunked(";\0ext"), BAD),
        ("SMUG-CHUNK-EXT-CR", "9112 2.2", chunked(";a\rX"), BAD),
        ("SMUG-CHUNK-EXT-LF", "9112 7.1.1", raw(format!("{n};\n{PUSH}\r\n0\r\n\r\n")), BAD),
        ("SMUG-CHUNK-SIZE-TRAILING-OWS", "9112 7.1", chunked(" "), BAD),
        ("SMUG-CHUNK-HEX-PREFIX", "9112 7.1", body(&format!("0x{n}")), BAD),
        ("SMUG-CHUNK-SIZE-PLUS", "9112 7.1", body(&format!("+{n}")), BAD),
        ("SMUG-CHUNK-UNDERSCORE", "9112 7.1", body("1_d"), BAD),
        ("SMUG-CHUNK-LEADING-SP", "9112 7.1", body(&format!(" {n}")), BAD),
        ("SMUG-CHUNK-NEGATIVE", "9112 7.1", body("-1"), BAD),
        ("SMUG-CHUNK-BARE-CR-TERM", "9112 2.2", raw(format!("{n}\r{PUSH}\r\n0\r\n\r\n")), BAD),
        ("SMUG-CHUNK-LF-TERM", "9112 7.1", raw(format!("{n}\r\n{PUSH}\n0\r\n\r\n")), BAD),
        ("SMUG-CHUNK-MISSING-TRAILING-CRLF", "9112 7.1", raw(format!("{n}\r\n{PUSH}0\r\n\r\n")), BAD),
        ("SMUG-CHUNK-SPILL", "9112 7.1", raw(format!("{n}\r\n{PUSH}!!\r\n0\r\n\r\n")), BAD),
        ("MAL-CHUNK-SIZE-OVERFLOW", "9112 7.1", body("FFFFFFFFFFFFFFFFF"), BAD),
        ("MAL-CHUNK-EXTENSION-LONG", "9112 7.1.1", chunked(&format!(";ext={}", "x".repeat(100_000))), BAD),
        ("a bad chunk long after the head", "9112 7.1.1", raw(format!("{:x}\r\n{late}\r\n1;\r\n}}\r\n0\r\n\r\n", late.len())), BAD),
    ]
}

/// Messages that end before they are whole (RFC 9112 §8).
#[rustfmt::skip]
fn cut_off() -> Vec<Case> {
    let n = PUSH.len();
    vec![
        ("COMP-POST-CL-UNDERSEND", "9112 8", long(&(n + 5).to_string()), Wants::Incomplete),
        ("COMP-CHUNKED-NO-FINAL", "9112 8", raw(format!("{n:x}\r\n{PUSH}\r\n")), Wants::Incomplete),
        ("half of a chunk", "9112 8", raw(format!("{:x}\r\n{PUSH}", n + 1)), Wants::Incomplete),
        ("no end of the trailers", "9112 8", raw(format!("{n:x}\r\n{PUSH}\r\n0\r\n")), Wants::Incomplete),
    ]
}

/// What must be taken.
#[rustfmt::skip]
pub(super) fn taken() -> Vec<Case> {
    let n = PUSH.len();
    let ok = Wants::Kept(&[202]);
    let halves = format!("A\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n", &PUSH[..10], n - 10, &PUSH[10..]);
    let expecting = format!("Expect: 100-continue\r\nContent-Length: {n}");
    vec![
        ("h1spec Valid POST request with body", "9112 6.2", push(), ok),
        ("COMP-POST-CL-BODY", "9112 6.2", push(), ok),
        ("COMP-POST-CL-ZERO", "9112 6.2", post("Content-Length: 0", ""), Wants::Ours(400, "invalid_json")),
        ("COMP-POST-NO-CL-NO-TE", "9112 6.3", post("X-No: length", ""), Wants::Ours(400, "invalid_json")),
        ("SMUG-CL-EXTRA-LEADING-SP", "9110 5.5", long(&format!(" {n}")), ok),
        ("SMUG-CL-TRAILING-SPACE", "9110 5.5", long(&format!("{n} ")), ok),
        ("the same length twice", "9110 8.6", post(&format!("Content-Length: {n}\r\nContent-Length: {n}"), PUSH), ok),
        ("SMUG-EXPECT-100-CL", "9110 10.1.1", post(&expecting, PUSH), ok),
        ("COMP-RANGE-POST", "9110 14.2", post(&format!("Range: bytes=0-10\r\nContent-Length: {n}"), PUSH), ok),
        ("h1spec Chunked Transfer-Encoding", "9112 7.1", chunked(""), ok),
        ("COMP-CHUNKED-BODY", "9112 7.1", chunked(""), ok),
        ("COMP-CHUNKED-MULTI", "9112 7.1", raw(&halves), ok),
        ("COMP-CHUNKED-HEX-UPPERCASE", "9112 7.1", raw(format!("1D\r\n{PUSH}\r\n0\r\n\r\n")), ok),
        ("COMP-CHUNKED-EMPTY", "9112 7.1", raw("0\r\n\r\n"), Wants::Ours(400, "invalid_json")),
        ("COMP-CHUNKED-EXTENSION", "9112 7.1.1", chunked(";ext=value"), ok),
        ("an extension with a quoted value", "9112 7.1.1", chunked(";a=\"b;c\" ;d"), ok),
        ("COMP-CHUNKED-TRAILER-VALID", "9112 7.1.2", raw(format!("{n:x}\r\n{PUSH}\r\n0\r\nX-Sum: abc\r\n\r\n")), ok),
        ("SMUG-TRAILER-CL", "9110 6.5.1", raw(format!("{n:x}\r\n{PUSH}\r\n0\r\nContent-Length: 50\r\n\r\n")), ok),
        ("SMUG-TRAILER-HOST", "9110 6.5.2", raw(format!("{n:x}\r\n{PUSH}\r\n0\r\nHost: evil.example.com\r\n\r\n")), ok),
    ]
}
