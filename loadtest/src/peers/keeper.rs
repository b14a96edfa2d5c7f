//! Who starts a server, and ends it with all that it started: a process of its own between the run and the server.
//!
//! It ends the server when the pipe to it is closed, so also when the run was killed, and after a time in any case.
//! Servers start processes of their own, in groups of their own: what is ended is the tree, as /proc shows it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::any::{Error, tree};

/// First argument of a program that is to be a keeper.
pub(super) const ROLE: &str = "peer-keeper";

/// How often the keeper looks after its server.
const LOOK: Duration = Duration::from_millis(250);

/// A server that was told to end takes so long at the most.
const END_TIME_MAX: Duration = Duration::from_secs(3);

/// What a keeper is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) command: Vec<String>,
    /// Where it is started, and where what it says goes.
    pub(super) folder: PathBuf,
    pub(super) log: PathBuf,
    /// It is ended after so long.
    pub(super) time_max: Duration,
}

/// Plays the part, until the pipe is closed or the server has ended.
pub(super) fn play(arguments: &[String]) -> ExitCode {
    let Some(order) = arguments.first().and_then(|order| serde_json::from_str::<Order>(order).ok()) else {
        return ExitCode::from(2);
    };
    match keep(&order) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The run may be gone: then nobody wants to know.
            _ = writeln!(io::stdout(), "{}: {error}", order.command.first().map_or("", |program| program));
            ExitCode::FAILURE
        }
    }
}

fn keep(order: &Order) -> io::Result<()> {
    let log = File::options().create(true).append(true).open(&order.log)?;
    let (program, arguments) = order.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&order.folder).stdin(Stdio::null());
    command.stdout(log.try_clone()?).stderr(log).process_group(0);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TIDEGATE_")) {
        command.env_remove(name);
    }
    let mut server = command.spawn()?;
    writeln!(io::stdout(), "{}", server.id())?;
    let (give, closed) = sync_channel::<()>(1);
    std::thread::spawn(move || {
        // Whatever ends the reading ends the server.
        _ = io::stdin().read(&mut [0]);
        drop(give);
    });
    let until = Instant::now() + order.time_max;
    let mut all = vec![server.id()];
    while Instant::now() < until && server.try_wait()?.is_none() {
        all = tree(&[server.id()]);
        if closed.recv_timeout(LOOK) == Err(RecvTimeoutError::Disconnected) {
            break;
        }
    }
    all.extend(tree(&[server.id()]));
    end(&mut server, &all)
}

/// Asks for the end, and then does not ask.
fn end(server: &mut Child, all: &[u32]) -> io::Result<()> {
    let until = Instant::now() + END_TIME_MAX;
    signal("TERM", &[server.id()])?;
    while Instant::now() < until && (server.try_wait()?.is_none() || all.iter().any(|one| is_there(*one))) {
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let left: Vec<u32> = all.iter().copied().filter(|one| is_there(*one)).collect();
    signal("KILL", &left)?;
    // It may have ended before.
    _ = server.kill();
    server.wait().map(drop)
}

fn is_there(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// A shell can signal any process, which std cannot.
fn signal(name: &str, processes: &[u32]) -> io::Result<()> {
    if processes.is_empty() {
        return Ok(());
    }
    let all: Vec<String> = processes.iter().map(u32::to_string).collect();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("kill -{name} {}", all.join(" "))]).stderr(Stdio::null());
    // Those that have ended meanwhile make it fail.
    shell.status().map(drop)
}

/// A keeper, as the run sees it. Dropped, it ends its server.
#[derive(Debug)]
pub(super) struct Keeper {
    keeper: Child,
    input: Option<ChildStdin>,
    /// The server.
    pub(super) process: u32,
}

impl Keeper {
    pub(super) fn start(order: &Order) -> Result<Self, Error> {
        let broken =
            |error: &dyn std::error::Error| Error::Broken(format!("cannot start a process: {error}"));
        let program = std::env::current_exe().map_err(|error| broken(&error))?;
        let text = serde_json::to_string(order).map_err(|error| broken(&error))?;
        let mut command = Command::new(program);
        // A group of its own: Ctrl-C at a terminal ends the run, and its keepers by the pipe.
        command.args([ROLE, &text]).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut keeper = command.spawn().map_err(|error| broken(&error))?;
        let input = keeper.stdin.take();
        let mut line = String::new();
        if let Some(output) = keeper.stdout.take() {
            // What cannot be read is no number.
            _ = BufReader::new(output).read_line(&mut line);
        }
        match line.trim().parse() {
            Ok(process) => Ok(Self { keeper, input, process }),
            Err(_) => {
                drop(input);
                // It ends by itself.
                _ = keeper.wait();
                Err(Error::Broken(format!("cannot start {}", line.trim())))
            }
        }
    }

    /// Whether the server runs.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.keeper.try_wait(), Ok(None)) && is_there(self.process)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.input = None;
        // It ends when its server has.
        _ = self.keeper.wait();
    }
}
