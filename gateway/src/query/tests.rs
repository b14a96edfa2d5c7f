//! Lists and counts while clients come and go: who is there all the time is there exactly once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::link::ask::{ListClients, ListNames, PAGE_MAX, Scope};
use common::names::Kind;

use super::list;
use crate::connection::{Connection, Shared};
use crate::registry::{Identity, Registration, Registry};
use crate::routes::Routes;
use crate::transport::Transport;

/// Those who stay.
const STAYING: u64 = 100_000;

struct World {
    registry: Arc<Registry>,
    shared: Arc<Shared>,
}

impl World {
    fn register(&self, user: &str, app: u32, room: &str) -> Registration {
        let identity = Identity { user: Some(user.to_owned()), app: Some(app) };
        self.registry.register(&identity, &[room.to_owned()], |local| {
            let transport = Transport::Memory(Box::default());
            Arc::new(Connection::new(transport.into(), local, self.shared.clone()))
        })
    }

    /// Registers and drops, in the slots of all buckets, until the end.
    fn churn(&self, ended: &AtomicBool, turns: &AtomicU64) {
        let mut random = fastrand::Rng::with_seed(7);
        let mut here = Vec::new();
        while !ended.load(Ordering::Relaxed) {
            let number = turns.fetch_add(1, Ordering::Relaxed);
            here.push(self.register(&format!("guest{}", number % 5_000), 2, &format!("g{}", number % 3_000)));
            if here.len() > 20_000 {
                here.swap_remove(random.usize(..here.len()));
            }
            let guest = &here[random.usize(..here.len())];
            let room = format!("g{}", random.u32(..3_000));
            self.registry.join(guest.connection.local, &room);
            self.registry.leave(guest.connection.local, &room);
        }
    }

    async fn clients(&self, scope: Scope, limit: u32) -> BTreeMap<u64, u64> {
        let (mut times, mut from) = (BTreeMap::new(), 0);
        loop {
            let page =
                list::clients(&self.registry, &ListClients { scope: scope.clone(), from, limit }).await;
            let page = page.unwrap();
            assert!(page.clients.len() <= limit as usize);
            for client in page.clients {
                *times.entry(client.local).or_default() += 1;
            }
            match page.next {
                Some(next) => from = next,
                None => return times,
            }
        }
    }

    async fn names(&self, kind: Kind, app: Option<u32>) -> BTreeMap<String, u64> {
        let (mut all, mut after) = (BTreeMap::new(), None);
        loop {
            let asked = ListNames { kind: kind as i32, app, after, limit: PAGE_MAX };
            let page = list::names(&self.registry, &asked).await.unwrap();
            for name in page.names {
                assert_eq!(all.insert(name.name, name.clients), None, "a name is there once");
            }
            match page.upto {
                Some(upto) => after = Some(upto),
                None => return all,
            }
        }
    }
}

/// Those who churn, until it is dropped.
struct Churn {
    ended: Arc<AtomicBool>,
    turns: Arc<AtomicU64>,
}

impl Churn {
    fn begin(world: &Arc<World>) -> Self {
        let churn = Self { ended: Arc::default(), turns: Arc::default() };
        let (world, ended, turns) = (world.clone(), churn.ended.clone(), churn.turns.clone());
        std::thread::spawn(move || world.churn(&ended, &turns));
        churn
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_hundred_thousand_who_stay_are_listed_once_and_counted_right_while_others_churn() {
    let registry = Arc::new(Registry::new(Arc::<Routes>::default()));
    let world = Arc::new(World { registry, shared: Shared::test().into() });
    let churn = Churn::begin(&world);
    // Those who stay come among those who churn, so that both share all buckets.
    let staying: Vec<_> = (0..STAYING)
        .map(|n| world.register(&format!("u{}", n / 2), 1, if n % 10 == 0 { "tenth" } else { "rest" }))
        .collect();
    let began = churn.turns.load(Ordering::Relaxed);
    for (limit, app) in [(1_000, None), (333, Some(1))] {
        let listed = world.clients(Scope::all(app), limit).await;
        assert!(listed.values().all(|times| *times == 1), "nobody is there twice");
        let here = staying.iter().filter(|at| listed.contains_key(&at.connection.local.0));
        assert_eq!(here.count() as u64, STAYING);
        assert!(app.is_none() || listed.len() as u64 == STAYING);
    }
    assert_eq!(world.clients(Scope::room("tenth", None), 1_000).await.len() as u64, STAYING / 10);
    for (scope, wanted) in [
        (Scope::all(Some(1)), STAYING),
        (Scope::room("tenth", None), STAYING / 10),
        (Scope::room("rest", Some(1)), STAYING * 9 / 10),
        (Scope::room("rest", Some(2)), 0),
        (Scope::user("u77", Some(1)), 2),
    ] {
        assert_eq!(list::count(&world.registry, &scope).await, Some(wanted), "{scope:?}");
    }
    let users = world.names(Kind::User, None).await;
    assert!((0..STAYING / 2).all(|n| users.get(&format!("u{n}")) == Some(&2)));
    let of_one = world.names(Kind::User, Some(1)).await;
    assert!(of_one.len() as u64 == STAYING / 2 && of_one.values().all(|clients| *clients == 2));
    let rooms = world.names(Kind::Room, Some(1)).await;
    let wanted = [("rest", STAYING * 9 / 10), ("tenth", STAYING / 10)];
    assert_eq!(rooms, wanted.map(|(name, clients)| (name.to_owned(), clients)).into());
    assert!(churn.turns.load(Ordering::Relaxed) > began + 1_000, "others came and went meanwhile");
}
