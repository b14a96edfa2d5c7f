//! Clients that come, go and come back while items are stored, delivered, lost, swept and fetched, in every order that
//! chance finds: each sees each offset at most once, in order, without a hole, or is told of it.
//!
//! The engine beside them is naive: it forgets nothing. What is not here is only what waits: the driver of a resume,
//! whose steps are taken one by one, and the sockets' readiness. Sockets are real, and read to their end.

use std::collections::VecDeque;
use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use common::ids::Epoch;
use common::link::message::Position;
use common::names::Kind;
use proptest::prelude::*;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

use super::tests::World;
use super::*;
use crate::history::resume::owner;
use crate::history::{Held, Settled, Tracks};
use crate::merger::{Item, Kept, Merger};
use crate::registry::Registration;
use crate::settings::{Settings, WindowMode};
use crate::tally::{Outgoing, Part, Passage};
use crate::transport::Transport;

const ROOM: &str = "r";
const CLIENTS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    /// So many items are pushed.
    Push(u8),
    /// Of what waits on the link so much comes.
    Deliver(u8),
    /// What waits on the link is lost.
    Lose,
    /// Logic starts anew and has forgotten everything.
    Restart,
    /// What has gathered is planned, unless a sweep is at work.
    Plan,
    /// So many buckets of the sweep are written.
    Write(u8),
    /// A client comes, to the bucket of that number or so, or comes back.
    Come(usize),
    /// A client that resumes is answered as things are now.
    Answer(usize),
    /// The answer is written, and the client is let go if that will do.
    Take(usize),
    /// A client goes, wherever it was.
    Go(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    prop_oneof![
        4 => (1..4_u8).prop_map(Step::Push),
        5 => (1..6_u8).prop_map(Step::Deliver),
        1 => Just(Step::Lose),
        1 => Just(Step::Restart),
        4 => Just(Step::Plan),
        5 => (1..64_u8).prop_map(Step::Write),
        4 => client.clone().prop_map(Step::Come),
        6 => client.clone().prop_map(Step::Answer),
        6 => client.clone().prop_map(Step::Take),
        2 => client.prop_map(Step::Go),
    ]
}

/// A resume, as far as it has come.
struct Resuming {
    held: Held,
    at: Position,
    is_sure: bool,
    /// What logic said: its head, and whether that continues.
    answer: Option<(Position, bool)>,
}

/// One connection of a client.
struct Here {
    registration: Registration,
    peer: std::net::TcpStream,
    resuming: Option<Resuming>,
    /// Where it was told that it begins, if it does not resume.
    begins: Option<Position>,
}

/// A client over all its connections: what it knows, and what it is checked by.
#[derive(Default)]
struct Client {
    here: Option<Here>,
    at: Option<Position>,
}

struct Cluster {
    world: World,
    listener: TcpListener,
    tracks: Tracks,
    merger: Merger,
    sweep: Option<(Arc<Sweep>, VecDeque<usize>)>,
    link: VecDeque<Position>,
    head: Position,
    clients: [Client; CLIENTS],
}

impl Cluster {
    async fn new() -> Self {
        Self {
            world: World::new(),
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            tracks: Tracks::default(),
            merger: Merger::new(Duration::ZERO, WindowMode::Trailing, usize::MAX),
            sweep: None,
            link: VecDeque::new(),
            head: Position { epoch: 1, offset: 0 },
            clients: Default::default(),
        }
    }

    fn group(&self) -> Option<Arc<Group>> {
        self.world.registry.directory.find(Kind::Room, ROOM)
    }

    fn push(&mut self) {
        self.head.offset += 1;
        // Logic sends to a gateway that holds the room.
        if self.group().is_some() {
            self.link.push_back(self.head);
        }
    }

    fn deliver(&mut self) {
        let Some(at) = self.link.pop_front() else { return };
        let Some(group) = self.group() else { return };
        let track = self.tracks.of(&group);
        track.take(at);
        let resets = track.pays_reset();
        let passage = Passage::new(Arc::<Outgoing>::default(), 1, 1);
        let body = Bytes::from_static(b"\"data\":1}");
        let kept = Some(Box::new(Kept { track, at, resets, hurries: false }));
        let item = Item { body, key: None, expires: None, part: Part { passage, matched: 1 }, kept };
        self.merger.offer(Instant::now(), &Target::Group(group), &Filter::default(), item);
    }

    fn plan(&mut self) {
        if self.sweep.is_none() {
            let counters = &self.world.shared().counters;
            let compressor = Arc::new(Compressor::new(&Settings::default(), counters));
            let now = Instant::now();
            let sweep = Sweep::plan(self.merger.flush(now).batches, now, counters, &compressor);
            let buckets = sweep.buckets().iter().copied().collect();
            self.sweep = Some((sweep, buckets));
        }
    }

    fn write(&mut self) {
        let Some((sweep, buckets)) = &mut self.sweep else { return };
        match buckets.pop_front() {
            Some(bucket) => sweep.run(bucket, &self.world.registry, &mut Scratch::default(), || {}),
            None => self.sweep = None,
        }
    }

    /// Connects, and joins: from where it was, or to be told where it begins.
    async fn come(&mut self, client: usize) {
        if self.clients[client].here.is_some() {
            return;
        }
        let address = self.listener.local_addr().unwrap();
        let peer = std::net::TcpStream::connect(address).unwrap();
        let (stream, _): (TcpStream, _) = self.listener.accept().await.unwrap();
        let registration = self.world.register_on(Transport::Tcp(stream), &[]);
        let connection = registration.connection.clone();
        connection.greet(frame::PING);
        let (mut resuming, mut begins) = (None, None);
        match self.clients[client].at {
            Some(at) => {
                self.world.registry.join_held(connection.local, ROOM, |group| {
                    let held = self.tracks.of(group).hold(connection.local);
                    resuming = Some(Resuming { held, at, is_sure: false, answer: None });
                });
            }
            None => {
                self.world.registry.join(connection.local, ROOM);
                let track = self.tracks.of(&self.group().unwrap());
                begins = track.place().or_else(|| track.begin(self.head, false));
                self.clients[client].at = begins;
            }
        }
        self.clients[client].here = Some(Here { registration, peer, resuming, begins });
    }

    fn answer(&mut self, client: usize) {
        let head = self.head;
        let Some(Here { resuming: Some(resuming), .. }) = &mut self.clients[client].here else { return };
        let continues = resuming.at.epoch == head.epoch && resuming.at.offset <= head.offset;
        resuming.answer.get_or_insert((head, continues));
    }

    fn take(&mut self, client: usize) {
        let Some(here) = &mut self.clients[client].here else { return };
        let Some(resuming) = &mut here.resuming else { return };
        let Some((head, continues)) = resuming.answer.take() else { return };
        let connection = &here.registration.connection;
        let group = resuming.held.track.group.clone();
        if continues {
            let body = Bytes::from_static(b"\"data\":1}");
            let items = (resuming.at.offset + 1..=head.offset).map(|offset| (offset, &body));
            if items.clone().next().is_some() {
                connection.send_control(frame::kept(owner(&group), Epoch(head.epoch), items));
            }
        } else {
            connection.send_control(frame::reset(owner(&group), head));
        }
        resuming.at = head;
        match resuming.held.settle(head, resuming.is_sure) {
            Settled::Done => here.resuming = None,
            Settled::Behind => resuming.is_sure = false,
            Settled::OtherLife => resuming.is_sure = true,
        }
    }

    /// The connection ends; everything that was written to it is read, and checked.
    fn go(&mut self, client: usize) {
        let Some(here) = self.clients[client].here.take() else { return };
        here.registration.connection.cut();
        let Here { registration, mut peer, resuming, mut begins } = here;
        drop(registration);
        drop(resuming);
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        let known = &mut self.clients[client].at;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let frame = Bytes::copy_from_slice(rest);
            let payload = frame::payload(&frame);
            let length = match rest[1] {
                126 => usize::from(u16::from_be_bytes([rest[2], rest[3]])),
                short => usize::from(short),
            };
            let (text, head) = (&payload[..length], rest.len() - payload.len());
            rest = &rest[head + length..];
            if !text.is_empty() {
                hear(&serde_json::from_slice(text).unwrap(), &mut begins, known);
            }
        }
    }
}

fn place(of: &Value) -> Position {
    let epoch: Epoch = of["epoch"].as_str().unwrap().parse().unwrap();
    Position { epoch: epoch.0, offset: of["offset"].as_u64().unwrap() }
}

/// What a client makes of a message: it knows where it is, and what may follow.
fn hear(message: &Value, begins: &mut Option<Position>, known: &mut Option<Position>) {
    if message["cmd"] == "reset" {
        (*known, *begins) = (Some(place(message)), None);
        return;
    }
    for item in message["items"].as_array().unwrap() {
        let at = place(item);
        let before = known.expect("it was told where it begins");
        // What was on its way to others when a first comer was told its place is before its beginning; lives are
        // numbered here in their order.
        if begins.is_some_and(|begins| (at.epoch, at.offset) <= (begins.epoch, begins.offset)) {
            continue;
        }
        assert_eq!((at.epoch, at.offset), (before.epoch, before.offset + 1), "a hole, and no reset");
        *known = Some(at);
    }
}

async fn run(steps: Vec<Step>) {
    let mut cluster = Cluster::new().await;
    for step in steps {
        match step {
            Step::Push(many) => (0..many).for_each(|_| cluster.push()),
            Step::Deliver(many) => (0..many).for_each(|_| cluster.deliver()),
            Step::Lose => cluster.link.clear(),
            Step::Restart => {
                cluster.link.clear();
                cluster.head = Position { epoch: cluster.head.epoch + 1, offset: 0 };
            }
            Step::Plan => cluster.plan(),
            Step::Write(many) => (0..many).for_each(|_| cluster.write()),
            Step::Come(client) => cluster.come(client).await,
            Step::Answer(client) => cluster.answer(client),
            Step::Take(client) => cluster.take(client),
            Step::Go(client) => cluster.go(client),
        }
    }
    (0..CLIENTS).for_each(|client| cluster.go(client));
}

#[test]
fn clients_that_come_and_go_see_every_item_once_or_are_told() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _guard = runtime.enter();
    let cases = ProptestConfig { cases: 400, ..ProptestConfig::default() };
    proptest!(cases, |(steps in prop::collection::vec(step(), 0..120))| {
        runtime.block_on(run(steps));
    });
}
