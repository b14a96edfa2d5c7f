//! One process of the cluster: started, killed, asked to go, paused, woken, started again. Dropped, it is killed.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Far beyond what a node needs to be ready.
const READY_TIME_MAX: Duration = Duration::from_secs(30);

/// Between two looks whether a server answers.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What is run, and how it says that it is ready.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    /// What it is called in logs.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    /// A Redis at this address, ready when it answers; others say READY.
    pub(crate) redis: Option<String>,
}

/// A process, or the place of one that was killed.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) recipe: Recipe,
    folder: PathBuf,
    child: Option<Child>,
}

impl Node {
    /// A place for a process, whose output goes to a file in `folder`.
    pub(crate) fn new(recipe: Recipe, folder: &Path) -> Self {
        Self { recipe, folder: folder.to_owned(), child: None }
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn start(&mut self) -> Result<(), String> {
        let wrong = |why: String| format!("{}: {why}", self.recipe.name);
        let path = self.folder.join(format!("{}.log", self.recipe.name));
        let file =
            OpenOptions::new().create(true).append(true).open(path).map_err(|why| wrong(why.to_string()))?;
        let is_redis = self.recipe.redis.is_some();
        let out = if is_redis { file.try_clone().map(Stdio::from) } else { Ok(Stdio::piped()) };
        let mut child = dying_with_us(&self.recipe.program)
            .args(&self.recipe.args)
            .stdin(Stdio::piped())
            .stdout(out.map_err(|why| wrong(why.to_string()))?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .map_err(|why| wrong(why.to_string()))?;
        let out = child.stdout.take();
        self.child = Some(child);
        let ready = async {
            match (&self.recipe.redis, out) {
                (Some(address), _) => {
                    while crate::resp::ask(address, &["PING"]).await.as_deref() != Ok("PONG") {
                        tokio::time::sleep(LOOK_EVERY).await;
                    }
                    true
                }
                (None, Some(out)) => {
                    let mut lines = BufReader::new(out).lines();
                    loop {
                        match lines.next_line().await {
                            // It says nothing more.
                            Ok(Some(line)) if line == "READY" => break true,
                            Ok(Some(_)) => {}
                            Ok(None) | Err(_) => break false,
                        }
                    }
                }
                (None, None) => false,
            }
        };
        match tokio::time::timeout(READY_TIME_MAX, ready).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(wrong(format!("it ended before it was ready: {}", self.said()))),
            Err(_) => Err(wrong(format!("it was not ready within {READY_TIME_MAX:?}: {}", self.said()))),
        }
    }

    /// The end of what it said.
    fn said(&self) -> String {
        let path = self.folder.join(format!("{}.log", self.recipe.name));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(3)..].join(" | ")
    }

    /// Ends it as a crash would, and waits until it is gone. Nothing, if it is gone already.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // An error says that it has ended by itself.
            _ = child.kill().await;
        }
    }

    /// Stops it where it is, or lets it go on.
    pub(crate) async fn pause(&self, is_paused: bool) {
        self.signal(if is_paused { "STOP" } else { "CONT" }).await;
    }

    /// Asks it to go (SIGTERM), and waits until it is gone; killed if it is not within `most`.
    ///
    /// # Errors
    /// That it was not there, or how else than well it ended.
    pub(crate) async fn terminate(&mut self, most: Duration) -> Result<(), String> {
        self.signal("TERM").await;
        let Some(mut child) = self.child.take() else {
            return Err(format!("{} is not there", self.recipe.name));
        };
        // Waiting closes the input of a process, and ours end with theirs.
        let _input = child.stdin.take();
        match tokio::time::timeout(most, child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("{} ended with {status}: {}", self.recipe.name, self.said())),
            Ok(Err(why)) => Err(format!("{}: {why}", self.recipe.name)),
            Err(_) => Err(format!("{} was not gone within {most:?}: {}", self.recipe.name, self.said())),
        }
    }

    async fn signal(&self, name: &str) {
        // It was not waited for yet, so the number is still its own.
        if let Some(pid) = self.child.as_ref().and_then(Child::id) {
            // A builtin of every shell.
            _ = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().await;
        }
    }

    /// How it ended, if it did so by itself.
    pub(crate) fn fell(&mut self) -> Option<String> {
        let ended = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        Some(format!("{ended}: {}", self.said()))
    }
}

/// A command whose process is killed when ours is gone, however that ended, where the machine can do that; a node of
/// Tidegate sees to it by itself as well, unless it is paused.
fn dying_with_us(program: &Path) -> Command {
    let setpriv = Path::new("/usr/bin/setpriv");
    if !setpriv.exists() {
        return Command::new(program);
    }
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}
