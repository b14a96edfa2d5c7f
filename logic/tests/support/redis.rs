//! Real Redis servers for tests and benchmarks: started on ports of their own in folders of their own, killed with
//! whoever started them.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};

/// A server, and where its data is.
pub(crate) struct Server {
    pub(crate) port: u16,
    dir: TempDir,
    args: Vec<String>,
    process: Option<Child>,
}

/// A port that nobody has now. In a Cluster the one 10,000 above it is used too.
fn port() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if let Some(bus) = port.checked_add(10_000)
            && TcpListener::bind(("127.0.0.1", bus)).is_ok()
        {
            return port;
        }
    }
}

impl Server {
    /// Starts a server with further arguments, and waits until it answers.
    pub(crate) async fn start(args: &[&str]) -> Self {
        let mut server = Self::prepared(args);
        server.again().await;
        server
    }

    /// A server that is not started yet.
    pub(crate) fn prepared(args: &[&str]) -> Self {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Self { port: port(), dir: tempfile::tempdir().unwrap(), args, process: None }
    }

    /// Its folder.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts it, with what is in its folder, without waiting.
    pub(crate) fn run(&mut self) {
        let log = File::create(self.dir.path().join("log")).unwrap();
        let is_set = |key: &str| self.args.iter().any(|arg| arg == key);
        let mut command = Command::new("redis-server");
        if is_set("--sentinel") {
            // Sentinels take all from their file.
            command.arg(self.dir.path().join("sentinel.conf"));
        } else {
            command.arg("--dir").arg(self.dir.path()).args(["--bind", "127.0.0.1", "--save", ""]);
            command.args(["--port", &self.port.to_string()]);
        }
        command.args(&self.args).stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
        let process = command.spawn();
        self.process = Some(process.unwrap_or_else(|error| {
            panic!("redis-server cannot be run ({error}): these tests need the Debian package redis-server")
        }));
    }

    /// Starts it, with what is in its folder, and waits until it answers.
    pub(crate) async fn again(&mut self) {
        self.run();
        self.until(&["PING"], |answer| !answer.is_empty() && !answer.contains("LOADING")).await;
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// What it wrote into its log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Ends it as a power cut would, its memory at least.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Lets it hang.
    pub(crate) fn stop(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) {
        self.signal("-CONT");
    }

    /// Asks, and says what was answered as it came; nothing if there was no answer.
    pub(crate) async fn ask(&self, words: &[&str]) -> String {
        ask(self.address(), words).await
    }

    /// Asks until the answer is what is wanted.
    pub(crate) async fn until(&self, words: &[&str], wanted: impl Fn(&str) -> bool) -> String {
        let (mut every, began) = (interval(Duration::from_millis(10)), Instant::now());
        loop {
            every.tick().await;
            let answer = self.ask(words).await;
            if wanted(&answer) {
                return answer;
            }
            let log = || self.log();
            assert!(began.elapsed() < Duration::from_secs(20), "{words:?}: {answer:?}\n{}", log());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn ask(address: SocketAddr, words: &[&str]) -> String {
    let asked = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let mut text = format!("*{}\r\n", words.len());
        for word in words {
            text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        stream.write_all(text.as_bytes()).await.ok()?;
        let (mut answer, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
        loop {
            let read = stream.read(&mut buffer).await.ok()?;
            answer.extend_from_slice(&buffer[..read]);
            if read == 0 || is_whole(&answer) {
                return Some(String::from_utf8_lossy(&answer).into_owned());
            }
        }
    };
    timeout(Duration::from_secs(2), asked).await.ok().flatten().unwrap_or_default()
}

/// Whether an answer is there to its end, as far as tests have them: one line, one text, or a list of a moment.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((first, rest)) = text.split_once("\r\n") else { return false };
    match (first.chars().next(), first.get(1..).and_then(|length| length.parse::<usize>().ok())) {
        (Some('$'), Some(length)) => rest.len() >= length + 2,
        (Some('*'), Some(length)) => rest.matches("\r\n").count() >= 2 * length,
        _ => true,
    }
}
