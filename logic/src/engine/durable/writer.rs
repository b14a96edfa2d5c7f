//! The thread that writes: takes what waits, writes it as one, and only then shows it and answers.
//!
//! After a fault it begins anew from what is on the disk: nothing that was answered is missing there, and what was not
//! answered is there or not, but nothing in between. Until that succeeds everything is refused at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::link::message::Position;
use common::names::Kind;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::calls::{Call, Calls};
use super::disk::{Batch, Disk, Fault, Open, Row};
use super::words;
use crate::engine::embedded::state::State;
use crate::engine::{Append, Appended, Away, Claim, Item, Keep, Moment, NotAppended, Whose};

/// Jobs that are written as one. With items of 200 B they are a megabyte, which no disk feels.
const TOGETHER: usize = 1_024;

/// How often it is tried to go on after a fault.
const TRY_EVERY: Duration = Duration::from_millis(250);

/// Histories that are looked at as one for what has aged, and how often in a row: others wait meanwhile.
const TIDY_TURN: usize = 4_096;
const TIDY_TURNS: usize = 8;

/// What the thread and those who ask share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) calls: Mutex<Calls>,
    /// Why nothing can be written.
    pub(super) fault: Mutex<Option<String>>,
    pub(super) bytes_max: Arc<AtomicUsize>,
}

/// Which call it is.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) key: Arc<str>,
    pub(super) print: [u8; 16],
}

/// An item on its way into a history.
#[derive(Debug)]
pub(super) struct Coming {
    pub(super) kind: Kind,
    pub(super) name: Arc<str>,
    pub(super) keep: Keep,
    pub(super) item: Arc<Item>,
}

impl Coming {
    fn append(&self) -> Append<'_> {
        let whose = Whose { kind: self.kind, name: &self.name, keep: self.keep };
        Append { whose, item: self.item.clone() }
    }
}

/// Who waits for an append.
type AppendReply = oneshot::Sender<Result<Appended<Vec<Position>>, NotAppended>>;

/// What is to be written.
#[derive(Debug)]
pub(super) enum Job {
    Append { coming: Vec<Coming>, once: Option<Key>, now: Moment, reply: AppendReply },
    Claim { once: Key, now: Moment, reply: oneshot::Sender<Result<Claim, Away>> },
    KeepAnswer { once: Key, answer: Bytes, now: Moment },
    Tidy { now: Moment, reply: oneshot::Sender<()> },
}

/// What is said once it is written.
enum Word {
    Append(AppendReply, Result<Appended<Vec<Position>>, NotAppended>, Vec<Coming>),
    Claim(oneshot::Sender<Result<Claim, Away>>, Claim),
}

pub(super) struct Writer {
    pub(super) open: Open,
    pub(super) disk: Option<Disk>,
    pub(super) shared: Arc<Shared>,
    pub(super) jobs: mpsc::Receiver<Job>,
    pub(super) tried: Instant,
}

impl Writer {
    /// Works until nobody can ask any more.
    pub(super) fn run(mut self) {
        let mut jobs = Vec::new();
        while self.jobs.blocking_recv_many(&mut jobs, TOGETHER) > 0 {
            let (tidies, others): (Vec<_>, Vec<_>) =
                jobs.drain(..).partition(|job| matches!(job, Job::Tidy { .. }));
            self.write(others);
            for job in tidies {
                if let Job::Tidy { now, reply } = job {
                    self.tidy(now);
                    // Whoever asked may not wait any more.
                    let _ = reply.send(());
                }
            }
        }
    }

    fn write(&mut self, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        let mut stage = Stage::new(&self.shared);
        for job in jobs {
            stage.take(job);
        }
        let Stage { batch, words, .. } = stage;
        let written = if batch.is_empty() { Ok(()) } else { self.commit(&batch) };
        if let Err(why) = written {
            words.into_iter().for_each(|word| word.fail(&why));
            return;
        }
        let now = Instant::now();
        {
            let mut state = self.shared.state.lock();
            for word in &words {
                let Word::Append(_, Ok(Appended::Now(_)), coming) = word else { continue };
                coming.iter().for_each(|coming| _ = state.push(&coming.append(), coming.item.at.mono));
                coming.iter().for_each(|coming| state.trim(&coming.append().whose, now));
            }
        }
        {
            let mut calls = self.shared.calls.lock();
            for (key, call) in batch.calls {
                match call {
                    Some(call) => calls.put(key, call),
                    None => calls.free(&key),
                }
            }
        }
        words.into_iter().for_each(Word::say);
    }

    /// Writes; after a fault nothing is known of what is on the disk, until it was read again.
    fn commit(&mut self, batch: &Batch) -> Result<(), String> {
        self.recover()?;
        let Some(disk) = &self.disk else { return Err("it is not open".to_owned()) };
        disk.write(batch).map_err(|fault| self.fails(&fault))
    }

    fn fails(&mut self, fault: &Fault) -> String {
        // Dropped: the store refuses everything after a fault, until it is opened again.
        self.disk = None;
        let why = words(fault);
        if self.shared.fault.lock().replace(why.clone()).is_none() {
            tracing::error!(%why, "histories cannot be written: pushes that are kept get 503, others flow on, and it is tried again. Look at the disk of --data-dir");
        }
        why
    }

    /// Opens the file again if there was a fault, and takes what is there.
    fn recover(&mut self) -> Result<(), String> {
        if self.disk.is_some() {
            return Ok(());
        }
        if self.tried.elapsed() < TRY_EVERY {
            return Err(self.shared.fault.lock().clone().unwrap_or_default());
        }
        let now = Moment::now();
        let appends = self.shared.state.lock().appends;
        let opened = Disk::open(&self.open, false, now).and_then(|disk| Ok((disk.load(appends, now)?, disk)));
        self.tried = Instant::now();
        let (loaded, disk) = opened.map_err(|fault| self.fails(&fault))?;
        *self.shared.state.lock() = loaded.state;
        *self.shared.calls.lock() = loaded.calls;
        self.disk = Some(disk);
        *self.shared.fault.lock() = None;
        tracing::info!("histories can be written again");
        Ok(())
    }

    /// Lets go of what has aged, on the disk and then here.
    fn tidy(&mut self, now: Moment) {
        // What is said of a fault was said; this is also what ends it when nobody pushes.
        if self.recover().is_err() {
            return;
        }
        for turn in 0..TIDY_TURNS {
            let mut batch = Batch::default();
            if turn == 0 {
                let forgotten = self.shared.calls.lock().forget(now.unix_ms);
                batch.calls = forgotten.into_iter().map(|key| (key, None)).collect();
            }
            let aged = self.shared.state.lock().aged(now.mono, TIDY_TURN);
            for aged in &aged {
                let name = (aged.kind, aged.name.clone());
                match aged.keeps_from {
                    Some(first) => batch.trims.push((name.0, name.1, first)),
                    None => {
                        batch.seeds.push(State::next_seed(&name.1));
                        batch.forgotten.push(name);
                    }
                }
            }
            if batch.is_empty() || self.commit(&batch).is_err() {
                return;
            }
            self.shared.state.lock().settle(&aged, &batch.seeds, now.mono);
            if aged.len() < TIDY_TURN {
                return;
            }
        }
    }
}

/// What is to be written together, and what will be said of it.
struct Stage<'a> {
    shared: &'a Shared,
    batch: Batch,
    words: Vec<Word>,
    /// Bytes that the appends so far add.
    grows: usize,
}

impl<'a> Stage<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self { shared, batch: Batch::default(), words: Vec::new(), grows: 0 }
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Append { coming, once, now, reply } => {
                let said = self.append(&coming, once, now);
                self.words.push(Word::Append(reply, said, coming));
            }
            Job::Claim { once, now, reply } => {
                let said = self.claim(once, now);
                self.words.push(Word::Claim(reply, said));
            }
            Job::KeepAnswer { once, answer, now } => self.keep(once, answer, now),
            Job::Tidy { .. } => {}
        }
    }

    fn find(&self, key: &str, now: Moment) -> Option<Call> {
        match self.batch.calls.get(key) {
            Some(call) => call.clone(),
            None => self.shared.calls.lock().find(key, now.unix_ms).cloned(),
        }
    }

    fn append(
        &mut self,
        coming: &[Coming],
        once: Option<Key>,
        now: Moment,
    ) -> Result<Appended<Vec<Position>>, NotAppended> {
        if let Some(once) = &once
            && let Some(known) = self.find(&once.key, now)
        {
            let is_same = known.is(&once.print);
            return if is_same { Ok(Appended::Before(known.places)) } else { Err(NotAppended::OtherCall) };
        }
        let positions: Vec<_> = {
            let state = self.shared.state.lock();
            let adds = coming.iter().map(|coming| state.growth(&coming.append()));
            let grows = adds.fold(self.grows, usize::saturating_add);
            if state.bytes.saturating_add(grows) > self.shared.bytes_max.load(Ordering::Relaxed) {
                return Err(NotAppended::Full);
            }
            self.grows = grows;
            coming.iter().map(|coming| place(&mut self.batch, &state, coming)).collect()
        };
        if let Some(once) = once {
            let call = Call::new(once.print, now.unix_ms, Some(positions.clone()));
            self.batch.calls.insert(once.key, Some(call));
        }
        Ok(Appended::Now(positions))
    }

    fn claim(&mut self, once: Key, now: Moment) -> Claim {
        match self.find(&once.key, now) {
            Some(known) if !known.is(&once.print) => Claim::OtherCall,
            Some(Call { answer: Some(answer), .. }) => Claim::Answered(answer),
            Some(_) => Claim::Running,
            None => {
                self.batch.calls.insert(once.key, Some(Call::new(once.print, now.unix_ms, None)));
                Claim::New
            }
        }
    }

    fn keep(&mut self, once: Key, answer: Bytes, now: Moment) {
        let Some(mut known) = self.find(&once.key, now).filter(|known| known.is(&once.print)) else { return };
        if !answer.is_empty() {
            known.answer = Some(answer);
            self.batch.calls.insert(once.key, Some(known));
        } else if known.is_claim() {
            self.batch.calls.insert(once.key, None);
        }
    }
}

/// Gives an item its place behind those of its history and of the batch.
fn place(batch: &mut Batch, state: &State, coming: &Coming) -> Position {
    let rows: &mut HashMap<_, _> = &mut batch.rows;
    let row = rows.entry((coming.kind, coming.name.clone())).or_insert_with(|| {
        let (at, first) = state.stands(coming.kind, &coming.name);
        Row { epoch: at.epoch, head: at.offset, age: coming.keep.age, last_ms: 0, first }
    });
    row.head += 1;
    row.age = coming.keep.age;
    row.last_ms = coming.item.at.unix_ms;
    let most = u64::try_from(coming.keep.items).unwrap_or(u64::MAX);
    row.first = row.first.max((row.head + 1).saturating_sub(most));
    let (epoch, offset) = (row.epoch, row.head);
    batch.items.push((coming.kind, coming.name.clone(), offset, coming.item.clone()));
    Position { epoch, offset }
}

impl Word {
    /// Whoever asked may not wait any more.
    fn say(self) {
        match self {
            Self::Append(reply, said, _) => _ = reply.send(said),
            Self::Claim(reply, said) => _ = reply.send(Ok(said)),
        }
    }

    fn fail(self, why: &str) {
        let away = Away(why.to_owned());
        match self {
            Self::Append(reply, Ok(Appended::Now(_)), _) => _ = reply.send(Err(NotAppended::Away(away))),
            Self::Claim(reply, Claim::New) => _ = reply.send(Err(away)),
            known => known.say(),
        }
    }
}
