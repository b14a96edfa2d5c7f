//! A Redis that keeps snapshots only, killed between them: it comes back with less than it had acknowledged.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::timeout;

use super::{Outcome, PATIENCE, setup};
use crate::args::Run;
use crate::log::Note;
use crate::note;
use crate::producer::Stream;
use crate::resp;
use crate::rig::{Rig, Setup};
use crate::schedule::{Act, Fault, Target};
use crate::wire::Place;

/// Pushes before the snapshot, behind it, and when Redis is back.
const BURST: u64 = 120;

/// As fast as they are answered, nearly.
const RATE: f64 = 2_000.0;

/// Clients are where the histories are so soon after each trial.
const TRIAL_SETTLE_MAX: Duration = Duration::from_secs(10);

/// Runs so many trials.
pub(super) async fn run(run: &Run, trials: u32) -> Result<Outcome, String> {
    let flags = Run {
        redis: "rdb".to_owned(),
        clients: run.clients.or(Some(40)),
        gateways: run.gateways.or(Some(2)),
        ..run.clone()
    };
    let setup = Setup { stays: None, ..setup(&flags, "rollback", "redis")? };
    let limit = PATIENCE + Duration::from_secs(20) * trials;
    let work = async {
        let rig = Rig::start(setup).await?;
        if rig.cluster.redis.is_none() {
            return Err("a rollback needs a Redis of the run's own: --engine redis".to_owned());
        }
        let (mut explicit, mut first) = (0, 0);
        for trial in 0..trials {
            let verdict = Box::pin(one(&rig, trial, &mut first)).await?;
            match verdict {
                Ok(()) => explicit += 1,
                Err(why) => note(&format!("trial {trial}: {why}")),
            }
        }
        let text = format!(
            "rollback: {trials} trials, {explicit} ended in explicit resets of all that lost something"
        );
        rig.finish(&[Note { kept: explicit == trials, text }]).await
    };
    let folder = timeout(limit, work).await.map_err(|_| format!("the run took longer than {limit:?}"))??;
    Ok(Outcome { folder, is_kept: run.dir.is_some() })
}

/// One trial; the inner error is what was not as promised.
async fn one(rig: &Rig, trial: u32, first: &mut u64) -> Result<Result<(), String>, String> {
    burst(rig, first).await;
    resp::ask(&rig.cluster.redis_address, &["SAVE"]).await.map_err(|why| format!("no snapshot: {why}"))?;
    let saved = heads(rig).await?;
    burst(rig, first).await;
    // Clients have what will be gone.
    if !Box::pin(rig.settled(TRIAL_SETTLE_MAX)).await {
        return Ok(Err("clients did not settle before the rollback".to_owned()));
    }
    let before = heads(rig).await?;
    let with = trial % 3;
    let kill =
        |target| Fault { at: Duration::ZERO, lasts: Duration::from_millis(100), target, act: Act::Kill };
    let gateway = (trial / 3) % rig.world.gateways;
    let logic = (trial / 3) % rig.world.logics;
    // Every third trial by itself, with a gateway, with a logic node: someone is always left who saw what was there.
    let redis = kill(Target::Redis);
    let other = [None, Some(kill(Target::Gateway(gateway))), Some(kill(Target::Logic(logic)))][with as usize];
    let others = async {
        match &other {
            Some(fault) => rig.faults.one(fault).await,
            None => Ok(()),
        }
    };
    let (one, two) = tokio::join!(Box::pin(rig.faults.one(&redis)), Box::pin(others));
    one.and(two)?;
    burst(rig, first).await;
    let is_settled = Box::pin(rig.settled(TRIAL_SETTLE_MAX)).await;
    let after = heads(rig).await?;
    let lost: Vec<&String> =
        before.iter().filter(|(name, at)| saved.get(*name) != Some(at)).map(|(name, _)| name).collect();
    let silent = lost
        .iter()
        .find(|name| after.get(**name).map(|at| &at.epoch) == before.get(**name).map(|at| &at.epoch));
    Ok(match silent {
        Some(name) => Err(format!("{name} lost items and goes on in the same epoch")),
        None if lost.is_empty() => Err("nothing was rolled back".to_owned()),
        None if !is_settled => Err("clients did not settle after the rollback".to_owned()),
        None => Ok(()),
    })
}

async fn burst(rig: &Rig, first: &mut u64) {
    *first += rig.producers.run(Stream { first: *first, pushes: BURST, rate: RATE, until: None }).await;
}

async fn heads(rig: &Rig) -> Result<HashMap<String, Place>, String> {
    Ok(rig.heads().await.ok_or("nobody says where the histories are")?.into_iter().collect())
}
