//! Who publishes: one connection, one item after the other, in the order of their times.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{Connection, SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::runtime::Runtime;

use super::dialect::Publishing;
use super::frames::{self, Next};
use super::place::Place;
use super::{Error, handshake as upgrade};

/// An answer that takes longer never comes.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// The publisher's number, which no client has.
const NUMBER: u32 = u32::MAX;

pub(super) enum Publisher {
    Http(Box<Http>),
    Socket(Box<Socket>),
}

impl Publisher {
    pub(super) fn open(publishing: &Publishing) -> Result<Self, Error> {
        if publishing.url.starts_with("ws") {
            return Socket::open(publishing).map(Box::new).map(Self::Socket);
        }
        Http::open(publishing).map(Box::new).map(Self::Http)
    }

    /// Publishes an item; `Err`: it was not taken, and why.
    pub(super) fn publish(&mut self, item: &str) -> Result<(), String> {
        match self {
            Self::Http(http) => http.publish(item),
            Self::Socket(socket) => socket.publish(item),
        }
    }
}

type Open = (SendRequest<Full<Bytes>>, Pin<Box<Connection<TokioIo<tokio::net::TcpStream>, Full<Bytes>>>>);

/// HTTP/1, on a connection that is kept.
pub(super) struct Http {
    publishing: Publishing,
    place: Place,
    address: SocketAddr,
    runtime: Runtime,
    open: Option<Open>,
}

impl Http {
    fn open(publishing: &Publishing) -> Result<Self, Error> {
        let place = Place::parse(&publishing.url, "http")?;
        let address = place.resolve()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::Broken(format!("cannot publish: {error}")))?;
        let http = Self { publishing: publishing.clone(), place, address, runtime, open: None };
        http.request("").map_err(Error::Usage)?;
        Ok(http)
    }

    fn request(&self, item: &str) -> Result<Request<Full<Bytes>>, String> {
        let Publishing { method, headers, .. } = &self.publishing;
        let method = if method.is_empty() { "POST" } else { method };
        let mut request = Request::builder().method(method).uri(&self.place.target);
        request = request.header(header::HOST, &self.place.authority);
        for each in headers {
            let (name, value) =
                each.split_once(':').ok_or(format!("{each:?} is no header: NAME: VALUE is expected"))?;
            request = request.header(name.trim(), value.trim());
        }
        if !headers.iter().any(|each| each.to_ascii_lowercase().starts_with("content-type")) {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = Full::new(Bytes::from(self.publishing.fill(item)));
        request.body(body).map_err(|error| format!("a publish cannot be written so: {error}"))
    }

    /// Each call has a connection of its own.
    fn closes(&self) -> bool {
        self.publishing.headers.iter().any(|field| field.eq_ignore_ascii_case("connection: close"))
    }

    fn publish(&mut self, item: &str) -> Result<(), String> {
        let mut last = String::new();
        // A server may close a connection that it has kept for a while: then the request never left, and is made again.
        for _ in 0..2 {
            let request = self.request(item)?;
            let (place, open, address) = (&self.place, self.open.take(), self.address);
            let call = async {
                let mut open = match open {
                    Some(open) => open,
                    None => connect(address).await.map_err(|error| (false, error.to_string()))?,
                };
                let answered = call(&mut open, request).await;
                answered.map(|is_good| (open, is_good))
            };
            let called =
                self.runtime.block_on(async { tokio::time::timeout(ANSWER_TIME_MAX, Box::pin(call)).await });
            match called {
                Err(_) => return Err(format!("{}: no answer within 10 s", place.authority)),
                Ok(Ok((open, answered))) => {
                    self.open = Some(open).filter(|_| !self.closes());
                    return answered;
                }
                Ok(Err((unsent, why))) => {
                    last = format!("{}: {why}", place.authority);
                    if !unsent {
                        break;
                    }
                }
            }
        }
        Err(last)
    }
}

async fn connect(address: SocketAddr) -> Result<Open, Box<dyn std::error::Error>> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    Ok((sender, Box::pin(connection)))
}

/// Makes a call, and drives the connection meanwhile. The error says whether the request never left.
async fn call(open: &mut Open, request: Request<Full<Bytes>>) -> Result<Result<(), String>, (bool, String)> {
    let (sender, connection) = open;
    let mut answer = Box::pin(async move {
        sender.ready().await.map_err(|error| (true, error.to_string()))?;
        let answer =
            sender.send_request(request).await.map_err(|error| (error.is_canceled(), error.to_string()))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| (false, error.to_string()))?.to_bytes();
        if status.is_success() {
            return Ok(Ok(()));
        }
        let body: String =
            String::from_utf8_lossy(&body).chars().filter(|c| !c.is_control()).take(200).collect();
        Ok(Err(format!("a publish was answered {status} {body}").trim_end().to_owned()))
    });
    tokio::select! {
        biased;
        answer = &mut answer => return answer,
        // It has ended, but what it has read may be the answer.
        _ended = connection.as_mut() => {}
    }
    answer.await
}

/// Messages on a WebSocket: nothing says that they were taken but that the connection lives.
pub(super) struct Socket {
    publishing: Publishing,
    stream: TcpStream,
    /// What came and was not read yet.
    bytes: Vec<u8>,
    random: fastrand::Rng,
}

impl Socket {
    fn open(publishing: &Publishing) -> Result<Self, Error> {
        let place = Place::parse(&publishing.url, "ws")?;
        let away = |why: String| Error::Unavailable(format!("{}: the publisher: {why}", place.authority));
        let broken = |error: io::Error| away(error.to_string());
        let stream = TcpStream::connect_timeout(&place.resolve()?, ANSWER_TIME_MAX).map_err(broken)?;
        stream
            .set_read_timeout(Some(ANSWER_TIME_MAX))
            .and_then(|()| stream.set_nodelay(true))
            .map_err(broken)?;
        let mut socket =
            Self { publishing: publishing.clone(), stream, bytes: Vec::new(), random: fastrand::Rng::new() };
        let request = upgrade::request(&place, &publishing.headers, None, (NUMBER, 0));
        socket.stream.write_all(request.as_bytes()).map_err(broken)?;
        let head = loop {
            if let Some(head) = upgrade::answer(&socket.bytes, (NUMBER, 0)).map_err(away)? {
                break head;
            }
            if !socket.read().map_err(broken)? {
                return Err(away("it closed without an answer to the handshake".into()));
            }
        };
        socket.bytes.drain(..head);
        for first in &publishing.first {
            socket.say(first).map_err(broken)?;
        }
        socket.stream.set_nonblocking(true).map_err(broken)?;
        Ok(socket)
    }

    /// Reads once; whether there was anything.
    fn read(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        let read = self.stream.read(&mut buffer)?;
        self.bytes.extend_from_slice(&buffer[..read]);
        Ok(read > 0)
    }

    fn say(&mut self, text: &str) -> io::Result<()> {
        let key = self.random.u32(..).to_be_bytes();
        let frame = frames::message(self.publishing.binary, text.as_bytes(), key);
        self.stream.set_nonblocking(false)?;
        self.stream.write_all(&frame)?;
        self.stream.set_nonblocking(true)
    }

    fn publish(&mut self, item: &str) -> Result<(), String> {
        let lost = |error: io::Error| format!("the publisher's connection broke: {error}");
        loop {
            match self.read() {
                Ok(true) => {}
                Ok(false) => return Err("the publisher's connection was closed".into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(lost(error)),
            }
        }
        self.answer().map_err(lost)?;
        self.say(&self.publishing.fill(item)).map_err(lost)
    }

    /// Answers what wants an answer; everything else is passed over.
    fn answer(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.bytes);
        let mut used = 0;
        loop {
            match frames::next(&bytes[used..]) {
                Next::Message(payload, length) => {
                    used += length;
                    let replies = self.publishing.replies.clone();
                    if let Some(reply) = replies.iter().find(|reply| payload.starts_with(reply.to.as_bytes()))
                    {
                        self.say(&reply.with)?;
                    }
                }
                Next::Ping(_, length) | Next::Pong(length) => used += length,
                Next::Close(..) => return Err(io::Error::other("it was closed")),
                Next::Wrong(what) => return Err(io::Error::other(format!("it sent {what}"))),
                Next::Part => break,
            }
        }
        self.bytes = bytes[used..].to_vec();
        Ok(())
    }
}
