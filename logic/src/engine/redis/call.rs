//! The calls of the engine as scripts: their keys and arguments, and what is made of their answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use common::ids::Epoch;
use common::link::message::{Mark, Position};
use futures_util::future::join_all;

use super::fault::Fault;
use super::keys::{member, of_member};
use super::reply::{Reply, hex};
use super::scripts::{Call, Script};
use super::{Append, Changes, Claim, Moment, Most, Once, Page, Redis, Since, Whose};
use crate::engine::{Item, record};

/// How long a key of a call is remembered.
const ONCE_MS: u64 = 120_000;

/// Names in the feed of a part. More that were appended to since somebody last looked must be asked for one by one.
const FEED_MAX: usize = 10_000;

/// The largest number that a script counts exactly with: offsets beyond it never were.
const EXACT_MAX: u64 = 1 << 53;

/// What became of an append.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) positions: Vec<Position>,
    pub(super) marks: Vec<Mark>,
    /// Not all of it had been stored before.
    pub(super) is_new: bool,
}

/// The appends of a call to one part: which of them, and where they got to.
struct Part {
    at: Vec<usize>,
    places: Vec<Position>,
    mark: Option<Mark>,
}

impl Redis {
    /// Appends all items, each part in one step.
    pub(super) async fn store(
        &self,
        appends: &[Append<'_>],
        once: Option<Once<'_>>,
    ) -> Result<Stored, Fault> {
        // Parts do not know of each other's calls: of a Cluster one place knows all keys.
        if let Some(once) = once
            && self.keys.shards() > 1
            && self.claim_now(once).await? == Claim::OtherCall
        {
            return Err(Fault::OtherCall);
        }
        let mut parts = BTreeMap::<u32, Vec<usize>>::new();
        for (at, append) in appends.iter().enumerate() {
            parts.entry(self.keys.shard(append.whose.name)).or_default().push(at);
        }
        let parts = parts.into_iter().map(|(shard, at)| self.store_part(shard, at, appends, once));
        let mut stored =
            Stored { positions: vec![Position::default(); appends.len()], marks: Vec::new(), is_new: false };
        for part in join_all(parts).await {
            let part = part?;
            for (at, place) in part.at.iter().zip(&part.places) {
                stored.positions[*at] = *place;
            }
            stored.is_new |= part.mark.is_some();
            stored.marks.extend(part.mark);
        }
        Ok(stored)
    }

    async fn store_part(
        &self,
        shard: u32,
        at: Vec<usize>,
        appends: &[Append<'_>],
        once: Option<Once<'_>>,
    ) -> Result<Part, Fault> {
        let mut call = Call::new();
        call.key(self.keys.of(shard, "t")).key(self.keys.of(shard, "feed"));
        call.key(self.keys.of(shard, &self.fence_key()));
        call.key(self.once_key(shard, once.map_or("", |once| once.key)));
        call.number(self.fence()).arg(once.map_or(Vec::new(), |once| once.print.to_vec()));
        call.number(ONCE_MS).number(FEED_MAX);
        // An item that goes to many names is sent once.
        let mut bodies: Vec<&Arc<Item>> = Vec::new();
        let mut of_items = Call::new();
        for append in at.iter().map(|at| &appends[*at]) {
            let known = bodies.iter().rposition(|body| Arc::ptr_eq(body, &append.item));
            let body = known.unwrap_or_else(|| {
                bodies.push(&append.item);
                bodies.len() - 1
            });
            let whose = &append.whose;
            let [hash, stream] = self.keys.history(shard, whose);
            call.key(hash).key(stream);
            of_items.arg(member(whose.kind, whose.name)).number(body + 1).arg(hex(Epoch::random().0));
            of_items.number(whose.keep.items).number(age_ms(whose));
        }
        call.number(bodies.len());
        bodies.iter().for_each(|item| _ = call.arg(record::encode(item)));
        call.args.append(&mut of_items.args);
        let mut answer = self.ask(shard, Script::Append, &call).await?;
        let (state, term, seq) = (answer.text()?, answer.hex()?, answer.number()?);
        let mark = (state == "now").then_some(Mark { shard, term, seq });
        mark.iter().for_each(|mark| self.marks.lock().saw(*mark));
        let mut places = answer.list()?;
        let mut found = Vec::with_capacity(at.len());
        while places.len() > 0 {
            found.push(Position { epoch: places.hex()?, offset: places.number()? });
        }
        Ok(Part { at, places: found, mark })
    }

    /// Reads a part of a history.
    pub(super) async fn page(
        &self,
        whose: Whose<'_>,
        since: Option<Since>,
        most: Most,
        now: Moment,
    ) -> Result<Page, Fault> {
        let shard = self.keys.shard(whose.name);
        let [hash, stream] = self.keys.history(shard, &whose);
        let mut call = Call::new();
        call.key(self.keys.of(shard, "t")).key(hash).key(stream);
        call.arg(hex(Epoch::random().0)).number(whose.keep.items).number(age_ms(&whose));
        match since {
            None => call.arg("-").number(0),
            Some(since) => {
                let epoch = since.epoch.map_or_else(String::new, |epoch| hex(epoch.0));
                call.arg(epoch).number(since.offset.min(EXACT_MAX))
            }
        };
        call.number(most.items).number(most.bytes.min(1 << 30));
        let mut answer = self.ask(shard, Script::Read, &call).await?;
        let head = Position { epoch: answer.hex()?, offset: answer.number()? };
        let continues = answer.number()? == 1;
        let (mut list, mut items) = (answer.list()?, Vec::new());
        while list.len() > 0 {
            let (offset, body) = (list.number()?, list.bytes()?);
            let item = record::decode(body, now).map_err(|_| {
                Fault::Away("other", "Redis holds an item that this release did not write".to_owned())
            })?;
            items.push((offset, item));
        }
        Ok(Page { head, continues, items })
    }

    /// What was appended to. The cursor has two numbers for each part: its generation and its place in the feed.
    pub(super) async fn changes(&self, after: &[u64], most: usize) -> Result<Changes, Fault> {
        let shards = self.keys.shards();
        let each = (most / shards as usize).max(1);
        let cursor = |shard: u32| match after.get(2 * shard as usize..2 * shard as usize + 2) {
            Some(&[generation, seq]) => Some((generation, seq)),
            _ => None,
        };
        let parts =
            (0..shards).map(async |shard| (cursor(shard), self.changes_of(shard, cursor(shard), each).await));
        let (mut changes, mut fault, mut answered) = (Changes::default(), None, 0);
        for (before, part) in join_all(parts).await {
            match part {
                Ok((cursor, mut part)) => {
                    answered += 1;
                    changes.cursor.extend(cursor);
                    changes.heads.append(&mut part.heads);
                    changes.more |= part.more;
                    changes.missed |= part.missed;
                }
                // What a part that is away has to say, it says later.
                Err(why) => {
                    changes.cursor.extend(before.map_or([0, 0], |(generation, seq)| [generation, seq]));
                    fault = Some(why);
                }
            }
        }
        match fault {
            Some(fault) if answered == 0 => Err(fault),
            _ => Ok(changes),
        }
    }

    async fn changes_of(
        &self,
        shard: u32,
        after: Option<(u64, u64)>,
        most: usize,
    ) -> Result<([u64; 2], Changes), Fault> {
        let mut call = Call::new();
        call.key(self.keys.of(shard, "t")).key(self.keys.of(shard, "feed"));
        call.arg(self.keys.of(shard, "h:"));
        match after {
            Some((generation, seq)) if generation > 0 => call.arg(hex(generation)).number(seq.min(EXACT_MAX)),
            _ => call.arg("").number(0),
        };
        call.number(most);
        let mut answer = self.ask(shard, Script::Changed, &call).await?;
        let cursor = [answer.hex()?, answer.number()?];
        let (more, missed) = (answer.number()? == 1, answer.number()? == 1);
        self.marks.lock().saw(Mark { shard, term: answer.hex()?, seq: answer.number()? });
        let mut changes = Changes { more, missed, ..Changes::default() };
        let mut list = answer.list()?;
        while list.len() > 0 {
            let (member, at) = (list.text()?, Position { epoch: list.hex()?, offset: list.number()? });
            changes.heads.extend(of_member(&member).map(|(kind, name)| (kind, Arc::from(name), at)));
        }
        Ok((cursor, changes))
    }

    fn once_key(&self, shard: u32, key: &str) -> String {
        self.keys.of(shard, &format!("i:{key}"))
    }

    /// A call comes that stores no item, or one over several parts.
    pub(super) async fn claim_now(&self, once: Once<'_>) -> Result<Claim, Fault> {
        self.of_once("claim", once, b"").await
    }

    /// Asks the one place that knows of a key's answers.
    pub(super) async fn of_once(&self, what: &str, once: Once<'_>, answer: &[u8]) -> Result<Claim, Fault> {
        let shard = self.keys.shard(once.key);
        // Beside the keys of appends, which are where their items are.
        let name = if self.keys.shards() > 1 { format!("c:{}", once.key) } else { format!("i:{}", once.key) };
        let mut call = Call::new();
        call.key(self.keys.of(shard, &name)).arg(what).arg(once.print).number(ONCE_MS).arg(answer);
        let mut said: Reply = self.ask(shard, Script::Once, &call).await?;
        Ok(match said.text()?.as_str() {
            "new" => Claim::New,
            "other" => Claim::OtherCall,
            "answered" => Claim::Answered(said.bytes()?),
            _ => Claim::Running,
        })
    }
}

/// At least a second, for a history of which nothing may be kept has a place too.
fn age_ms(whose: &Whose<'_>) -> u128 {
    whose.keep.age.as_millis().max(1000)
}
