//! Drains in a time of their own: who is told what, and when each is sent away.

use common::metrics::Metrics;
use common::shutdown::Shutdown;
use common::tasks::Tasks;
use parking_lot::Mutex;

use super::*;
use crate::node::assemble;
use crate::registry::{Identity, Registration};
use crate::settings::Settings;
use crate::transport::{Memory, Transport};
use crate::tune::Tuner;

const DRAIN: Duration = Duration::from_secs(10);

/// A drain looks whose turn it is at each step, and sends first what was accepted, for a step at the most.
const LATE_MAX: Duration = Duration::from_millis(2 * 250 + 10);

/// How often the test looks who was sent away.
const SAMPLE: Duration = Duration::from_millis(5);

/// A gateway without ports, and its clients in memory.
struct World {
    parts: Arc<Parts>,
    clients: Mutex<Vec<Registration>>,
}

impl World {
    fn new(clients: usize) -> Self {
        let settings = Settings { drain: DRAIN, workers: 1, ..Settings::default() };
        let (shutdown, address) = (Shutdown::new(), settings.listen);
        let tasks = Tasks::new(shutdown.clone());
        let metrics = Metrics::new("gateway");
        let tuner = Tuner::new(&settings, &metrics);
        let parts = Arc::new(assemble(settings, tuner, address, &metrics, &tasks, &shutdown));
        let world = Self { parts, clients: Mutex::default() };
        (0..clients).for_each(|_| world.connect());
        world
    }

    fn connect(&self) {
        let registration = self.parts.registry.register(&Identity::default(), &[], |local| {
            self.parts.connect(Transport::Memory(Box::<Memory>::default()).into(), local)
        });
        registration.connection.greet(frame::PING);
        self.clients.lock().push(registration);
    }

    /// What each was told of its turn; nothing may be known of it before the drain.
    fn told(&self) -> Vec<Option<Duration>> {
        self.clients.lock().iter().map(|client| turn(&client.connection)).collect()
    }

    /// Until the drain has ended: those who are sent away go, and when that was, with the turn that they were told.
    async fn goes(&self, drained: &mut (impl Future<Output = usize> + Unpin)) -> Vec<(Duration, Duration)> {
        let (began, mut gone) = (Instant::now(), Vec::new());
        loop {
            tokio::select! {
                cut = &mut *drained => {
                    assert_eq!(cut, 0, "everybody went when told to");
                    return gone;
                }
                () = tokio::time::sleep(SAMPLE) => {
                    let is_sent_away = |client: &mut Registration| client.connection.closing_for().is_some();
                    let sent_away: Vec<_> = self.clients.lock().extract_if(.., is_sent_away).collect();
                    let turns = sent_away.iter().map(|client| turn(&client.connection).unwrap_or(DRAIN));
                    gone.extend(turns.map(|turn| (began.elapsed(), turn)));
                }
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.parts.pusher.end();
        self.parts.shutdown.stop();
    }
}

/// What a client in memory was told of its turn.
fn turn(connection: &Connection) -> Option<Duration> {
    let heard = connection.heard();
    let text = String::from_utf8_lossy(&heard);
    assert!(text.matches(r#""reconnect""#).count() <= 1, "nobody is told two turns: {text}");
    let (_, rest) = text.split_once(r#""afterMs":"#)?;
    Some(Duration::from_millis(rest.split_once('}')?.0.parse().expect("a number")))
}

/// How many of these lie in each tenth of the drain.
fn tenths(moments: impl Iterator<Item = Duration>) -> [usize; 10] {
    let mut tenths = [0; 10];
    moments.for_each(|at| tenths[(at.as_secs_f64() / DRAIN.as_secs_f64() * 10.0) as usize] += 1);
    tenths
}

#[test]
fn turns_are_even_whatever_their_number() {
    for clients in [1, 2, 7, 1_000, 9_999, 1_000_000] {
        let turns: Vec<Duration> = turns(clients, DRAIN).collect();
        assert!(turns.len() == clients && turns[0].is_zero() && turns.is_sorted());
        assert!(turns[clients - 1] < DRAIN);
        let counts = tenths(turns.iter().copied());
        let even = clients / 10;
        assert!(counts.iter().all(|count| count.abs_diff(even) <= 1), "{clients}: {counts:?}");
    }
    assert_eq!(turns(0, DRAIN).count(), 0);
    assert!(turns(5, Duration::ZERO).all(|turn| turn.is_zero()));
}

#[tokio::test(start_paused = true)]
async fn each_is_told_its_turn_first_and_sent_away_at_it() {
    const CLIENTS: usize = 1_000;
    let world = World::new(CLIENTS);
    assert!(world.told().iter().all(Option::is_none));
    let mut drained = Box::pin(run(&world.parts));
    assert!(futures_util::poll!(&mut drained).is_pending());
    let told: Vec<Duration> = world.told().into_iter().map(|turn| turn.expect("told at once")).collect();
    assert_eq!(tenths(told.iter().copied()), [CLIENTS / 10; 10]);
    let gone = world.goes(&mut drained).await;
    assert_eq!(gone.len(), CLIENTS);
    for (at, turn) in gone {
        // A millisecond is lost where it is told.
        let early = turn.saturating_sub(at);
        assert!(early <= Duration::from_millis(1), "sent away at {at:?}, told {turn:?}");
        assert!(at <= turn + LATE_MAX + SAMPLE, "sent away at {at:?}, told {turn:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_it_drains_is_sent_away_at_the_end_and_no_turn_changes() {
    let world = World::new(10);
    let mut drained = Box::pin(run(&world.parts));
    assert!(futures_util::poll!(&mut drained).is_pending());
    let told = world.told();
    // Its handshake was under way.
    world.connect();
    assert_eq!(world.told()[..10], told);
    let gone = world.goes(&mut drained).await;
    assert_eq!(gone.len(), 11);
    let (last, _) = gone[10];
    assert!(last >= DRAIN.mul_f64(0.9) && last <= DRAIN + LATE_MAX, "{last:?}");
}
