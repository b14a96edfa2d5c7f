//! The course of a run: check, connect, publish, wait for what is under way, judge.

mod outcome;
mod targets;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use common::shutdown::Shutdown;
use common::tasks::Tasks;

use crate::kernel::{self, KernelCounters};
use crate::ledger::Ledger;
use crate::payload::Format;
use crate::plan::{BadPlan, Plan};
use crate::probe;
use crate::progress::{Phase, Progress};
use crate::publisher::Publisher;
use crate::reactor::{self, Running, Shared, StopOnDrop};
use crate::report::{Ramp, Report};
use crate::schedule::Schedule;
use crate::tracker::Course;
use crate::world::World;
use targets::Targets;

/// No client greeted in this time, beyond what one handshake may take: the ramp has stalled.
const RAMP_STALL_MAX: Duration = Duration::from_secs(5);

/// How often the phases look at their counts.
const LOOK_EVERY: Duration = Duration::from_millis(20);

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
    probe::limits(&plan).map_err(Error::Limits)?;
    let targets = Box::pin(Targets::check(&plan, &tasks)).await?;
    let run = Run::prepare(plan, targets, progress, tasks);
    Box::pin(run.course(shutdown)).await
}

/// What a run holds until its report.
struct Run {
    plan: Plan,
    targets: Targets,
    threads: u32,
    shared: Arc<Shared>,
    progress: Arc<Progress>,
    publisher: Arc<Publisher>,
    tasks: Tasks,
    begun: Instant,
    /// When clients began to connect, µs on the run's clock.
    ramp_begun: u64,
    kernel: KernelCounters,
    cpu_secs: f64,
    rss_bytes: u64,
}

impl Run {
    fn prepare(plan: Plan, targets: Targets, progress: Arc<Progress>, tasks: Tasks) -> Self {
        let world = World::of(&plan);
        let cores = std::thread::available_parallelism().map_or(1, usize::from).min(4);
        let threads = if plan.threads == 0 { cores } else { plan.threads } as u32;
        let schedule =
            if plan.logics.is_empty() { Schedule::default() } else { Schedule::draw(&plan, &world) };
        let format = Format::new(fastrand::u64(..), plan.size);
        let ledger = Ledger::new(schedule, format, plan.rate, world.gateways);
        progress.clients.store(u64::from(plan.clients), Relaxed);
        let course = Arc::new(Course { world, ledger, verify: plan.verify });
        let (gateways, names) = (targets.gateways.clone(), targets.names.clone());
        let shared = Arc::new(Shared::new(course, progress.clone(), gateways, &plan, threads));
        Self {
            publisher: Publisher::new(shared.clone(), names),
            plan,
            targets,
            threads,
            shared,
            progress,
            tasks,
            begun: Instant::now(),
            ramp_begun: 0,
            kernel: KernelCounters::now(),
            cpu_secs: kernel::cpu_secs(),
            rss_bytes: kernel::rss_bytes(),
        }
    }

    async fn course(mut self, shutdown: &Shutdown) -> Result<Report, Error> {
        let _stop = StopOnDrop(self.shared.clone());
        self.progress.enter(Phase::Connecting);
        self.ramp_begun = self.shared.course.ledger.now();
        let loops = reactor::start(&self.shared, self.threads)
            .map_err(|error| Error::Broken(format!("cannot start the event loops: {error}")))?;
        let ramp = self.connect(shutdown, &loops).await?;
        shutdown.or_draining(tokio::time::sleep(self.plan.settle)).await;

        self.progress.enter(Phase::Publishing);
        let key = self.plan.api_key.as_deref();
        self.publisher.start(&self.targets.logics, self.plan.publisher_connections, key, &self.tasks);
        self.publisher.offer_all(shutdown).await;
        let complete = !shutdown.is_draining();

        self.progress.enter(Phase::Draining);
        self.drain(complete).await;
        self.publisher.close();
        let answers = if complete { ANSWERS_TIME_MAX } else { ANSWERS_TIME_SHORT };
        if tokio::time::timeout(answers, self.tasks.ended()).await.is_err() {
            self.targets.notes.push("some calls to logic nodes never ended".into());
        }

        self.progress.enter(Phase::Judging);
        let left = reactor::stop(&self.shared, loops).await;
        let left = left.ok_or_else(|| Error::Broken("an event loop of the clients panicked".into()))?;
        Ok(self.report(left, ramp, complete))
    }

    /// Waits until all clients are greeted.
    async fn connect(&self, shutdown: &Shutdown, loops: &[Running]) -> Result<Ramp, Error> {
        let begun = Instant::now();
        let wanted = u64::from(self.plan.clients);
        let stall_max = self.plan.handshake_time_max + RAMP_STALL_MAX;
        let (mut most, mut since) = (0, begun);
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            let connected = self.progress.connected();
            if connected > most {
                (most, since) = (connected, Instant::now());
            }
            let secs = begun.elapsed().as_secs_f64();
            if connected >= wanted || shutdown.is_draining() {
                let connects_per_sec = connected as f64 / secs.max(1e-3);
                return Ok(Ramp { connected, secs, connects_per_sec, ..Ramp::default() });
            }
            if loops.iter().any(Running::has_ended) {
                return Err(Error::Broken("an event loop of the clients panicked".into()));
            }
            if since.elapsed() > stall_max {
                let last = self.shared.last_failure.lock().clone();
                let last = last.unwrap_or_else(|| "no attempt failed, none succeeded".into());
                return Err(Error::Unreachable(format!(
                    "only {most} of {wanted} clients were greeted, and none in the last {:.0} s; the last failure: {last}",
                    stall_max.as_secs_f64()
                )));
            }
            shutdown.or_draining(look.tick()).await;
        }
    }

    /// Waits until everything has arrived, or nothing comes any more, or the time for it is over.
    async fn drain(&self, complete: bool) {
        let quiet_max = self.targets.window * 2 + QUIET;
        let begun = Instant::now();
        let time_max = if complete { self.plan.drain.max(quiet_max) } else { quiet_max };
        let (mut last, mut since) = ((0, 0), begun);
        let mut look = tokio::time::interval(LOOK_EVERY);
        while begun.elapsed() < time_max {
            look.tick().await;
            let now = (self.progress.received(), self.progress.accepted());
            if now != last {
                (last, since) = (now, Instant::now());
            }
            let idle = self.publisher.is_idle();
            let all_here = now.0 >= self.progress.due.load(Relaxed);
            // A duplicate comes with or right after its first: give it the time of one look.
            if idle && (all_here && since.elapsed() > 2 * LOOK_EVERY || since.elapsed() > quiet_max) {
                return;
            }
            if !complete && !idle {
                self.publisher.close();
            }
        }
    }
}
