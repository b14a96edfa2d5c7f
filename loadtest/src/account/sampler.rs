//! Looks at a run once a second, on a thread of its own: not late when the runtime is, and in nobody's way.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Account, RoleUse, Watched, machine};
use crate::progress::{Phase, Progress};
use crate::timeline::{Interval, Timeline, Used};

/// From one look to the next.
const EVERY: Duration = Duration::from_secs(1);

/// What may wait to be told: agents that start, and a phase. Whoever tells more waits for a look to end.
const TOLD: usize = 64;

/// What the thread is told.
#[derive(Debug)]
enum Told {
    Enter(Phase),
    Watch(Watched),
}

/// A run that is looked at. Dropped, the looking ends.
#[derive(Debug)]
pub(crate) struct Sampler {
    tell: Option<SyncSender<Told>>,
    thread: Option<JoinHandle<Taken>>,
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) timeline: Timeline,
    pub(crate) roles: Vec<RoleUse>,
    pub(crate) notes: Vec<String>,
    /// Memory in use on the machine before the first connect, and with all clients connected.
    pub(crate) machine_memory_begin: u64,
    pub(crate) machine_memory_hold: u64,
    /// Bytes through the loopback interface.
    pub(crate) loopback_bytes: u64,
}

impl Sampler {
    /// Looks from now on, at these processes. `begun`: when the run began.
    ///
    /// # Errors
    /// There is no thread for it.
    pub(crate) fn start(
        watched: Vec<Watched>,
        progress: Arc<Progress>,
        begun: Instant,
    ) -> std::io::Result<Self> {
        let (tell, told) = sync_channel(TOLD);
        let looks = Looks {
            progress,
            begun,
            phase: Phase::Checking,
            account: Account::default(),
            taken: Taken::default(),
            loopback: machine::loopback_bytes(),
            shown: Interval::default(),
        };
        let thread =
            std::thread::Builder::new().name("sampler".into()).spawn(move || looks.run(watched, &told))?;
        Ok(Self { tell: Some(tell), thread: Some(thread) })
    }

    /// A phase begins: costs are counted by phase.
    pub(crate) fn enter(&self, phase: Phase) {
        self.say(Told::Enter(phase));
    }

    /// Accounts for one more process from now on.
    pub(crate) fn watch(&self, watched: Watched) {
        self.say(Told::Watch(watched));
    }

    fn say(&self, told: Told) {
        if let Some(tell) = &self.tell {
            // The thread lives as long as this; if it panicked, the run has no costs but goes on.
            _ = tell.send(told);
        }
    }

    /// Ends the looking, after a last look. Blocks for the time of that. Once only is there something to give.
    pub(crate) fn end(&mut self) -> Taken {
        self.tell = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(taken)) => taken,
            _ => {
                let notes = vec!["the accounting failed: there are no costs".into()];
                Taken { notes, ..Taken::default() }
            }
        }
    }
}

struct Looks {
    progress: Arc<Progress>,
    begun: Instant,
    phase: Phase,
    account: Account,
    taken: Taken,
    loopback: u64,
    /// The interval that people were shown last.
    shown: Interval,
}

impl Looks {
    fn run(mut self, watched: Vec<Watched>, told: &Receiver<Told>) -> Taken {
        let first = self.loopback;
        watched.into_iter().for_each(|watched| self.watch(watched));
        self.taken.machine_memory_begin = machine::memory_bytes();
        let mut next = Instant::now() + EVERY;
        loop {
            match told.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Told::Enter(phase)) => self.enter(phase),
                Ok(Told::Watch(watched)) => self.watch(watched),
                Err(RecvTimeoutError::Timeout) => {
                    self.look();
                    // After a stop of this process there is one long interval, not many short ones.
                    next = (next + EVERY).max(Instant::now());
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.look();
        self.taken.roles = self.account.roles();
        self.taken.loopback_bytes = self.loopback.saturating_sub(first);
        self.taken
    }

    fn watch(&mut self, watched: Watched) {
        let (name, pid) = (watched.name.clone(), watched.pid);
        if !self.account.watch(watched, self.begun.elapsed(), self.phase) {
            self.taken.notes.push(format!("no account of {name}: process {pid} is gone, or known already"));
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.account.enter(self.begun.elapsed(), phase);
        match phase {
            Phase::Connecting => self.taken.machine_memory_begin = machine::memory_bytes(),
            Phase::Publishing => self.taken.machine_memory_hold = machine::memory_bytes(),
            _ => {}
        }
    }

    fn look(&mut self) {
        self.progress.take_newcomers().into_iter().for_each(|newcomer| self.watch(newcomer));
        let at = self.begun.elapsed();
        let roles = self.account.sample(at);
        let loopback = machine::loopback_bytes();
        let loopback_bytes = loopback.saturating_sub(std::mem::replace(&mut self.loopback, loopback));
        let used = Used { roles, machine_memory_bytes: machine::memory_bytes(), loopback_bytes };
        let mut interval = self.progress.take_interval();
        interval.at = at;
        self.progress.show(&interval, &self.shown);
        self.taken.timeline.push(&interval, self.phase, used);
        self.shown = interval;
    }
}
