//! A gateway without ports, for benchmarks: the same registry, merger, pusher and sessions, on connections in
//! memory. What it shows is our own cost; the kernel's is not in it. Not a part of the gateway's interface.

use std::sync::Arc;

use bytes::Bytes;
use common::live::Live;
use common::metrics::Metrics;
use common::names::Kind;
use common::shutdown::Shutdown;
use common::tasks::Tasks;

use crate::door::Door;
use crate::frame;
use crate::handshake::Ticket;
use crate::merger::{Filter, Item, Target};
use crate::node::{Parts, assemble};
use crate::pusher::Urgency;
use crate::registry::{Identity, Join, Registration};
use crate::session;
use crate::settings::Settings;
use crate::tally::{Outgoing, Part, Passage};
use crate::transport::{Memory, Transport};
use crate::tune::Tuner;

/// A gateway without ports.
pub struct Rig {
    parts: Arc<Parts>,
    door: Arc<Door>,
    outgoing: Arc<Outgoing>,
}

/// A connection without a session, whose owner joins, leaves and goes. Dropped: it is gone.
pub struct Guest(Registration);

impl Rig {
    /// Starts the gateway's own threads.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start(settings: Settings) -> Self {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        let address = settings.listen;
        let metrics = Metrics::new("gateway");
        let tuner = Tuner::new(&settings, &metrics);
        let parts = assemble(settings, tuner, address, &metrics, &tasks, &shutdown);
        let outgoing = Arc::<Outgoing>::default();
        // Nobody reads receipts here.
        outgoing.end();
        let max_connections = usize::MAX;
        let open = Settings { max_connections, ..Settings::default() };
        let door = Door::new(Arc::new(Live::new((&open).into())));
        Self { parts: Arc::new(parts), door, outgoing }
    }

    /// A client with a session of its own, as after a handshake. It stays until the rig ends.
    ///
    /// # Panics
    /// Never: there are as many places as anybody can take.
    pub async fn seat(&self, user: String, rooms: Vec<String>) {
        let place = self.door.enter().expect("as many places as anybody can take");
        let identity = Identity { user: Some(user), app: None };
        let ticket = Ticket { identity, rights: None, rooms, deflate: None, refused: None, is_echo: false };
        let transport = Transport::Memory(Box::<Memory>::default());
        let session = session::begin_on(transport, Bytes::new(), ticket, self.parts.clone(), place).await;
        self.parts.tasks.spawn(session);
    }

    /// A client that is only registered.
    #[must_use]
    pub fn guest(&self, user: &str, rooms: &[String]) -> Guest {
        let identity = Identity { user: Some(user.to_owned()), app: None };
        let parts = &self.parts;
        let registration = parts.registry.register(&identity, rooms, |local| {
            parts.connect(Transport::Memory(Box::<Memory>::default()).into(), local)
        });
        registration.connection.greet(frame::PING);
        Guest(registration)
    }

    /// Gives the pusher an item for all, or for those of these rooms that have members; says how many
    /// connections that are.
    pub fn push(&self, rooms: Option<&[String]>, body: &Bytes) -> u64 {
        let registry = &self.parts.registry;
        let targets: Vec<_> = match rooms {
            None => vec![(Target::All, registry.clients() as u64)],
            Some(rooms) => rooms
                .iter()
                .filter_map(|room| registry.directory.find(Kind::Room, room))
                .map(|group| (Target::Group(group.clone()), group.members()))
                .collect(),
        };
        let passage = Passage::new(self.outgoing.clone(), 1, targets.len() as u32);
        let reach = targets.iter().map(|(_, matched)| matched).sum();
        let offers = targets.into_iter().map(|(target, matched)| {
            let part = Part { passage: passage.clone(), matched };
            (
                target,
                Filter::default(),
                Item { body: body.clone(), key: None, expires: None, part, kept: None },
            )
        });
        self.parts.pusher.offer(Urgency::Merged, offers);
        reach
    }

    /// Writes all that was pushed.
    pub async fn flush(&self) {
        self.parts.pusher.flush().await;
    }

    /// Items written to connections so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.parts.counters.written.get()
    }

    /// Items that were lost on their way.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.parts.counters.dropped_gone.get() + self.parts.counters.dropped_slow.get()
    }

    /// Connections that are registered.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.parts.registry.clients()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.parts.pusher.end();
        self.parts.shutdown.stop();
    }
}

impl Guest {
    /// Joins a room; says whether it was new.
    #[must_use]
    pub fn join(&self, room: &str) -> bool {
        self.0.registry().join(self.0.connection.local, room) == Join::Joined
    }

    /// Leaves a room; says whether it was there.
    #[must_use]
    pub fn leave(&self, room: &str) -> bool {
        self.0.registry().leave(self.0.connection.local, room)
    }
}
