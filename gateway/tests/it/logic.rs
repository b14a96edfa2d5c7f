//! A logic node as small as a test needs: one link, spoken by hand through h2.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use common::link::ask::{Answer, Ask, answer, ask};
use common::link::codec::{self, Inbound, Outbound};
use common::link::history::{Fetch, Fetched, Head, Heads, KeptItem};
use common::link::message::{
    ControlDown, ControlUp, Delivery, Down, LogicHello, Mark, Position, Receipts, Route, RoutesTaken, To, Up,
    control_down, control_up, down, up,
};
use common::link::stream;
use common::link::{CONTROL_PATH, DATA_PATH, LINK_HEADER, VERSION};
use common::names::Kind;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{Request, StatusCode};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::clients::PATIENCE;

/// A message of a kind that this release does not know.
#[derive(Clone, PartialEq, prost::Message)]
struct Later {
    #[prost(string, tag = "99")]
    body: String,
}

pub(crate) struct Logic {
    data: SendStream<Bytes>,
    up: mpsc::Receiver<Receipts>,
    routes: mpsc::Receiver<(Vec<Route>, Vec<Route>)>,
    asks: mpsc::Sender<Ask>,
    answers: mpsc::Receiver<Answer>,
    fetches: mpsc::Receiver<Fetch>,
    /// Messages for the control stream, encoded.
    words: mpsc::Sender<Bytes>,
    /// The marks that the gateway said last.
    pub(crate) marks: watch::Receiver<Vec<Mark>>,
    /// Why the gateway ended the link.
    pub(crate) refused: watch::Receiver<String>,
    tasks: Vec<JoinHandle<()>>,
    serial: u64,
    asked: u64,
    fates: HashMap<u64, Fate>,
}

#[allow(clippy::disallowed_methods)]
fn spawn(future: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(future)
}

/// Opens an HTTP/2 connection.
pub(crate) async fn open(ingress: SocketAddr) -> (SendRequest<Bytes>, JoinHandle<()>) {
    let stream = TcpStream::connect(ingress).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    (client.ready().await.unwrap(), spawn(async move { connection.await.ok().unwrap_or(()) }))
}

/// Opens a stream, whatever the answer.
pub(crate) async fn post(
    client: &mut SendRequest<Bytes>,
    path: &str,
    authorization: Option<&str>,
) -> (StatusCode, SendStream<Bytes>, RecvStream) {
    let mut request = Request::post(format!("http://gateway{path}")).header(LINK_HEADER, "test-link");
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    let (response, send) = client.send_request(request.body(()).unwrap(), false).unwrap();
    let response = tokio::time::timeout(PATIENCE, response).await.unwrap().unwrap();
    (response.status(), send, response.into_body())
}

pub(crate) fn hello(version: u32) -> ControlDown {
    let hello = LogicHello { version, name: "test".into(), instance: 7, ..LogicHello::default() };
    ControlDown { body: Some(control_down::Body::Hello(hello)) }
}

pub(crate) async fn say(send: &mut SendStream<Bytes>, message: &ControlDown) {
    let mut outbound = Outbound::default();
    outbound.put(message);
    stream::send(send, outbound.take().unwrap()).await.unwrap();
}

/// A link that is up: routes are acknowledged as they come, receipts gather.
pub(crate) async fn link(ingress: SocketAddr) -> Logic {
    link_as(ingress, hello(VERSION)).await
}

/// The same for a node that keeps a history of every room and user.
pub(crate) async fn link_with_history(ingress: SocketAddr) -> Logic {
    link_of(ingress, "test", 7, 0).await
}

/// The same for a node of this name, on this store, of this run.
pub(crate) async fn link_of(ingress: SocketAddr, name: &str, engine: u64, fence: u64) -> Logic {
    link_as(ingress, hello_of(name, engine, fence)).await
}

pub(crate) fn hello_of(name: &str, engine: u64, fence: u64) -> ControlDown {
    let every = || vec!["*".to_owned()];
    let hello = LogicHello {
        version: VERSION,
        name: name.into(),
        instance: 7,
        history_rooms: every(),
        history_users: every(),
        engine,
        fence,
    };
    ControlDown { body: Some(control_down::Body::Hello(hello)) }
}

async fn link_as(ingress: SocketAddr, hello: ControlDown) -> Logic {
    let (mut client, connection) = open(ingress).await;
    let (status, mut control, control_up) = post(&mut client, CONTROL_PATH, None).await;
    assert_eq!(status, 200);
    say(&mut control, &hello).await;
    let (told, routes) = mpsc::channel(1000);
    let (asks, to_ask) = mpsc::channel(1000);
    let (answered, answers) = mpsc::channel(1000);
    let (fetch, fetches) = mpsc::channel(1000);
    let (words, to_say) = mpsc::channel(1000);
    let (said_marks, marks) = watch::channel(Vec::new());
    let (said_refused, refused) = watch::channel(String::new());
    let heard = Heard { told, answered, fetch, marks: said_marks, refused: said_refused };
    let talk = spawn(converse(control, control_up, heard, to_ask, to_say));
    let (status, data, data_up) = post(&mut client, DATA_PATH, None).await;
    assert_eq!(status, 200);
    let (receipts, up) = mpsc::channel(1000);
    let hear = spawn(receive(data_up, receipts));
    let tasks = vec![connection, talk, hear];
    let mut logic = Logic {
        data,
        up,
        routes,
        asks,
        answers,
        fetches,
        words,
        marks,
        refused,
        tasks,
        serial: 0,
        asked: 0,
        fates: HashMap::new(),
    };
    // The snapshot's last message says that the gateway waits for our acknowledgements from now on.
    logic.routes().await;
    logic
}

/// Where what the gateway says goes.
struct Heard {
    told: mpsc::Sender<(Vec<Route>, Vec<Route>)>,
    answered: mpsc::Sender<Answer>,
    fetch: mpsc::Sender<Fetch>,
    marks: watch::Sender<Vec<Mark>>,
    refused: watch::Sender<String>,
}

async fn converse(
    mut send: SendStream<Bytes>,
    mut receive: RecvStream,
    heard: Heard,
    mut asks: mpsc::Receiver<Ask>,
    mut words: mpsc::Receiver<Bytes>,
) {
    let mut inbound = Inbound::default();
    let mut beat = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            received = stream::receive(&mut receive, &mut inbound) => if received.is_err() { return },
            Some(ask) = asks.recv() => {
                say(&mut send, &ControlDown { body: Some(control_down::Body::Ask(ask)) }).await;
            }
            Some(word) = words.recv() => {
                let mut outbound = Outbound::default();
                outbound.put_encoded(&word);
                stream::send(&mut send, outbound.take().unwrap()).await.unwrap();
            }
            _ = beat.tick() => {
                let alive = common::link::message::Alive { beat: 1 };
                say(&mut send, &ControlDown { body: Some(control_down::Body::Alive(alive)) }).await;
            }
        }
        while let Some(message) = inbound.next_message::<ControlUp>().unwrap() {
            match message.body {
                Some(control_up::Body::Routes(routes)) => {
                    let taken = RoutesTaken { serial: routes.serial };
                    say(&mut send, &ControlDown { body: Some(control_down::Body::RoutesTaken(taken)) }).await;
                    heard.told.send((routes.begun, routes.ceased)).await.ok();
                }
                Some(control_up::Body::Fetch(asked)) => heard.fetch.send(asked).await.unwrap_or(()),
                Some(control_up::Body::Answer(answer)) => heard.answered.send(answer).await.unwrap_or(()),
                Some(control_up::Body::Stats(stats)) => heard.marks.send(stats.marks).unwrap_or(()),
                Some(control_up::Body::Refused(refused)) => {
                    heard.refused.send(refused.reason).unwrap_or(());
                    return;
                }
                _ => {}
            }
        }
    }
}

async fn receive(mut stream: RecvStream, receipts: mpsc::Sender<Receipts>) {
    let mut inbound = Inbound::default();
    while stream::receive(&mut stream, &mut inbound).await.is_ok() {
        while let Some(message) = inbound.next_message::<Up>().unwrap() {
            if let Some(up::Body::Receipts(some)) = message.body {
                receipts.send(some).await.ok();
            }
        }
    }
}

/// What became of one delivery, summed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) matched: i64,
    pub(crate) written: u64,
    pub(crate) conflated: u64,
    pub(crate) expired: u64,
    pub(crate) slow: u64,
    pub(crate) gone: u64,
    pub(crate) settled: bool,
}

impl Logic {
    /// Sends a delivery of this JSON as `data`; returns its serial.
    pub(crate) async fn push(&mut self, delivery: Delivery, data: &str) -> u64 {
        self.push_all(vec![(delivery, data.to_owned())]).await
    }

    /// Sends several in one chunk; returns the last serial.
    pub(crate) async fn push_all(&mut self, deliveries: Vec<(Delivery, String)>) -> u64 {
        let mut outbound = Outbound::default();
        for (mut delivery, data) in deliveries {
            self.serial += 1;
            delivery.serial = self.serial;
            delivery.body = Bytes::from(format!("\"data\":{data}}}"));
            outbound.put(&Down { body: Some(down::Body::Delivery(delivery)) });
        }
        stream::send(&mut self.data, outbound.take().unwrap()).await.unwrap();
        self.serial
    }

    /// What is asked of a history next.
    pub(crate) async fn fetch(&mut self) -> Fetch {
        tokio::time::timeout(PATIENCE, self.fetches.recv()).await.expect("a question in time").unwrap()
    }

    /// Whether something was asked that nobody has taken yet.
    pub(crate) fn has_fetch(&mut self) -> bool {
        self.fetches.try_recv().is_ok()
    }

    /// Answers that a history stands at `head`, with these items after the place that was asked for.
    pub(crate) async fn fetched(&mut self, asked: &Fetch, head: (u64, u64), items: &[(u64, &str)]) {
        let item = |(offset, data): &(u64, &str)| KeptItem {
            offset: *offset,
            body: Bytes::from(format!("\"data\":{data}}}")),
            ..KeptItem::default()
        };
        let since = asked.since.unwrap_or_default();
        let fetched = Fetched {
            id: asked.id,
            head: Some(Position { epoch: head.0, offset: head.1 }),
            continues: since.epoch == head.0 && since.offset <= head.1,
            last: items.last().map_or(since.offset, |(offset, _)| *offset),
            items: items.iter().map(item).collect(),
        };
        self.tell(control_down::Body::Fetched(fetched)).await;
    }

    async fn tell(&self, body: control_down::Body) {
        self.words.send(codec::encoded(&ControlDown { body: Some(body) })).await.unwrap();
    }

    /// Says on both streams what only a later release understands: messages of another kind.
    pub(crate) async fn later(&mut self) {
        let later = codec::encoded(&Later { body: "said".into() });
        self.words.send(later.clone()).await.unwrap();
        let mut outbound = Outbound::default();
        outbound.put_encoded(&later);
        stream::send(&mut self.data, outbound.take().unwrap()).await.unwrap();
    }

    /// Says where the history of a room stands; `None`: that it does not know of any.
    pub(crate) async fn heads(&self, head: Option<(&str, u64, u64)>) {
        let heads = head.into_iter().map(|(room, epoch, offset)| Head {
            kind: Kind::Room as i32,
            name: room.into(),
            at: Some(Position { epoch, offset }),
        });
        let heads = Heads { heads: heads.collect(), missed: head.is_none() };
        self.tell(control_down::Body::Heads(heads)).await;
    }

    /// Answers that what came behind the place that was asked for is not there any more.
    pub(crate) async fn forgotten(&mut self, asked: &Fetch, head: (u64, u64)) {
        let head = Position { epoch: head.0, offset: head.1 };
        let fetched = Fetched { id: asked.id, head: Some(head), last: head.offset, ..Fetched::default() };
        self.tell(control_down::Body::Fetched(fetched)).await;
    }

    /// Asks without waiting; the id of the question.
    pub(crate) async fn put(&mut self, body: Option<ask::Body>) -> u64 {
        self.asked += 1;
        self.asks.send(Ask { id: self.asked, body }).await.unwrap();
        self.asked
    }

    /// The next answer.
    pub(crate) async fn answer(&mut self) -> Answer {
        tokio::time::timeout(PATIENCE, self.answers.recv()).await.expect("an answer in time").unwrap()
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&mut self, body: ask::Body) -> answer::Body {
        let id = self.put(Some(body)).await;
        let answer = self.answer().await;
        assert_eq!(answer.id, id);
        answer.body.unwrap()
    }

    /// The routes that are told next: begun and ceased.
    pub(crate) async fn routes(&mut self) -> (Vec<Route>, Vec<Route>) {
        tokio::time::timeout(PATIENCE, self.routes.recv()).await.expect("routes in time").unwrap()
    }

    /// Waits until a delivery is settled and gives the sum of its counts.
    pub(crate) async fn fate(&mut self, serial: u64) -> Fate {
        while !self.fates.get(&serial).is_some_and(|fate| fate.settled) {
            let receipts =
                tokio::time::timeout(PATIENCE, self.up.recv()).await.expect("receipts in time").unwrap();
            for taken in receipts.taken {
                let fate = self.fates.entry(taken.serial).or_default();
                assert_eq!(*fate, Fate::default(), "taken comes first, and once");
                fate.matched += taken.matched as i64;
            }
            for counts in receipts.counts {
                let fate = self.fates.entry(counts.serial).or_default();
                assert!(!fate.settled, "the last word was said");
                fate.matched += counts.matched_delta;
                fate.written += counts.written;
                fate.conflated += counts.conflated;
                fate.expired += counts.expired;
                fate.slow += counts.dropped_slow;
                fate.gone += counts.dropped_gone;
                fate.settled = counts.settled;
            }
        }
        let fate = self.fates[&serial];
        let sum = fate.written + fate.conflated + fate.expired + fate.slow + fate.gone;
        assert_eq!(fate.matched, sum as i64, "the sum holds: {fate:?}");
        Fate { settled: false, ..fate }
    }
}

impl Drop for Logic {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

pub(crate) fn to_all() -> Delivery {
    Delivery { to: To::All as i32, ..Delivery::default() }
}

pub(crate) fn to_room(room: &str) -> Delivery {
    Delivery { to: To::Rooms as i32, names: vec![room.into()], ..Delivery::default() }
}

pub(crate) fn to_user(user: &str) -> Delivery {
    Delivery { to: To::Users as i32, names: vec![user.into()], ..Delivery::default() }
}

pub(crate) fn to_client(local: u64) -> Delivery {
    Delivery { to: To::Clients as i32, clients: vec![local], ..Delivery::default() }
}
