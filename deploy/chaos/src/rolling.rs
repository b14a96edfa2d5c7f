//! A rolling restart under load: each node is asked to go, and another takes its place, while clients follow histories and
//! producers push to them. Nothing is lost, and nobody moves more often than it must.
//!
//! Unlike the other modes it judges while it runs and logs nothing of its clients: there are ten thousand of them, in one
//! process that may open twenty thousand sockets, so no proxies either.

mod balancer;
mod books;
mod client;
mod crowd;
mod plan;
mod pushes;
pub(crate) mod report;
mod spread;
mod track;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::descriptors;
use common::shutdown::Shutdown;
use common::tasks::Tasks;
use tokio::time::{Instant, sleep, timeout};

use crate::args::Rolling;
use crate::cluster::{Cluster, Engine, Shape};
use crate::log::Page;
use crate::modes::{Outcome, program};
use crate::note;
use crate::rig::new_folder;
use crate::wire::Place;
use crate::world::{history_path, room};
use balancer::Balancer;
use crowd::Crowd;
use plan::Plan;
use pushes::Producers;
use report::{Flow, Quantiles, Report, Step};

/// Clients come at this rate at the beginning: the backlogs of three gateways are not what is tested.
const ARRIVALS_A_SECOND: f64 = 2_500.0;

/// They are all in within this, beyond the time that they take to come.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(60);

/// All is well before the first node goes, and after the last has come back, for so long.
const WELL: Duration = Duration::from_secs(2);

/// A node is gone within its drain and this.
const GONE_TIME_MAX: Duration = Duration::from_secs(15);

/// And the new one is ready and linked within this.
const READY_TIME_MAX: Duration = Duration::from_secs(20);

/// Clients are where the rooms end so soon after the last push.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(15);

/// Between two looks at whatever is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Descriptors of this process beside those of clients: calls, logs, processes.
const OTHER_DESCRIPTORS: u64 = 1_000;

/// Runs it, and says what it came to.
pub(crate) async fn run(flags: &Rolling) -> Result<(Report, Outcome), String> {
    let seed = flags.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let limit = descriptors::raise().map_err(|why| why.to_string())?.limit;
    if u64::from(flags.clients) + OTHER_DESCRIPTORS > limit {
        return Err(format!("{} clients need more than the {limit} descriptors of a process", flags.clients));
    }
    let folder = flags
        .dir
        .clone()
        .unwrap_or_else(|| new_folder(&std::env::temp_dir().join("tidegate-chaos"), "rolling", seed));
    let programs = Programs::of(flags)?;
    let nodes = u32::try_from(programs.rounds.len()).unwrap_or(1) * (flags.logic + flags.gateways);
    let most = Duration::from_secs(120)
        + Duration::from_secs_f64(f64::from(flags.clients) / ARRIVALS_A_SECOND)
        + nodes * (flags.drain + GONE_TIME_MAX + READY_TIME_MAX);
    note(&format!("seed {seed}; logs of the nodes in {}", folder.display()));
    let work = async {
        let restart = Restart::start(flags, seed, &folder, &programs.first).await?;
        let steps = Box::pin(restart.course(flags, &programs)).await;
        Box::pin(restart.finish(flags, seed, steps?)).await
    };
    let report =
        timeout(most, Box::pin(work)).await.map_err(|_| format!("it took longer than {most:?}"))??;
    Ok((report, Outcome { folder, is_kept: flags.dir.is_some() }))
}

/// Which programs run when.
struct Programs {
    first: PathBuf,
    /// What each node is replaced by, round by round, and what that is called.
    rounds: Vec<(PathBuf, &'static str)>,
}

impl Programs {
    fn of(flags: &Rolling) -> Result<Self, String> {
        let current = program(flags.program.as_deref())?;
        let Some(previous) = &flags.previous else {
            return Ok(Self { first: current.clone(), rounds: vec![(current, "restarted")] });
        };
        let previous = program(Some(previous))?;
        let mut rounds = vec![(current, "upgraded")];
        if flags.back {
            rounds.push((previous.clone(), "rolled back"));
        }
        Ok(Self { first: previous, rounds })
    }
}

/// A run on its way.
struct Restart {
    cluster: Cluster,
    crowd: Arc<Crowd>,
    producers: Producers,
    tasks: Tasks,
    /// Ends clients and what watches gateways.
    shutdown: Shutdown,
}

impl Restart {
    /// Starts the cluster and its clients, and waits until they are in their rooms.
    async fn start(flags: &Rolling, seed: u64, folder: &Path, program: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(folder).map_err(|why| format!("{}: {why}", folder.display()))?;
        let shape = Shape {
            logics: flags.logic,
            gateways: flags.gateways,
            engine: Engine::RedisAof,
            window: flags.window.clone(),
            drain: humantime::format_duration(flags.drain).to_string().replace(' ', ""),
            is_direct: true,
            program: program.to_owned(),
        };
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        let cluster = Cluster::start(&shape, folder, &tasks).await?;
        let plan = Plan { run: fastrand::u64(..), seed, clients: flags.clients };
        let crowd = Arc::new(Crowd::new(plan, Balancer::new(&cluster.doors)));
        for (gateway, ops) in cluster.gateway_ops.iter().cloned().enumerate() {
            let (crowd, shutdown) = (crowd.clone(), shutdown.clone());
            tasks.spawn(async move {
                _ = shutdown.or_stopped(crowd.balancer.watch(gateway, &ops)).await;
            });
        }
        let feels = (crowd.clone(), shutdown.clone());
        tasks.spawn(async move { _ = feels.1.or_stopped(feels.0.feel()).await });
        let begun = Instant::now();
        for client in 0..flags.clients {
            let (crowd, shutdown) = (crowd.clone(), shutdown.clone());
            let at = begun + Duration::from_secs_f64(f64::from(client) / ARRIVALS_A_SECOND);
            tasks.spawn(async move {
                let life = async {
                    tokio::time::sleep_until(at).await;
                    client::live(crowd, client).await;
                };
                _ = shutdown.or_stopped(life).await;
            });
        }
        let producers = Producers {
            crowd: crowd.clone(),
            apis: cluster.apis.clone(),
            tasks: tasks.clone(),
            shutdown: Shutdown::new(),
            outcomes: Arc::default(),
        };
        let until =
            begun + Duration::from_secs_f64(f64::from(flags.clients) / ARRIVALS_A_SECOND) + ARRIVAL_TIME_MAX;
        while crowd.inside() < flags.clients as usize {
            if Instant::now() > until {
                return Err(format!("{} of {} clients are in their rooms", crowd.inside(), flags.clients));
            }
            sleep(LOOK_EVERY).await;
        }
        note(&format!("{} clients are in their rooms after {:.1?}", flags.clients, begun.elapsed()));
        Ok(Self { cluster, crowd, producers, tasks, shutdown })
    }

    /// Replaces all nodes, one after the other, while pushes flow.
    async fn course(&self, flags: &Rolling, programs: &Programs) -> Result<Vec<Step>, String> {
        let work = async {
            sleep(WELL).await;
            let mut steps = Vec::new();
            for (program, how) in &programs.rounds {
                for number in 0..flags.gateways.max(flags.logic) as usize {
                    if number < self.cluster.gateways.len() {
                        steps.push(self.replace(Some(number), number, flags, (program, how)).await?);
                    }
                    if number < self.cluster.logics.len() {
                        steps.push(self.replace(None, number, flags, (program, how)).await?);
                    }
                }
            }
            sleep(WELL).await;
            Ok::<_, String>(steps)
        };
        let work = async {
            let steps = Box::pin(work).await;
            self.producers.shutdown.start_drain();
            steps
        };
        let (steps, ()) = tokio::join!(Box::pin(work), Box::pin(self.producers.run(flags.rate)));
        steps
    }

    /// Asks a node to go, and starts another in its place.
    async fn replace(
        &self,
        gateway: Option<usize>,
        number: usize,
        flags: &Rolling,
        (program, how): (&Path, &'static str),
    ) -> Result<Step, String> {
        let (nodes, ops) = match gateway {
            Some(_) => (&self.cluster.gateways, &self.cluster.gateway_ops),
            None => (&self.cluster.logics, &self.cluster.ops),
        };
        let mut node = nodes[number].lock().await;
        self.crowd.next_step();
        _ = self.crowd.stalled();
        let begun = Instant::now();
        node.terminate(flags.drain + GONE_TIME_MAX).await?;
        let gone = begun.elapsed();
        program.clone_into(&mut node.recipe.program);
        node.start().await?;
        let name = node.recipe.name.clone();
        drop(node);
        let ready = async {
            while !ops[number].get("/readyz").await.is_ok_and(|answer| answer.status == 200) {
                sleep(LOOK_EVERY).await;
            }
            self.cluster.linked().await
        };
        let is_ready = timeout(READY_TIME_MAX, Box::pin(ready)).await;
        is_ready.map_err(|_| format!("{name} was not ready within {READY_TIME_MAX:?}"))??;
        let (ready, stalled) = (begun.elapsed() - gone, self.crowd.stalled());
        let step = Step { node: name, gateway, program: how, begun, gone, ready, stalled };
        note(&format!("{} {how}: gone after {gone:.1?}, ready {:.1?} later", step.node, step.ready));
        Ok(step)
    }

    /// Waits until clients are where the rooms end, ends everything, and says what it came to.
    async fn finish(self, flags: &Rolling, seed: u64, steps: Vec<Step>) -> Result<Report, String> {
        let heads = self.heads().await?;
        let until = Instant::now() + SETTLE_TIME_MAX;
        let (mut lost, mut outside) = self.crowd.missing(&heads);
        while lost + outside > 0 && Instant::now() < until {
            sleep(LOOK_EVERY).await;
            (lost, outside) = self.crowd.missing(&heads);
        }
        let mut fallen = Vec::new();
        for node in self.cluster.nodes() {
            let mut node = node.lock().await;
            let fell = node.fell();
            fallen.extend(fell.map(|how| format!("{} ended by itself: {how}", node.recipe.name)));
        }
        // Before the end, which clients do not see coming.
        let (departures, examples) = (self.crowd.departures(), self.crowd.examples());
        self.shutdown.stop();
        self.cluster.end().await;
        let each = (1..).zip(&steps);
        let counts = &self.crowd.counts;
        let mut report = Report {
            ok: true,
            findings: fallen,
            examples,
            seed,
            logics: flags.logic,
            gateways: flags.gateways,
            clients: flags.clients,
            rate: flags.rate,
            drain_ms: u64::try_from(flags.drain.as_millis()).unwrap_or(u64::MAX),
            flow: self.flow(lost),
            replaced: each
                .map(|(number, step)| report::replaced(number, step, flags.drain, &departures))
                .collect(),
            refused_attempts: told(&counts.refused),
            put_off: told(&counts.put_off),
            outside,
        };
        report.judge(report::astray(&steps, &departures));
        // What is left are connections, which the runtime's end ends.
        drop(self.tasks);
        Ok(report)
    }

    fn flow(&self, lost: u64) -> Flow {
        let (counts, outcomes) = (&self.crowd.counts, self.producers.outcomes.lock());
        Flow {
            pushed: outcomes.pushed,
            acknowledged: outcomes.acknowledged,
            repeated: outcomes.repeated.clone(),
            failed_after_retry: outcomes.given_up,
            refused: outcomes.refused,
            acknowledged_ms: Quantiles::of(outcomes.times.clone()),
            delivered: told(&counts.delivered),
            lost,
            duplicated: told(&counts.duplicated),
            reordered: told(&counts.reordered),
            wrong: told(&counts.wrong) + self.crowd.books.twice(),
            resets: told(&counts.resets),
            gaps: told(&counts.gaps),
        }
    }

    /// Where each room ends, now that nobody pushes any more.
    async fn heads(&self) -> Result<Vec<Place>, String> {
        let mut heads = Vec::new();
        for number in 0..self.crowd.plan.rooms() {
            let path = format!("{}?since=0&limit=1", history_path(&room(number)));
            let answer = self.cluster.apis[0].get(&path).await.map_err(|why| format!("{path}: {why:?}"))?;
            let page: Page<'_> =
                serde_json::from_slice(&answer.body).map_err(|why| format!("{path}: {why}"))?;
            heads.push(Place { epoch: page.epoch, offset: page.offset });
        }
        Ok(heads)
    }
}

fn told(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
