//! Both ends of the pipes between a run and its processes.
//!
//! A process ends when the pipe to it is closed, whatever it does then: so it ends with its run, even when
//! that was killed. A run ends what it started when it is dropped.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use super::message::{Order, Role, Said};
use super::{Error, ROLE};
use crate::kernel;

/// Lines that may wait to be read: the talk is question and answer.
const LINES: usize = 4;

/// A process that was told to end takes this long at the most: it has thousands of sockets to close.
const END_TIME_MAX: Duration = Duration::from_secs(10);

/// Name of the threads that do the work: their CPU time is the floor's, that of the talk is not.
pub(super) const WORKER: &str = "floor-worker";

/// Starts a thread that works.
pub(super) fn work(work: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let started = std::thread::Builder::new().name(WORKER.to_owned()).spawn(work);
    started.map(drop).map_err(|error| format!("no thread could be started: {error}"))
}

/// Says a line to the run, in a process.
pub(super) fn say(said: &Said) -> io::Result<()> {
    let mut line = serde_json::to_string(said)?;
    line.push('\n');
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.flush()
}

/// The orders of a process as they come. The end of the pipe ends the process.
pub(super) fn orders() -> Receiver<Order> {
    let (give, orders) = sync_channel(LINES);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            let Ok(order) = serde_json::from_str(&line) else { break };
            if give.send(order).is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
    orders
}

/// A process of a run, as the run sees it.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Process {
    pub(super) fn start(program: &Path, role: &Role) -> Result<Self, Error> {
        let broken =
            |error: &dyn std::error::Error| Error::Broken(format!("cannot start a process: {error}"));
        let role = serde_json::to_string(role).map_err(|error| broken(&error))?;
        let mut command = Command::new(program);
        command.args([ROLE, &role]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| broken(&error))?;
        let (give, lines) = sync_channel(LINES);
        let output = child.stdout.take().map(BufReader::new);
        let input = child.stdin.take();
        std::thread::spawn(move || {
            let lines = output.into_iter().flat_map(BufRead::lines).map_while(Result::ok);
            for line in lines {
                if give.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, input, lines })
    }

    pub(super) fn order(&mut self, order: &Order) -> Result<(), Error> {
        let broken = |error: &dyn std::error::Error| Error::Broken(format!("a process is gone: {error}"));
        let line = serde_json::to_string(order).map_err(|error| broken(&error))? + "\n";
        let Some(input) = &mut self.input else { return Ok(()) };
        input.write_all(line.as_bytes()).and_then(|()| input.flush()).map_err(|error| broken(&error))
    }

    /// What the process says next.
    pub(super) fn hear(&self, until: Instant) -> Result<Said, Error> {
        let broken = |what: String| Err(Error::Broken(what));
        let line = match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => return broken("a process did not do its part in time".into()),
            Err(RecvTimeoutError::Disconnected) => {
                return broken(
                    "a process ended before its part was done: does its main call floor::role?".into(),
                );
            }
        };
        match serde_json::from_str(&line) {
            Ok(Said::Failed(why)) => broken(why),
            Ok(said) => Ok(said),
            Err(_) => broken(format!("a process said {line:?}: does its main call floor::role?")),
        }
    }

    /// CPU time of the process's workers so far. Right while they wait for an order.
    pub(super) fn cpu(&self) -> Duration {
        kernel::cpu_of_threads(self.child.id(), WORKER).unwrap_or_default()
    }

    /// Ends the process by closing the pipe to it, or at last by force.
    pub(super) fn end(&mut self) {
        self.input = None;
        // Its output ends with it.
        let until = Instant::now() + END_TIME_MAX;
        while let Ok(_late) = self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {}
        // It may have ended by itself.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
