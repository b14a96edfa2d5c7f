//! Which links hold a name: soft state, told by the gateways, never stored. Pure: no locks, no time.
//!
//! A link whose snapshot is not complete counts as holding everything: a push too many is harmless, a push
//! too few is lost. Removing a link is quick (it is only marked gone); its names are then cleaned away in
//! steps, so that nobody waits behind the end of a gateway with a million users.

pub(crate) mod fuzz;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, hash_set};
use std::sync::Arc;

use common::link::message::Route;
use common::names::Kind;

/// One connection to one gateway; a new one at each reconnect, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LinkId(pub(crate) u64);

/// Names → links. Memory usage will be about 110 B for each name that one gateway holds: 110 MB for a
/// million users.
#[derive(Debug, Default)]
pub(crate) struct Routing {
    names: [HashMap<Arc<str>, Links>; Kind::ALL.len()],
    links: HashMap<LinkId, Held>,
    incomplete: Vec<LinkId>,
    /// Links that are removed and not yet cleaned away.
    leaving: usize,
}

/// The names of one link; the text is shared with the table.
#[derive(Debug, Default)]
struct Held([HashSet<Arc<str>>; Kind::ALL.len()]);

/// The links that hold a name; most users are at one gateway.
#[derive(Debug)]
enum Links {
    One(LinkId),
    Several(Vec<LinkId>),
}

/// What a removed link leaves behind in the table, to be cleaned.
#[derive(Debug)]
pub(crate) struct Remains {
    link: LinkId,
    names: [hash_set::IntoIter<Arc<str>>; Kind::ALL.len()],
}

impl Routing {
    /// A link begins: until its snapshot is complete it holds everything.
    pub(crate) fn add(&mut self, link: LinkId) {
        self.links.insert(link, Held::default());
        self.incomplete.push(link);
    }

    /// A gateway says that it holds these names now. Kinds that a later release may know are passed over.
    pub(crate) fn begin(&mut self, link: LinkId, routes: &[Route]) {
        let Some(held) = self.links.get_mut(&link) else { return };
        for route in routes {
            let Ok(kind) = Kind::try_from(route.kind) else { continue };
            let table = &mut self.names[kind as usize];
            let name = table
                .get_key_value(route.name.as_str())
                .map_or_else(|| Arc::from(route.name.as_str()), |(name, _)| name.clone());
            if !held.0[kind as usize].insert(name.clone()) {
                continue;
            }
            match table.entry(name) {
                Entry::Vacant(vacant) => _ = vacant.insert(Links::One(link)),
                Entry::Occupied(mut links) => links.get_mut().insert(link),
            }
        }
    }

    /// A gateway says that it does not hold these names any more.
    pub(crate) fn cease(&mut self, link: LinkId, routes: &[Route]) {
        let Some(held) = self.links.get_mut(&link) else { return };
        for route in routes {
            let Ok(kind) = Kind::try_from(route.kind) else { continue };
            if let Some(name) = held.0[kind as usize].take(route.name.as_str()) {
                forget(&mut self.names[kind as usize], &name, link);
            }
        }
    }

    /// The snapshot of a link is complete.
    pub(crate) fn complete(&mut self, link: LinkId) {
        self.incomplete.retain(|other| *other != link);
    }

    /// A link ends: from now on it holds nothing. Clean what it leaves with [`Routing::clean`].
    pub(crate) fn remove(&mut self, link: LinkId) -> Option<Remains> {
        self.complete(link);
        let held = self.links.remove(&link)?;
        self.leaving += 1;
        Some(Remains { link, names: held.0.map(HashSet::into_iter) })
    }

    /// Cleans up to `most` names away; whether there are more.
    pub(crate) fn clean(&mut self, remains: &mut Remains, most: usize) -> bool {
        let link = remains.link;
        let mut left = most;
        for (table, names) in self.names.iter_mut().zip(&mut remains.names) {
            while left > 0 {
                let Some(name) = names.next() else { break };
                forget(table, &name, link);
                left -= 1;
            }
        }
        let has_more = remains.names.iter().any(|names| names.len() > 0);
        self.leaving = self.leaving.saturating_sub(usize::from(!has_more));
        has_more
    }

    /// Whether every name in the table is held, and every name that is held is in it.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.incomplete.is_empty() && self.leaving == 0
    }

    /// Replaces `holders` by the links that hold a name, or may do so, sorted.
    pub(crate) fn holders(&self, kind: Kind, name: &str, holders: &mut Vec<LinkId>) {
        holders.clear();
        holders.extend_from_slice(&self.incomplete);
        let links = self.names[kind as usize].get(name).map_or(&[][..], Links::as_slice);
        holders.extend(links.iter().filter(|link| self.links.contains_key(link)));
        holders.sort_unstable();
        holders.dedup();
    }

    /// How many names of a kind there are, those of links that are being cleaned away included.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.names[kind as usize].len()
    }
}

impl Links {
    fn as_slice(&self) -> &[LinkId] {
        match self {
            Self::One(link) => std::slice::from_ref(link),
            Self::Several(links) => links,
        }
    }

    fn insert(&mut self, link: LinkId) {
        match self {
            Self::One(first) => *self = Self::Several(vec![*first, link]),
            Self::Several(links) => links.push(link),
        }
    }
}

fn forget(table: &mut HashMap<Arc<str>, Links>, name: &str, link: LinkId) {
    let Some(links) = table.get_mut(name) else { return };
    let nobody = match links {
        Links::One(only) => *only == link,
        Links::Several(several) => {
            several.retain(|other| *other != link);
            several.is_empty()
        }
    };
    if nobody {
        table.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// What happens to the table, and to the naive model beside it.
    #[derive(Debug, Clone)]
    enum Step {
        Add,
        Begin(usize, Vec<(u8, u8)>),
        Cease(usize, Vec<(u8, u8)>),
        Complete(usize),
        Remove(usize),
        Clean(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let routes = || prop::collection::vec((0..4_u8, 0..6_u8), 0..5);
        prop_oneof![
            Just(Step::Add),
            (0..6_usize, routes()).prop_map(|(link, routes)| Step::Begin(link, routes)),
            (0..6_usize, routes()).prop_map(|(link, routes)| Step::Cease(link, routes)),
            (0..6_usize).prop_map(Step::Complete),
            (0..6_usize).prop_map(Step::Remove),
            (0..4_usize).prop_map(Step::Clean),
        ]
    }

    fn routes(of: &[(u8, u8)]) -> Vec<Route> {
        of.iter().map(|(kind, name)| Route { kind: i32::from(*kind), name: format!("n{name}") }).collect()
    }

    /// A link, whether its snapshot is complete, and what it holds.
    type Naive = (LinkId, bool, BTreeSet<(u8, u8)>);

    #[derive(Default)]
    struct Model(Vec<Naive>);

    impl Model {
        fn holders(&self, kind: u8, name: u8) -> Vec<LinkId> {
            let holds = |(_, complete, names): &&Naive| !complete || names.contains(&(kind, name));
            self.0.iter().filter(holds).map(|(link, ..)| *link).collect()
        }
    }

    fn run(steps: &[Step]) {
        let (mut routing, mut model, mut remains, mut next) =
            (Routing::default(), Model::default(), Vec::new(), 0);
        for step in steps {
            match step {
                Step::Add => {
                    next += 1;
                    routing.add(LinkId(next));
                    model.0.push((LinkId(next), false, BTreeSet::new()));
                }
                Step::Begin(at, names) => {
                    if let Some((link, _, held)) = model.0.get_mut(*at) {
                        routing.begin(*link, &routes(names));
                        held.extend(names);
                    }
                }
                Step::Cease(at, names) => {
                    if let Some((link, _, held)) = model.0.get_mut(*at) {
                        routing.cease(*link, &routes(names));
                        held.retain(|name| !names.contains(name));
                    }
                }
                Step::Complete(at) => {
                    if let Some((link, complete, _)) = model.0.get_mut(*at) {
                        routing.complete(*link);
                        *complete = true;
                    }
                }
                Step::Remove(at) if *at < model.0.len() => {
                    let (link, ..) = model.0.remove(*at);
                    remains.extend(routing.remove(link));
                }
                Step::Remove(_) => {}
                Step::Clean(most) => remains.retain_mut(|remains| routing.clean(remains, *most)),
            }
            let mut holders = Vec::new();
            for (kind, name) in (0..3).flat_map(|kind| (0..6).map(move |name| (kind, name))) {
                let of = Kind::try_from(i32::from(kind)).unwrap();
                routing.holders(of, &format!("n{name}"), &mut holders);
                assert_eq!(holders, model.holders(kind, name), "{of:?} n{name} after {step:?}");
            }
        }
        remains.retain_mut(|remains| routing.clean(remains, usize::MAX));
        for (link, ..) in model.0 {
            let mut last = routing.remove(link).unwrap();
            while routing.clean(&mut last, 1) {}
        }
        assert!(Kind::ALL.iter().all(|kind| routing.count(*kind) == 0), "nothing stays behind");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn the_table_agrees_with_a_naive_model(steps in prop::collection::vec(step(), 0..60)) {
            run(&steps);
        }
    }
}
