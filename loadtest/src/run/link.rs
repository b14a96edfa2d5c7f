//! The coordinator's end of the connection to one agent.
//!
//! What is said all the time (counts, the time) is dealt with here, whatever the run is about just then; the rest waits
//! for the run. An agent that is killed, hangs or says what makes no sense is *lost*: it is noted with the reason, and
//! the run comes to its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use common::shutdown::Shutdown;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::Child;
use tokio::sync::mpsc;

use crate::agent::frames::{self, Frame};
use crate::agent::message::{Order, Said, Tick, shorten};
use crate::publisher::Desk;
use crate::timeline::Interval;

/// Frames that wait for an agent, at most.
const ORDERS_MAX: usize = 8;

/// Messages that wait for the run, at most: the talk is question and answer.
const SAID_MAX: usize = 4;

/// An agent that is not heard for so long hangs: it says something each second. Machines with many processes on few
/// cores are slow, but not that slow.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What an agent said before its connection broke is heard in this time.
const LAST_WORDS_TIME_MAX: Duration = Duration::from_secs(1);

/// A process whose connection has ended takes this long to end itself.
const END_TIME_MAX: Duration = Duration::from_secs(5);

/// What all links tell to.
#[derive(Debug)]
pub(super) struct Board {
    pub(super) desk: Arc<Desk>,
    /// Why agents were lost, by number.
    pub(super) lost: Mutex<BTreeMap<u32, String>>,
    /// Why the last handshake failed.
    pub(super) last_failure: Mutex<Option<String>>,
    /// Drains when the run is to end early.
    pub(super) ending: Shutdown,
    /// An agent that is silent for longer hangs.
    pub(super) silence_max: Duration,
}

impl Board {
    pub(super) fn new(desk: Arc<Desk>, ending: Shutdown, agents: u32) -> Arc<Self> {
        Arc::new(Self {
            desk,
            lost: Mutex::default(),
            last_failure: Mutex::default(),
            ending,
            silence_max: SILENCE_MAX + Duration::from_secs(1) * agents,
        })
    }

    /// Notes that an agent is lost; the first reason stands.
    pub(super) fn lose(&self, number: u32, why: String) {
        self.lost.lock().entry(number).or_insert(why);
        self.ending.start_drain();
    }
}

/// An agent, as the run sees it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) number: u32,
    orders: mpsc::Sender<Bytes>,
    said: mpsc::Receiver<Said>,
    /// Answers that are due.
    asked: Arc<AtomicU32>,
}

/// The other half of a link: the work of its task.
#[derive(Debug)]
pub(super) struct Ends {
    number: u32,
    orders: mpsc::Receiver<Bytes>,
    pongs: mpsc::WeakSender<Bytes>,
    said: mpsc::Sender<Said>,
    asked: Arc<AtomicU32>,
}

impl Link {
    pub(super) fn new(number: u32) -> (Self, Ends) {
        let (orders, taken) = mpsc::channel(ORDERS_MAX);
        let (give, said) = mpsc::channel(SAID_MAX);
        // Weak: the connection is to end when the run drops its half.
        let asked = Arc::<AtomicU32>::default();
        let ends =
            Ends { number, orders: taken, pongs: orders.downgrade(), said: give, asked: asked.clone() };
        (Self { number, orders, said, asked }, ends)
    }

    /// Gives bytes of a frame. An agent that is lost does not take them, and that is noted elsewhere.
    pub(super) async fn give(&self, frame: Bytes) {
        _ = self.orders.send(frame).await;
    }

    /// Gives an order that is answered.
    pub(super) async fn ask(&self, frame: Bytes) {
        self.asked.fetch_add(1, Relaxed);
        self.give(frame).await;
    }

    /// What the agent says next; `None`: it is lost.
    pub(super) async fn hear(&mut self) -> Option<Said> {
        self.said.recv().await
    }
}

/// Serves a link until either side ends. A process that was started for it has ended then too.
pub(super) async fn serve(
    ends: Ends,
    stream: impl AsyncRead + AsyncWrite,
    child: Option<Child>,
    board: Arc<Board>,
) {
    let Ends { number, orders, pongs, said, asked } = ends;
    let (mut read, mut write) = tokio::io::split(stream);
    let mut hearer =
        Hearer { pongs, said, asked, board: board.clone(), last: Tick::default(), has_judged: false };
    let end = {
        let listen = async {
            loop {
                match tokio::time::timeout(board.silence_max, frames::read(&mut read)).await {
                    Err(_) => return format!("it said nothing for {:.0} s", board.silence_max.as_secs_f64()),
                    Ok(Err(error)) => return format!("its connection ended: {error}"),
                    Ok(Ok(frame)) => {
                        if let Err(why) = hearer.hear(frame).await {
                            return why;
                        }
                    }
                }
            }
        };
        let mut listen = std::pin::pin!(listen);
        // Without orders any more the run has what it wants.
        let give = frames::write_all(orders, &mut write);
        tokio::select! {
            why = &mut listen => Some(why),
            ended = give => match ended {
                Ok(()) => None,
                // It may have said why before it went.
                Err(error) => {
                    let why = tokio::time::timeout(LAST_WORDS_TIME_MAX, listen).await;
                    Some(why.unwrap_or_else(|_| format!("its connection broke: {error}")))
                }
            },
        }
    };
    hearer.leave();
    drop((read, write));
    let exit = end_process(child).await;
    if let (Some(why), false) = (end, hearer.has_judged) {
        board.lose(number, exit.map_or(why.clone(), |exit| format!("{why}; its process: {exit}")));
    }
}

/// Waits for a process to end by itself, or makes it; how it ended.
async fn end_process(child: Option<Child>) -> Option<String> {
    let mut child = child?;
    match tokio::time::timeout(END_TIME_MAX, child.wait()).await {
        Ok(Ok(status)) => Some(status.to_string()),
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => {
            // It may have ended just now.
            _ = child.kill().await;
            Some("it hung and was killed".to_owned())
        }
    }
}

/// Hears one agent.
struct Hearer {
    pongs: mpsc::WeakSender<Bytes>,
    said: mpsc::Sender<Said>,
    asked: Arc<AtomicU32>,
    board: Arc<Board>,
    /// The last sums.
    last: Tick,
    has_judged: bool,
}

impl Hearer {
    /// Takes a frame. `Err`: why the agent is of no use any more.
    async fn hear(&mut self, frame: Frame) -> Result<(), String> {
        let Frame::Message(body) = frame else {
            return Err("it sent what only a coordinator sends".to_owned());
        };
        let said: Said = frames::parse(&body).map_err(|why| format!("it sent {why}"))?;
        match said {
            Said::Ping(asked) => {
                let pong = frames::message(&Order::Pong(asked, self.board.desk.ledger.now()));
                if let Some(pongs) = self.pongs.upgrade() {
                    // One that finds the way full would be late: the agent asks again.
                    _ = pongs.try_send(pong);
                }
            }
            Said::Counts(tick) => self.count(*tick)?,
            Said::Failed(why) => return Err(shorten(why)),
            said => {
                let is_verdict = matches!(&said, Said::Verdict(_));
                if let Said::Verdict(verdict) = &said
                    && !verdict.fits(self.board.desk.world.gateways as usize)
                {
                    return Err("it gave a verdict on another run".to_owned());
                }
                let was_asked =
                    self.asked.fetch_update(Relaxed, Relaxed, |asked| asked.checked_sub(1)).is_ok();
                if !was_asked || self.said.try_send(said).is_err() {
                    return Err("it said what was not its turn".to_owned());
                }
                self.has_judged |= is_verdict;
            }
        }
        Ok(())
    }

    fn count(&mut self, tick: Tick) -> Result<(), String> {
        let desk = &self.board.desk;
        let last = &self.last;
        let since = |now: u64, before: u64| now.checked_sub(before).ok_or("it counted backwards");
        let us = Duration::from_micros;
        let more = Interval {
            received: since(tick.received, last.received)?,
            frames: since(tick.frames, last.frames)?,
            bytes: since(tick.bytes, last.bytes)?,
            late: us(tick.late_us),
            busy: us(since(tick.busy_us, last.busy_us)?),
            looped: us(since(tick.looped_us, last.looped_us)?),
            latency: tick.times,
            ..Interval::default()
        };
        if tick.connected > u64::from(desk.world.clients) {
            return Err("it counted more clients than there are".to_owned());
        }
        for (place, id) in tick.ids {
            let slot = desk.ids.get(place as usize).ok_or("it named a client that is none")?;
            *slot.lock() = Some(id);
        }
        // After the ids: who sees the count may use them.
        let (came, went) = (tick.connected, last.connected);
        desk.progress.add((came, went), &more);
        if let Some(why) = tick.last_failure {
            *self.board.last_failure.lock() = Some(shorten(why));
        }
        self.last = Tick { times: Default::default(), ids: Vec::new(), last_failure: None, ..tick };
        Ok(())
    }

    /// The agent is gone, and its clients with it.
    fn leave(&mut self) {
        self.board.desk.progress.add((0, self.last.connected), &Interval::default());
        self.last.connected = 0;
    }
}
