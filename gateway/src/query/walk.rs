//! Going through the connections that a question means, bucket by bucket, a bounded piece under each lock.

use std::sync::Arc;

use common::link::ask::{Scope, Whose};
use common::names::Kind;

use crate::bucket::{BUCKETS, Local, Slot};
use crate::directory::Group;
use crate::registry::Registry;

/// Slots looked at under one lock.
const LOCK_LOOKS_MAX: usize = 256;

/// A set of connections.
#[derive(Debug, Clone)]
pub(super) enum Meant {
    Nobody,
    All,
    Group(Arc<Group>, Option<u32>),
    One(Local),
}

impl Meant {
    /// Who is meant by a scope; `None` if this release does not know what it says.
    pub(super) fn by(scope: &Scope, registry: &Registry) -> Option<Self> {
        let found = |kind, name: &str, app| {
            registry.directory.find(kind, name).map_or(Self::Nobody, |group| Self::Group(group, app))
        };
        Some(match (Whose::try_from(scope.whose).ok()?, scope.app) {
            (Whose::All, None) => Self::All,
            (Whose::All, Some(app)) => found(Kind::App, &app.to_string(), None),
            (Whose::Room, app) => found(Kind::Room, &scope.name, app),
            (Whose::User, app) => found(Kind::User, &scope.name, app),
            (Whose::Client, _) => Self::One(Local(scope.local)),
        })
    }

    /// How many there are, if that is known without looking at each.
    pub(super) fn size(&self, registry: &Registry) -> Option<u64> {
        match self {
            Self::Nobody => Some(0),
            Self::All => Some(registry.clients() as u64),
            Self::Group(group, None) => Some(group.members()),
            Self::Group(_, Some(_)) => None,
            Self::One(local) => Some(u64::from(registry.matches(*local, None, None))),
        }
    }
}

/// Where a walk is: a bucket and a slot, as one number that others may keep and give back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(pub(super) u64);

impl Place {
    pub(super) const BEGIN: Self = Self(0);

    fn new(bucket: usize, slot: u32) -> Self {
        Self((bucket as u64) << 32 | u64::from(slot))
    }

    fn bucket(self) -> usize {
        usize::try_from(self.0 >> 32).unwrap_or(BUCKETS)
    }

    fn slot(self) -> u32 {
        (self.0 & u64::from(u32::MAX)) as u32
    }
}

/// One step: looks at a piece from `place` on, gives those who are meant to `each`, and says where the next begins.
pub(super) fn step(
    registry: &Registry,
    meant: &Meant,
    place: Place,
    mut each: impl FnMut(Local, &Slot),
) -> Option<Place> {
    let (group, app) = match meant {
        Meant::Nobody => return None,
        Meant::One(local) => {
            registry.look(*local, |slot| each(*local, slot));
            return None;
        }
        Meant::All => (None, None),
        Meant::Group(group, app) => (Some(group), *app),
    };
    let has_members = |number: &usize| group.is_none_or(|group| group.buckets() & 1 << *number != 0);
    let number = (place.bucket()..BUCKETS).find(has_members)?;
    let from = if number == place.bucket() { place.slot() } else { 0 };
    let next = registry.bucket(number).read().scan(group, from, LOCK_LOOKS_MAX, |local, slot| {
        if app.is_none_or(|app| app == slot.app) {
            each(local, slot);
        }
    });
    match next {
        Some(slot) => Some(Place::new(number, slot)),
        None => (number + 1 < BUCKETS).then(|| Place::new(number + 1, 0)),
    }
}

/// Counts the members of a group that are of an application.
pub(super) async fn count(registry: &Registry, meant: &Meant) -> u64 {
    if let Some(size) = meant.size(registry) {
        return size;
    }
    let (mut counted, mut at) = (0, Some(Place::BEGIN));
    while let Some(place) = at {
        at = step(registry, meant, place, |_, _| counted += 1);
        tokio::task::yield_now().await;
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_number() {
        let place = Place::new(63, u32::MAX >> 6);
        assert_eq!((place.bucket(), place.slot()), (63, u32::MAX >> 6));
        assert_eq!(Place(u64::MAX).bucket(), u32::MAX as usize, "a strange one is behind all buckets");
    }
}
