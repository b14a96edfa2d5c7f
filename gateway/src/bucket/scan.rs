//! Going through a bucket in the order of its slots, a bounded piece at a time.
//!
//! A connection stays in its slot for as long as it is here, so who goes on where they were sees it exactly once,
//! whoever comes and goes meanwhile.

use std::sync::Arc;

use common::names::Kind;

use super::{Bucket, Local, Slot};
use crate::directory::Group;
use crate::registry::Identity;

impl Slot {
    /// Who the connection belongs to.
    pub(crate) fn identity(&self) -> Identity {
        Identity {
            user: self.groups(Kind::User).next().map(|group| group.name.as_ref().to_owned()),
            app: (self.app > 0).then_some(self.app),
        }
    }
}

impl Bucket {
    /// Looks at about `most` slots from `from` on, and gives those with a connection, of the group if one is
    /// given, to `each`. Says where to go on; `None` at the end.
    pub(crate) fn scan(
        &self,
        group: Option<&Arc<Group>>,
        from: u32,
        most: usize,
        mut each: impl FnMut(Local, &Slot),
    ) -> Option<u32> {
        let mut see = |at: u32| {
            if let Some(slot) = self.slots.get(at as usize).filter(|slot| slot.connection.is_some()) {
                each(Local::new(slot.generation, at, self.number), slot);
            }
        };
        let end = self.slots.len().min(from as usize + most) as u32;
        match group {
            None => (from..end).for_each(see),
            Some(group) if self.members(group).len() <= most => {
                let mut members: Vec<u32> = self.members(group).to_vec();
                members.retain(|at| *at >= from);
                members.sort_unstable();
                members.into_iter().for_each(see);
                return None;
            }
            Some(group) => {
                let is_member =
                    |slot: &Slot| slot.memberships.iter().any(|theirs| Arc::ptr_eq(&theirs.group, group));
                (from..end).filter(|at| is_member(&self.slots[*at as usize])).for_each(&mut see);
            }
        }
        ((end as usize) < self.slots.len()).then_some(end)
    }
}
