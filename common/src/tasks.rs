//! Who owns a task: every spawned task has a name and belongs to one [`Tasks`].
//!
//! An *essential* task that ends before the node drains, by returning or by a panic, ends the node: a
//! gateway without its merger must not look alive. Any other task's end, a panic included, is its own.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::shutdown::Shutdown;

/// The tasks of one node. Clones are the same set.
#[derive(Debug, Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    runtime: Handle,
    shutdown: Shutdown,
    fallen: CancellationToken,
    first_fallen: Arc<Mutex<Option<&'static str>>>,
}

impl Tasks {
    /// An empty set, on the current runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn new(shutdown: Shutdown) -> Self {
        Self {
            tracker: TaskTracker::new(),
            runtime: Handle::current(),
            shutdown,
            fallen: CancellationToken::new(),
            first_fallen: Arc::default(),
        }
    }

    /// Runs a task whose end concerns nobody else. Works from any thread.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn_on(future, &self.runtime);
    }

    /// Runs a task that the node cannot be without.
    pub fn essential(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let watch = Fall { tasks: self.clone(), name };
        self.tracker.spawn_on(
            async move {
                // Dropped at the end of the task however it ends: return, panic, or a dropped runtime.
                let _watch = watch;
                future.await;
            },
            &self.runtime,
        );
    }

    /// Runs an essential loop on a thread of its own: for work that blocks or must not wait for a turn.
    ///
    /// # Panics
    /// If the operating system has no thread for us.
    pub fn essential_thread(&self, name: &'static str, work: impl FnOnce() + Send + 'static) {
        let watch = Fall { tasks: self.clone(), name };
        let token = self.tracker.token();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _token = token;
                let _watch = watch;
                work();
            })
            .expect("a thread at the start of a node");
    }

    /// Waits until an essential task has ended too early, and says which.
    pub async fn fallen(&self) -> &'static str {
        self.fallen.cancelled().await;
        self.first_fallen.lock().unwrap_or("unknown")
    }

    /// How many tasks there are now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// Whether there is no task now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }

    /// Waits until all tasks have ended.
    pub async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

struct Fall {
    tasks: Tasks,
    name: &'static str,
}

impl Drop for Fall {
    fn drop(&mut self) {
        if !self.tasks.shutdown.is_draining() {
            self.tasks.first_fallen.lock().get_or_insert(self.name);
            self.tasks.fallen.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_essential_task_that_ends_early_is_named() {
        let tasks = Tasks::new(Shutdown::new());
        tasks.spawn(async {});
        tasks.essential("merger", async { panic!("as planned by the test") });
        assert_eq!(tasks.fallen().await, "merger");
    }

    #[tokio::test]
    async fn an_essential_task_may_end_while_draining() {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        shutdown.start_drain();
        tasks.essential("merger", async {});
        tasks.ended().await;
        assert!(!tasks.fallen.is_cancelled());
    }
}
