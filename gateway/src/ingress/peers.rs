//! Which logic nodes drive this gateway, and which may not: a run that was replaced, and a second store.
//!
//! Of one node, known by its name, the newest run is heard and no other: a process that slept while another took its place
//! would deliver what is stale. And all nodes must use one store, or their histories of one room contradict each other.

use std::collections::VecDeque;
use std::sync::Arc;

use common::link::message::LogicHello;
use parking_lot::Mutex;

use super::Over;

/// Names that are remembered, links or not: 1,024 × about 100 B = 100 KB. Those without a link are forgotten first.
const NAMES_MAX: usize = 1_024;

/// Who drives this gateway.
#[derive(Default)]
pub(super) struct Peers(Mutex<State>);

#[derive(Default)]
struct State {
    /// The longest known first.
    nodes: VecDeque<Node>,
    /// The store that kept the histories when a link was last greeted; 0: none yet.
    engine: u64,
    last: u64,
}

/// What is known of the nodes of one name.
struct Node {
    name: String,
    /// The highest that was said.
    fence: u64,
    links: Vec<Linked>,
}

struct Linked {
    id: u64,
    engine: u64,
    over: Over,
}

/// A link that is greeted. Dropped: it has ended.
pub(super) struct Greeted {
    peers: Arc<Peers>,
    id: u64,
    /// Links of earlier runs that it replaces.
    pub(super) replaced: usize,
    /// The store that keeps the histories is another than before: nobody's place in it is right any more.
    pub(super) is_other_store: bool,
}

impl Drop for Greeted {
    fn drop(&mut self) {
        for node in &mut self.peers.0.lock().nodes {
            node.links.retain(|link| link.id != self.id);
        }
    }
}

impl Peers {
    /// A node says who it is. Earlier runs of it are ended.
    ///
    /// # Errors
    /// Why it is not wanted, for people.
    pub(super) fn greet(self: &Arc<Self>, hello: &LogicHello, over: Over) -> Result<Greeted, String> {
        let mut state = self.0.lock();
        let known = state.nodes.iter().position(|node| node.name == hello.name);
        let fence = known.map_or(0, |at| state.nodes[at].fence);
        if hello.fence != 0 && hello.fence < fence {
            return Err(format!(
                "a newer run of the logic node {} drives this gateway (fence {fence}; this one has {}): this process \
                 was replaced and must end, or take another --name",
                hello.name, hello.fence
            ));
        }
        let differs = |engine: u64| engine != 0 && hello.engine != 0 && engine != hello.engine;
        let mut others = state.nodes.iter().filter(|node| node.name != hello.name);
        if let Some(other) = others.find(|node| node.links.iter().any(|link| differs(link.engine))) {
            return Err(format!(
                "the logic node {} drives this gateway and uses another store: their histories would contradict each \
                 other. With embedded engines run one logic node, else give all of them the same --engine redis://…",
                other.name
            ));
        }
        state.last += 1;
        let id = state.last;
        let at = known.unwrap_or_else(|| state.make_room(&hello.name));
        let node = &mut state.nodes[at];
        let is_newer = hello.fence > node.fence;
        node.fence = node.fence.max(hello.fence);
        // A store of a process has gone with it, whether or not the process could say which run it is.
        let replaced = node.links.extract_if(.., |link| is_newer || differs(link.engine));
        let replaced = replaced
            .map(|link| link.over.end(format!("a newer run of the logic node {} has come", hello.name)))
            .count();
        node.links.push(Linked { id, engine: hello.engine, over });
        let is_other_store = differs(state.engine);
        if hello.engine != 0 {
            state.engine = hello.engine;
        }
        Ok(Greeted { peers: self.clone(), id, replaced, is_other_store })
    }
}

impl State {
    fn make_room(&mut self, name: &str) -> usize {
        if self.nodes.len() >= NAMES_MAX
            && let Some(idle) = self.nodes.iter().position(|node| node.links.is_empty())
        {
            self.nodes.remove(idle);
        }
        self.nodes.push_back(Node { name: name.to_owned(), fence: 0, links: Vec::new() });
        self.nodes.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(name: &str, fence: u64, engine: u64) -> LogicHello {
        LogicHello { name: name.into(), fence, engine, ..LogicHello::default() }
    }

    #[test]
    fn of_one_name_only_the_newest_run_is_heard_even_after_it_has_gone() {
        let peers = Arc::<Peers>::default();
        let old = Over::default();
        let first = peers.greet(&hello("a", 5, 0), old.clone()).ok().unwrap();
        let again = peers.greet(&hello("a", 5, 0), Over::default()).ok().unwrap();
        assert!(again.replaced == 0 && old.words().is_none(), "the same run may have two links for a moment");
        let newer = peers.greet(&hello("a", 6, 0), Over::default()).ok().unwrap();
        assert_eq!(newer.replaced, 2);
        assert!(old.words().unwrap().contains("newer run"));
        drop((first, again, newer));
        let refused = peers.greet(&hello("a", 5, 0), Over::default()).err().unwrap();
        assert!(refused.contains("fence 6"), "{refused}");
        assert!(peers.greet(&hello("b", 1, 0), Over::default()).is_ok(), "another node has its own fences");
        assert!(
            peers.greet(&hello("a", 0, 0), Over::default()).is_ok(),
            "one that knows none is not refused"
        );
    }

    #[test]
    fn two_stores_are_refused_and_a_node_that_starts_anew_is_not() {
        let peers = Arc::<Peers>::default();
        let first = peers.greet(&hello("a", 1, 70), Over::default()).ok().unwrap();
        assert!(!first.is_other_store);
        let refused = peers.greet(&hello("b", 1, 71), Over::default()).err().unwrap();
        assert!(refused.contains("contradict each other"), "{refused}");
        assert!(peers.greet(&hello("b", 1, 0), Over::default()).is_ok(), "it does not know its store yet");
        let anew = peers.greet(&hello("a", 2, 72), Over::default()).ok().unwrap();
        assert!(anew.is_other_store && anew.replaced == 1);
        drop((first, anew));
        assert!(peers.greet(&hello("b", 1, 73), Over::default()).ok().unwrap().is_other_store);
    }

    #[test]
    fn names_are_forgotten_in_the_end_but_not_those_that_are_linked() {
        let peers = Arc::<Peers>::default();
        let _stays = peers.greet(&hello("stays", 9, 0), Over::default()).ok().unwrap();
        for n in 0..2 * NAMES_MAX {
            drop(peers.greet(&hello(&n.to_string(), 9, 0), Over::default()).ok().unwrap());
        }
        assert!(peers.0.lock().nodes.len() <= NAMES_MAX);
        assert!(peers.greet(&hello("stays", 8, 0), Over::default()).is_err());
    }
}
