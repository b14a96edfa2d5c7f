//! A running `tidegate`: its lines as they come, and its end. Dropped, it is killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// What a test waits for at most; far beyond what is needed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Lines that a test may leave unread before the program waits for it.
const UNREAD_LINES_MAX: usize = 100_000;

/// A command without the variables of whoever runs the tests.
pub(crate) fn tidegate(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TIDEGATE_")) {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs a command that ends by itself.
pub(crate) fn run(args: &[&str]) -> Output {
    tidegate(args).output().unwrap()
}

/// Exit code, standard output and standard error of a command that ends by itself.
pub(crate) fn said(mut command: Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// A program that runs.
pub(crate) struct Running {
    child: Child,
    /// Lines as they come, each with the output that it came from.
    lines: Receiver<(usize, String)>,
    /// Lines that nobody has waited for yet.
    passed: Vec<(usize, String)>,
    /// Everything read so far, for the report of a failure.
    seen: Vec<String>,
}

impl Running {
    /// Starts the program; the lines of both its outputs come in one stream.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_command(tidegate(args))
    }

    /// Starts a command that becomes the program.
    pub(crate) fn start_command(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = sync_channel(UNREAD_LINES_MAX);
        let outputs: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for (output, reader) in outputs.into_iter().enumerate() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(reader).lines().map_while(Result::ok) {
                    if sender.send((output, line)).is_err() {
                        return;
                    }
                }
            });
        }
        Self { child, lines, passed: Vec::new(), seen: Vec::new() }
    }

    /// Waits for a line that contains `part`, and returns it.
    ///
    /// Of one output, it stands behind the line returned before. Two outputs have no common order: a line of
    /// the other one that was read in the meantime is still found.
    pub(crate) fn line(&mut self, part: &str) -> String {
        let until = Instant::now() + PATIENCE;
        let mut looked = 0;
        loop {
            if let Some(at) = self.passed[looked..].iter().position(|(_, line)| line.contains(part)) {
                let (output, found) = self.passed[looked + at].clone();
                let mut place = 0;
                self.passed.retain(|(of, _)| {
                    place += 1;
                    *of != output || place > looked + at + 1
                });
                return found;
            }
            looked = self.passed.len();
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok((output, line)) => {
                    self.seen.push(line.clone());
                    self.passed.push((output, line));
                }
                Err(why) => panic!("no line with {part:?} ({why}); there were:\n{}", self.seen.join("\n")),
            }
        }
    }

    /// The text behind `prefix` up to a space, out of what was printed so far.
    pub(crate) fn after(&self, prefix: &str) -> String {
        let found = self.seen.iter().find_map(|line| line.split_once(prefix));
        let (_, rest) = found.unwrap_or_else(|| panic!("no {prefix:?} in:\n{}", self.seen.join("\n")));
        rest.split(' ').next().unwrap().to_owned()
    }

    /// Its standard input, if the command asked for a pipe.
    pub(crate) fn input(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The process's number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to this process and no other.
    pub(crate) fn signal(&self, name: &str) {
        // A builtin of every shell: no package is needed.
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Waits for the end; both outputs close with the process.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok((_, line)) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().unwrap(),
                Err(RecvTimeoutError::Timeout) => panic!("it runs on:\n{}", self.seen.join("\n")),
            }
        }
    }

    /// Reads what has been printed, without waiting.
    pub(crate) fn catch_up(&mut self) {
        self.seen.extend(self.lines.try_iter().map(|(_, line)| line));
    }

    /// Everything read so far.
    pub(crate) fn text(&self) -> String {
        self.seen.join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One HTTP/1.1 exchange as a foreign client would make it; the whole answer as text.
pub(crate) fn http(address: &str, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let request = format!(
        "{head} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
