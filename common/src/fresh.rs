//! What is read from files and read again when they change: keys and certificates, without a restart.
//!
//! The files are looked at every two seconds, by length, time and inode (so that a link that is set anew, as
//! Kubernetes does it, counts too), and on SIGHUP. What cannot be read changes nothing: the node goes on with
//! what it has and says so.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use tokio::signal::unix::{SignalKind, signal};

use crate::shutdown::Shutdown;

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

type Read<T> = Box<dyn Fn() -> Result<T, String> + Send + Sync>;

/// A value that follows its files.
pub struct Fresh<T> {
    what: &'static str,
    current: RwLock<Arc<T>>,
    read: Read<T>,
    files: Vec<PathBuf>,
}

impl<T> fmt::Debug for Fresh<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fresh({}, {:?})", self.what, self.files)
    }
}

/// What tells one state of a file from the next.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp(Option<(u64, Option<SystemTime>, u64)>);

impl Stamp {
    fn of(file: &PathBuf) -> Self {
        use std::os::unix::fs::MetadataExt;
        let look = std::fs::metadata(file);
        Self(look.ok().map(|found| (found.len(), found.modified().ok(), found.ino())))
    }
}

impl<T: Send + Sync + 'static> Fresh<T> {
    /// Reads it for the first time. `what` names it in the log.
    ///
    /// # Errors
    /// What `read` says.
    pub fn load(
        what: &'static str,
        files: Vec<PathBuf>,
        read: impl Fn() -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, String> {
        let current = RwLock::new(Arc::new(read()?));
        Ok(Arc::new(Self { what, current, read: Box::new(read), files }))
    }

    /// A value that never changes.
    pub fn fixed(what: &'static str, value: T) -> Arc<Self>
    where
        T: Clone,
    {
        let again = value.clone();
        let current = RwLock::new(Arc::new(value));
        Arc::new(Self { what, current, read: Box::new(move || Ok(again.clone())), files: Vec::new() })
    }

    /// As it is now.
    pub fn now(&self) -> Arc<T> {
        self.current.read().clone()
    }

    /// Puts another value in its place.
    pub fn set(&self, value: T) {
        *self.current.write() = Arc::new(value);
    }

    /// Reads it again; whether that went well. What is wrong stands in the log.
    pub fn reload(&self) -> bool {
        match (self.read)() {
            Ok(value) => {
                *self.current.write() = Arc::new(value);
                tracing::info!(what = self.what, "read again");
                true
            }
            Err(why) => {
                tracing::error!(what = self.what, %why, "cannot be read again: what was read before stays in force. Mend the file: it is read when it changes");
                false
            }
        }
    }

    /// Follows the files until the node stops.
    pub async fn follow(self: Arc<Self>, shutdown: Shutdown) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            tracing::error!(what = self.what, "cannot take SIGHUP; files are looked at all the same");
            return self.watch(&shutdown, std::future::pending).await;
        };
        let hangup = tokio::sync::Mutex::new(&mut hangup);
        self.watch(&shutdown, || async { _ = hangup.lock().await.recv().await }).await;
    }

    async fn watch<F: Future<Output = ()>>(&self, shutdown: &Shutdown, asked: impl Fn() -> F) {
        let stamps = || self.files.iter().map(Stamp::of).collect::<Vec<_>>();
        let mut seen = stamps();
        loop {
            let was_asked = tokio::select! {
                () = shutdown.stopped() => return,
                () = asked() => true,
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
            let now = stamps();
            if was_asked || now != seen {
                self.reload();
                seen = now;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(file: &std::path::Path) -> Result<u32, String> {
        std::fs::read_to_string(file)
            .map_err(|e| e.to_string())?
            .trim()
            .parse()
            .map_err(|_| "no number".into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_changes_is_read_again_and_a_bad_one_changes_nothing() {
        let file = std::env::temp_dir().join(format!("tidegate-fresh-{}", std::process::id()));
        std::fs::write(&file, "1").unwrap();
        let path = file.clone();
        let fresh = Fresh::load("a number", vec![file.clone()], move || number(&path)).unwrap();
        assert_eq!(*fresh.now(), 1);
        let shutdown = Shutdown::new();
        let tasks = crate::tasks::Tasks::new(shutdown.clone());
        tasks.spawn(fresh.clone().follow(shutdown.clone()));
        let look = || tokio::time::sleep(LOOK_EVERY + Duration::from_millis(1));
        look().await;
        std::fs::write(&file, "22").unwrap();
        look().await;
        assert_eq!(*fresh.now(), 22);
        std::fs::write(&file, "bad").unwrap();
        look().await;
        assert_eq!(*fresh.now(), 22);
        std::fs::remove_file(&file).unwrap();
        look().await;
        assert_eq!(*fresh.now(), 22);
        std::fs::write(&file, "4444").unwrap();
        look().await;
        assert_eq!(*fresh.now(), 4444);
        std::fs::remove_file(&file).unwrap();
        shutdown.stop();
        tasks.ended().await;
        assert!(Fresh::load("a number", Vec::new(), || Err::<u32, _>("no".to_owned())).is_err());
    }
}
