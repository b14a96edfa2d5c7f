//! The course of an agent: join, prepare, connect, count, judge.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use common::descriptors;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::MissedTickBehavior;

use super::message::{Join, Judge, Order, Said, Share, Tick, Used, VERSION, Verdict, shorten};
use super::talk::{Heard, Talk, talk};
use crate::clock::Difference;
use crate::judge::judge;
use crate::kernel;
use crate::latency::{Latency, Times};
use crate::ledger::Ledger;
use crate::payload::Format;
use crate::reactor::{self, Arrivals, Connections, Left, Ramp, Running, Shared, SlowSeen, StopOnDrop};
use crate::report::Frames;
use crate::schedule::Schedule;
use crate::tracker::{Course, EXAMPLES_MAX, Seen};
use crate::world::Part;

/// How often an agent asks for the time before it says that it is ready.
const PINGS: usize = 16;

/// Something is said at least so often, and the time is asked for.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// Where an agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A task of the run that it serves.
    Here,
    /// A process of its own; its number, if the run started it.
    Process(Option<u32>),
}

/// Is an agent, on a connection to its coordinator, until the run ends.
pub(crate) async fn serve(
    stream: impl AsyncRead + AsyncWrite,
    secret: &str,
    place: Place,
) -> Result<(), String> {
    let secret = secret.to_owned();
    // One on the run's own runtime is silent when that is.
    Box::pin(talk(stream, place == Place::Here, |talk| Box::pin(run(talk, secret, place)))).await
}

async fn run(mut talk: Talk, secret: String, place: Place) -> Result<(), String> {
    let limit =
        descriptors::raise().map_err(|error| format!("cannot read the limit of open files: {error}"))?;
    let number = match place {
        Place::Here => Some(0),
        Place::Process(number) => number,
    };
    let join = Join {
        version: VERSION.to_owned(),
        secret,
        number,
        pid: std::process::id(),
        cores: std::thread::available_parallelism().map_or(1, usize::from) as u32,
        clients_max: limit.connections() as u64,
    };
    talk.say(&Said::Join(join)).await?;
    match talk.hear().await? {
        Heard::Order(Order::Welcome) => {}
        Heard::Order(Order::Refused(why)) => return Err(format!("the coordinator refused: {why}")),
        _ => return Err(unexpected()),
    }
    let Heard::Order(Order::Share(share)) = talk.hear().await? else { return Err(unexpected()) };
    let prepared = tokio::task::spawn_blocking(move || Agent::prepare(*share, place)).await;
    let mut agent = prepared.map_err(|_| "an agent cannot prepare its share".to_owned())?;
    let _stop = StopOnDrop(agent.shared.clone());
    for _ in 0..PINGS {
        talk.say(&Said::Ping(agent.shared.course.ledger.clock.local())).await?;
        match talk.hear().await? {
            Heard::Order(Order::Pong(asked, now)) => agent.pong(asked, now),
            _ => return Err(unexpected()),
        }
    }
    talk.say(&Said::Ready).await?;
    let ended = agent.course(&mut talk).await;
    if let Err(why) = &ended {
        // Best effort: the connection may be what ended.
        _ = talk.say(&Said::Failed(why.clone())).await;
    }
    ended
}

fn unexpected() -> String {
    "the coordinator said what was not its turn".to_owned()
}

/// An agent with its share.
struct Agent {
    shared: Arc<Shared>,
    place: Place,
    tick: Duration,
    difference: Difference,
    /// Times count from here: the clock is not set any more.
    begun: bool,
    loops: Vec<Running>,
    /// What the loops left, and what the process used, when they had ended.
    left: Option<(Vec<Left>, Option<Used>)>,
    last: Tick,
    said: Instant,
    cpu_secs: f64,
    rss_bytes: u64,
}

impl Agent {
    fn prepare(share: Share, place: Place) -> Self {
        let Share { world, draw, rate, run, size, verify, gateways, manner, late_us, settle_us, tick } =
            share;
        let part = Part::new(&world, manner.agent, manner.agents);
        let schedule = Schedule::draw_part(&draw, &world, &part);
        let gateway_step = Part::gateway_step(&world, manner.agents);
        let ledger = Ledger::new(schedule, Format::new(run, size), rate, world.gateways / gateway_step);
        let course = Arc::new(Course { world, ledger, verify, gateway_step, late_us, settle_us });
        Self {
            shared: Arc::new(Shared::new(course, gateways, manner)),
            place,
            tick,
            difference: Difference::default(),
            begun: false,
            loops: Vec::new(),
            left: None,
            last: Tick::default(),
            said: Instant::now(),
            cpu_secs: 0.0,
            rss_bytes: kernel::rss_bytes(),
        }
    }

    fn pong(&mut self, asked: u64, now: u64) {
        if !self.begun {
            let clock = &self.shared.course.ledger.clock;
            self.difference.take(clock, asked, clock.local(), now);
        }
    }

    /// Does what is ordered, until the verdict is said.
    async fn course(&mut self, talk: &mut Talk) -> Result<(), String> {
        let mut tick = tokio::time::interval(self.tick);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                heard = talk.hear() => match heard? {
                    Heard::Order(Order::Judge(judge)) => return self.say_verdict(talk, judge).await,
                    Heard::Order(order) => self.obey(order, talk).await?,
                    Heard::Ledger(part) => {
                        self.shared.course.ledger.import(&part).ok_or("a part of a ledger that cannot be read")?;
                    }
                },
                _ = tick.tick() => self.say_counts(talk).await?,
            }
        }
    }

    async fn obey(&mut self, order: Order, talk: &Talk) -> Result<(), String> {
        match order {
            Order::Pong(asked, now) => self.pong(asked, now),
            Order::Connect(ramp) if self.loops.is_empty() && self.left.is_none() => self.connect(ramp)?,
            Order::Begin(at) => {
                self.begun = true;
                self.shared.course.ledger.begin(at);
                self.shared.begun.store(true, Relaxed);
                talk.say(&Said::Begun).await?;
            }
            Order::Stop if self.left.is_none() => {
                let left = reactor::stop(&self.shared, std::mem::take(&mut self.loops)).await;
                let left = left.ok_or("an event loop of the clients panicked")?;
                self.left = Some((left, self.used()));
                self.say_counts(talk).await?;
                talk.say(&Said::Stopped).await?;
            }
            _ => return Err(unexpected()),
        }
        Ok(())
    }

    fn connect(&mut self, ramp: Ramp) -> Result<(), String> {
        (self.cpu_secs, self.rss_bytes) = (kernel::cpu_secs(), kernel::rss_bytes());
        self.loops = reactor::start(&self.shared, ramp)
            .map_err(|error| format!("cannot start the event loops: {error}"))?;
        Ok(())
    }

    fn used(&self) -> Option<Used> {
        let rss_bytes = kernel::rss_bytes();
        let used = Used {
            cpu_secs: kernel::cpu_secs(),
            rss_bytes,
            grown_bytes: rss_bytes.saturating_sub(self.rss_bytes),
        };
        (self.place != Place::Here).then_some(used)
    }

    /// Says what was counted, if that has changed or nothing was said for a while.
    async fn say_counts(&mut self, talk: &Talk) -> Result<(), String> {
        if self.left.is_none() && self.loops.iter().any(Running::has_ended) {
            return Err("an event loop of the clients panicked".to_owned());
        }
        let meter = &self.shared.meter;
        let sums = meter.sums();
        let is_due = self.said.elapsed() >= SAY_EVERY;
        let has_changed = (sums.connected, sums.received, sums.frames)
            != (self.last.connected, self.last.received, self.last.frames);
        if !is_due && !has_changed {
            return Ok(());
        }
        let mut tick = Tick {
            connected: sums.connected,
            received: sums.received,
            frames: sums.frames,
            bytes: sums.bytes,
            busy_us: sums.busy_us,
            looped_us: sums.looped_us,
            // After the counts: who is counted has its id here.
            ids: meter.take_ids(),
            last_failure: self.shared.last_failure.lock().take().map(shorten),
            ..Tick::default()
        };
        if is_due {
            self.said = Instant::now();
            (tick.times, tick.late_us) = (meter.take_times(), meter.take_late_us());
            talk.say(&Said::Ping(self.shared.course.ledger.clock.local())).await?;
        }
        self.last = Tick {
            connected: tick.connected,
            received: tick.received,
            frames: tick.frames,
            ..Tick::default()
        };
        talk.say(&Said::Counts(Box::new(tick))).await
    }

    async fn say_verdict(&mut self, talk: &mut Talk, judge: Judge) -> Result<(), String> {
        let (left, used) = self.left.take().ok_or_else(unexpected)?;
        let (course, clock_error_us) = (self.shared.course.clone(), self.difference.error_us());
        let mut judging = tokio::task::spawn_blocking(move || find(&course, left, &judge, clock_error_us));
        let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + SAY_EVERY, SAY_EVERY);
        // It may take long: meanwhile the coordinator hears that somebody is here.
        let mut verdict = loop {
            tokio::select! {
                verdict = &mut judging => break verdict.map_err(|_| "an agent cannot judge what it saw")?,
                _ = tick.tick() => talk.say(&Said::Ping(0)).await?,
                heard = talk.hear() => if !matches!(heard?, Heard::Order(Order::Pong(..))) {
                    return Err(unexpected());
                },
            }
        };
        verdict.used = used.map(|used| Used { cpu_secs: kernel::cpu_secs(), ..used });
        talk.say(&Said::Verdict(Box::new(verdict))).await
    }
}

/// The verdict, from what the loops left.
fn find(course: &Course, left: Vec<Left>, judge_by: &Judge, clock_error_us: u64) -> Verdict {
    for (&item, gateways) in &judge_by.failures {
        gateways.iter().for_each(|&gateway| course.ledger.failed_at(item, gateway));
    }
    let gateways = course.world.gateways as usize;
    let mut connections = vec![Connections::default(); gateways];
    let (mut frames, mut slow, mut arrivals) = (Frames::default(), SlowSeen::default(), Arrivals::default());
    let mut seen: Vec<Seen> = Vec::new();
    for left in left {
        connections.iter_mut().zip(&left.connections).for_each(|(sum, part)| sum.add(part));
        frames.add(&left.frames);
        slow.add(&left.slow);
        arrivals.add(&left.arrivals);
        seen.push(left.seen);
    }
    let (counts, missed) = judge(course, &mut seen, &judge_by.excuses);
    let mut latency = Latency::default();
    seen.iter().for_each(|seen| latency.add(&seen.latency));
    let waits: (Times, Times) = course.ledger.waits(|stream| course.world.stream(stream).urgent);
    let slow_received = seen.iter().map(|seen| seen.slow_received).sum();
    let examples = seen.into_iter().flat_map(|seen| seen.examples).take(EXAMPLES_MAX);
    let examples = examples.map(shorten).collect();
    Verdict {
        counts,
        connections,
        frames,
        slow,
        missed,
        slow_received,
        arrivals,
        latency,
        waits,
        examples,
        clock_error_us,
        used: None,
    }
}
