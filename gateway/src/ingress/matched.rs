//! How many connections a delivery's targets have here, in turns that leave the other links of the thread theirs.
//!
//! All links share one thread. One valid delivery may name 10,000 rooms and except 10,000 connections, and a room
//! may have a million members: so excepts are walked once for all targets, and whatever is long is cut in turns.

use hashbrown::HashMap;

use crate::merger::{Filter, Key, Target};
use crate::registry::{Registry, bits};

/// Look-ups before the others on this thread have a turn: at 20 to 100 ns each, 0.1 to 0.4 ms. A bucket's members
/// are looked at in one go; at a million connections these are at most 15,625.
const LOOKUPS_PER_TURN: usize = 4_096;

/// What was looked up since the others on this thread had a turn.
#[derive(Debug, Default)]
pub(super) struct Effort {
    lookups: usize,
}

impl Effort {
    /// Notes so many look-ups, and lets the others have a turn if that is enough for now.
    pub(super) async fn spend(&mut self, lookups: usize) {
        self.lookups += lookups;
        if self.lookups >= LOOKUPS_PER_TURN {
            self.lookups = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// Counts how many connections each of the targets has here, and takes out those that have none.
pub(super) async fn matched(
    targets: &mut Vec<(u64, Target)>,
    filter: &Filter,
    registry: &Registry,
    effort: &mut Effort,
) {
    let left_out = left_out(targets, filter, registry, effort).await;
    for (count, target) in targets.iter_mut() {
        *count = match target {
            Target::Client(local) => {
                let excepted =
                    filter.except.as_ref().is_some_and(|except| except.binary_search(local).is_ok());
                u64::from(!excepted && registry.matches(*local, None, filter.app))
            }
            Target::All | Target::Group(_) => {
                let whole = whole(target, filter.app, registry, effort).await;
                whole.saturating_sub(left_out.get(&target.key()).copied().unwrap_or(0))
            }
        };
        effort.spend(1).await;
    }
    targets.retain(|(count, _)| *count > 0);
}

/// How many connections of the application a target has, whomever the delivery excepts.
async fn whole(target: &Target, app: Option<u32>, registry: &Registry, effort: &mut Effort) -> u64 {
    let (group, app) = match (target, app) {
        (Target::Group(group), Some(app)) => (group, app),
        (Target::Group(group), None) => return group.members(),
        _ => return registry.clients() as u64,
    };
    let mut count = 0;
    for number in bits(group.buckets()) {
        let (of_app, members) = registry.members_of_app(number, group, app);
        count += of_app;
        effort.spend(members).await;
    }
    count
}

/// How many of the excepted connections are here, of the application, and in each target. The work is excepts ×
/// memberships, of which a connection has few, and not excepts × targets.
async fn left_out(
    targets: &[(u64, Target)],
    filter: &Filter,
    registry: &Registry,
    effort: &mut Effort,
) -> HashMap<Key, u64> {
    let Some(except) = &filter.except else { return HashMap::new() };
    let wide = targets.iter().map(|(_, target)| target).filter(|target| !matches!(target, Target::Client(_)));
    let mut left_out: HashMap<Key, u64> = wide.map(|target| (target.key(), 0)).collect();
    if left_out.is_empty() {
        return left_out;
    }
    for local in except.iter() {
        let memberships = registry.look(*local, |slot| {
            if filter.app.is_some_and(|app| app != slot.app) {
                return 0;
            }
            let groups = slot.memberships.iter().map(|membership| Key::of_group(&membership.group));
            for key in groups.chain([Key::All]) {
                if let Some(count) = left_out.get_mut(&key) {
                    *count += 1;
                }
            }
            slot.memberships.len()
        });
        effort.spend(1 + memberships.unwrap_or(0)).await;
    }
    left_out
}

#[cfg(test)]
mod tests;
