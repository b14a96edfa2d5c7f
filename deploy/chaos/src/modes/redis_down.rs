//! Redis is away for a while: what flows on, what is said meanwhile and how soon, and how soon all is well again.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{Outcome, PATIENCE, SETTLE_TIME_MAX, setup};
use crate::args::Run;
use crate::log::Note;
use crate::rig::{Rig, Setup};
use crate::schedule::{Act, Fault, Target};

/// All is well before Redis goes, and after it has come back, for so long.
const WELL: Duration = Duration::from_secs(4);

/// How often a history is pushed to, and readiness asked for.
const PUSH_EVERY: Duration = Duration::from_millis(50);
const ASK_EVERY: Duration = Duration::from_millis(25);

/// What is promised: an answer in a second, and the truth in two. A tenth more is the machine's.
const ANSWER_TIME_MAX: Duration = Duration::from_millis(1_100);
const TRUTH_TIME_MAX: Duration = Duration::from_millis(2_200);

/// Of plain pushes so many are taken and come.
const PLAIN_SHARE_MIN: f64 = 0.99;

/// What was asked and answered.
#[derive(Default)]
struct Heard {
    /// Pushes to histories: when, status, how long.
    pushes: Mutex<Vec<(Instant, u16, Duration)>>,
    /// Readiness: when, of which node, status.
    ready: Mutex<Vec<(Instant, usize, u16)>>,
}

/// Runs it.
pub(super) async fn run(run: &Run, how: &str) -> Result<Outcome, String> {
    let flags = Run { clients: run.clients.or(Some(60)), gateways: run.gateways.or(Some(2)), ..run.clone() };
    let mut setup = Setup { stays: None, ..setup(&flags, "redis-down", "redis")? };
    setup.world.plain_share_min = PLAIN_SHARE_MIN;
    let away = run.length.unwrap_or(Duration::from_secs(60));
    let limit = away + PATIENCE;
    let work = async {
        let rig = Rig::start(setup).await?;
        if rig.cluster.redis.is_none() {
            return Err("it needs a Redis of the run's own: --engine redis".to_owned());
        }
        let notes = Box::pin(course(&rig, how, away, run.rate.unwrap_or(100.0))).await?;
        rig.finish(&notes).await
    };
    let folder = timeout(limit, work).await.map_err(|_| format!("the run took longer than {limit:?}"))??;
    Ok(Outcome { folder, is_kept: run.dir.is_some() })
}

async fn course(rig: &Rig, how: &str, away: Duration, rate: f64) -> Result<Vec<Note>, String> {
    let (heard, begun) = (Heard::default(), Instant::now());
    let until = begun + WELL + away + WELL + TRUTH_TIME_MAX;
    let fault = async {
        sleep_until(begun + WELL).await;
        let gone = Instant::now();
        goes(rig, how, away).await?;
        Ok::<_, String>((gone, Instant::now()))
    };
    let (fault, (), (), ()) = tokio::join!(
        Box::pin(fault),
        Box::pin(rig.producers.run_plain(rate, until)),
        Box::pin(pushes(rig, &heard, until)),
        Box::pin(asks(rig, &heard, until))
    );
    let (gone, back) = fault?;
    // If not, the checker says who is not.
    _ = Box::pin(rig.settled(SETTLE_TIME_MAX)).await;
    Ok(judge(rig, &heard, gone, back))
}

/// Redis goes, stays away, and comes back.
async fn goes(rig: &Rig, how: &str, away: Duration) -> Result<(), String> {
    let fault = |target, act| Fault { at: Duration::ZERO, lasts: away, target, act };
    let faults: Vec<Fault> = match how {
        "kill" => vec![fault(Target::Redis, Act::Kill)],
        "pause" => vec![fault(Target::Redis, Act::Pause)],
        _ => (0..rig.world.logics).map(|l| fault(Target::RedisLink(l), Act::Swallow([true; 2]))).collect(),
    };
    let done = futures_util::future::join_all(faults.iter().map(|fault| rig.faults.one(fault))).await;
    done.into_iter().collect()
}

/// Pushes to histories, each tried once: what is answered, and how soon.
async fn pushes(rig: &Rig, heard: &Heard, until: Instant) {
    let each = (0_usize..).take_while(|_| Instant::now() < until);
    let mut running = futures_util::stream::FuturesUnordered::new();
    for number in each {
        let logic = number % rig.producers.apis.len();
        running.push(async move {
            let begun = Instant::now();
            let (status, took) = rig.producers.once(logic, number as u64).await;
            heard.pushes.lock().push((begun, status, took));
        });
        let pause = sleep(PUSH_EVERY);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                Some(()) = futures_util::StreamExt::next(&mut running) => {}
            }
        }
    }
    while futures_util::StreamExt::next(&mut running).await.is_some() {}
}

/// Asks each logic node whether it is ready, again and again.
async fn asks(rig: &Rig, heard: &Heard, until: Instant) {
    let each = rig.cluster.ops.iter().enumerate().map(|(number, ops)| async move {
        while Instant::now() < until {
            let status = ops.get("/readyz").await.map_or(0, |answer| answer.status);
            heard.ready.lock().push((Instant::now(), number, status));
            sleep(ASK_EVERY).await;
        }
    });
    futures_util::future::join_all(each).await;
}

fn judge(rig: &Rig, heard: &Heard, gone: Instant, back: Instant) -> Vec<Note> {
    let ms =
        |time: Option<Duration>| time.map_or("never".to_owned(), |time| format!("{} ms", time.as_millis()));
    let ready = heard.ready.lock();
    let first = |node: usize, from: Instant, is_ready: bool| {
        let found =
            ready.iter().find(|(at, of, status)| *of == node && *at >= from && (*status == 200) == is_ready);
        found.map(|(at, ..)| *at - from)
    };
    let mut notes = Vec::new();
    for node in 0..rig.cluster.ops.len() {
        let (away, well) = (first(node, gone, false), first(node, back, true));
        let kept = [away, well].iter().all(|time| time.is_some_and(|time| time <= TRUTH_TIME_MAX));
        notes.push(Note {
            kept,
            text: format!(
                "logic-{node} says that it is not ready after {}, and that it is again {} after the return",
                ms(away),
                ms(well)
            ),
        });
    }
    let pushes = heard.pushes.lock();
    // What is on its way at either end may be answered either way.
    let meanwhile: Vec<_> = pushes.iter().filter(|(at, _, took)| *at > gone && *at + *took < back).collect();
    let slowest = meanwhile.iter().map(|(.., took)| *took).max().unwrap_or_default();
    let others = meanwhile.iter().filter(|(_, status, _)| *status != 503).count();
    let kept = !meanwhile.is_empty() && others == 0 && slowest <= ANSWER_TIME_MAX;
    let text = format!(
        "{} pushes to histories meanwhile: {others} not answered 503, the slowest in {} ms",
        meanwhile.len(),
        slowest.as_millis()
    );
    notes.push(Note { kept, text });
    let again = pushes
        .iter()
        .filter(|(_, status, _)| *status == 202)
        .map(|(at, _, took)| *at + *took)
        .filter(|at| *at > back)
        .min();
    let again = again.map(|at| at - back);
    let kept = again.is_some_and(|time| time <= TRUTH_TIME_MAX);
    notes.push(Note {
        kept,
        text: format!("a push to a history is taken again {} after the return", ms(again)),
    });
    notes
}
