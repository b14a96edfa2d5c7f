//! A link that is up: four things at once, and the first that ends ends the link.
//!
//! Control (routes, questions, histories, signs of life), deliveries down, receipts up, and a watch that hears silence. All in one
//! task: nothing is spawned, and whatever ends it, everything of it is gone.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::ids::Instance;
use common::link::codec::Outbound;
use common::link::history::Fetched;
use common::link::message::{Alive, ControlUp, RoutesTaken, Up, control_down, control_up, up};
use common::link::stream::{receive, send};
use common::metrics::Counter;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use h2::SendStream;
use h2::client::SendRequest;
use prost::Message;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::greet::{Duplex, Greeted, say, stream_lost};
use super::outbox::Outbox;
use super::{Link, OPEN_TIME_MAX, Trouble};
use crate::counters;
use crate::engine::Engine;
use crate::roster::{Ends, Unwanted};
use crate::routing::LinkId;

/// How often we say that we live.
const ALIVE_EVERY: Duration = Duration::from_secs(1);

/// A gateway that lives but takes no delivery for this long is given up.
const STALLED_MAX: Duration = Duration::from_secs(10);

/// Questions about histories that are answered at a time; a gateway asks no more, and one that does hears nothing new.
const FETCHES_MAX: usize = 64;

/// Answers to questions about histories, as they come.
type Fetches<'a> = FuturesUnordered<Pin<Box<dyn Future<Output = Fetched> + Send + 'a>>>;

/// A link in the roster; dropped, it is out of it and its flights are answered.
struct Entered<'a> {
    link: &'a Link,
    id: LinkId,
    ends: Ends,
    /// The run of the gateway.
    instance: Instance,
    /// We end it, for the gateway is silent or stalled.
    is_given_up: bool,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let shared = &self.link.shared;
        self.ends.desk.close();
        self.link.fleet.link_ends(&self.link.view, !self.is_given_up);
        if let Some(remains) = shared.publisher.link_down(&self.link.address, self.id, &self.ends.outbox) {
            let publisher = shared.publisher.clone();
            shared.tasks.spawn(async move { publisher.clean(remains).await });
        }
    }
}

impl Link {
    /// Greets, and then uses the link until it ends.
    pub(super) async fn session(
        &self,
        sender: SendRequest<Bytes>,
        ended: &mut (impl Future<Output = ()> + Unpin),
    ) -> Trouble {
        // Kept: h2 closes a connection whose last handle is dropped once its streams are done.
        let _sender = sender.clone();
        // From before the hello: rules that change after it are said.
        let mut rules = self.shared.publisher.histories.rules_change();
        let greeted = tokio::select! {
            () = &mut *ended => return Trouble::Over,
            greeted = timeout(OPEN_TIME_MAX, self.greet(sender)) => greeted,
        };
        let mut greeted = match greeted {
            Ok(Ok(greeted)) => greeted,
            Ok(Err(trouble)) => return trouble,
            Err(_) => {
                let secs = OPEN_TIME_MAX.as_secs();
                return Trouble::Lost(format!(
                    "the address took the connection and said no hello in {secs} s"
                ));
            }
        };
        let mut up = match self.enter(&greeted) {
            Ok(up) => up,
            Err(trouble) => return trouble,
        };
        let label = counters::gateway(&self.address);
        let sent = self.shared.counters.sent.get_or_create_owned(&label);
        let received = self.shared.counters.received.get_or_create_owned(&label);
        let heard = Heard::new();
        let trouble = tokio::select! {
            () = &mut *ended => Trouble::Over,
            trouble = self.control(&mut greeted.control, &up, &heard, &mut rules) => trouble,
            trouble = write(&mut greeted.data.send, &up.ends.outbox, &sent) => trouble,
            trouble = self.read(greeted.data.receive, greeted.data.inbound, up.id, &received) => trouble,
            trouble = self.watch(&heard, &up.ends.outbox) => {
                up.is_given_up = true;
                trouble
            }
        };
        if trouble == Trouble::Over {
            // Said, so that the gateway knows it for an end and not for an accident.
            let _ = greeted.control.send.send_data(Bytes::new(), true);
            let _ = greeted.data.send.send_data(Bytes::new(), true);
        }
        drop(up);
        trouble
    }

    /// Puts the link into the roster: from now on pushes come.
    fn enter(&self, greeted: &Greeted) -> Result<Entered<'_>, Trouble> {
        let outbox = Arc::new(Outbox::new(self.shared.queue_bytes_max, self.shared.stalled_after));
        let ends = Ends { outbox, desk: Arc::default(), heads: Arc::default() };
        let (peer, publisher) = (&greeted.peer, &self.shared.publisher);
        let entered = publisher.link_up(&self.address, &peer.name, peer.instance, ends.clone());
        let id = match entered {
            Ok(id) => id,
            Err(Unwanted::Forgotten) => return Err(Trouble::Over),
            Err(Unwanted::Duplicate(other)) => {
                return Err(Trouble::Duplicate(format!("{other} is the same gateway and has a link")));
            }
        };
        self.view.is_up(greeted.hello.clone());
        tracing::info!(gateway = %peer.name, address = %self.address, "linked");
        Ok(Entered { link: self, id, ends, instance: peer.instance, is_given_up: false })
    }

    /// The control stream, both ways.
    async fn control(
        &self,
        control: &mut Duplex,
        up: &Entered<'_>,
        heard: &Heard,
        rules: &mut watch::Receiver<()>,
    ) -> Trouble {
        let mut alive = interval(ALIVE_EVERY);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beat = 0;
        // Answered as the store answers: what it does not say holds up no sign of life.
        let mut fetches = Fetches::new();
        loop {
            if let Err(trouble) = self.take_control(control, up, &mut fetches).await {
                return trouble;
            }
            let done = tokio::select! {
                _ = alive.tick() => {
                    beat += 1;
                    say(&mut control.send, control_down::Body::Alive(Alive { beat })).await
                }
                ask = up.ends.desk.next() => say(&mut control.send, control_down::Body::Ask(ask)).await,
                Some(fetched) = fetches.next(), if !fetches.is_empty() => {
                    say(&mut control.send, control_down::Body::Fetched(fetched)).await
                }
                Ok(()) = rules.changed() => {
                    say(&mut control.send, control_down::Body::Hello(self.hello())).await
                }
                heads = up.ends.heads.next() => {
                    say(&mut control.send, control_down::Body::Heads(heads)).await
                }
                came = receive(&mut control.receive, &mut control.inbound) => {
                    heard.now();
                    came.map_err(stream_lost)
                }
            };
            if let Err(trouble) = done {
                return trouble;
            }
        }
    }

    /// Takes all control messages that have come.
    async fn take_control<'a>(
        &'a self,
        control: &mut Duplex,
        up: &Entered<'_>,
        fetches: &mut Fetches<'a>,
    ) -> Result<(), Trouble> {
        let garbage = |error: common::link::codec::Garbage| Trouble::Refused(error.to_string());
        let mut taken = None;
        while let Some(message) = control.inbound.next_message::<ControlUp>().map_err(garbage)? {
            match message.body {
                Some(control_up::Body::Routes(routes)) => {
                    self.shared.publisher.routes(up.id, &routes).await;
                    if routes.complete {
                        self.shared.publisher.holds_all(&up.ends.heads);
                    }
                    taken = Some(routes.serial);
                }
                Some(control_up::Body::Stats(stats)) => {
                    // What reached a gateway was stored, whatever the store says later.
                    self.shared.publisher.histories.engine().witness(&stats.marks);
                    self.view.holds(stats);
                }
                Some(control_up::Body::Answer(answer)) => up.ends.desk.answer(answer),
                Some(control_up::Body::Fetch(fetch)) => {
                    if fetches.len() < FETCHES_MAX {
                        let (publisher, gateway) = (&self.shared.publisher, up.instance);
                        fetches.push(Box::pin(async move { publisher.fetch(&fetch, gateway).await }));
                    } else {
                        let nothing = Fetched { id: fetch.id, ..Fetched::default() };
                        say(&mut control.send, control_down::Body::Fetched(nothing)).await?;
                    }
                }
                Some(control_up::Body::Refused(refused)) => return Err(Trouble::Refused(refused.reason)),
                // A second hello means nothing; what a later release says is passed over.
                Some(control_up::Body::Hello(_)) | None => {}
            }
        }
        match taken {
            Some(serial) => {
                say(&mut control.send, control_down::Body::RoutesTaken(RoutesTaken { serial })).await
            }
            None => Ok(()),
        }
    }

    /// Receipts.
    async fn read(
        &self,
        mut stream: h2::RecvStream,
        mut inbound: common::link::codec::Inbound,
        link: LinkId,
        received: &Counter,
    ) -> Trouble {
        loop {
            if let Err(lost) = receive(&mut stream, &mut inbound).await {
                return stream_lost(lost);
            }
            loop {
                match inbound.next_message::<Up>() {
                    Ok(None) => break,
                    Err(garbage) => return Trouble::Refused(garbage.to_string()),
                    Ok(Some(Up { body: Some(up::Body::Receipts(receipts)) })) => {
                        received.inc_by(receipts.encoded_len() as u64);
                        self.shared.publisher.receipts(link, &receipts);
                    }
                    Ok(Some(Up { body: None })) => {}
                }
            }
        }
    }

    /// Ends when the gateway has been silent, or has taken no delivery, for too long.
    async fn watch(&self, heard: &Heard, outbox: &Outbox) -> Trouble {
        let silence_max = self.shared.silence_max;
        loop {
            let silence = heard.silence();
            if silence >= silence_max {
                return Trouble::Lost(format!("nothing was heard for {} ms", silence.as_millis()));
            }
            if outbox.stalled() > STALLED_MAX {
                return Trouble::Lost(format!("it takes no delivery for {} s", STALLED_MAX.as_secs()));
            }
            sleep((silence_max - silence).min(ALIVE_EVERY)).await;
        }
    }
}

/// Deliveries, gathered into chunks.
async fn write(stream: &mut SendStream<Bytes>, outbox: &Outbox, sent: &Counter) -> Trouble {
    let mut outbound = Outbound::default();
    loop {
        outbox.take(&mut outbound).await;
        let Some(chunk) = outbound.take() else { continue };
        let bytes = chunk.len() as u64;
        if let Err(lost) = send(stream, chunk).await {
            return stream_lost(lost);
        }
        outbox.sent();
        sent.inc_by(bytes);
    }
}

/// When something was heard last; shared by two futures of one task.
struct Heard {
    start: Instant,
    last_ms: AtomicU64,
}

impl Heard {
    fn new() -> Self {
        Self { start: Instant::now(), last_ms: AtomicU64::new(0) }
    }

    fn now(&self) {
        let ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(ms, Ordering::Relaxed);
    }

    fn silence(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.last_ms.load(Ordering::Relaxed)))
    }
}
