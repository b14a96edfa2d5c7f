//! The embedded engine with a disk: histories in memory for those who read, and in one file for the next run.
//!
//! Appends of all callers are written as one by a thread of its own and answered once the disk has them; what is read
//! is what was written. One file of redb: bounded by the bound on the memory of histories, since what these let go of is
//! taken off the disk and its pages are used again; at the start it is made smaller if most of it is unused.

mod calls;
mod disk;
#[cfg(test)]
mod model;
mod writer;

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use common::link::message::Mark;
use parking_lot::Mutex;
use redb::{Builder, Database, DatabaseError, StorageError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::{
    Append, Appended, Away, Changes, Claim, Engine, Holdings, Moment, Most, NotAppended, Once, Page, Placed,
    Since, Whose,
};
use disk::{Disk, Fault, Open};
use writer::{Coming, Job, Key, Shared, Writer};

/// The file in the directory.
const FILE: &str = "histories.redb";

/// Jobs that wait for the disk; whoever comes then waits as long as for an answer.
const WAITING_MAX: usize = 4_096;

/// What is not on the disk by then is answered as not known; it may be there later.
const ANSWER_TIME_MAX: Duration = Duration::from_millis(900);

/// What of the file is kept in memory, beside the histories themselves.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// A file of more than this is made smaller if less than a quarter of it is used.
const COMPACT_BYTES: u64 = 64 * 1024 * 1024;

/// Histories in memory and on the disk.
#[derive(Debug)]
pub(crate) struct Durable {
    shared: Arc<Shared>,
    /// Taken at the end, which the thread hears.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    identity: u64,
    fence: u64,
}

impl Durable {
    /// Opens a directory, or makes it, and reads what is there.
    ///
    /// # Errors
    /// What is wrong with it: [`ErrorKind::InvalidInput`] if the settings have to change, [`ErrorKind::ResourceBusy`] or
    /// [`ErrorKind::StorageFull`] if something else has to.
    pub(crate) fn open(dir: &Path, bytes_max: usize) -> io::Result<Self> {
        check(dir)?;
        fs::create_dir_all(dir).map_err(|error| refused(dir, &Fault::from(redb::Error::Io(error))))?;
        let file = dir.join(FILE);
        let place = {
            let file = file.clone();
            move || place(&file)
        };
        let open = Box::new(move || open_file(&file));
        // A file that was damaged by others may be what its reader never thought of.
        let opened = catch_unwind(AssertUnwindSafe(|| Self::opened(open, place, bytes_max, Moment::now())));
        let opened = opened.unwrap_or(Err(Fault::Damaged("its reader gave up")));
        let durable = opened.map_err(|fault| refused(dir, &fault))?;
        // The file's own name is on the disk too.
        File::open(dir)?.sync_all()?;
        Ok(durable)
    }

    fn opened(
        open: Open,
        place: impl FnOnce() -> io::Result<u64>,
        bytes_max: usize,
        now: Moment,
    ) -> Result<Self, Fault> {
        let disk = Disk::open(&open, true, now)?;
        if !disk.settles(place().map_err(redb::Error::Io)?)? {
            tracing::warn!(
                "histories: the file in --data-dir is a copy, which may be older than what was acknowledged since: all of them go \
                 on in new epochs, and clients that come back are told to load anew"
            );
        }
        let loaded = disk.load(0, now)?;
        let (state, calls) = (Mutex::new(loaded.state), Mutex::new(loaded.calls));
        let bytes_max = Arc::new(bytes_max.into());
        let shared = Arc::new(Shared { state, calls, fault: Mutex::new(None), bytes_max });
        let (jobs, receiver) = mpsc::channel(WAITING_MAX);
        let disk = Some(disk);
        let writer = Writer { open, disk, shared: shared.clone(), jobs: receiver, tried: Instant::now() };
        let thread = std::thread::Builder::new().name("histories".to_owned()).spawn(move || writer.run());
        let thread = thread.map_err(redb::Error::Io)?;
        let (identity, fence) = (loaded.identity, loaded.fence);
        Ok(Self { shared, jobs: Some(jobs), thread: Some(thread), identity, fence })
    }

    /// How many bytes it may take of memory, to be changed.
    pub(crate) fn bytes_max(&self) -> Arc<AtomicUsize> {
        self.shared.bytes_max.clone()
    }

    /// Counts up with each run of the directory.
    pub(crate) fn fence(&self) -> u64 {
        self.fence
    }

    /// Has a job done, and waits for what it says.
    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T, Away> {
        let asked = async {
            let (reply, said) = oneshot::channel();
            self.jobs.as_ref()?.send(job(reply)).await.ok()?;
            said.await.ok()
        };
        match timeout(ANSWER_TIME_MAX, asked).await {
            Ok(Some(said)) => Ok(said),
            Ok(None) => Err(Away("the thread that writes has ended".to_owned())),
            Err(_) => Err(Away(format!("the disk takes more than {} ms", ANSWER_TIME_MAX.as_millis()))),
        }
    }
}

impl Drop for Durable {
    /// What was taken is written before the file is closed.
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // It says by itself what went wrong.
            let _ = thread.join();
        }
    }
}

/// Whether a directory can be used as far as can be seen without using it.
///
/// # Errors
/// What has to change.
pub fn check(dir: &Path) -> io::Result<()> {
    let wrong = |what: String| Err(io::Error::new(ErrorKind::InvalidInput, what));
    let said = |error: &io::Error| wrong(format!("--data-dir {}: {error}", dir.display()));
    let file = dir.join(FILE);
    if dir.as_os_str().is_empty() {
        return wrong("--data-dir names no directory".to_owned());
    }
    match fs::metadata(dir) {
        Ok(found) if !found.is_dir() => {
            return wrong(format!("--data-dir {} is no directory", dir.display()));
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let near = dir.ancestors().skip(1).find(|near| near.as_os_str().is_empty() || near.exists());
            let is_dir = near.is_some_and(|near| near.as_os_str().is_empty() || near.is_dir());
            return if is_dir { Ok(()) } else { said(&error) };
        }
        Err(error) => return said(&error),
    }
    match OpenOptions::new().read(true).write(true).open(&file) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            wrong(format!("--data-dir: {} cannot be written: {error}", file.display()))
        }
        _ => Ok(()),
    }
}

fn open_file(file: &PathBuf) -> Result<Database, DatabaseError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    // Everything is read at the start anyway; what somebody else has changed is found, not trusted.
    builder.set_check_integrity_on_open(true);
    let mut database = match fs::metadata(file) {
        Ok(found) if found.len() == 0 => return Err(StorageError::Corrupted("it is empty".to_owned()).into()),
        Err(error) if error.kind() == ErrorKind::NotFound => create_file(&builder, file)?,
        _ => builder.open(file)?,
    };
    let bytes = fs::metadata(file)?.len();
    if bytes > COMPACT_BYTES && used(&database).is_some_and(|used| used < bytes / 4) {
        let smaller = database.compact();
        tracing::info!(bytes, done = smaller.is_ok(), "most of the file of histories was unused");
    }
    Ok(database)
}

/// Where a file is: a copy is somewhere else, also one that has taken the other's number.
fn place(file: &Path) -> io::Result<u64> {
    let found = fs::metadata(file)?;
    let born = found.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let nanos = u64::try_from(born.as_nanos()).unwrap_or_default();
    Ok(found.ino().rotate_left(32) ^ nanos)
}

/// A new file has its name once there is something in it: an empty one of that name has lost what was in it.
fn create_file(builder: &Builder, file: &Path) -> Result<Database, DatabaseError> {
    let new = file.with_extension("redb.new");
    let database = match builder.create(&new) {
        Err(DatabaseError::Storage(_)) => {
            // Whoever began it did not come to its end.
            fs::remove_file(&new)?;
            builder.create(&new)?
        }
        created => created?,
    };
    fs::rename(&new, file)?;
    Ok(database)
}

/// Bytes of a file that hold something.
fn used(database: &Database) -> Option<u64> {
    let transaction = database.begin_write().ok()?;
    let stats = transaction.stats().ok()?;
    Some(stats.stored_bytes() + stats.metadata_bytes() + stats.fragmented_bytes())
}

/// What is wrong, for people.
fn words(fault: &Fault) -> String {
    match fault {
        Fault::Store(redb::Error::Io(error)) if is_full(error) => format!("the disk is full: {error}"),
        Fault::Store(redb::Error::Io(error)) => format!("the disk fails: {error}"),
        Fault::Store(redb::Error::DatabaseAlreadyOpen) => "another process uses it".to_owned(),
        Fault::Store(redb::Error::Corrupted(what)) => format!("the file is damaged: {what}"),
        Fault::Store(error) => format!("the file cannot be used: {error}"),
        Fault::Version(other) => {
            format!("version {other} of the store wrote it, which this release does not read")
        }
        Fault::Damaged(what) => format!("the file is damaged: {what}"),
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

/// Why a directory cannot be used, with whose turn it is.
fn refused(dir: &Path, fault: &Fault) -> io::Error {
    let kind = match fault {
        Fault::Store(redb::Error::DatabaseAlreadyOpen) => ErrorKind::ResourceBusy,
        Fault::Store(redb::Error::Io(error)) if is_full(error) => ErrorKind::StorageFull,
        _ => ErrorKind::InvalidInput,
    };
    let next = match kind {
        ErrorKind::ResourceBusy => "each logic node has a directory of its own",
        ErrorKind::StorageFull => "make room there",
        _ => "it was left as it is; give another directory, or move the file away to begin without histories",
    };
    io::Error::new(kind, format!("--data-dir {}: {}; {next}", dir.join(FILE).display(), words(fault)))
}

fn key(once: Once<'_>) -> Key {
    Key { key: Arc::from(once.key), print: once.print }
}

impl Engine for Durable {
    async fn append<T: Send>(
        &self,
        appends: &[Append<'_>],
        once: Option<Once<'_>>,
        now: Moment,
        send: impl FnOnce(Placed<'_>) -> T + Send,
    ) -> Result<Appended<T>, NotAppended> {
        let coming = |append: &Append<'_>| {
            let Whose { kind, name, keep } = append.whose;
            Coming { kind, name: Arc::from(name), keep, item: append.item.clone() }
        };
        let coming = appends.iter().map(coming).collect();
        let job = |reply| Job::Append { coming, once: once.map(key), now, reply };
        match self.ask(job).await.map_err(NotAppended::Away)?? {
            Appended::Now(positions) => Ok(Appended::Now(send(Placed { positions: &positions, marks: &[] }))),
            Appended::Before(positions) => Ok(Appended::Before(positions)),
        }
    }

    async fn read(
        &self,
        whose: Whose<'_>,
        since: Option<Since>,
        most: Most,
        now: Moment,
    ) -> Result<Page, Away> {
        Ok(self.shared.state.lock().read(&whose, since, most, now.mono))
    }

    async fn changed(&self, after: &[u64], most: usize) -> Result<Changes, Away> {
        Ok(self.shared.state.lock().changed(after.first().copied().unwrap_or(0), most))
    }

    async fn claim(&self, once: Once<'_>) -> Result<Claim, Away> {
        self.ask(|reply| Job::Claim { once: key(once), now: Moment::now(), reply }).await?
    }

    async fn keep_answer(&self, once: Once<'_>, answer: Bytes) {
        let Some(jobs) = &self.jobs else { return };
        let kept = jobs.send(Job::KeepAnswer { once: key(once), answer, now: Moment::now() });
        // Best effort: a disk that takes nothing now is not waited for.
        let _ = timeout(ANSWER_TIME_MAX, kept).await;
    }

    async fn answer(&self, once: Once<'_>) -> Option<Bytes> {
        let calls = self.shared.calls.lock();
        let known = calls.find(once.key, Moment::now().unix_ms).filter(|known| known.is(&once.print));
        known.and_then(|known| known.answer.clone())
    }

    fn witness(&self, _marks: &[Mark]) {}

    fn identity(&self) -> u64 {
        self.identity
    }

    fn health(&self) -> Result<(), String> {
        if self.jobs.as_ref().is_none_or(mpsc::Sender::is_closed) {
            return Err("the thread that writes has ended".to_owned());
        }
        self.shared.fault.lock().clone().map_or(Ok(()), Err)
    }

    async fn tidy(&self, now: Moment) {
        // What was not done is done at the next time.
        let _ = self.ask(|reply| Job::Tidy { now, reply }).await;
    }

    fn holdings(&self) -> Holdings {
        self.shared.state.lock().holdings()
    }
}
