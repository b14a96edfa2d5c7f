//! Any server, measured from outside: a small one that does what it is told, and one thing wrong if it is told so.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use common::http1::{self, Answer, Handler};
use common::shutdown::Shutdown;
use common::tasks::Tasks;
use futures_util::{SinkExt, StreamExt};
use http::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use loadtest::any::{self, Dialect, Error, Load, Measured, Publishing};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

/// What the server does wrong, to its first client, with the third item that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Lose,
    Double,
    /// Keeps it until the next.
    Delay,
    Change,
    /// Closes the client instead.
    Close,
    /// Refuses it, for all.
    Refuse,
    /// Closes every client after the handshake.
    Reject,
    /// Does not subscribe anybody.
    Ignore,
}

/// How it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// What is posted is passed on.
    Plain,
    /// Clients say what they want, and get JSON.
    Json,
    /// A protocol of its own, in pieces of binary messages, with pings that are messages; published to over WebSocket.
    Stream,
}

#[derive(Clone)]
struct Server {
    manner: Manner,
    fault: Fault,
    clients: Arc<Mutex<Vec<mpsc::Sender<Message>>>>,
    counted: Arc<Mutex<u32>>,
    held: Arc<Mutex<Option<String>>>,
}

struct Running {
    clients: SocketAddr,
    publish: SocketAddr,
    _stop: Stop,
}

struct Stop(Shutdown);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Server {
    async fn start(manner: Manner, fault: Fault) -> Running {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        let server =
            Self { manner, fault, clients: Arc::default(), counted: Arc::default(), held: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let publishers = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (clients, publish) = (listener.local_addr().unwrap(), publishers.local_addr().unwrap());
        tasks.spawn(http1::serve(publishers, server.clone(), tasks.clone(), shutdown.clone(), 8));
        let inner = tasks.clone();
        tasks.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let server = server.clone();
                inner.spawn(async move { server.client(stream).await });
            }
        });
        Running { clients, publish, _stop: Stop(shutdown) }
    }

    async fn client(self, stream: TcpStream) {
        let Ok(mut socket) = Box::pin(tokio_tungstenite::accept_async(stream)).await else { return };
        if self.fault == Fault::Reject {
            _ = socket.close(None).await;
            return;
        }
        let (mut sink, mut messages) = socket.split();
        let (sender, mut outbox) = mpsc::channel::<Message>(64);
        if self.manner == Manner::Plain {
            self.subscribe(&sender);
        }
        loop {
            tokio::select! {
                Some(message) = outbox.recv() => if sink.send(message).await.is_err() { return },
                message = messages.next() => {
                    let Some(Ok(message)) = message else { return };
                    let text = String::from_utf8_lossy(&message.into_data()).into_owned();
                    if text.starts_with("join ") || text.starts_with(r#"{"join""#) {
                        self.subscribe(&sender);
                    } else if let Some(item) = text.strip_prefix("pub ") {
                        self.push(item);
                    }
                }
            }
        }
    }

    fn subscribe(&self, sender: &mpsc::Sender<Message>) {
        if self.fault != Fault::Ignore {
            self.clients.lock().push(sender.clone());
        }
        let joined = match self.manner {
            Manner::Plain => return,
            Manner::Json => Message::text(r#"{"reply":"joined"}"#),
            // A client that does not answer is not told that it has joined.
            Manner::Stream => Message::binary("ping\n joined"),
        };
        sender.try_send(joined).unwrap();
    }

    /// Whether it was taken.
    fn push(&self, item: &str) -> bool {
        let is_third = item.contains(r#""s":0,"#) && {
            let mut counted = self.counted.lock();
            *counted += 1;
            *counted == 3
        };
        if is_third && self.fault == Fault::Refuse {
            return false;
        }
        let clients = self.clients.lock().clone();
        for (number, client) in clients.iter().enumerate() {
            let fault = if is_third && number == 0 { self.fault } else { Fault::None };
            match fault {
                Fault::Lose => {}
                Fault::Double => [item, item].iter().for_each(|item| self.send(client, item)),
                Fault::Delay => *self.held.lock() = Some(item.to_owned()),
                Fault::Change => {
                    self.send(client, &item.replace(r#""f":"A"#, r#""f":"B"#).replace("XYZ", "XYY"))
                }
                Fault::Close => client.try_send(Message::Close(None)).unwrap(),
                _ => {
                    self.send(client, item);
                    if let Some(held) = (number == 0).then(|| self.held.lock().take()).flatten() {
                        self.send(client, &held);
                    }
                }
            }
        }
        true
    }

    fn send(&self, client: &mpsc::Sender<Message>, item: &str) {
        let all = match self.manner {
            Manner::Plain => vec![Message::text(item.to_owned())],
            Manner::Json => vec![Message::text(format!(r#"{{"items":[{{"data":{item}}}]}}"#))],
            Manner::Stream => {
                let text = format!("item 200 {item}\n");
                let (one, other) = text.split_at(60);
                vec![Message::binary(one.to_owned()), Message::binary(other.to_owned())]
            }
        };
        // A client that was closed is told no more.
        all.into_iter().for_each(|message| _ = client.try_send(message));
    }
}

impl Handler for Server {
    async fn handle(&self, request: Request<Incoming>, _peer: SocketAddr, _request_id: &str) -> Answer {
        assert_eq!(request.headers().get("x-key").map(|value| value.as_bytes()), Some(&b"k"[..]));
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        let item = body.strip_prefix(r#"{"data":"#).and_then(|rest| rest.strip_suffix('}')).unwrap_or(&body);
        let mut answer = http1::ok("text/plain", Bytes::from_static(b"ok"));
        if !self.push(item) {
            *answer.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        }
        answer
    }
}

impl Running {
    fn dialect(&self, manner: Manner) -> (Dialect, Publishing) {
        let url = format!("ws://{}/sub/{{client}}", self.clients);
        let plain = Dialect { url: url.clone(), ..Dialect::default() };
        let headers = vec!["X-Key: k".to_owned()];
        let http =
            Publishing { url: format!("http://{}/pub", self.publish), headers, ..Publishing::default() };
        match manner {
            Manner::Plain => (plain, http),
            Manner::Json => (
                Dialect {
                    subscribe: vec![r#"{"join":"c{client}"}"#.into()],
                    ready: Some("joined".into()),
                    pattern: "json:/items/*/data".parse().unwrap(),
                    ..plain
                },
                Publishing { body: r#"{"data":{item}}"#.into(), ..http },
            ),
            Manner::Stream => (
                Dialect {
                    binary: true,
                    streamed: true,
                    subscribe: vec!["join {client}".into()],
                    ready: Some("joined".into()),
                    replies: vec!["ping=pong".parse().unwrap()],
                    pattern: "after:item 200 ".parse().unwrap(),
                    ..plain
                },
                Publishing { url, binary: true, body: "pub {item}".into(), ..Publishing::default() },
            ),
        }
    }
}

async fn measure(manner: Manner, fault: Fault) -> Result<Measured, Error> {
    let server = Server::start(manner, fault).await;
    let (dialect, publishing) = server.dialect(manner);
    let load = Load {
        clients: 20,
        publishes: 6,
        every: Duration::from_millis(10),
        rest: Duration::ZERO,
        drain: Duration::from_millis(300),
        ..Load::default()
    };
    let measured = tokio::task::spawn_blocking(move || {
        any::measure(&dialect, &publishing, &load, &[std::process::id()], &AtomicBool::new(false))
    });
    measured.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_item_is_counted_at_every_client_however_a_server_speaks() {
    for manner in [Manner::Plain, Manner::Json, Manner::Stream] {
        let measured = measure(manner, Fault::None).await.unwrap();
        assert_eq!(measured.faults(), Vec::<String>::new(), "{manner:?}: {measured}");
        assert_eq!((measured.expected, measured.delivered, measured.frames), (120, 120, 120), "{manner:?}");
        assert_eq!(measured.latency.count, 120, "{manner:?}");
        assert!(measured.processes >= 1 && measured.cpu_us_per_frame > 0.0, "{manner:?}: {measured}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_planted_is_found_and_nothing_else() {
    for (fault, found) in [
        (Fault::Lose, "1 lost"),
        (Fault::Double, "1 duplicated"),
        (Fault::Delay, "1 reordered"),
        (Fault::Change, "1 lost, 1 corrupted"),
        (Fault::Close, "4 lost, 1 clients lost"),
        (Fault::Refuse, "1 publishes refused"),
    ] {
        let measured = measure(Manner::Plain, fault).await.unwrap();
        assert_eq!(measured.faults().join(", "), found, "{fault:?}: {measured}");
        assert!(!measured.examples.is_empty() || fault == Fault::Lose, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_what_it_was_said_to_be_is_told_so() {
    let error = measure(Manner::Json, Fault::Reject).await.unwrap_err();
    assert!(error.exit_code() == 69 && error.to_string().contains("closed"), "{error}");
    let server = Server::start(Manner::Plain, Fault::None).await;
    let (dialect, publishing) = server.dialect(Manner::Plain);
    let bad = |dialect: Dialect, publishing: Publishing, load: Load| {
        any::measure(&dialect, &publishing, &load, &[], &AtomicBool::new(false)).unwrap_err()
    };
    let small = Load { clients: 2, rest: Duration::ZERO, ..Load::default() };
    tokio::task::block_in_place(|| {
        let nobody = Dialect { url: "ws://127.0.0.1:1".into(), ..dialect.clone() };
        let error = bad(nobody, publishing.clone(), small.clone());
        assert!(error.exit_code() == 69 && error.to_string().contains("cannot connect"), "{error}");
        let error =
            bad(Dialect { url: "wss://h".into(), ..dialect.clone() }, publishing.clone(), small.clone());
        assert_eq!(error.exit_code(), 2, "{error}");
        let error = bad(dialect, publishing, Load { clients: 0, ..small });
        assert_eq!(error.exit_code(), 2, "{error}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_nothing_reaches_are_counted() {
    let error = measure(Manner::Json, Fault::Ignore).await.unwrap_err();
    assert!(error.to_string().contains("0 of 20 clients"), "{error}");
}
