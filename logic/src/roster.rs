//! The gateways as a push sees them: which are known, which have a link, and who holds whom.
//!
//! Read for every push, written when a link begins or ends and when a gateway says what it holds.

use std::sync::Arc;

use common::ids::Instance;

use crate::link::heads::Waiting;
use crate::link::outbox::Outbox;
use crate::query::desk::Desk;
use crate::routing::{LinkId, Routing};

/// What a push reads, under one lock.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    /// All gateways that are known, linked or not.
    pub(crate) known: Vec<Known>,
    /// Who holds whom.
    pub(crate) routing: Routing,
    last_link: u64,
}

/// A gateway that is known.
#[derive(Debug)]
pub(crate) struct Known {
    /// Its link address: what it is known by.
    pub(crate) address: Arc<str>,
    /// What people call it: its name once it has said it, its address before.
    pub(crate) label: Arc<str>,
    /// Its link, or why there is none.
    pub(crate) link: Result<Linked, &'static str>,
}

/// A link that is up.
#[derive(Debug, Clone)]
pub(crate) struct Linked {
    /// Which.
    pub(crate) id: LinkId,
    /// Which run of the gateway it leads to.
    pub(crate) instance: Instance,
    /// What waits for it.
    pub(crate) outbox: Arc<Outbox>,
    /// What is asked of it.
    pub(crate) desk: Arc<Desk>,
    /// Where histories stand that it is to be told of.
    pub(crate) heads: Arc<Waiting>,
}

/// What waits for a link, as its own task and the node share it.
#[derive(Debug, Clone)]
pub(crate) struct Ends {
    /// Deliveries.
    pub(crate) outbox: Arc<Outbox>,
    /// Questions.
    pub(crate) desk: Arc<Desk>,
    /// Where histories stand.
    pub(crate) heads: Arc<Waiting>,
}

/// Why there is no link: another address leads to the same run of the gateway, so this one is not counted.
pub(crate) const DUPLICATE: &str = "duplicate";

/// Why a link is not wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unwanted {
    /// The gateway is not known any more.
    Forgotten,
    /// The same run of the same gateway has a link under this address already.
    Duplicate(Arc<str>),
}

impl Roster {
    /// A gateway becomes known.
    pub(crate) fn know(&mut self, address: &Arc<str>) {
        if !self.known.iter().any(|known| known.address == *address) {
            self.known.push(Known {
                address: address.clone(),
                label: address.clone(),
                link: Err("link_lost"),
            });
        }
    }

    /// A gateway is known no more.
    pub(crate) fn forget(&mut self, address: &str) {
        self.known.retain(|known| &*known.address != address);
    }

    /// A link is up.
    pub(crate) fn link_up(
        &mut self,
        address: &str,
        label: &str,
        instance: Instance,
        ends: Ends,
    ) -> Result<LinkId, Unwanted> {
        let is_same = |known: &&Known| {
            &*known.address != address && known.link.as_ref().is_ok_and(|linked| linked.instance == instance)
        };
        if let Some(same) = self.known.iter().find(is_same) {
            return Err(Unwanted::Duplicate(same.address.clone()));
        }
        let known = self.known.iter_mut().find(|known| &*known.address == address);
        let known = known.ok_or(Unwanted::Forgotten)?;
        self.last_link += 1;
        let id = LinkId(self.last_link);
        known.label = Arc::from(label);
        let Ends { outbox, desk, heads } = ends;
        known.link = Ok(Linked { id, instance, outbox, desk, heads });
        self.routing.add(id);
        Ok(id)
    }

    /// There is no link to a gateway, for this reason.
    pub(crate) fn link_down(&mut self, address: &str, code: &'static str) {
        if let Some(known) = self.known.iter_mut().find(|known| &*known.address == address) {
            known.link = Err(code);
        }
    }

    /// The gateways that count: all but second addresses of one of them.
    pub(crate) fn counted(&self) -> impl Iterator<Item = &Known> {
        self.known.iter().filter(|known| !matches!(known.link, Err(DUPLICATE)))
    }

    /// Whether there is any link.
    pub(crate) fn is_linked(&self) -> bool {
        self.known.iter().any(|known| known.link.is_ok())
    }
}
