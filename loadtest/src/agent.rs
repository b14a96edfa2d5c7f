//! An agent: a process that holds a part of a run's clients for a coordinator.
//!
//! The coordinator plans, publishes and reports; agents connect, receive and judge what came. They talk over one
//! connection (`frames`, `message`): a process started by the run joins over loopback, one on another machine by
//! `tidegate-loadtest agent --join`, and where one agent suffices it is a task of the run itself, on a pipe in memory.
//! An agent ends when that connection ends, so it outlives no run, however that ends.
//!
//! The connection is not encrypted. Its secret keeps strangers from joining, and no more: agents belong into a network
//! that one trusts.

pub(crate) mod frames;
pub(crate) mod message;
pub(crate) mod serve;
mod talk;

use std::io::{BufRead, Read};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

/// First argument of a program that is to be an agent of a run that it is started by.
pub(crate) const ROLE: &str = "agent-role";

/// A coordinator that has not begun to listen is asked again so often.
const TRY_EVERY: Duration = Duration::from_millis(250);

/// What a process is told on its standard input, in one line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) join: SocketAddr,
    pub(crate) secret: String,
    pub(crate) number: u32,
}

/// Holds clients for a run, if this process was started for that: then `main` ends with the code given. To be called
/// first in `main`, before arguments are read.
#[must_use]
pub fn role() -> Option<ExitCode> {
    if std::env::args().nth(1)? != ROLE {
        return None;
    }
    let mut line = String::new();
    let start =
        std::io::stdin().lock().read_line(&mut line).ok().and_then(|_| serde_json::from_str(&line).ok());
    // Who started it has the reason from the connection, or is gone.
    let ended = match start {
        Some(Start { join, secret, number }) => block_on(async move {
            let stream = TcpStream::connect(join).await.map_err(|error| error.to_string())?;
            serve_tcp(stream, &secret, Some(number)).await
        }),
        None => Err("not started by a run".into()),
    };
    Some(if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Joins a coordinator on another machine and holds clients for it until its run ends. `patience`: how long it may take
/// until the coordinator listens. Blocks the thread it is called on.
///
/// # Errors
/// Why it could not join, or why it ended before the run did.
pub fn join(coordinator: &str, secret: &str, patience: Duration) -> Result<(), String> {
    block_on(async {
        let connect = async {
            loop {
                match TcpStream::connect(coordinator).await {
                    Ok(stream) => return stream,
                    Err(_) => tokio::time::sleep(TRY_EVERY).await,
                }
            }
        };
        let waited = tokio::time::timeout(patience, connect).await;
        let time = humantime::format_duration(patience);
        let stream = waited.map_err(|_| format!("no coordinator answers at {coordinator} within {time}"))?;
        serve_tcp(stream, secret, None).await
    })
}

/// 128 bits that nobody guesses, as text: what agents must say to join.
///
/// # Errors
/// The kernel gave none.
pub fn secret() -> std::io::Result<String> {
    let mut bits = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bits)?;
    Ok(data_encoding::HEXLOWER.encode(&bits))
}

async fn serve_tcp(stream: TcpStream, secret: &str, number: Option<u32>) -> Result<(), String> {
    frames::prepare(&stream).map_err(|error| format!("the connection broke: {error}"))?;
    Box::pin(serve::serve(stream, secret, serve::Place::Process(number))).await
}

fn block_on(work: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    // Clients have threads of their own: this one only talks.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
    let ended = runtime.block_on(work);
    // What still runs there, runs for nobody.
    runtime.shutdown_background();
    ended
}
