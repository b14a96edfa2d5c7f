//! How agents come: a task here, processes that are started, or strangers on other machines that know the secret.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::tasks::Tasks;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::super::Error;
use super::super::link::{self, Board, Link};
use super::Member;
use crate::agent::frames::{self, Frame};
use crate::agent::message::{Join, Order, Said, VERSION, shorten};
use crate::agent::serve::{self, Place};
use crate::agent::{self, ROLE, Start};
use crate::plan::{Plan, Remote};

/// Whoever connects says in this time who it is.
const JOIN_TIME_MAX: Duration = Duration::from_secs(10);

/// Processes that are started join in this time, and a little longer for each.
const START_TIME_MAX: Duration = Duration::from_secs(30);
const START_TIME_EACH: Duration = Duration::from_secs(1);

/// Agents on other machines are started by people.
const REMOTE_TIME_MAX: Duration = Duration::from_secs(600);

/// How often processes are looked at that have not joined.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Bytes in the pipe to an agent that is a task here.
const PIPE_BYTES: usize = 64 * 1024;

/// Where the agents of a run come from.
#[derive(Debug)]
pub(in crate::run) enum Source {
    /// One, here.
    Here,
    /// So many processes of a program.
    Processes(u32, PathBuf),
    /// Other machines.
    Remote(Remote),
}

impl Source {
    /// The agents of a plan, and how many.
    pub(in crate::run) fn of(plan: &Plan, processes: u32) -> Result<(Self, u32), Error> {
        match &plan.remote {
            Some(remote) => Ok((Self::Remote(remote.clone()), remote.agents)),
            None if processes == 1 => Ok((Self::Here, 1)),
            None => {
                let broken = |error| Error::Broken(format!("cannot find the program that runs: {error}"));
                let program = plan.program.clone().map_or_else(std::env::current_exe, Ok).map_err(broken)?;
                Ok((Self::Processes(processes, program), processes))
            }
        }
    }
}

/// The agents that have come.
pub(super) struct Come {
    pub(super) members: Vec<Member>,
    pub(super) notes: Vec<String>,
}

pub(super) async fn come(source: Source, board: &Arc<Board>, tasks: &Tasks) -> Result<Come, Error> {
    match source {
        Source::Here => come_here(board, tasks).await,
        Source::Processes(count, program) => {
            let secret = agent::secret().map_err(|error| broken(&error))?;
            let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
            let address = listener.local_addr().map_err(|error| broken(&error))?;
            let mut children = Vec::new();
            for number in 0..count {
                let start = Start { join: address, secret: secret.clone(), number };
                children.push(Some(begin(&program, &start).await?));
            }
            let time_max = START_TIME_MAX + START_TIME_EACH * count;
            let gate = Gate { listener, secret, count, time_max, children };
            gate.open(board, tasks).await
        }
        Source::Remote(Remote { listen: address, agents, secret }) => {
            let listener = listen(address).await?;
            let gate =
                Gate { listener, secret, count: agents, time_max: REMOTE_TIME_MAX, children: Vec::new() };
            gate.open(board, tasks).await
        }
    }
}

fn broken(error: &dyn std::error::Error) -> Error {
    Error::Broken(format!("cannot start the agents: {error}"))
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| Error::Broken(format!("agents cannot join at {address}: {error}")))
}

/// Starts a process. What it is told stands on its standard input: arguments are there for all to see.
async fn begin(program: &PathBuf, start: &Start) -> Result<Child, Error> {
    let failed =
        |error: std::io::Error| Error::Broken(format!("cannot start {}: {error}", program.display()));
    let mut command = Command::new(program);
    command.arg(ROLE).stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
    // A group of its own: Ctrl-C at the terminal is for the coordinator, which then asks for verdicts.
    command.process_group(0);
    let mut child = command.spawn().map_err(failed)?;
    let line = serde_json::to_string(start).map_err(|error| broken(&error))? + "\n";
    if let Some(mut input) = child.stdin.take() {
        // One that has ended already is noticed as such.
        _ = input.write_all(line.as_bytes()).await;
    }
    Ok(child)
}

async fn come_here(board: &Arc<Board>, tasks: &Tasks) -> Result<Come, Error> {
    let (mine, its) = tokio::io::duplex(PIPE_BYTES);
    tasks.spawn(Box::pin(async move {
        // What goes wrong is said on the connection.
        _ = Box::pin(serve::serve(its, "", Place::Here)).await;
    }));
    let (stream, join) = meet(mine, "").await.map_err(Error::Broken)?;
    let name = "the agent in this process".to_owned();
    Ok(Come { members: vec![admit((name, join), stream, None, (board, tasks)).await], notes: Vec::new() })
}

/// Hears who is at the other end, and whether it may come.
async fn meet<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, secret: &str) -> Result<(S, Join), String> {
    let joined = tokio::time::timeout(JOIN_TIME_MAX, frames::read(&mut stream)).await;
    let refused = match joined {
        Err(_) => "it said nothing within 10 s".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Ok(Ok(Frame::Ledger(_))) => "it is no agent".to_owned(),
        Ok(Ok(Frame::Message(body))) => match frames::parse(&body) {
            Ok(Said::Join(join)) if join.version != VERSION => {
                format!("its version is {}, and this one's {VERSION}", shorten(join.version))
            }
            Ok(Said::Join(join)) if !is_same(&join.secret, secret) => "its secret is another one".to_owned(),
            Ok(Said::Join(join)) => return Ok((stream, join)),
            Ok(_) => "it did not say who it is".to_owned(),
            Err(why) => format!("it sent {why}"),
        },
    };
    let order = frames::message(&Order::Refused(refused.clone()));
    // Best effort: it may have gone.
    _ = tokio::time::timeout(JOIN_TIME_MAX, stream.write_all(&order)).await;
    Err(refused)
}

/// Compares in a time that says nothing of where they differ.
fn is_same(one: &str, other: &str) -> bool {
    let differ = one.bytes().zip(other.bytes()).fold(0, |differ, (one, other)| differ | (one ^ other));
    one.len() == other.len() && differ == 0
}

/// Takes an agent in.
async fn admit(
    (name, join): (String, Join),
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    child: Option<Child>,
    (board, tasks): (&Arc<Board>, &Tasks),
) -> Member {
    let (link, ends) = Link::new(join.number.unwrap_or_default());
    link.give(frames::message(&Order::Welcome)).await;
    tasks.spawn(Box::pin(link::serve(ends, stream, child, board.clone())));
    Member { name, join, link }
}

/// Where agents come in.
struct Gate {
    listener: TcpListener,
    secret: String,
    count: u32,
    time_max: Duration,
    /// Processes that have not come, by number.
    children: Vec<Option<Child>>,
}

/// Whoever knocked: from where, and as whom or why not.
type Knock = (SocketAddr, Result<(TcpStream, Join), String>);

impl Gate {
    /// Waits until all are here.
    async fn open(mut self, board: &Arc<Board>, tasks: &Tasks) -> Result<Come, Error> {
        let until = Instant::now() + self.time_max;
        let (give, mut knocks) = mpsc::channel::<Knock>(16);
        let (mut found, mut notes) = (Vec::new(), Vec::new());
        let mut look = tokio::time::interval(LOOK_EVERY);
        while found.len() < self.count as usize {
            tokio::select! {
                accepted = self.listener.accept() => {
                    let Ok((stream, from)) = accepted else { continue };
                    let (give, secret) = (give.clone(), self.secret.clone());
                    tasks.spawn(async move {
                        let met = match frames::prepare(&stream) {
                            Ok(()) => meet(stream, &secret).await,
                            Err(error) => Err(error.to_string()),
                        };
                        // Nobody waits any more: all have come.
                        _ = give.send((from, met)).await;
                    });
                }
                Some((from, met)) = knocks.recv() => match met {
                    Ok((stream, join)) => self.take((stream, from, join), &mut found),
                    Err(why) if notes.len() < 10 => notes.push(format!("somebody at {from} was not taken as an agent: {why}")),
                    Err(_) => {}
                },
                () = board.ending.draining() => return Err(Error::Broken("interrupted while agents were to join".into())),
                _ = look.tick() => self.check(found.len(), until)?,
            }
        }
        found.sort_by_key(|(join, ..)| join.number);
        let mut members = Vec::new();
        for (join, name, stream, child) in found {
            members.push(admit((name, join), stream, child, (board, tasks)).await);
        }
        Ok(Come { members, notes })
    }

    /// Takes one that may come, unless its place is taken.
    fn take(
        &mut self,
        (stream, from, mut join): (TcpStream, SocketAddr, Join),
        found: &mut Vec<(Join, String, TcpStream, Option<Child>)>,
    ) {
        let pid = join.pid;
        if self.children.is_empty() {
            let number = found.len() as u32;
            join.number = Some(number);
            found.push((join, format!("agent {number} (process {pid} at {})", from.ip()), stream, None));
        } else if let Some(child) =
            join.number.and_then(|number| self.children.get_mut(number as usize)?.take())
        {
            let number = join.number.unwrap_or_default();
            found.push((join, format!("agent {number} (process {pid})"), stream, Some(child)));
        }
    }

    /// Whether those that have not come still may.
    fn check(&mut self, here: usize, until: Instant) -> Result<(), Error> {
        for (number, child) in self.children.iter_mut().enumerate() {
            let ended = child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                return Err(Error::Broken(format!(
                    "agent {number} ended before it joined ({status}): does the main of its program call loadtest::agent::role?"
                )));
            }
        }
        if Instant::now() > until {
            let (count, secs) = (self.count, self.time_max.as_secs());
            return Err(Error::Broken(format!("only {here} of {count} agents joined within {secs} s")));
        }
        Ok(())
    }
}
