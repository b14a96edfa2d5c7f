//! Matched numbers beside naive ones, and what they cost.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use common::names::Kind;

use super::*;
use crate::bucket::Local;
use crate::connection::{Connection, Shared};
use crate::registry::{Identity, Registration};
use crate::routes::Routes;
use crate::transport::Transport;

struct World {
    registry: Arc<Registry>,
    shared: Arc<Shared>,
    clients: Vec<Registration>,
}

impl World {
    async fn new() -> Self {
        let registry = Arc::new(Registry::new(Arc::<Routes>::default()));
        Self { registry, shared: Arc::new(Shared::test()), clients: Vec::new() }
    }

    fn register(&mut self, app: Option<u32>, rooms: &[String]) -> Local {
        let identity = Identity { user: Some(format!("u{}", self.clients.len() / 3)), app };
        let registration = self.registry.register(&identity, rooms, |local| {
            let transport = Transport::Memory(Box::default());
            Arc::new(Connection::new(transport.into(), local, self.shared.clone()))
        });
        let local = registration.connection.local;
        self.clients.push(registration);
        local
    }

    fn group(&self, kind: Kind, name: &str) -> Option<Target> {
        self.registry.directory.find(kind, name).map(Target::Group)
    }

    /// How many connections a target has, asked of each.
    fn naive(&self, target: &Target, filter: &Filter) -> u64 {
        let is_meant = |local: Local| match target {
            Target::All => true,
            Target::Group(group) => self.registry.matches(local, Some(group), None),
            Target::Client(only) => *only == local,
        };
        let locals = self.clients.iter().map(|client| client.connection.local);
        let admitted = locals.filter(|local| {
            let app = self.registry.look(*local, |slot| slot.app).unwrap();
            is_meant(*local) && filter.admits(*local, app)
        });
        admitted.count() as u64
    }

    /// What the targets match, and how many turns it took.
    fn matched(&self, targets: &[Target], filter: &Filter) -> (Vec<(u64, Key)>, usize) {
        let mut effort = Effort::default();
        let mut counted: Vec<_> = targets.iter().map(|target| (0, target.clone())).collect();
        let mut turns = 1;
        {
            let mut matched = pin!(matched(&mut counted, filter, &self.registry, &mut effort));
            while matched.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Pending {
                turns += 1;
            }
        }
        (counted.into_iter().map(|(count, target)| (count, target.key())).collect(), turns)
    }
}

fn room(number: usize) -> String {
    format!("r{number}")
}

fn except(mut locals: Vec<Local>) -> Option<Arc<[Local]>> {
    locals.sort_unstable();
    locals.dedup();
    (!locals.is_empty()).then(|| locals.into())
}

#[tokio::test]
async fn targets_match_as_many_as_when_each_connection_is_asked() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = World::new().await;
    for _ in 0..400 {
        let app = Some(random.u32(0..3)).filter(|app| *app > 0);
        let rooms: Vec<_> = (0..40).filter(|_| random.u8(..) < 50).map(room).collect();
        world.register(app, &rooms);
    }
    // Ids of connections that have gone, and ids that nobody had.
    let gone: Vec<_> = world.clients.drain(300..).map(|client| client.connection.local).collect();
    let strange = (0..50).map(|_| Local(random.u64(..)));
    let mut strangers: Vec<_> = gone.into_iter().chain(strange).collect();
    for _ in 0..100 {
        world.register(None, &[room(0)]);
    }
    let mut targets: Vec<_> = (0..41).filter_map(|number| world.group(Kind::Room, &room(number))).collect();
    targets.extend((0..20).filter_map(|user| world.group(Kind::User, &format!("u{user}"))));
    targets.extend((1..4_u32).filter_map(|app| world.group(Kind::App, &app.to_string())));
    targets.extend([Target::All, targets[0].clone()]);
    targets.extend(world.clients.iter().map(|client| Target::Client(client.connection.local)));
    targets.extend(strangers.iter().copied().map(Target::Client));
    for share in [0, 20, 128, 255] {
        random.shuffle(&mut strangers);
        let mut locals = strangers[..strangers.len() * share / 255].to_vec();
        let here = world.clients.iter().map(|client| client.connection.local);
        locals.extend(here.filter(|_| usize::from(random.u8(..)) < share));
        for app in [None, Some(1), Some(2), Some(7)] {
            let filter = Filter { app, except: except(locals.clone()) };
            // All has no application beside it: then the application is the target.
            let asked: Vec<_> =
                targets.iter().filter(|target| app.is_none() || target.key() != Key::All).cloned().collect();
            let counts = asked.iter().map(|target| (world.naive(target, &filter), target.key()));
            let expected: Vec<_> = counts.filter(|(count, _)| *count > 0).collect();
            assert_eq!(world.matched(&asked, &filter).0, expected, "seed {seed}, {share} of 255, {app:?}");
        }
    }
}

#[tokio::test]
async fn many_rooms_with_many_excepts_cost_their_sum_and_not_their_product() {
    const MANY: usize = 1_000;
    const ROOMS_EACH: usize = 5;
    let mut world = World::new().await;
    let mut locals = Vec::new();
    for number in 0..MANY {
        let rooms: Vec<_> = (number..number + ROOMS_EACH).map(|at| room(at % MANY)).collect();
        locals.push(world.register(None, &rooms));
    }
    let targets: Vec<_> = (0..MANY).filter_map(|number| world.group(Kind::Room, &room(number))).collect();
    assert_eq!(targets.len(), MANY);
    let last = locals.pop();
    let filter = Filter { app: None, except: except(locals) };
    let (matched, turns) = world.matched(&targets, &filter);
    assert_eq!(matched.len(), ROOMS_EACH, "only {last:?} is left");
    // Each except with its rooms and its user, and each target.
    let lookups = MANY * (1 + ROOMS_EACH + 1) + MANY;
    assert_eq!(
        turns,
        1 + lookups / LOOKUPS_PER_TURN,
        "a product would be {} turns",
        MANY * MANY / LOOKUPS_PER_TURN
    );
}

#[tokio::test]
async fn others_have_their_turn_while_members_of_an_application_are_counted() {
    const MEMBERS: usize = 20_000;
    let mut world = World::new().await;
    for number in 0..MEMBERS {
        world.register(Some(1 + number as u32 % 2), &[room(0)]);
    }
    let targets = [world.group(Kind::Room, &room(0)).unwrap()];
    let (matched, turns) = world.matched(&targets, &Filter { app: Some(2), except: None });
    assert_eq!(matched, [(MEMBERS as u64 / 2, targets[0].key())]);
    assert!(turns >= MEMBERS / LOOKUPS_PER_TURN, "in only {turns} turns");
}
