//! Any bytes as what a client sends first: the head as hyper reads it, and all that a handshake looks at.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::pin;
use std::task::{Context, Waker};

use common::http1::{Answer, check_head};
use common::limits::{HEAD_BYTES_MAX, ROOMS_PER_CLIENT_MAX};
use common::names;
use data_encoding::BASE64;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::{check, ticket};
use crate::admission::{self, Admission};
use crate::deflate::negotiate;

/// Looks at a connection before it must have ended: all bytes are there from the start.
const LOOKS_MAX: usize = 10_000;

/// Any bytes as what a client sends first.
///
/// # Panics
/// If a handshake is accepted that should not be, or leaves what no session can use.
pub fn handshake(data: &[u8]) {
    let requests = Cell::new(0);
    let service = service_fn(|request: Request<Incoming>| {
        requests.set(requests.get() + 1);
        // Of what comes behind the first answer, the tap of a connection sees other bytes.
        let raw = (requests.get() == 1).then_some(data);
        let answer = answer(&request, raw);
        async { Ok::<_, Infallible>(answer) }
    });
    let stream = TokioIo::new(tokio::io::join(data, tokio::io::sink()));
    let mut connection = pin!(Builder::new().max_buf_size(HEAD_BYTES_MAX).serve_connection(stream, service));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..LOOKS_MAX {
        if connection.as_mut().poll(&mut context).is_ready() {
            return;
        }
    }
    panic!("all was read, and it does not end");
}

fn answer(request: &Request<Incoming>, raw: Option<&[u8]>) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::BAD_REQUEST;
    if let Some(raw) = raw {
        if check_head(request, raw).is_err() {
            return answer;
        }
        let is_chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
        assert!(!is_chunked || !has_field(raw, "content-length"), "two lengths");
    }
    check_wishes(request);
    let Ok(key) = check(request) else { return answer };
    assert_eq!((request.method(), request.version()), (&Method::GET, Version::HTTP_11));
    assert_eq!(BASE64.decode(&key).map(|nonce| nonce.len()), Ok(16));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer
}

/// What the query and the headers ask for. It is looked at only behind a good head; here always.
fn check_wishes(request: &Request<Incoming>) {
    let (query, headers) = (request.uri().query().unwrap_or(""), request.headers());
    for open in [true, false] {
        let ticket =
            ticket(query, headers, &Admission { open, ..Admission::default() }, ROOMS_PER_CLIENT_MAX);
        assert!(ticket.rooms.len() <= ROOMS_PER_CLIENT_MAX, "{} rooms", ticket.rooms.len());
        assert!(ticket.rooms.iter().chain(&ticket.identity.user).all(|name| names::check(name).is_ok()));
        assert_ne!(ticket.identity.app, Some(0));
        assert!(open || ticket.refused.is_some(), "without a token");
    }
    let offers = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).iter().map(HeaderValue::as_bytes);
    if let Some(agreed) = negotiate(offers) {
        let said = agreed.answer();
        assert!(said.to_str().is_ok_and(|said| said.starts_with("permessage-deflate; ")), "{said:?}");
    }
    if let Some(protocol) = admission::subprotocol(headers) {
        assert!(!protocol.as_bytes().contains(&b','), "one of them");
    }
}

/// Whether a line of the first head is a field of this name.
fn has_field(raw: &[u8], name: &str) -> bool {
    let lines = raw.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut head = lines.take_while(|line| !line.is_empty());
    head.any(|line| {
        let field = line.split(|byte| *byte == b':').next().unwrap_or_default();
        field.eq_ignore_ascii_case(name.as_bytes())
    })
}
