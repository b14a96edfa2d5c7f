//! The course of a run: check, connect, publish, wait for what is under way, judge.

mod crowd;
mod events;
mod link;
mod outcome;
mod targets;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use common::shutdown::Shutdown;
use common::tasks::Tasks;

use crate::account::{Role, Sampler, Watched};
use crate::agent::message::{Join, Judge, Share};
use crate::kernel::{self, KernelCounters};
use crate::ledger::Ledger;
use crate::payload::Format;
use crate::plan::{BadPlan, Plan};
use crate::probe;
use crate::progress::{Phase, Progress};
use crate::publisher::{Desk, Publisher};
use crate::reactor::{self, Manner};
use crate::report::{Ramp, Report};
use crate::schedule::{Draw, Schedule};
use crate::world::World;
use crowd::{Crowd, Source};
use link::Board;
use targets::Targets;

/// No client greeted in this time, beyond what one handshake may take: the ramp has stalled.
const RAMP_STALL_MAX: Duration = Duration::from_secs(5);

/// How often the phases look at their counts.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// An agent says what it counted this often, and less often the more of them there are.
const TICK: Duration = Duration::from_millis(20);
const TICK_MOST: Duration = Duration::from_millis(500);

/// Processes on one core that a handshake is not slower for.
const PROCESSES_A_CORE: f64 = 4.0;

/// In a closed loop so many pushes wait for each connection: enough that none is idle.
const WAITING_EACH: usize = 4;

/// Beyond two windows without a new item, none is expected any more.
const QUIET: Duration = Duration::from_secs(2);

/// Calls under way get their answer or reach their own deadline in this time.
const ANSWERS_TIME_MAX: Duration = Duration::from_secs(15);

/// The same, when somebody waits for the end.
const ANSWERS_TIME_SHORT: Duration = Duration::from_secs(2);

/// Why there is no report.
#[derive(Debug)]
pub enum Error {
    /// The plan makes no sense.
    Plan(BadPlan),
    /// This process or machine does not allow it.
    Limits(String),
    /// A target is not there, or not what it should be.
    Unreachable(String),
    /// A part of the tool itself failed.
    Broken(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(bad) => bad.fmt(f),
            Self::Limits(what) | Self::Unreachable(what) | Self::Broken(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}

impl Error {
    /// Exit code of a program that ends with this.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Plan(_) => 2,
            Self::Limits(_) | Self::Broken(_) => 1,
            Self::Unreachable(_) => 69,
        }
    }
}

/// Does what a plan asks, and reports.
///
/// # Errors
/// [`Error`] when it could not be done; what was found wrong with the cluster is in the report.
pub async fn run(plan: Plan) -> Result<Report, Error> {
    Box::pin(run_with(plan, &Shutdown::new(), Arc::default())).await
}

/// As [`run`], for a caller who watches and may end it early: after `shutdown.start_drain()` a partial
/// report follows soon.
///
/// # Errors
/// As [`run`].
pub async fn run_with(mut plan: Plan, shutdown: &Shutdown, progress: Arc<Progress>) -> Result<Report, Error> {
    plan.check().map_err(Error::Plan)?;
    let tasks = Tasks::new(Shutdown::new());
    if plan.gateways.is_empty() {
        plan.gateways = Box::pin(targets::find_gateways(&plan, &tasks)).await?;
        plan.check().map_err(Error::Plan)?;
    }
    let processes = probe::limits(&plan).map_err(Error::Limits)?;
    let (source, agents) = Source::of(&plan, processes)?;
    let targets = Box::pin(Targets::check(&plan, &tasks)).await?;
    let ending = Shutdown::new();
    let run = Run::prepare(plan, targets, (progress, tasks), (agents, &ending))?;
    let course = Box::pin(run.course(source, shutdown));
    tokio::select! {
        report = course => report,
        never = pass_on(shutdown, &ending) => match never {},
    }
}

/// What the caller asks for, the run asks of itself.
async fn pass_on(shutdown: &Shutdown, ending: &Shutdown) -> std::convert::Infallible {
    shutdown.draining().await;
    ending.start_drain();
    std::future::pending().await
}

/// What a run holds until its report.
struct Run {
    plan: Plan,
    targets: Targets,
    agents: u32,
    /// Event loops of each agent.
    threads: u32,
    desk: Arc<Desk>,
    board: Arc<Board>,
    publisher: Arc<Publisher>,
    tasks: Tasks,
    /// Drains when the run is to end: the caller asked for it, or an agent is lost.
    ending: Shutdown,
    begun: Instant,
    begun_at: SystemTime,
    sampler: Sampler,
    /// When clients began to connect, µs on the run's clock.
    ramp_begun: u64,
    /// For how long was published.
    published: Duration,
    kernel: KernelCounters,
    cpu_secs: f64,
    rss_bytes: u64,
}

impl Run {
    fn prepare(
        mut plan: Plan,
        mut targets: Targets,
        (progress, tasks): (Arc<Progress>, Tasks),
        (agents, ending): (u32, &Shutdown),
    ) -> Result<Self, Error> {
        let world = World::of(&plan);
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as u32;
        let here = if plan.remote.is_some() { 1 } else { agents };
        let threads = if plan.threads == 0 { (cores.min(4) / here).max(1) } else { plan.threads as u32 };
        let crowded = f64::from(here) / (f64::from(cores) * PROCESSES_A_CORE);
        if crowded > 1.0 {
            plan.handshake_time_max = plan.handshake_time_max.mul_f64(crowded);
            targets.notes.push(format!(
                "{here} processes share {cores} cores, so a handshake may take {:.0} s",
                plan.handshake_time_max.as_secs_f64()
            ));
        }
        let schedule = Schedule::draw(&Draw::of(&plan), &world);
        let format = Format::new(fastrand::u64(..), plan.size);
        let ledger = Ledger::new(schedule, format, plan.pace(), 0);
        progress.clients.store(u64::from(plan.clients), Relaxed);
        let begun = Instant::now();
        let sampler = Sampler::start(targets.watched(&plan, agents), progress.clone(), begun)
            .map_err(|error| Error::Broken(format!("cannot start the accounting: {error}")))?;
        let desk = Desk::new(world, ledger, progress);
        Ok(Self {
            publisher: Publisher::new(desk.clone(), targets.names.clone(), &plan),
            board: Board::new(desk.clone(), ending.clone(), agents),
            plan,
            targets,
            agents,
            threads,
            desk,
            tasks,
            ending: ending.clone(),
            begun,
            begun_at: SystemTime::now(),
            sampler,
            ramp_begun: 0,
            published: Duration::ZERO,
            kernel: KernelCounters::now(),
            cpu_secs: kernel::cpu_secs(),
            rss_bytes: kernel::rss_bytes(),
        })
    }

    /// What an agent is told.
    fn share(&self, join: &Join) -> Share {
        let Self { plan, desk, targets, .. } = self;
        let us = |time: Duration| time.as_micros() as u64;
        let source_addresses = match plan.source_addresses {
            0 => reactor::sources(plan.clients, &targets.gateways, probe::ports()),
            asked => asked,
        };
        let is_remote = plan.remote.is_some() && plan.threads == 0;
        Share {
            world: desk.world.clone(),
            draw: Draw::of(plan),
            rate: plan.pace(),
            run: desk.ledger.format.run(),
            size: plan.size,
            verify: plan.verify,
            gateways: targets.gateways.clone(),
            manner: Manner {
                agent: join.number.unwrap_or_default(),
                agents: self.agents,
                threads: if is_remote { join.cores.clamp(1, 4) } else { self.threads },
                source_addresses,
                handshake_time_max: plan.handshake_time_max,
                slow_read: plan.slow_read,
                churn: plan.churn,
                moves: plan.moves,
                failover: plan.failover,
                wants_ids: plan.mix.client > 0 && plan.rate > 0.0,
            },
            late_us: plan.late.map_or(u64::MAX, us),
            settle_us: us(plan.settle),
            tick: (TICK * self.agents).min(TICK_MOST),
        }
    }

    async fn course(mut self, source: Source, shutdown: &Shutdown) -> Result<Report, Error> {
        let tasks = Tasks::new(Shutdown::new());
        let board = self.board.clone();
        let gathered = Crowd::gather(source, board, tasks, |join| self.share(join));
        let mut crowd = Box::pin(gathered).await?;
        self.check_agents(&crowd)?;
        self.watch(&crowd);
        self.enter(Phase::Connecting);
        self.ramp_begun = self.desk.ledger.now();
        crowd.connect(&self.plan).await;
        let ramp = match self.connect(&crowd).await {
            Ok(ramp) => ramp,
            Err(error) => {
                crowd.end().await;
                return Err(error);
            }
        };
        self.ending.or_draining(tokio::time::sleep(self.plan.settle)).await;
        let begin = self.desk.ledger.now();
        self.desk.ledger.begin(begin);
        crowd.begin(begin).await;

        self.enter(Phase::Publishing);
        let complete = self.publish().await;
        self.enter(Phase::Draining);
        self.drain(complete).await;
        self.publisher.close();
        let answers = if complete { ANSWERS_TIME_MAX } else { ANSWERS_TIME_SHORT };
        if tokio::time::timeout(answers, self.tasks.ended()).await.is_err() {
            self.targets.notes.push("some calls to logic nodes never ended".into());
        }

        self.enter(Phase::Judging);
        crowd.stop().await;
        let failures = self.desk.ledger.failures().into_iter().collect::<BTreeMap<_, _>>();
        let complete = complete && !shutdown.is_draining();
        let verdicts = crowd.judge(Judge { excuses: self.excuses(!complete), failures }).await;
        let complete = complete && crowd.lost().is_empty();
        let taken = self.sampler.end();
        let report = self.report((&crowd, taken), verdicts, ramp, complete);
        crowd.end().await;
        Ok(report)
    }

    fn enter(&self, phase: Phase) {
        self.sampler.enter(phase);
        self.desk.progress.enter(phase);
    }

    /// Accounts for the agents that are processes of this machine.
    fn watch(&self, crowd: &Crowd) {
        if self.agents > 1 && self.plan.remote.is_none() {
            for member in &crowd.members {
                let (name, pid) = (member.name.clone(), member.join.pid);
                self.sampler.watch(Watched { role: Role::Generator, name, pid });
            }
        }
    }

    /// Publishes everything at its time; whether nothing ended it.
    async fn publish(&mut self) -> bool {
        let key = self.plan.api_key.as_deref();
        self.publisher.start(&self.targets.logics, self.plan.publisher_connections, key, &self.tasks);
        let begun = Instant::now();
        let missed = {
            let (time, waiting_max) = (self.plan.duration, self.plan.publisher_connections * WAITING_EACH);
            let offered: Pin<Box<dyn Future<Output = ()> + Send>> = match self.plan.closed {
                true => Box::pin(self.publisher.offer_closed(time, waiting_max, &self.ending)),
                false => Box::pin(self.publisher.offer_all(&self.ending)),
            };
            events::announce(&self.plan.events, offered).await
        };
        self.published = begun.elapsed();
        self.targets.notes.extend(missed);
        !self.ending.is_draining()
    }

    /// Whether each agent can hold its clients.
    fn check_agents(&self, crowd: &Crowd) -> Result<(), Error> {
        let clients = u64::from(self.plan.clients.div_ceil(self.agents));
        let small = crowd.members.iter().find(|member| member.join.clients_max < clients);
        small.map_or(Ok(()), |member| {
            Err(Error::Limits(format!(
                "{} may hold {} clients and should hold {clients}: more agents, or a higher hard limit there (ulimit -Hn)",
                member.name, member.join.clients_max
            )))
        })
    }

    /// Waits until all clients are greeted.
    async fn connect(&self, crowd: &Crowd) -> Result<Ramp, Error> {
        let begun = Instant::now();
        let wanted = u64::from(self.plan.clients);
        let stall_max = self.plan.handshake_time_max + RAMP_STALL_MAX;
        let (mut most, mut since) = (0, begun);
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            // Nothing was published: there is nothing to report on.
            crowd.check()?;
            let connected = self.desk.progress.connected();
            if connected > most {
                (most, since) = (connected, Instant::now());
            }
            let secs = begun.elapsed().as_secs_f64();
            if connected >= wanted || self.ending.is_draining() {
                let connects_per_sec = connected as f64 / secs.max(1e-3);
                return Ok(Ramp { connected, secs, connects_per_sec, ..Ramp::default() });
            }
            if since.elapsed() > stall_max {
                let last = self.board.last_failure.lock().clone();
                let last = last.unwrap_or_else(|| "no attempt failed, none succeeded".into());
                return Err(Error::Unreachable(format!(
                    "only {most} of {wanted} clients were greeted, and none in the last {:.0} s; the last failure: {last}",
                    stall_max.as_secs_f64()
                )));
            }
            self.ending.or_draining(look.tick()).await;
        }
    }

    /// Waits until everything has arrived, or nothing comes any more, or the time for it is over.
    async fn drain(&self, complete: bool) {
        let progress = &self.desk.progress;
        let quiet_max = self.targets.window * 2 + QUIET;
        let begun = Instant::now();
        let time_max = if complete { self.plan.drain.max(quiet_max) } else { quiet_max };
        let (mut last, mut since) = ((0, 0), begun);
        let mut look = tokio::time::interval(LOOK_EVERY);
        // Agents say what they counted a little later.
        let look_time = 2 * LOOK_EVERY.max((TICK * self.agents).min(TICK_MOST));
        while begun.elapsed() < time_max {
            look.tick().await;
            let now = (progress.received(), progress.accepted());
            if now != last {
                (last, since) = (now, Instant::now());
            }
            let idle = self.publisher.is_idle();
            let all_here = now.0 >= progress.due.load(Relaxed);
            // A duplicate comes with or right after its first: give it the time of one look.
            if idle && (all_here && since.elapsed() > look_time || since.elapsed() > quiet_max) {
                return;
            }
            if !complete && !idle {
                self.publisher.close();
            }
        }
    }
}
