//! One item for one target: what it is, whom of the target it is for, and its place in a history if it has one.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use common::link::message::Position;

use crate::bucket::Local;
use crate::history::Track;
use crate::tally::Part;

/// Which of a target's connections get an item.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// Only those of this application.
    pub(crate) app: Option<u32>,
    /// Not these, sorted.
    pub(crate) except: Option<Arc<[Local]>>,
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        let same = |(one, other)| Arc::ptr_eq(one, other) || one == other;
        self.app == other.app
            && self.except.is_some() == other.except.is_some()
            && self.except.as_ref().zip(other.except.as_ref()).is_none_or(same)
    }
}

impl Eq for Filter {}

impl Filter {
    /// What it costs in memory, beside itself.
    pub(super) fn cost(&self) -> usize {
        self.except.as_ref().map_or(0, |except| size_of_val::<[Local]>(except))
    }

    pub(crate) fn admits(&self, local: Local, app: u32) -> bool {
        self.app.is_none_or(|wanted| wanted == app)
            && self.except.as_ref().is_none_or(|except| except.binary_search(&local).is_err())
    }
}

/// An item on its way in.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) body: Bytes,
    pub(crate) key: Option<String>,
    pub(crate) expires: Option<Instant>,
    pub(crate) part: Part,
    /// Its place, if it stands in a history. On the heap, for most do not.
    pub(crate) kept: Option<Box<Kept>>,
}

/// The place of an item in the history of its target.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) track: Arc<Track>,
    pub(crate) at: Position,
    /// It does not wait for the window, nor does what waits before it: an urgent item overtakes nothing of its history.
    pub(crate) hurries: bool,
}

impl Item {
    /// The life of the history that it stands in.
    pub(super) fn epoch(&self) -> Option<u64> {
        self.kept.as_ref().map(|kept| kept.at.epoch)
    }
}
