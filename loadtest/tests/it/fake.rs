//! A cluster of one small fake: enough of the contract for the load tool, and faults on demand.
//!
//! It shares no code with the nodes, so that a mistake there is not repeated here.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use common::http1::{self, Answer, Handler};
use common::shutdown::Shutdown;
use common::tasks::Tasks;
use flate2::{Compress, Compression, FlushCompress};
use futures_util::{SinkExt, StreamExt};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};

/// What the fake does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Fault {
    #[default]
    None,
    /// One client does not get one item.
    Lose,
    /// One client gets one item twice.
    Duplicate,
    /// One client gets two items of one stream the wrong way round.
    Reorder,
    /// One client gets one item with a changed byte.
    Corrupt,
    /// One client gets the last item of 200 a second and a half after the others.
    Late,
    /// One client gets an item of somebody else.
    Misdeliver,
    /// Every third push is refused with 503.
    Refuse,
    /// Gateway 1 takes no item, and the 202 says so.
    Fail,
    /// The tenth push breaks off every connection of gateway 1.
    Cut,
    /// The tenth push is answered 503, and delivered all the same.
    Lie,
    /// No push is ever answered.
    Hang,
    /// None, but a client that does not read is shed: told of a gap and closed with 4002.
    Shed,
    /// What is compressed leans on what was compressed before, against what was agreed.
    Takeover,
}

pub(crate) struct Fake {
    pub(crate) gateways: Vec<String>,
    pub(crate) logics: Vec<String>,
}

#[derive(Default)]
pub(crate) struct State {
    clients: Mutex<Vec<Client>>,
    fault: Fault,
    pushes: AtomicU64,
    ids: AtomicU64,
    urls: Mutex<Vec<String>>,
}

struct Client {
    id: String,
    user: String,
    rooms: HashSet<String>,
    gateway: usize,
    /// An item held back to come after the next one.
    held: Option<String>,
    outbox: mpsc::Sender<Message>,
    tasks: Tasks,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Push<'a> {
    to: To,
    event: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct To {
    all: bool,
    room: Option<String>,
    rooms: Vec<String>,
    user: Option<String>,
    client: Option<String>,
}

impl Fake {
    pub(crate) async fn start(gateways: usize, fault: Fault) -> Self {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        let state = Arc::new(State { fault, ..State::default() });
        let mut urls = Vec::new();
        for gateway in 0..gateways {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            urls.push(format!("ws://{}", listener.local_addr().unwrap()));
            let (state, inner) = (state.clone(), tasks.clone());
            tasks.spawn(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    inner.spawn(serve_client(stream, state.clone(), gateway, inner.clone()));
                }
            });
        }
        *state.urls.lock() = urls.clone();
        let mut logics = Vec::new();
        for _ in 0..2 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            logics.push(format!("http://{}", listener.local_addr().unwrap()));
            let api = Api(state.clone());
            tasks.spawn(http1::serve(listener, api, tasks.clone(), shutdown.clone(), 1_000));
        }
        Self { gateways: urls, logics }
    }
}

async fn serve_client(stream: TcpStream, state: Arc<State>, gateway: usize, tasks: Tasks) {
    let mut query = String::new();
    let mut deflates = false;
    if state.fault == Fault::Shed {
        // A client that does not read is felt at once.
        socket2::SockRef::from(&stream).set_send_buffer_size(4_096).unwrap();
    }
    let read = |request: &server::Request, mut response: server::Response| {
        query = request.uri().query().unwrap_or_default().to_owned();
        if let Some(offer) = request.headers().get("sec-websocket-extensions") {
            deflates = offer.to_str().unwrap().starts_with("permessage-deflate; server_no_context_takeover");
            response.headers_mut().insert("sec-websocket-extensions", offer.clone());
        }
        Ok(response)
    };
    #[allow(clippy::result_large_err, reason = "the callback's type is tungstenite's")]
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, read).await else { return };
    let all = |name: &str| -> Vec<String> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).collect()
    };
    let id = format!("c{}", state.ids.fetch_add(1, Relaxed));
    let user = all("userId").remove(0);
    let hello = format!(
        r#"{{"cmd":"hello","data":{{"clientId":"{id}","userId":"{user}","heartbeatMs":25000,"windowMs":0,"version":1}}}}"#
    );
    let (outbox, mut inbox) = mpsc::channel(10_000);
    let rooms = all("room").into_iter().collect();
    // Registered before the hello, as a gateway does.
    state.clients.lock().push(Client { id: id.clone(), user, rooms, gateway, held: None, outbox, tasks });
    let mut deflater = deflates.then(|| Deflater::new(state.fault));
    let served = async {
        socket.send(Message::text(hello)).await.ok()?;
        loop {
            tokio::select! {
                message = inbox.recv() => {
                    let message = match &mut deflater {
                        Some(deflater) => deflater.frame(&message?.into_data()),
                        None => message?,
                    };
                    match tokio::time::timeout(PATIENCE, socket.send(message)).await {
                        Ok(sent) => sent.ok()?,
                        Err(_) => return shed(&mut socket).await,
                    }
                }
                message = socket.next() => {
                    if let Message::Text(command) = message?.ok()? {
                        let reply = state.obey(&id, &command);
                        socket.send(Message::text(reply)).await.ok()?;
                    }
                }
            }
        }
        #[allow(unreachable_code, reason = "gives the block its type")]
        Some(())
    };
    let _: Option<()> = served.await;
    state.clients.lock().retain(|client| client.id != id);
}

/// A client that takes longer for a message does not read.
const PATIENCE: Duration = Duration::from_millis(300);

/// Says why, when the client reads again at last.
async fn shed(socket: &mut WebSocketStream<TcpStream>) -> Option<()> {
    let close = CloseFrame { code: 4002.into(), reason: "".into() };
    let said = async {
        socket.send(Message::text(r#"{"cmd":"gap","reason":"slow"}"#)).await.ok()?;
        socket.close(Some(close)).await.ok()
    };
    tokio::time::timeout(Duration::from_secs(20), said).await.ok()?
}

/// The sending side of permessage-deflate (RFC 7692 §7.2.1).
struct Deflater {
    deflater: Compress,
    keeps_context: bool,
}

impl Deflater {
    fn new(fault: Fault) -> Self {
        let deflater = Compress::new(Compression::default(), false);
        Self { deflater, keeps_context: fault == Fault::Takeover }
    }

    fn frame(&mut self, text: &[u8]) -> Message {
        if !self.keeps_context {
            self.deflater.reset();
        }
        let mut payload = Vec::with_capacity(text.len() + 64);
        self.deflater.compress_vec(text, &mut payload, FlushCompress::Sync).unwrap();
        payload.truncate(payload.len() - 4);
        let header = FrameHeader { rsv1: true, opcode: OpCode::Data(Data::Text), ..FrameHeader::default() };
        Message::Frame(Frame::from_payload(header, payload.into()))
    }
}

#[derive(Clone)]
struct Api(Arc<State>);

impl Handler for Api {
    async fn handle(&self, request: Request<Incoming>, _: SocketAddr, _: &str) -> Answer {
        if request.uri().path() == "/v1/gateways" {
            let urls = self.0.urls.lock().clone();
            let each: Vec<_> = urls
                .iter()
                .enumerate()
                .map(|(at, url)| serde_json::json!({"name": format!("gw-{at}"), "clientUrl": url, "state": "linked"}))
                .collect();
            return http1::ok("application/json", serde_json::json!({"gateways": each}).to_string());
        }
        let body = http1::body(request.into_body(), 1 << 20).await.unwrap();
        if self.0.fault == Fault::Hang {
            std::future::pending::<()>().await;
        }
        let (status, body) = self.0.push(&body);
        let mut answer = Response::new(Full::new(Bytes::from(body)));
        *answer.status_mut() = http::StatusCode::from_u16(status).unwrap();
        answer
    }
}

impl State {
    /// `join` and `leave`; the reply.
    fn obey(&self, id: &str, command: &str) -> String {
        let command: serde_json::Value = serde_json::from_str(command).unwrap();
        let room = command["data"]["room"].as_str().unwrap().to_owned();
        let mut clients = self.clients.lock();
        let client = clients.iter_mut().find(|client| client.id == id).unwrap();
        let cmd = command["cmd"].as_str().unwrap();
        let was_other = match cmd {
            "join" => client.rooms.insert(room),
            "leave" => client.rooms.remove(&room),
            other => panic!("a client may not say {other}"),
        };
        assert!(was_other, "{cmd} of a room that the client is in, or is not in");
        let seq = &command["seq"];
        format!(r#"{{"seq":{seq},"cmd":"{cmd}","response":{{"code":200,"codeMsg":"Success"}}}}"#)
    }

    fn push(&self, body: &[u8]) -> (u16, String) {
        let push: Push<'_> = serde_json::from_slice(body).unwrap();
        let turn = self.pushes.fetch_add(1, Relaxed);
        let refused = (503, r#"{"code":"overloaded"}"#.to_owned());
        if self.fault == Fault::Refuse && turn % 3 == 2 {
            return refused;
        }
        let mut clients = self.clients.lock();
        if self.fault == Fault::Cut && turn == 10 {
            clients.retain(|client| client.gateway != 1);
        }
        let (mut odd, mut odd_at_last) = (turn == 10, turn == 199);
        for client in clients.iter_mut() {
            let Some(room) = client.matches(&push.to) else {
                if self.fault == Fault::Misdeliver && odd && push.to.client.is_some() {
                    odd = false;
                    client.send(&item(None, &push));
                }
                continue;
            };
            if self.fault == Fault::Fail && client.gateway == 1 {
                continue;
            }
            let text = item(room.as_deref(), &push);
            match self.fault {
                Fault::Lose if odd => {}
                Fault::Duplicate if odd => client.send(&format!("{text},{text}")),
                Fault::Reorder if odd => client.held = Some(text),
                Fault::Late if turn == 199 && odd_at_last => client.send_later(text),
                Fault::Corrupt if odd => client.send(&text.replacen("\"f\":\"", "\"f\":\"?", 1)),
                _ => {
                    client.send(&text);
                    if let Some(held) = client.held.take() {
                        client.send(&held);
                    }
                }
            }
            (odd, odd_at_last) = (false, false);
        }
        if self.fault == Fault::Lie && turn == 10 {
            return refused;
        }
        let failed = match self.fault {
            Fault::Fail => r#"{"gateway":"gw-1","code":"timeout"}"#,
            _ => "",
        };
        (
            202,
            format!(
                r#"{{"id":"p{turn}","replayed":false,"matched":1,"gateways":{{"known":2,"accepted":2,"failed":[{failed}]}}}}"#
            ),
        )
    }
}

impl Client {
    /// The room to name, if the push is for this client.
    fn matches(&self, to: &To) -> Option<Option<String>> {
        let mut rooms = to.rooms.iter().chain(&to.room);
        if let Some(room) = rooms.find(|room| self.rooms.contains(*room)) {
            return Some(Some(room.clone()));
        }
        let one = to.all || to.user.as_ref() == Some(&self.user) || to.client.as_ref() == Some(&self.id);
        one.then_some(None)
    }

    /// Later than anything else takes.
    fn send_later(&self, items: String) {
        let outbox = self.outbox.clone();
        self.tasks.spawn(async move {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            let text = format!(r#"{{"cmd":"push","items":[{items}]}}"#);
            _ = outbox.send(Message::text(text)).await;
        });
    }

    fn send(&self, items: &str) {
        // A client that went takes nothing any more.
        _ = self.outbox.try_send(Message::text(format!(r#"{{"cmd":"push","items":[{items}]}}"#)));
    }
}

fn item(room: Option<&str>, push: &Push<'_>) -> String {
    let room = room.map_or(String::new(), |room| format!(r#""room":"{room}","#));
    format!(r#"{{{room}"event":"{}","data":{}}}"#, push.event, push.data)
}
