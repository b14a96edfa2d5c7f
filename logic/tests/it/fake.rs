//! A gateway that only pretends: it speaks the link and does what a test tells it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::link::ask::{Answer, Ask, answer, ask};
use common::link::codec::{Inbound, Outbound};
use common::link::history::{Fetch, Fetched, Heads};
use common::link::message::*;
use common::link::{CONTROL_PATH, VERSION, stream};
use common::names::Kind;
use h2::{RecvStream, SendStream};
use http::{Response, StatusCode, header};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

/// How a fake gateway behaves.
#[derive(Clone)]
pub(crate) struct Manner {
    pub(crate) name: &'static str,
    pub(crate) instance: u64,
    pub(crate) version: u32,
    /// Wanted as the `authorization` header.
    pub(crate) authorization: Option<&'static str>,
    /// Says this right after its hello.
    pub(crate) refuses: Option<&'static str>,
    /// Says of each delivery at once that it matched so many.
    pub(crate) takes: Option<u64>,
    pub(crate) reads_deliveries: bool,
    pub(crate) says_it_lives: bool,
    /// Its answers to questions; `None`: it says nothing.
    pub(crate) answers: fn(&ask::Body) -> Option<answer::Body>,
    /// The snapshot; `None`: it never completes.
    pub(crate) holds: Option<Vec<(Kind, &'static str)>>,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            name: "gw",
            instance: 7,
            version: VERSION,
            authorization: None,
            refuses: None,
            takes: Some(1),
            reads_deliveries: true,
            says_it_lives: true,
            answers: |_| None,
            holds: None,
        }
    }
}

/// What a fake gateway has seen.
#[allow(clippy::large_enum_variant, reason = "most are deliveries")]
#[derive(Debug)]
pub(crate) enum Event {
    Linked,
    Delivery(Delivery),
    Heads(Heads),
    Fetched(Fetched),
    Ended,
}

/// What a fake gateway is told to do.
pub(crate) enum Order {
    Say(Receipts),
    Routes(Routes),
    Fetch(Fetch),
    /// On both streams, messages of a kind that this release does not know.
    Unknown,
    /// Its signs of life say that it drains.
    Drain,
    HangUp,
}

/// What a later release may say: a message of another kind.
#[derive(Clone, PartialEq, prost::Message)]
struct Later {
    #[prost(string, tag = "99")]
    body: String,
}

pub(crate) struct Fake {
    pub(crate) address: String,
    events: mpsc::Receiver<Event>,
    orders: mpsc::Sender<Order>,
    _tasks: JoinSet<()>,
}

impl Fake {
    pub(crate) async fn start(manner: Manner) -> Self {
        Self::start_at("127.0.0.1:0", manner).await
    }

    pub(crate) async fn start_at(address: &str, manner: Manner) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (event, events) = mpsc::channel(10_000);
        let (orders, order) = mpsc::channel(100);
        let order = Arc::new(Mutex::new(order));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut links = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (manner, event, order) = (manner.clone(), event.clone(), order.clone());
                links.spawn(async move {
                    let _ = serve(stream, manner, &event, &order).await;
                    let _ = event.send(Event::Ended).await;
                });
            }
        });
        Self { address, events, orders, _tasks: tasks }
    }

    pub(crate) async fn order(&self, order: Order) {
        self.orders.send(order).await.unwrap();
    }

    pub(crate) async fn event(&mut self) -> Event {
        timeout(Duration::from_secs(10), self.next_event()).await.expect("an event in time").unwrap()
    }

    /// The next event, whenever it comes.
    pub(crate) async fn next_event(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    pub(crate) async fn linked(&mut self) {
        while !matches!(self.event().await, Event::Linked) {}
    }

    pub(crate) async fn ended(&mut self) {
        while !matches!(self.event().await, Event::Ended) {}
    }

    pub(crate) async fn delivery(&mut self) -> Delivery {
        loop {
            if let Event::Delivery(delivery) = self.event().await {
                return delivery;
            }
        }
    }

    /// Where histories stand, as the next message about that says it.
    pub(crate) async fn heads(&mut self) -> Heads {
        loop {
            if let Event::Heads(heads) = self.event().await {
                return heads;
            }
        }
    }

    /// The next answer about a history.
    pub(crate) async fn fetched(&mut self) -> Fetched {
        loop {
            if let Event::Fetched(fetched) = self.event().await {
                return fetched;
            }
        }
    }

    /// Whether a delivery has come that nobody has asked for yet.
    pub(crate) fn has_delivery(&mut self) -> bool {
        matches!(self.events.try_recv(), Ok(Event::Delivery(_)))
    }
}

type Half = (SendStream<Bytes>, RecvStream);

async fn serve(
    tcp: TcpStream,
    manner: Manner,
    event: &mpsc::Sender<Event>,
    order: &Mutex<mpsc::Receiver<Order>>,
) -> Option<()> {
    let mut connection = h2::server::handshake(tcp).await.ok()?;
    let (mut control, mut data): (Option<Half>, Option<Half>) = (None, None);
    while control.is_none() || data.is_none() {
        let (request, mut respond) = connection.accept().await?.ok()?;
        let proof = request.headers().get(header::AUTHORIZATION).map(|value| value.to_str().unwrap());
        if manner.authorization.is_some() && proof != manner.authorization {
            let refused = Response::builder().status(StatusCode::UNAUTHORIZED).body(()).unwrap();
            respond.send_response(refused, true).ok()?;
            continue;
        }
        let send = respond.send_response(Response::new(()), false).ok()?;
        let is_control = request.uri().path() == CONTROL_PATH;
        let half = if is_control { &mut control } else { &mut data };
        *half = Some((send, request.into_body()));
    }
    let talk = talk(manner, control?, data?, event, order);
    tokio::select! {
        _ = talk => None,
        _ = async { while connection.accept().await.is_some() {} } => None,
    }
}

async fn say(send: &mut SendStream<Bytes>, message: &impl prost::Message) -> Option<()> {
    let mut outbound = Outbound::default();
    outbound.put(message);
    stream::send(send, outbound.take()?).await.ok()
}

async fn say_control(send: &mut SendStream<Bytes>, body: control_up::Body) -> Option<()> {
    say(send, &ControlUp { body: Some(body) }).await
}

async fn say_receipts(send: &mut SendStream<Bytes>, receipts: Receipts) -> Option<()> {
    say(send, &Up { body: Some(up::Body::Receipts(receipts)) }).await
}

fn route((kind, name): &(Kind, &'static str)) -> Route {
    Route { kind: *kind as i32, name: (*name).to_owned() }
}

async fn hear(
    message: ControlDown,
    manner: &Manner,
    send: &mut SendStream<Bytes>,
    event: &mpsc::Sender<Event>,
) -> Option<()> {
    match message.body {
        Some(control_down::Body::RoutesTaken(_)) => event.send(Event::Linked).await.ok(),
        Some(control_down::Body::Ask(Ask { id, body: Some(asked) })) => match (manner.answers)(&asked) {
            Some(body) => say_control(send, control_up::Body::Answer(Answer { id, body: Some(body) })).await,
            None => Some(()),
        },
        Some(control_down::Body::Heads(heads)) => event.send(Event::Heads(heads)).await.ok(),
        Some(control_down::Body::Fetched(fetched)) => event.send(Event::Fetched(fetched)).await.ok(),
        _ => Some(()),
    }
}

async fn talk(
    manner: Manner,
    mut control: Half,
    mut data: Half,
    event: &mpsc::Sender<Event>,
    order: &Mutex<mpsc::Receiver<Order>>,
) -> Option<()> {
    let hello = GatewayHello {
        version: manner.version,
        name: manner.name.into(),
        instance: manner.instance,
        client_url: "ws://127.0.0.1:1".into(),
        release: "test".into(),
    };
    say_control(&mut control.0, control_up::Body::Hello(hello)).await?;
    if let Some(reason) = manner.refuses {
        say_control(&mut control.0, control_up::Body::Refused(Refused { reason: reason.into() })).await?;
        control.0.send_data(Bytes::new(), true).ok()?;
        // What was said must go out: logic closes.
        return std::future::pending().await;
    }
    let routes = Routes {
        serial: 1,
        begun: manner.holds.iter().flatten().map(route).collect(),
        ceased: Vec::new(),
        complete: manner.holds.is_some(),
    };
    say_control(&mut control.0, control_up::Body::Routes(routes)).await?;
    let (mut down, mut deliveries) = (Inbound::default(), Inbound::default());
    let mut alive = interval(Duration::from_millis(100));
    let mut order = order.lock().await;
    let mut draining = false;
    loop {
        tokio::select! {
            received = stream::receive(&mut control.1, &mut down) => {
                received.ok()?;
                while let Some(message) = down.next_message::<ControlDown>().ok()? {
                    hear(message, &manner, &mut control.0, event).await?;
                }
            }
            received = stream::receive(&mut data.1, &mut deliveries), if manner.reads_deliveries => {
                received.ok()?;
                let (mut taken, mut seen) = (Vec::new(), Vec::new());
                while let Some(message) = deliveries.next_message::<Down>().ok()? {
                    let Some(down::Body::Delivery(delivery)) = message.body else { continue };
                    taken.extend(manner.takes.map(|matched| Taken { serial: delivery.serial, matched }));
                    seen.push(delivery);
                }
                if !taken.is_empty() {
                    say_receipts(&mut data.0, Receipts { taken, counts: Vec::new() }).await?;
                }
                for delivery in seen {
                    event.send(Event::Delivery(delivery)).await.ok()?;
                }
            }
            order = order.recv() => match order? {
                Order::Say(receipts) => say_receipts(&mut data.0, receipts).await?,
                Order::Routes(routes) => say_control(&mut control.0, control_up::Body::Routes(routes)).await?,
                Order::Fetch(fetch) => say_control(&mut control.0, control_up::Body::Fetch(fetch)).await?,
                Order::Unknown => {
                    say(&mut control.0, &Later { body: "said".into() }).await?;
                    say(&mut data.0, &Later { body: "said".into() }).await?;
                }
                Order::Drain => draining = true,
                Order::HangUp => return None,
            },
            _ = alive.tick(), if manner.says_it_lives => {
                let stats = Stats { clients: 3, users: 2, rooms: 1, draining, ..Stats::default() };
                say_control(&mut control.0, control_up::Body::Stats(stats)).await?;
            }
        }
    }
}
