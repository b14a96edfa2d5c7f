//! Requests without a body. A case is a line.

use super::{Case, Wants};

const BAD: Wants = Wants::Last(&[400]);

/// A request with these fields.
fn with(target: &str, fields: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\n{fields}\r\n\r\n").into_bytes()
}

/// A request behind something else.
fn after(front: &str, request: Vec<u8>) -> Vec<u8> {
    [front.as_bytes(), &request].concat()
}

/// All, asked of a path that `GET` and `HEAD` are answered 200.
pub(super) fn cases(target: &str) -> Vec<Case> {
    [lines(target), targets(target), hosts(target), fields(target), switches(target), long(target)].concat()
}

/// The request line (RFC 9112 §2.2, §2.3, §3).
#[rustfmt::skip]
fn lines(target: &str) -> Vec<Case> {
    let line = |line: &str| format!("{}\r\nHost: localhost\r\n\r\n", line.replace("/ HTTP", &format!("{target} HTTP"))).into_bytes();
    let raw = |text: &str| text.replace("{T}", target).into_bytes();
    let version = |version: &str| format!("GET {target} {version}\r\nHost: localhost\r\n\r\n").into_bytes();
    vec![
        ("h1spec Valid GET request", "9112 2.1", version("HTTP/1.1"), Wants::Kept(&[200])),
        ("h1spec Request without HTTP version", "9112 3", raw("GET {T} \r\n\r\n"), BAD),
        ("h1spec Invalid HTTP version", "9112 2.3", version("HTTP/9.9"), Wants::Last(&[400, 505])),
        ("h1spec Invalid prefix of request", "9112 3", after("Extra line", version("HTTP/1.1")), BAD),
        ("h1spec Invalid line ending", "9112 2.2", raw("GET {T} HTTP/1.1\r\nHost: a\r\n\rSome: Test\r\n\r\n"), BAD),
        ("COMP-VERSION-MISSING-MINOR", "9112 2.3", version("HTTP/1"), BAD),
        ("COMP-VERSION-LEADING-ZEROS", "9112 2.3", version("HTTP/01.01"), BAD),
        ("COMP-VERSION-WHITESPACE", "9112 2.3", version("HTTP/ 1.1"), BAD),
        ("version in lower case", "9112 2.3", version("http/1.1"), BAD),
        ("RFC9112-2.3-HTTP09-REQUEST", "9112 2.3", raw("GET {T}\r\n"), BAD),
        ("RFC9112-3-MISSING-TARGET", "9112 3", raw("GET HTTP/1.1\r\nHost: a\r\n\r\n"), BAD),
        ("RFC9112-3-MULTI-SP-REQUEST-LINE", "9112 3", line("GET  / HTTP/1.1"), BAD),
        ("COMP-REQUEST-LINE-TAB", "9112 3", line("GET\t/ HTTP/1.1"), BAD),
        ("RFC9112-3-CR-ONLY-LINE-ENDING", "9112 2.2", raw("GET {T} HTTP/1.1\rHost: a\r\n\r\n"), BAD),
        ("COMP-LEADING-CRLF", "9112 2.2", after("\r\n\r\n", version("HTTP/1.1")), Wants::Kept(&[200])),
        ("COMP-METHOD-CASE", "9110 9.1", line("get / HTTP/1.1"), Wants::Kept(&[405])),
        ("COMP-METHOD-CONNECT", "9110 9.3.6", raw("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"), Wants::Last(&[501])),
        ("COMP-METHOD-TRACE", "9110 9.3.8", line("TRACE / HTTP/1.1"), Wants::Kept(&[405])),
        ("COMP-HTTP10-DEFAULT-CLOSE", "9112 9.3", version("HTTP/1.0"), Wants::Last(&[200])),
        ("COMP-HTTP10-NO-HOST", "9112 3.2", raw("GET {T} HTTP/1.0\r\n\r\n"), Wants::Last(&[200])),
        ("MAL-BINARY-GARBAGE", "9112 2.2", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), BAD),
        ("MAL-WHITESPACE-ONLY-LINE", "9112 2.2", b"   \r\n\r\n".to_vec(), BAD),
        ("MAL-INCOMPLETE-REQUEST", "9112 8", raw("GET {T} HTTP/1.1\r\nHost: a\r\nX-Test: v"), Wants::Incomplete),
        ("MAL-EMPTY-REQUEST", "9112 8", Vec::new(), Wants::Incomplete),
    ]
}

/// What a request is for (RFC 9112 §3.2).
#[rustfmt::skip]
fn targets(target: &str) -> Vec<Case> {
    let of = |method: &str, target: &[u8]| {
        [method.as_bytes(), b" ", target, b" HTTP/1.1\r\nHost: localhost\r\n\r\n"].concat()
    };
    vec![
        ("COMP-ABSOLUTE-FORM", "9112 3.2.2", of("GET", format!("http://localhost{target}").as_bytes()), Wants::Kept(&[200])),
        ("absolute form of another host", "9112 3.2.2", of("GET", format!("http://elsewhere{target}").as_bytes()), Wants::Kept(&[200])),
        ("COMP-ASTERISK-WITH-GET", "9112 3.2.4", of("GET", b"*"), BAD),
        ("COMP-OPTIONS-STAR", "9112 3.2.4", of("OPTIONS", b"*"), Wants::Kept(&[204])),
        ("authority form without CONNECT", "9112 3.2.3", of("GET", b"localhost:80"), BAD),
        ("MAL-NUL-IN-URL", "9112 2.2", of("GET", b"/\0test"), BAD),
        ("MAL-NON-ASCII-URL", "9112 3", of("GET", "/café".as_bytes()), BAD),
        ("MAL-NON-ASCII-URL, query", "9112 3", of("GET", "/?a=é".as_bytes()), BAD),
        ("MAL-URL-OVERLONG-UTF8", "3629 3", of("GET", b"/\xc0\xaf"), BAD),
        ("blank in the target", "9112 3.2", of("GET", b"/a b"), BAD),
    ]
}

/// Host (RFC 9112 §3.2, RFC 9110 §7.2).
#[rustfmt::skip]
fn hosts(target: &str) -> Vec<Case> {
    let host = |host: &str| with(target, &format!("Host: {host}"));
    vec![
        ("h1spec Missing Host header", "9112 3.2", with(target, "Content-Length: 5"), BAD),
        ("RFC9112-7.1-MISSING-HOST", "9112 3.2", format!("GET {target} HTTP/1.1\r\n\r\n").into_bytes(), BAD),
        ("h1spec Multiple Host headers", "9112 3.2", with(target, "Host: example.com\r\nHost: example.org"), BAD),
        ("RFC9110-5.4-DUPLICATE-HOST", "9112 3.2", with(target, "Host: localhost\r\nHost: other.example.com"), BAD),
        ("COMP-DUPLICATE-HOST-SAME", "9112 3.2", with(target, "Host: localhost\r\nHost: localhost"), BAD),
        ("COMP-HOST-WITH-USERINFO", "9112 3.2", host("user@localhost"), BAD),
        ("COMP-HOST-WITH-PATH", "9112 3.2", host("localhost/path"), BAD),
        ("COMP-HOST-EMPTY-VALUE", "9112 3.2", host(""), BAD),
        ("SMUG-MULTIPLE-HOST-COMMA", "9110 7.2", host("localhost, other.example.com"), BAD),
        ("Host with a port that is none", "9110 7.2", host("localhost:http"), BAD),
        ("Host that is an IPv6 address", "9110 7.2", host("[::1]:80"), Wants::Kept(&[200])),
    ]
}

/// Fields (RFC 9112 §5, RFC 9110 §5).
#[rustfmt::skip]
fn fields(target: &str) -> Vec<Case> {
    let field = |field: &[u8]| {
        [format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n").as_bytes(), field, b"\r\n\r\n"].concat()
    };
    vec![
        ("h1spec Valid GET request with edge cases", "9112 5.1", with(target, "hoSt:\texample.com\r\nempty:"), Wants::Kept(&[200])),
        ("h1spec Empty header value", "9110 5.5", field(b"X-Empty-Header: "), Wants::Kept(&[200])),
        ("h1spec Request with Expect header", "9110 10.1.1", field(b"Expect: 100-continue"), Wants::Kept(&[200])),
        ("h1spec Invalid header characters", "9112 5", field(b"X-Invalid[]: test"), BAD),
        ("h1spec Header containing invalid control character", "9110 5.5", field(b"X-Bad: test\x07"), BAD),
        ("RFC9110-5.6.2-SP-BEFORE-COLON", "9112 5.1", field(b"X-Test : value"), BAD),
        ("NORM-SP-BEFORE-COLON-CL", "9112 5.1", field(b"Content-Length : 0"), BAD),
        ("NORM-TAB-IN-NAME", "9112 5", field(b"Content\tLength: 0"), BAD),
        ("RFC9112-5.1-OBS-FOLD", "9112 5.2", field(b"X-Test: value\r\n continued"), BAD),
        ("RFC9112-5-EMPTY-HEADER-NAME", "9112 5", field(b": empty-name"), BAD),
        ("RFC9112-5-INVALID-HEADER-NAME", "9112 5", field(b"Bad[Name: value"), BAD),
        ("RFC9112-5-HEADER-NO-COLON", "9112 5", field(b"NoColonHere"), BAD),
        ("COMP-WHITESPACE-BEFORE-HEADERS", "9112 2.2", with(target, " \r\nHost: localhost"), BAD),
        ("MAL-CONTROL-CHARS-HEADER", "9110 5.5", field(b"X-Test: abc\x07\x08\x0bdef"), BAD),
        ("MAL-NUL-IN-HEADER-VALUE", "9110 5.5", field(b"X-Test: a\0b"), BAD),
        ("SMUG-BARE-CR-HEADER-VALUE", "9112 2.2", field(b"X-Test: val\rue"), BAD),
        ("MAL-NON-ASCII-HEADER-NAME", "9112 5", field("X-Tëst: value".as_bytes()), BAD),
        ("h1spec Negative Content-Length header", "9110 8.6", field(b"Content-Length: -1234"), BAD),
        ("h1spec Overflowing negative Content-Length", "9110 8.6", field(b"Content-Length: -123456789123456789123456789"), BAD),
        ("h1spec Non-numeric Content-Length header", "9110 8.6", field(b"Content-Length: abc"), BAD),
        ("h1spec Conflicting Transfer-Encoding and Content-Length", "9112 6.1", field(b"Transfer-Encoding: chunked\r\nContent-Length: 5"), BAD),
        ("COMP-CONNECTION-CLOSE", "9112 9.6", field(b"Connection: close"), Wants::Last(&[200])),
        ("close among other options", "9112 9.6", field(b"Connection: x-other , Close"), Wants::Last(&[200])),
        ("close in a line of its own", "9112 9.6", field(b"Connection: keep-alive\r\nConnection: close"), Wants::Last(&[200])),
    ]
}

/// Protocols that are not spoken here (RFC 9110 §7.8).
#[rustfmt::skip]
fn switches(target: &str) -> Vec<Case> {
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let field = |fields: &str| with(target, &format!("Host: localhost\r\n{fields}"));
    let upgrade = format!("Connection: Upgrade\r\nUpgrade: websocket\r\n{key}\r\nSec-WebSocket-Version: 13");
    vec![
        ("COMP-UPGRADE-POST", "6455 4.1", format!("POST {target} HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n\r\n").into_bytes(), Wants::Kept(&[405])),
        ("COMP-UPGRADE-MISSING-CONN", "9110 7.8", field(&upgrade.replace("Connection: Upgrade\r\n", "")), Wants::Kept(&[200])),
        ("COMP-UPGRADE-UNKNOWN", "9110 7.8", field("Connection: Upgrade\r\nUpgrade: totally-made-up/1.0"), Wants::Kept(&[200])),
        ("COMP-UPGRADE-INVALID-VER", "6455 4.4", field(&upgrade.replace("13", "99")), Wants::Kept(&[200])),
        ("HTTP/2 by upgrade", "9113 3.1", field("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk"), Wants::Kept(&[200])),
        ("MAL-H2-PREFACE", "9113 3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), Wants::Incomplete),
    ]
}

/// More than is read (RFC 9110 §5.4, §15.5.15).
#[rustfmt::skip]
fn long(target: &str) -> Vec<Case> {
    let field = |field: String| with(target, &format!("Host: localhost\r\n{field}"));
    let long = "A".repeat(100_000);
    let many: Vec<String> = (0..10_000).map(|n| format!("X-H-{n}: value")).collect();
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes();
    vec![
        ("MAL-LONG-URL", "9112 3", get(&format!("/{long}")), Wants::Last(&[414, 431])),
        ("MAL-LONG-HEADER-VALUE", "9110 5.4", field(format!("X-Big: {long}")), Wants::Last(&[431])),
        ("MAL-LONG-HEADER-NAME", "9110 5.4", field(format!("{long}: val")), Wants::Last(&[431])),
        ("MAL-MANY-HEADERS", "9110 5.4", field(many.join("\r\n")), Wants::Last(&[431])),
        ("a few too many headers", "9110 5.4", field(many[..65].join("\r\n")), Wants::Last(&[431])),
    ]
}
