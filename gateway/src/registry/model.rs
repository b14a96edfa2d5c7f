//! The registry beside a naive one: registers, joins, leaves, logins and drops in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::names::Kind;
use proptest::prelude::*;

use super::{Identity, Join, Registration, Registry, bits};
use crate::connection::{Connection, Shared};
use crate::routes::Routes;
use crate::transport::Transport;

#[derive(Debug, Clone)]
enum Step {
    Register { user: Option<u8>, app: Option<u32>, rooms: Vec<u8> },
    Join(usize, u8),
    Leave(usize, u8),
    Bind(usize, Option<u8>, Option<u32>),
    Drop(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0..5_u8;
    let user = || prop::option::of(0..3_u8);
    let app = || prop::option::of(1..3_u32);
    prop_oneof![
        3 => (user(), app(), prop::collection::vec(name.clone(), 0..4))
            .prop_map(|(user, app, rooms)| Step::Register { user, app, rooms }),
        4 => (any::<usize>(), name.clone()).prop_map(|(who, room)| Step::Join(who, room)),
        3 => (any::<usize>(), name).prop_map(|(who, room)| Step::Leave(who, room)),
        1 => (any::<usize>(), user(), app()).prop_map(|(who, user, app)| Step::Bind(who, user, app)),
        2 => any::<usize>().prop_map(Step::Drop),
    ]
}

/// What the naive registry knows of a connection: the names of its groups.
type Groups = BTreeSet<(Kind, String)>;

fn identity(user: Option<u8>, app: Option<u32>) -> Identity {
    Identity { user: user.map(|user| format!("u{user}")), app }
}

fn identity_groups(identity: &Identity) -> Groups {
    let user = identity.user.iter().map(|user| (Kind::User, user.clone()));
    user.chain(identity.app.map(|app| (Kind::App, app.to_string()))).collect()
}

struct World {
    registry: Arc<Registry>,
    shared: Arc<Shared>,
    model: Vec<(Registration, Groups)>,
}

impl World {
    async fn new() -> Self {
        Self {
            registry: Arc::new(Registry::new(Arc::<Routes>::default())),
            shared: Arc::new(Shared::test()),
            model: Vec::new(),
        }
    }

    async fn take(&mut self, step: Step) {
        let count = self.model.len();
        let pick = |who: usize| (count > 0).then(|| who % count);
        match step {
            Step::Register { user, app, rooms } => {
                let identity = identity(user, app);
                let rooms: Vec<String> = rooms.iter().map(|room| format!("r{room}")).collect();
                let registration = self.registry.register(&identity, &rooms, |local| {
                    let transport = Transport::Memory(Box::default());
                    Arc::new(Connection::new(transport.into(), local, self.shared.clone()))
                });
                let mut groups = identity_groups(&identity);
                groups.extend(rooms.into_iter().map(|room| (Kind::Room, room)));
                self.model.push((registration, groups));
            }
            Step::Join(who, room) => {
                if let Some((registration, groups)) = pick(who).map(|at| &mut self.model[at]) {
                    let room = format!("r{room}");
                    let joined = self.registry.join(registration.connection.local, &room);
                    let new = groups.insert((Kind::Room, room));
                    assert_eq!(joined, if new { Join::Joined } else { Join::Already });
                }
            }
            Step::Leave(who, room) => {
                if let Some((registration, groups)) = pick(who).map(|at| &mut self.model[at]) {
                    let room = format!("r{room}");
                    let left = self.registry.leave(registration.connection.local, &room);
                    assert_eq!(left, groups.remove(&(Kind::Room, room)));
                }
            }
            Step::Bind(who, user, app) => {
                if let Some((registration, groups)) = pick(who).map(|at| &mut self.model[at]) {
                    let identity = identity(user, app);
                    self.registry.bind(registration.connection.local, &identity).unwrap();
                    groups.retain(|(kind, _)| *kind == Kind::Room);
                    groups.extend(identity_groups(&identity));
                }
            }
            Step::Drop(who) => {
                if let Some(at) = pick(who) {
                    let local = self.model.swap_remove(at).0.connection.local;
                    assert!(!self.registry.matches(local, None, None), "an old id names nobody");
                }
            }
        }
    }

    /// Every index agrees with the naive one.
    fn check(&self) {
        assert_eq!(self.registry.clients(), self.model.len());
        let mut groups = BTreeMap::<&(Kind, String), BTreeSet<_>>::new();
        for (registration, names) in &self.model {
            for name in names {
                groups.entry(name).or_default().insert(registration.connection.local);
            }
        }
        let known: usize = self.registry.directory.shards().map(|shard| shard.len()).sum();
        assert_eq!(known, groups.len(), "no group without members is left");
        for ((kind, name), expected) in groups {
            let group = self.registry.directory.find(*kind, name).expect("it has members");
            assert_eq!(group.members(), expected.len() as u64);
            let mut members = BTreeSet::new();
            for number in bits(group.buckets()) {
                let bucket = self.registry.bucket(number).read();
                assert!(!bucket.members(&group).is_empty(), "a bit is set where there are members");
                for slot in bucket.members(&group) {
                    let connection = bucket.slots[*slot as usize].connection.as_ref().unwrap();
                    assert!(members.insert(connection.local), "nobody is a member twice");
                }
            }
            assert_eq!(members, expected);
            for (registration, names) in &self.model {
                let is = self.registry.matches(registration.connection.local, Some(&group), None);
                assert_eq!(is, names.contains(&(*kind, name.clone())));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn all_indexes_agree_with_a_naive_one(steps in prop::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in steps {
                world.take(step).await;
                world.check();
            }
            world.model.clear();
            world.check();
        });
    }
}
