//! The tables on the disk. Whatever is written together is there together, or not at all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::ids::Epoch;
use common::names::Kind;
use prost::Message;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};

use super::calls::{Call, Calls};
use crate::engine::embedded::state::settled::Written;
use crate::engine::embedded::state::{SEEDS, State};
use crate::engine::{Item, Moment, record};

/// Which tables there are and what stands in them; a release that changes that counts on.
const VERSION: u64 = 1;

/// Numbers of the whole: the version, which store it is, how often it was opened.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Of a kind and a name: epoch, head, age in milliseconds, and when the newest item came, in milliseconds since 1970.
const HISTORIES: TableDefinition<'_, (u8, &str), (u64, u64, u64, u64)> = TableDefinition::new("histories");
/// Of a kind, a name and an offset: the item.
const ITEMS: TableDefinition<'_, (u8, &str, u64), &[u8]> = TableDefinition::new("items");
/// What the epochs of histories are made of that are not there.
const SEEDS_TABLE: TableDefinition<'_, u16, u64> = TableDefinition::new("seeds");
/// Of a key: the call.
const CALLS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("calls");

/// Opens the file.
pub(super) type Open = Box<dyn Fn() -> Result<Database, DatabaseError> + Send>;

/// Why the disk does not do what it should.
#[derive(Debug)]
pub(super) enum Fault {
    /// The store, or what is below it.
    Store(redb::Error),
    /// Another release wrote it.
    Version(u64),
    /// What is there was not written by any release.
    Damaged(&'static str),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

impl From<record::Damaged> for Fault {
    fn from(_: record::Damaged) -> Self {
        Self::Damaged("an item cannot be read")
    }
}

/// Where a history stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) epoch: u64,
    pub(super) head: u64,
    pub(super) age: Duration,
    pub(super) last_ms: u64,
    /// Items before this are not kept.
    pub(super) first: u64,
}

/// What is written together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) rows: HashMap<(Kind, Arc<str>), Row>,
    pub(super) items: Vec<(Kind, Arc<str>, u64, Arc<Item>)>,
    /// Items before these offsets are not kept.
    pub(super) trims: Vec<(Kind, Arc<str>, u64)>,
    pub(super) forgotten: Vec<(Kind, Arc<str>)>,
    pub(super) seeds: Vec<(usize, u64)>,
    /// Calls that are new or changed, and those that are freed.
    pub(super) calls: HashMap<Arc<str>, Option<Call>>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.trims.is_empty() && self.forgotten.is_empty() && self.calls.is_empty()
    }
}

/// All that was on the disk.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) state: State,
    pub(super) calls: Calls,
    pub(super) identity: u64,
    /// Counts up with each run.
    pub(super) fence: u64,
}

/// The open file.
#[derive(Debug)]
pub(super) struct Disk(Database);

impl Disk {
    /// Opens the file, or makes it, and begins a run of the node. A run that goes on after a fault keeps its fence.
    ///
    /// # Errors
    /// [`Fault`]: what is there is left as it is.
    pub(super) fn open(open: &Open, is_new_run: bool, now: Moment) -> Result<Self, Fault> {
        let database = open()?;
        let transaction = database.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            let version = meta.get("version")?.map(|version| version.value());
            match version {
                Some(VERSION) => {}
                Some(other) => return Err(Fault::Version(other)),
                None => {
                    meta.insert("version", VERSION)?;
                    meta.insert("identity", fastrand::u64(1..))?;
                    let mut seeds = transaction.open_table(SEEDS_TABLE)?;
                    for (place, seed) in (0..).zip(State::draw()) {
                        seeds.insert(place, seed)?;
                    }
                }
            }
            let fence = meta.get("fence")?.map_or(0, |fence| fence.value());
            if is_new_run || fence == 0 {
                meta.insert("fence", now.unix_ms.max(fence + 1))?;
            }
            transaction.open_table(HISTORIES)?;
            transaction.open_table(ITEMS)?;
            transaction.open_table(CALLS)?;
        }
        transaction.commit()?;
        Ok(Self(database))
    }

    /// Whether the file is where it always was. A copy of it may be older than what was answered since: everything in it goes
    /// on in new epochs then, as another store, so that whoever comes back to it is told, and misses nothing silently.
    ///
    /// # Errors
    /// [`Fault`]: what is there is left as it is.
    pub(super) fn settles(&self, place: u64) -> Result<bool, Fault> {
        let transaction = self.0.begin_write()?;
        let was_here = {
            let mut meta = transaction.open_table(META)?;
            let before = meta.insert("place", place)?.map(|before| before.value());
            let was_here = before.is_none_or(|before| before == place);
            if !was_here {
                meta.insert("identity", fastrand::u64(1..))?;
                let mut histories = transaction.open_table(HISTORIES)?;
                let mut rows = Vec::new();
                for row in histories.iter()? {
                    let (key, value) = row?;
                    let (kind, name) = key.value();
                    rows.push((kind, name.to_owned(), value.value()));
                }
                for (kind, name, (_, head, age_ms, last_ms)) in rows {
                    histories.insert((kind, &*name), (Epoch::random().0, head, age_ms, last_ms))?;
                }
                let mut seeds = transaction.open_table(SEEDS_TABLE)?;
                for (number, seed) in (0..).zip(State::draw()) {
                    seeds.insert(number, seed)?;
                }
            }
            was_here
        };
        transaction.commit()?;
        Ok(was_here)
    }

    /// Writes all of it and waits until it is on the disk.
    pub(super) fn write(&self, batch: &Batch) -> Result<(), Fault> {
        let transaction = self.0.begin_write()?;
        {
            let mut histories = transaction.open_table(HISTORIES)?;
            let mut items = transaction.open_table(ITEMS)?;
            let mut seeds = transaction.open_table(SEEDS_TABLE)?;
            let mut calls = transaction.open_table(CALLS)?;
            for (kind, name, offset, item) in &batch.items {
                items.insert((*kind as u8, &**name, *offset), &*record::encode(item))?;
            }
            for ((kind, name), row) in &batch.rows {
                let age_ms = u64::try_from(row.age.as_millis()).unwrap_or(u64::MAX);
                histories.insert((*kind as u8, &**name), (row.epoch, row.head, age_ms, row.last_ms))?;
                items
                    .retain_in((*kind as u8, &**name, 0)..(*kind as u8, &**name, row.first), |_, _| false)?;
            }
            for (kind, name, first) in &batch.trims {
                items.retain_in((*kind as u8, &**name, 0)..(*kind as u8, &**name, *first), |_, _| false)?;
            }
            for (kind, name) in &batch.forgotten {
                histories.remove((*kind as u8, &**name))?;
                items
                    .retain_in((*kind as u8, &**name, 0)..=(*kind as u8, &**name, u64::MAX), |_, _| false)?;
            }
            for (place, seed) in &batch.seeds {
                seeds.insert(u16::try_from(*place).unwrap_or(u16::MAX), seed)?;
            }
            for (key, call) in &batch.calls {
                match call {
                    Some(call) => _ = calls.insert(&**key, &*call.encode_to_vec())?,
                    None => _ = calls.remove(&**key)?,
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Reads everything; histories count as appended to, from `appends` on.
    pub(super) fn load(&self, appends: u64, now: Moment) -> Result<Loaded, Fault> {
        let transaction = self.0.begin_read()?;
        let meta = transaction.open_table(META)?;
        let number = |key| {
            let number = meta.get(key)?.map(|number| number.value());
            number.ok_or(Fault::Damaged("a number of the whole is missing"))
        };
        let seeds: Vec<u64> = transaction
            .open_table(SEEDS_TABLE)?
            .iter()?
            .map(|row| row.map(|(_, seed)| seed.value()))
            .collect::<Result<_, _>>()?;
        if seeds.len() != SEEDS {
            return Err(Fault::Damaged("the seeds of epochs are not all there"));
        }
        let mut state = State::new(seeds.into());
        state.appends = appends;
        let histories = transaction.open_table(HISTORIES)?;
        let items = transaction.open_table(ITEMS)?;
        let mut items = items.iter()?.peekable();
        for row in histories.iter()? {
            let (key, value) = row?;
            let ((kind, name), (epoch, head, age_ms, last_ms)) = (key.value(), value.value());
            let mut kept = Vec::new();
            while let Some(next) = items.next_if(|next| {
                next.as_ref().is_ok_and(|(key, _)| (key.value().0, key.value().1) == (kind, name))
            }) {
                let (key, value) = next?;
                kept.push((key.value().2, record::decode(Bytes::copy_from_slice(value.value()), now)?));
            }
            let is_whole = (1..).zip(kept.iter().rev()).all(|(back, (offset, _))| offset + back == head + 1);
            let of = Kind::try_from(i32::from(kind)).ok();
            let (Some(kind), true) = (of, is_whole) else {
                return Err(Fault::Damaged("a history has a hole"));
            };
            let ago = Duration::from_millis(now.unix_ms.saturating_sub(last_ms));
            let written = Written {
                epoch: Epoch(epoch),
                head,
                age: Duration::from_millis(age_ms),
                last_at: now.mono.checked_sub(ago).unwrap_or(now.mono),
                items: kept.into_iter().map(|(_, item)| item).collect(),
            };
            state.restore(kind, Arc::from(name), written, now.mono);
        }
        match items.next() {
            None => {}
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(_)) => return Err(Fault::Damaged("there are items of no history")),
        }
        let mut known = Vec::new();
        for row in transaction.open_table(CALLS)?.iter()? {
            let (key, value) = row?;
            let call = Call::decode(value.value()).map_err(|_| Fault::Damaged("a call cannot be read"))?;
            known.push((Arc::from(key.value()), call));
        }
        let calls = Calls::loaded(known);
        Ok(Loaded { state, calls, identity: number("identity")?, fence: number("fence")? })
    }
}
