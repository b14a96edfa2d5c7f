//! One process of a cluster: started, heard until it says READY, watched, ended.

use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use common::tasks::Tasks;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;

/// A node that is not ready in this time never will be.
const READY_TIME_MAX: Duration = Duration::from_secs(60);

/// What a node said before its end is read in this time, unless a child of its own holds the pipe.
const ERRORS_TIME_MAX: Duration = Duration::from_secs(2);

/// What is kept of what a node says, for the one who asks why it ended.
const LINES_MAX: usize = 12;

/// The last lines of a node.
type Said = Arc<Mutex<VecDeque<String>>>;

/// A node that was started.
#[derive(Debug)]
pub(super) struct Starting {
    node: Node,
    output: Lines<BufReader<ChildStdout>>,
    /// Comes when all errors of a node that has ended are read.
    errors_read: oneshot::Receiver<()>,
    tasks: Tasks,
}

/// A node that is ready.
#[derive(Debug)]
pub(super) struct Node {
    name: String,
    command: Vec<String>,
    share: Option<Share>,
    child: Child,
    /// The node ends with it.
    input: Option<ChildStdin>,
    /// Whether the end of the node was our doing.
    is_asked: bool,
    /// It was told to end while it ran, and not killed.
    is_told: bool,
    said: Said,
    /// `host:port` of the API, or of the clients.
    pub(super) main: String,
    ops: String,
    /// `host:port` of a gateway's link.
    pub(super) link: String,
}

/// How much of the machine a node is to have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    /// Threads of its runtime.
    pub(super) threads: usize,
    /// Whether readers go before it.
    pub(super) is_lower: bool,
}

/// How much lower the rank of gateways is that are more than there are cores, `nice(1)`. Generator and gateways then share
/// the cores, and readers that wait behind writers leave all that is written with the kernel: for a million clients more
/// than it gives to TCP (`net.ipv4.tcp_mem`), and it drops what comes then.
const LOWER: u8 = 5;

/// The program that starts another with a lower rank, if it is there.
fn lower_rank() -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|folder| folder.join("nice")).find(|nice| nice.is_file())
}

impl Starting {
    /// Starts a node with a command; `share`: of the machine, if not all of it.
    pub(super) fn start(
        program: &Path,
        name: &str,
        command: Vec<String>,
        share: Option<Share>,
        tasks: &Tasks,
    ) -> Result<Self, String> {
        let is_lower = share.is_some_and(|share| share.is_lower);
        let mut process = match lower_rank().filter(|_| is_lower) {
            Some(nice) => {
                let mut process = Command::new(nice);
                process.arg("-n").arg(LOWER.to_string()).arg(program);
                process
            }
            None => Command::new(program),
        };
        // What is set for other nodes on this machine is not meant for these.
        let ours = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TIDEGATE_"));
        ours.for_each(|(name, _)| _ = process.env_remove(name));
        if let Some(share) = share {
            process.env("TOKIO_WORKER_THREADS", share.threads.to_string());
        }
        process.args(&command).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = process.kill_on_drop(true).spawn();
        let mut child =
            child.map_err(|error| format!("cannot start {name} ({}): {error}", program.display()))?;
        let said = Said::default();
        let pipes = "its pipes were asked for";
        let (output, errors) = (child.stdout.take().expect(pipes), child.stderr.take().expect(pipes));
        let (done, errors_read) = oneshot::channel();
        let keeper = said.clone();
        tasks.spawn(async move {
            keep(BufReader::new(errors).lines(), keeper).await;
            // Nobody listens once the node is ready.
            _ = done.send(());
        });
        let node = Node {
            name: name.to_owned(),
            command,
            share,
            input: child.stdin.take(),
            child,
            is_asked: false,
            is_told: false,
            said,
            main: String::new(),
            ops: String::new(),
            link: String::new(),
        };
        Ok(Self { node, output: BufReader::new(output).lines(), errors_read, tasks: tasks.clone() })
    }

    /// Waits until the node says that it is ready, and where it is.
    pub(super) async fn ready(mut self) -> Result<Node, String> {
        let heard = tokio::time::timeout(READY_TIME_MAX, self.hear()).await;
        match heard {
            Ok(true) => {
                self.tasks.spawn(keep(self.output, self.node.said.clone()));
                Ok(self.node)
            }
            Ok(false) => {
                _ = tokio::time::timeout(ERRORS_TIME_MAX, self.errors_read).await;
                let ended = self
                    .node
                    .child
                    .wait()
                    .await
                    .map_or_else(|error| error.to_string(), |end| end.to_string());
                let Node { name, command, .. } = &self.node;
                let command = command.join(" ");
                Err(format!(
                    "{name} ended before it was ready ({ended}): tidegate {command}\n{}",
                    self.node.said()
                ))
            }
            Err(_) => Err(format!("{} is not ready after 60 s\n{}", self.node.name, self.node.said())),
        }
    }

    /// Reads to READY; whether it came.
    async fn hear(&mut self) -> bool {
        while let Ok(Some(line)) = self.output.next_line().await {
            if line.starts_with("READY") {
                return true;
            }
            self.node.learn(&line);
        }
        false
    }
}

impl Node {
    /// Takes an address out of a line such as `  link   127.0.0.1:7201`.
    fn learn(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let place = match words.next() {
            Some("clients" | "API") => &mut self.main,
            Some("ops") => &mut self.ops,
            Some("link") => &mut self.link,
            _ => return,
        };
        let word = words.next().unwrap_or_default();
        let address = word.split_once("://").map_or(word, |(_, rest)| rest);
        *place = address.split('/').next().unwrap_or(address).to_owned();
    }

    /// Starts a node that has ended once more, on its ports.
    pub(super) fn again(&self, program: &Path, tasks: &Tasks) -> Result<Starting, String> {
        let mut command = self.command.clone();
        for (flag, address) in [("--listen", &self.main), ("--ops", &self.ops), ("--ingress", &self.link)] {
            if let Some(at) = command.iter().position(|word| word == flag) {
                command[at + 1].clone_from(address);
            }
        }
        Starting::start(program, &self.name, command, self.share, tasks)
    }

    /// A line about it, if it has ended and nobody asked it to.
    pub(super) fn fallen(&mut self) -> Option<String> {
        if self.is_asked {
            return None;
        }
        let ended = self.child.try_wait().ok().flatten()?;
        Some(self.fell(ended))
    }

    /// What it said last.
    pub(super) fn said(&self) -> String {
        let said = self.said.lock();
        let lines: Vec<_> = said.iter().map(|line| format!("  {line}")).collect();
        lines.join("\n")
    }

    /// The process, while it has not ended.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Tells it to end.
    pub(super) fn end(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.is_told = true;
        }
        self.is_asked = true;
        self.input = None;
    }

    /// Waits until it has ended; a line about it, if somebody has killed it since it was told to end.
    pub(super) async fn ended(&mut self) -> Option<String> {
        // Without a process there is nothing to wait for.
        let ended = self.child.wait().await.ok()?;
        ended.signal().filter(|_| self.is_told).map(|_| self.fell(ended))
    }

    fn fell(&self, ended: ExitStatus) -> String {
        format!("{} ended by itself ({ended})\n{}", self.name, self.said()).trim_end().to_owned()
    }

    /// Kills it, and waits until it is gone.
    pub(super) async fn kill(&mut self) {
        (self.is_asked, self.is_told) = (true, false);
        // It may have ended by itself.
        _ = self.child.start_kill();
        self.ended().await;
    }
}

/// Reads a node's lines, so that it never waits for us, and keeps the last of them.
async fn keep(mut lines: Lines<BufReader<impl AsyncRead + Unpin>>, said: Said) {
    while let Ok(Some(line)) = lines.next_line().await {
        // Each node says so at its start, and here it is so.
        if line.contains("INSECURE") {
            continue;
        }
        let mut said = said.lock();
        if said.len() == LINES_MAX {
            said.pop_front();
        }
        said.push_back(line);
    }
}
