//! What a command does: which cluster, which pushes, which faults.

mod redis_down;
mod rollback;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use crate::args::{Command, Run};
use crate::cluster::{Engine, Shape};
use crate::log::Note;
use crate::producer::Stream;
use crate::rig::{Rig, Setup, new_folder};
use crate::schedule::{self, ACTS, Fault};
use crate::world::{Keeps, World};
use crate::{beneath, note};

/// Clients are where the histories are so soon after the last fault, or it is a finding.
const CONVERGE_TIME_MAX: Duration = Duration::from_secs(10);

/// What is waited for them at the end.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(15);

/// Of a run by time so much is for the start, the quiet end and the checker.
const ENDS: Duration = Duration::from_secs(12);

/// Clients stay on average so long before they go away by themselves,
const STAYS: Duration = Duration::from_secs(40);

/// and do not any more so long before the faults end, so that they are back.
const RESTLESS_BEFORE: Duration = Duration::from_secs(4);

/// Whatever is wrong, a run ends after its own time and this.
const PATIENCE: Duration = Duration::from_secs(180);

/// A run that has ended.
pub(crate) struct Outcome {
    pub(crate) folder: PathBuf,
    /// The folder was asked for.
    pub(crate) is_kept: bool,
}

/// The flags of a command.
pub(crate) fn run_of(command: &Command) -> Option<&Run> {
    match command {
        Command::Run(run) | Command::Long(run) => Some(run),
        Command::Keys { run, .. } | Command::Rollback { run, .. } | Command::RedisDown { run, .. } => {
            Some(run)
        }
        Command::Check { .. } | Command::Rolling(_) => None,
    }
}

/// Runs a command to the end of its logs.
pub(crate) async fn run(command: Command) -> Result<Outcome, String> {
    match command {
        Command::Run(run) => plain(&run, ("run", "embedded"), Course::of(&run)).await,
        Command::Long(run) => {
            let course = Course {
                pushes: Some(run.pushes.unwrap_or(200_000)),
                rate: run.rate.unwrap_or(800.0),
                ..Course::of(&run)
            };
            let course = Course { kills: Some(run.kills.unwrap_or(100)), ..course };
            plain(&run, ("long", "redis"), course).await
        }
        Command::Keys { count, run } => {
            let rate = run.rate.unwrap_or(200.0);
            let kills = run.kills.unwrap_or(2 + count as usize / 500);
            let course =
                Course { pushes: Some(count), rate, kills: Some(kills), copies: 3, ..Course::of(&run) };
            let run = Run { clients: run.clients.or(Some(40)), gateways: run.gateways.or(Some(2)), ..run };
            plain(&run, ("keys", "redis"), course).await
        }
        Command::Rollback { trials, run } => rollback::run(&run, trials).await,
        Command::RedisDown { how, run } => redis_down::run(&run, &how).await,
        Command::Check { .. } | Command::Rolling(_) => Err("nothing to run".to_owned()),
    }
}

/// How long, how fast and how rough.
#[derive(Debug, Clone, Copy)]
struct Course {
    length: Duration,
    pushes: Option<u64>,
    rate: f64,
    kills: Option<usize>,
    copies: u32,
}

impl Course {
    fn of(run: &Run) -> Self {
        Self {
            length: run.length.unwrap_or(Duration::from_secs(60)),
            pushes: run.pushes,
            rate: run.rate.unwrap_or(300.0),
            kills: run.kills,
            copies: 1,
        }
    }

    /// How long faults and pushes last.
    fn faults(self) -> Duration {
        match self.pushes {
            Some(pushes) => Duration::from_secs_f64(pushes as f64 / self.rate),
            None => self.length.saturating_sub(ENDS).max(Duration::from_secs(3)),
        }
    }
}

/// What a run begins with, out of its flags.
fn setup(run: &Run, name: &str, default_engine: &str) -> Result<Setup, String> {
    let engine = run.engine(default_engine)?;
    let seed = run.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let is_shared = matches!(engine, Engine::RedisAof | Engine::RedisRdb | Engine::Url(_));
    let logics = run.logic.unwrap_or(if is_shared { 2 } else { 1 });
    if !is_shared && logics > 1 {
        return Err(
            "nodes with engines of their own cannot share a cluster: --logic 1, or --engine redis".to_owned()
        );
    }
    // A memory is gone with its process, and what is not written with its.
    let keeps = if matches!(engine, Engine::Embedded | Engine::RedisRdb) { Keeps::Less } else { Keeps::All };
    let program = program(run.program.as_deref())?;
    let gateways = run.gateways.unwrap_or(3);
    let clients = run.clients.unwrap_or(300);
    if !(1..=100).contains(&logics) || !(1..=100).contains(&gateways) || !(1..=5000).contains(&clients) {
        return Err("from 1 to 100 nodes of each kind, and from 1 to 5000 clients".to_owned());
    }
    let converge_ms = u64::try_from(CONVERGE_TIME_MAX.as_millis()).unwrap_or(u64::MAX);
    let world = World {
        mode: name.to_owned(),
        run: fastrand::u64(..),
        seed,
        clients,
        logics,
        gateways,
        engine: engine.to_string(),
        keeps,
        converge_ms,
        plain_share_min: 0.0,
    };
    let folder = run
        .dir
        .clone()
        .unwrap_or_else(|| new_folder(&std::env::temp_dir().join("tidegate-chaos"), name, seed));
    let (window, drain) = (run.window.clone(), "0s".to_owned());
    let shape = Shape { logics, gateways, engine, window, drain, is_direct: false, program };
    note(&format!("seed {seed} (--seed {seed} repeats it); {}", beneath()));
    Ok(Setup { world, shape, folder, copies: 1, stays: Some(STAYS) })
}

/// The program tidegate: the one that is named, or the one beside ours.
pub(crate) fn program(named: Option<&Path>) -> Result<PathBuf, String> {
    let program = match named {
        Some(named) => named.to_owned(),
        None => std::env::current_exe().map_err(|why| why.to_string())?.with_file_name("tidegate"),
    };
    if !program.exists() {
        return Err(format!("there is no {}: build it, or name another with --program", program.display()));
    }
    Ok(program)
}

/// Pushes and faults by a schedule, then quiet.
async fn plain(run: &Run, (mode, engine): (&str, &str), course: Course) -> Result<Outcome, String> {
    let setup = Setup { copies: course.copies, ..setup(run, mode, engine)? };
    let seed = setup.world.seed;
    let limit = course.faults() * 3 + PATIENCE;
    let work = async {
        let rig = Rig::start(setup).await?;
        let plan = schedule::Plan {
            targets: rig.faults.targets(&run.roles),
            acts: ACTS.into_iter().filter(|act| run.faults.iter().any(|name| name == act)).collect(),
            length: course.faults(),
            kills: course.kills,
        };
        let faults = schedule::draw(seed, &plan);
        for fault in &faults {
            note(&fault.to_string());
        }
        let notes = Box::pin(storm(&rig, &faults, course)).await?;
        rig.finish(&notes).await
    };
    let folder = timeout(limit, work).await.map_err(|_| format!("the run took longer than {limit:?}"))??;
    Ok(Outcome { folder, is_kept: run.dir.is_some() })
}

/// The pushes and the faults, and the quiet behind them.
async fn storm(rig: &Rig, faults: &[Fault], course: Course) -> Result<Vec<Note>, String> {
    let begun = Instant::now();
    let over = begun + course.faults();
    let stream = Stream {
        first: 0,
        pushes: course.pushes.unwrap_or(u64::MAX),
        rate: course.rate,
        until: course.pushes.is_none().then_some(over),
    };
    let calm = async {
        sleep_until(begun + course.faults().saturating_sub(RESTLESS_BEFORE)).await;
        rig.restless.start_drain();
    };
    let producers = &rig.producers;
    let (pushed, (), hurt, ()) = tokio::join!(
        Box::pin(producers.run(stream)),
        Box::pin(producers.run_plain(course.rate / 4.0, over)),
        Box::pin(rig.faults.run(faults)),
        calm
    );
    hurt?;
    let took = begun.elapsed();
    tokio::select! {
        // If not, the checker says who is not.
        _ = Box::pin(rig.settled(SETTLE_TIME_MAX)) => {}
        () = rig.faults.watch() => {}
    }
    let rate = pushed as f64 / took.as_secs_f64();
    Ok(vec![Note {
        kept: true,
        text: format!("pushed {pushed} to histories in {:.1} s ({rate:.0}/s)", took.as_secs_f64()),
    }])
}
