//! The control stream: hellos, then routes as they change, statistics once a second, and answers to questions.

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::ids::Instance;
use common::link::VERSION;
use common::link::codec::{Inbound, Outbound};
use common::link::history::Fetch;
use common::link::message::{
    ControlDown, ControlUp, GatewayHello, LogicHello, Refused, Routes, Stats, control_down, control_up,
};
use common::link::stream::{self, Lost};
use common::names::Kind;
use h2::{RecvStream, SendStream};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::Link;
use crate::history::{Subscribed, repair};
use crate::query::Questions;
use crate::routes::Subscription;

/// How often a gateway says that it is alive.
const STATS_EVERY: Duration = Duration::from_secs(1);

/// A logic node that says nothing for so long is taken for dead, and clients wait for it no more.
const SILENCE_MAX: Duration = Duration::from_secs(4);

/// Why a control stream ended.
#[derive(Debug)]
pub(super) enum Ended {
    Lost(Lost),
    /// The peer did not begin with a hello that we take.
    Refused(String),
    /// Nothing came, or nothing could be sent, for too long.
    Silent,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lost(lost) => lost.fmt(f),
            Self::Refused(reason) => write!(f, "refused: {reason}"),
            Self::Silent => f.write_str("the logic node is silent"),
        }
    }
}

/// Says that a link is down however it ends: its task may be dropped where it waits.
struct Down<'a>(&'a str);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        tracing::info!(logic = self.0, "a link is down");
    }
}

struct Control<'a> {
    link: &'a Link,
    send: SendStream<Bytes>,
    outbound: Outbound,
}

pub(super) async fn run(link: &Link, send: SendStream<Bytes>, mut receive: RecvStream) -> Result<(), Ended> {
    let mut control = Control { link, send, outbound: Outbound::default() };
    let mut inbound = Inbound::default();
    control.say(control_up::Body::Hello(control.hello())).await?;
    let peer = first(&mut receive, &mut inbound).await?;
    if peer.version != VERSION {
        let reason = format!(
            "link version {} is not spoken here; this gateway ({}) speaks {VERSION}",
            peer.version,
            env!("CARGO_PKG_VERSION")
        );
        return control.refuse(reason).await;
    }
    let greeted = match link.peers.greet(&peer, link.over.clone()) {
        Ok(greeted) => greeted,
        Err(reason) => return control.refuse(reason).await,
    };
    // Set once: a link has one peer.
    let _ = link.outgoing.logic.set(Instance(peer.instance));
    link.parts.counters.link_ends.replaced.inc_by(greeted.replaced as u64);
    let (histories, mut fetches) = link.parts.fetches.subscribe(&peer);
    tracing::info!(logic = %peer.name, "a link is up");
    let _down = Down(&peer.name);
    if greeted.is_other_store {
        tracing::warn!(logic = %peer.name, "another store keeps the histories now: all are asked for, and clients whose place it does not know are told to reset");
        repair::doubt_all(&link.parts);
    }
    let subscribed = link.parts.routes.subscribe();
    link.greeted.cancel();
    tokio::select! {
        // First: of a link that is over nothing is heard any more.
        biased;
        () = link.over.token.cancelled() => {}
        ended = control.converse(&subscribed.subscription, (&histories, &mut fetches), &mut receive, &mut inbound) => {
            return ended;
        }
    }
    match link.over.words() {
        Some(words) => control.refuse(words.to_owned()).await,
        None => Ok(()),
    }
}

/// The peer's hello.
async fn first(receive: &mut RecvStream, inbound: &mut Inbound) -> Result<LogicHello, Ended> {
    loop {
        match inbound.next_message::<ControlDown>().map_err(|error| Ended::Lost(Lost::Garbage(error)))? {
            Some(ControlDown { body: Some(control_down::Body::Hello(hello)) }) => return Ok(hello),
            Some(_) => return Err(Ended::Refused("the first message was not a hello".into())),
            None => stream::receive(receive, inbound).await.map_err(Ended::Lost)?,
        }
    }
}

impl Control<'_> {
    fn hello(&self) -> GatewayHello {
        let parts = &self.link.parts;
        GatewayHello {
            version: VERSION,
            name: parts.name.clone(),
            instance: parts.instance.0,
            client_url: parts.client_url.clone(),
            release: env!("CARGO_PKG_VERSION").into(),
        }
    }

    fn stats(&self) -> Stats {
        let parts = &self.link.parts;
        Stats {
            clients: parts.registry.clients() as u64,
            users: parts.registry.directory.size(Kind::User) as u64,
            rooms: parts.registry.directory.size(Kind::Room) as u64,
            draining: parts.shutdown.is_draining(),
            marks: parts.marks.all(),
        }
    }

    /// Says why the link is not wanted.
    async fn refuse(&mut self, reason: String) -> Result<(), Ended> {
        self.link.parts.counters.links_refused.inc();
        self.say(control_up::Body::Refused(Refused { reason: reason.clone() })).await?;
        let _ = self.send.send_data(Bytes::new(), true);
        Err(Ended::Refused(reason))
    }

    /// Routes, statistics, acknowledgements, questions and answers of both sides until the link ends.
    async fn converse(
        &mut self,
        routes: &Subscription,
        (histories, fetches): (&Subscribed, &mut mpsc::Receiver<Fetch>),
        receive: &mut RecvStream,
        inbound: &mut Inbound,
    ) -> Result<(), Ended> {
        let directory = &self.link.parts.registry.directory;
        let (questions, mut answers) = Questions::new(self.link.parts.clone());
        self.tell(routes.snapshot(directory)).await?;
        let mut heard = Instant::now();
        let mut has_said_goodbye = false;
        let mut every = tokio::time::interval(STATS_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // In this order: what has come is heard before anybody is called silent.
                biased;
                received = stream::receive(receive, inbound) => {
                    received.map_err(Ended::Lost)?;
                    heard = Instant::now();
                    while let Some(message) = inbound
                        .next_message::<ControlDown>()
                        .map_err(|error| Ended::Lost(Lost::Garbage(error)))?
                    {
                        match message.body {
                            Some(control_down::Body::RoutesTaken(taken)) => routes.take(taken.serial),
                            Some(control_down::Body::Ask(ask)) => questions.ask(ask),
                            Some(control_down::Body::Fetched(fetched)) => {
                                self.link.parts.fetches.answered(fetched);
                            }
                            Some(control_down::Body::Heads(heads)) => repair::hear(&self.link.parts, &heads),
                            // Other rules hold there now.
                            Some(control_down::Body::Hello(hello)) => histories.learn(&hello),
                            Some(control_down::Body::Alive(_)) | None => {}
                        }
                    }
                }
                _ = every.tick() => {
                    if heard.elapsed() > SILENCE_MAX {
                        return Err(Ended::Silent);
                    }
                    self.say(control_up::Body::Stats(self.stats())).await?;
                }
                // At once: a gateway may drain and be gone before the next second, and is not to be missed.
                () = self.link.parts.shutdown.draining(), if !has_said_goodbye => {
                    has_said_goodbye = true;
                    self.say(control_up::Body::Stats(self.stats())).await?;
                }
                () = routes.noted() => self.tell(routes.changes(directory)).await?,
                // `questions` keeps the other end.
                Some(answer) = answers.recv() => self.say(control_up::Body::Answer(answer)).await?,
                Some(fetch) = fetches.recv() => self.say(control_up::Body::Fetch(fetch)).await?,
            }
        }
    }

    async fn tell(&mut self, messages: impl Iterator<Item = Routes>) -> Result<(), Ended> {
        for message in messages {
            self.say(control_up::Body::Routes(message)).await?;
            // While the peer's window is open nothing waits, and a million names are hundreds of messages.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn say(&mut self, body: control_up::Body) -> Result<(), Ended> {
        self.outbound.put(&ControlUp { body: Some(body) });
        let Some(bytes) = self.outbound.take() else { return Ok(()) };
        match tokio::time::timeout(SILENCE_MAX, stream::send(&mut self.send, bytes)).await {
            Err(_) => Err(Ended::Silent),
            Ok(sent) => sent.map_err(Ended::Lost),
        }
    }
}
