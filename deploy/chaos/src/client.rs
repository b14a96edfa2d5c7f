//! A client: it connects to a random gateway, joins, follows, resumes after each loss, and logs all that it sends and gets.
//!
//! It is what `tidegate.js` does, with shorter patience, so that what is measured is the cluster's time. It judges
//! nothing: the checker does, from the log.

mod session;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::shutdown::Shutdown;
use fastrand::Rng;
use parking_lot::Mutex;
use tokio::time::sleep;

use crate::log::{ClientLine, Clock, Log};
use crate::wire::Place;
use crate::world::World;

/// The first attempt after a loss comes at a random time up to this,
const BACKOFF_MIN: Duration = Duration::from_millis(250);

/// and each next one doubles it up to this.
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// How far a client is, for whoever waits until all are where the histories are.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    places: Mutex<HashMap<String, Place>>,
    /// Histories that it is in on the connection that it has now.
    joined: Mutex<Vec<String>>,
}

impl Progress {
    /// Whether it is in all of these histories now.
    pub(crate) fn is_in(&self, histories: &[String]) -> bool {
        let joined = self.joined.lock();
        histories.iter().all(|name| joined.contains(name))
    }

    /// Where it is in one.
    pub(crate) fn place(&self, history: &str) -> Option<Place> {
        self.places.lock().get(history).cloned()
    }

    fn moves(&self, history: &str, place: Place) {
        self.places.lock().insert(history.to_owned(), place);
    }

    fn joins(&self, history: &str) {
        let mut joined = self.joined.lock();
        if !joined.iter().any(|name| name == history) {
            joined.push(history.to_owned());
        }
    }
}

/// What a client is made of.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) number: u32,
    pub(crate) world: Arc<World>,
    /// Where gateways can be reached.
    pub(crate) doors: Arc<[SocketAddr]>,
    pub(crate) log: Log,
    pub(crate) clock: Clock,
    pub(crate) progress: Arc<Progress>,
    /// How long it stays before it goes away for a while by itself, on average; `None`: it does not.
    pub(crate) stays: Option<Duration>,
    /// After this it does not go away any more.
    pub(crate) restless: Shutdown,
}

/// How long a client that went away by itself is gone, at the most.
const AWAY_MAX: Duration = Duration::from_secs(3);

impl Client {
    /// Runs until `shutdown` stops it.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let mut rng = Rng::with_seed(self.world.seed ^ (u64::from(self.number) << 32));
        let work = async {
            let mut failures = 0;
            loop {
                let gateway = rng.usize(0..self.doors.len());
                self.log.line(&ClientLine {
                    t: self.clock.now(),
                    connects: Some(gateway as u32),
                    ..ClientLine::default()
                });
                let stay = self.stay(&mut rng);
                let ended = Box::pin(session::run(&self, self.doors[gateway], rng.fork(), stay)).await;
                self.progress.joined.lock().clear();
                let why = ended.why.clone();
                self.log.line(&ClientLine {
                    t: self.clock.now(),
                    closed: Some(why),
                    ..ClientLine::default()
                });
                failures = if ended.was_greeted { 0 } else { failures + 1 };
                let most =
                    if ended.left { AWAY_MAX } else { BACKOFF_MAX.min(BACKOFF_MIN * (1 << failures.min(8))) };
                sleep(most.mul_f64(rng.f64())).await;
            }
        };
        shutdown.or_stopped(work).await;
        self.progress.joined.lock().clear();
    }

    /// How long it stays this time.
    fn stay(&self, rng: &mut Rng) -> Option<Duration> {
        let mean = self.stays.filter(|_| !self.restless.is_draining())?;
        // Exponential: clients do not leave together.
        Some(mean.mul_f64(-(1.0 - rng.f64()).ln()))
    }
}
