//! Serving HTTP/1.1, for every port of ours that speaks it: hyper, with what bare hyper leaves open closed.
//!
//! Closed here: a `Host` that is missing, repeated or none (RFC 9112 §3.2), targets that are not ASCII,
//! `Transfer-Encoding` beside `Content-Length` (§6.1), codings that nobody undoes, chunks beside the grammar (§7.1),
//! heads and bodies that never end, panics in a handler, and a close that resets the connection before the peer has
//! read the answer (§9.6).

mod bounds;
pub mod call;
mod chunks;
mod fields;
mod head;

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::accept::{self, Accepted};
use crate::edge::Edge;
use crate::ids::Instance;
use crate::limits::{BODY_TIME_MAX, HEADERS_MAX};
use crate::problem::Problem;
use crate::shutdown::Shutdown;
use crate::tasks::Tasks;
use crate::tls::{Acceptor, Reason};
pub use bounds::{Bounds, Over};
use head::{Tap, Tapped};

/// The response that all our handlers make.
pub type Answer = Response<Full<Bytes>>;

/// An idle connection is kept this long for its next request.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// After the last answer, this long and this much are read from a peer that still sends.
const LINGER_TIME_MAX: Duration = Duration::from_millis(500);
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// Made once: a name in text is checked and hashed at each use.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What makes answers.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Answers one request. `request_id` goes into problems; the header is set by the caller.
    fn handle(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        request_id: &str,
    ) -> impl Future<Output = Answer> + Send;

    /// How large a head may be, and how long it may take.
    fn bounds(&self) -> Bounds {
        Bounds::default()
    }

    /// Something was refused because it was over one of these bounds.
    fn refused(&self, _over: Over) {}

    /// A connection did not get the TLS that is spoken on the port.
    fn refused_tls(&self, _why: Reason) {}

    /// Which proxies in front of the port are believed.
    fn edge(&self) -> Option<Arc<Edge>> {
        None
    }
}

/// Where connections come in.
#[derive(Debug)]
pub struct Port {
    /// The listener.
    pub listener: TcpListener,
    /// They come with TLS.
    pub tls: Option<Acceptor>,
}

impl From<TcpListener> for Port {
    /// Without TLS.
    fn from(listener: TcpListener) -> Self {
        Self { listener, tls: None }
    }
}

/// Takes connections until the drain, and finishes the requests that were begun. At most `most` at a time;
/// more wait in the backlog.
pub async fn serve(
    port: impl Into<Port>,
    handler: impl Handler,
    tasks: Tasks,
    shutdown: Shutdown,
    most: usize,
) {
    let Port { listener, tls } = port.into();
    let places = Arc::new(tokio::sync::Semaphore::new(most));
    while let Some(place) = shutdown.or_draining(places.clone().acquire_owned()).await {
        let Some(accepted) = shutdown.or_draining(accept::next(&listener)).await else { return };
        match accepted {
            Accepted::Exhausted(error) => {
                tracing::warn!(%error, "out of descriptors: new calls wait; raise their limit (LimitNOFILE, ulimit -n)")
            }
            Accepted::Connection(mut stream, peer) => {
                let (handler, shutdown, tls) = (handler.clone(), shutdown.clone(), tls.clone());
                tasks.spawn(async move {
                    let _place = place;
                    let origin = bounds::origin(&mut stream, peer, &handler);
                    let Some(Some(peer)) = shutdown.or_stopped(origin).await else { return };
                    // Boxed: hyper's connection is large and lives in a task of its own.
                    match tls {
                        None => _ = Box::pin(drive(stream, peer, handler, &shutdown)).await,
                        Some(tls) => Box::pin(drive_tls(tls, stream, peer, handler, &shutdown)).await,
                    }
                });
            }
        }
    }
}

/// The same with TLS, whose handshake has as much time as a head.
async fn drive_tls(
    tls: Acceptor,
    stream: TcpStream,
    peer: SocketAddr,
    handler: impl Handler,
    shutdown: &Shutdown,
) {
    let shaken = tokio::time::timeout(handler.bounds().head_time_max, tls.accept(stream));
    match shutdown.or_stopped(shaken).await {
        Some(Ok(Ok(stream))) => _ = drive(stream, peer, handler, shutdown).await,
        Some(Ok(Err(refused))) => {
            handler.refused_tls(refused.reason());
            tracing::debug!(%peer, error = %refused, "a connection without its TLS");
        }
        Some(Err(_)) => {
            handler.refused(Over::HeadTime);
            handler.refused_tls(Reason::Late);
            tracing::debug!(%peer, "a TLS handshake took too long");
        }
        None => {}
    }
}

/// A connection whose handler answered 101: the socket, what was read from it beyond the request, and the head of
/// the answer, which is yet to be written, before anything else.
#[derive(Debug)]
pub struct Switched<S> {
    /// The socket.
    pub stream: S,
    /// Bytes that came after the request's head.
    pub read: Bytes,
    /// The head of the answer.
    pub answer: Bytes,
}

/// What ends a connection besides its peer.
enum Aside {
    Drain,
    Stop,
    Late(head::Late),
}

/// Serves one connection to its end. Gives the socket back if the handler answered 101.
pub async fn drive<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    peer: SocketAddr,
    handler: impl Handler,
    shutdown: &Shutdown,
) -> Option<Switched<S>> {
    // By reference: the connection ends before what it borrows.
    let (handler, tap, bounds) = (&handler, &Tap::default(), handler.bounds());
    let service = service_fn(|request| Box::pin(answer(handler, request, peer, tap)));
    let mut connection = http1::Builder::new()
        .max_buf_size(bounds.head_bytes_max)
        .serve_connection(TokioIo::new(Tapped::new(stream, tap)), service);
    let aside = |is_draining: bool| async move {
        tokio::select! {
            () = shutdown.stopped() => Aside::Stop,
            () = shutdown.draining(), if !is_draining => Aside::Drain,
            late = tap.late(bounds.head_time_max, KEEP_ALIVE) => Aside::Late(late),
        }
    };
    // A set of one: it is polled when its own waker was called, and not at each step of the connection. A timer
    // and two signals that all connections share behind locks were 5 % of a request.
    let mut asides = FuturesUnordered::from_iter([aside(false)]);
    let mut last_words = Vec::new();
    let ended = loop {
        tokio::select! {
            biased;
            ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => {
                // hyper has answered 431.
                if ended.as_ref().is_err_and(hyper::Error::is_parse_too_large) {
                    handler.refused(Over::HeadBytes);
                }
                break ended.is_ok();
            }
            Some(event) = asides.next() => match event {
                Aside::Stop => return None,
                Aside::Late(late) => {
                    if late == head::Late::Head {
                        handler.refused(Over::HeadTime);
                        last_words = bounds::late_head(bounds.head_time_max);
                    }
                    break false;
                }
                Aside::Drain => {
                    std::pin::Pin::new(&mut connection).graceful_shutdown();
                    asides.push(aside(true));
                }
            }
        }
    };
    let parts = connection.into_parts();
    let (stream, held) = parts.io.into_inner().into_inner();
    if ended && tap.is_switched() {
        return Some(Switched { stream, read: parts.read_buf, answer: held.into() });
    }
    shutdown.or_stopped(linger(stream, &last_words)).await;
    None
}

/// Answers one request, whatever happens in the handler.
async fn answer(
    handler: &impl Handler,
    request: Request<Incoming>,
    peer: SocketAddr,
    tap: &Tap,
) -> Result<Answer, Infallible> {
    let request_id = request_id(&request);
    let mut answer = match head::check(&request, tap, handler.bounds().headers_max) {
        Err(problem) => {
            if problem.status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE {
                handler.refused(Over::Headers);
            }
            let mut answer = problem.response(&request_id);
            answer.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
            answer
        }
        // What all of a server takes is not asked of a handler, which knows paths (RFC 9110 §9.3.7).
        Ok(()) if request.uri().path() == "*" => {
            let mut answer = Answer::default();
            *answer.status_mut() = StatusCode::NO_CONTENT;
            answer
        }
        Ok(()) => {
            // Pinned here, where it was made: passed on by value, it would be there twice and copied.
            let mut handled = pin!(handler.handle(request, peer, &request_id));
            let guarded = poll_fn(|cx| {
                let polled = catch_unwind(AssertUnwindSafe(|| handled.as_mut().poll(cx)));
                polled.unwrap_or_else(|_| Poll::Ready(panicked(&request_id)))
            });
            guarded.await
        }
    };
    if let Ok(value) = HeaderValue::try_from(request_id) {
        answer.headers_mut().insert(REQUEST_ID, value);
    }
    tap.answered(answer.status() == StatusCode::SWITCHING_PROTOCOLS);
    Ok(answer)
}

/// The answer of a handler that panicked.
fn panicked(request_id: &str) -> Answer {
    tracing::error!(%request_id, "a handler panicked and its caller got 500: a bug of ours, to be reported with the lines before this one");
    let detail = "an error of ours; it is in the log under this request id";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).response(request_id)
}

/// The caller's `X-Request-Id` if it is 1 to 128 visible ASCII characters, or a new one.
fn request_id<B>(request: &Request<B>) -> String {
    request
        .headers()
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|text| (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()))
        .map_or_else(|| Instance::random().to_string(), str::to_owned)
}

/// Reads a body of at most `bytes_max` in [`BODY_TIME_MAX`].
///
/// # Errors
/// As [`body_within`].
pub async fn body(body: Incoming, bytes_max: usize) -> Result<Bytes, Problem> {
    body_within(body, bytes_max, BODY_TIME_MAX).await
}

/// Reads a body of at most `bytes_max`.
///
/// # Errors
/// 413 when it is longer (before reading, if it says so), 408 when it takes longer than `time_max`, 400 when it
/// breaks off.
pub async fn body_within(body: Incoming, bytes_max: usize, time_max: Duration) -> Result<Bytes, Problem> {
    let too_long = || {
        let detail = format!("the body is longer than {bytes_max} bytes; send less at a time");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
    };
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_long());
    }
    let mut collected = pin!(Limited::new(body, bytes_max).collect());
    // hyper reads on once it was asked, and wakes us: most bodies are there at the second look, without a timer.
    let mut looks = 0;
    let looked = poll_fn(|cx| {
        looks += 1;
        match collected.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if looks > 1 => Poll::Ready(None),
            Poll::Pending => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    });
    let done = match looked.await {
        Some(done) => Ok(done),
        None => tokio::time::timeout(time_max, collected).await,
    };
    match done {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
        Ok(Err(error)) => {
            Err(Problem::new(StatusCode::BAD_REQUEST, "body_broken", format!("the body broke off: {error}")))
        }
        Err(_) => {
            let detail = format!("the body was not complete after {time_max:?}");
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", detail))
        }
    }
}

/// Checks the head of a connection's first request as [`drive`] does, `raw` being all that has come. For fuzzing.
///
/// # Errors
/// What is wrong with it.
#[doc(hidden)]
pub fn check_head<B>(request: &Request<B>, raw: &[u8]) -> Result<(), Problem> {
    let tap = Tap::default();
    // What is no body is no head either, and found by the check.
    _ = tap.saw(raw);
    head::check(request, &tap, HEADERS_MAX)
}

/// 404 for a path that is not there.
#[must_use]
pub fn not_found(path: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {path}"))
}

/// 405 for a method that a path does not take; `allow` lists those that it takes.
#[must_use]
pub fn method_not_allowed(allow: &'static str) -> Problem {
    let mut problem = Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("this path takes {allow}"),
    );
    problem.allow = Some(allow);
    problem
}

/// 200 with a body of a media type.
#[must_use]
pub fn ok(media_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    answer.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}

/// Closes so that the peer can read the last answer: a socket closed with unread bytes in it is reset, and
/// the reset may overtake the answer (RFC 9112 §9.6). `last_words` are written before.
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin, last_words: &[u8]) {
    let drained = async {
        stream.write_all(last_words).await.ok()?;
        stream.shutdown().await.ok()?;
        let mut scrap = vec![0_u8; 8 * 1024];
        let mut left = LINGER_BYTES_MAX;
        while left > 0 {
            match stream.read(&mut scrap).await {
                Ok(0) | Err(_) => break,
                Ok(read) => left = left.saturating_sub(read),
            }
        }
        Some(())
    };
    let _ = tokio::time::timeout(LINGER_TIME_MAX, drained).await;
}
