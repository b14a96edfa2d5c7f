//! Real nodes as processes of their own: where they are, what they have spent, what they hold, what they counted.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What is waited for at most when nodes start.
const PATIENCE: Duration = Duration::from_secs(20);

/// After all is done, until memory is at rest: the allocator's decay takes one second, and then some.
pub(crate) const SETTLE: Duration = Duration::from_secs(2);
const SETTLE_LOOKS: u32 = 8;

/// Lets time pass.
pub(crate) fn pause(time: Duration) {
    #[expect(
        clippy::disallowed_methods,
        reason = "what costs CPU and memory over time is measured over time"
    )]
    std::thread::sleep(time);
}

/// One node. Dropped, it is killed.
pub(crate) struct Node {
    child: Child,
    /// `host:port` of the clients or of the API.
    pub(crate) main: String,
    ops: String,
    link: String,
}

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// All that is resident.
    pub(crate) rss: f64,
    /// Of it what no file is behind: heap and stacks.
    pub(crate) anon: f64,
}

/// A gateway and the logic node that drives it.
pub(crate) struct Cluster {
    pub(crate) gateway: Node,
    pub(crate) logic: Node,
}

impl Cluster {
    /// Starts both, with more flags for the gateway, and waits until they are linked.
    pub(crate) fn start(flags: &[&str]) -> Result<Self, String> {
        let local = "127.0.0.1:0";
        let ports = ["gateway", "--insecure", "--listen", local, "--ingress", local, "--ops", local];
        let gateway = Node::start(&[&ports[..], &["--drain", "0s"], flags].concat())?;
        let link = gateway.link.clone();
        let args = ["logic", "--insecure", "--listen", local, "--ops", local, "--gateway", &link];
        let logic = Node::start(&args)?;
        let until = Instant::now() + PATIENCE;
        while !logic.get("/v1/gateways")?.contains("\"linked\"") {
            if Instant::now() > until {
                return Err("logic found no link to its gateway".into());
            }
            pause(Duration::from_millis(5));
        }
        Ok(Self { gateway, logic })
    }
}

/// A command that ends with this process, where the system has a way to say so (util-linux).
fn tied(program: &str) -> Command {
    if fs::exists("/usr/bin/setpriv").unwrap_or(false) {
        let mut command = Command::new("/usr/bin/setpriv");
        command.args(["--pdeathsig", "KILL", "--", program]);
        return command;
    }
    Command::new(program)
}

impl Node {
    fn start(args: &[&str]) -> Result<Self, String> {
        let mut command = tied(env!("CARGO_BIN_EXE_tidegate"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TIDEGATE_")) {
            command.env_remove(name);
        }
        command.args(args).args(["--log", "error"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("cannot start tidegate: {error}"))?;
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut node = Self { child, main: String::new(), ops: String::new(), link: String::new() };
        loop {
            let Some(Ok(line)) = lines.next() else {
                return Err(format!("tidegate {} ended before it was ready", args.join(" ")));
            };
            if line.starts_with("READY") {
                break;
            }
            let mut words = line.split_whitespace();
            let place = match words.next() {
                Some("clients" | "api" | "API") => &mut node.main,
                Some("ops") => &mut node.ops,
                Some("link") => &mut node.link,
                _ => continue,
            };
            if let Some(word) = words.next() {
                let address = word.split_once("://").map_or(word, |(_, rest)| rest);
                *place = address.split('/').next().unwrap_or(address).to_owned();
            }
        }
        // What it says from here on is read, so that it never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(node)
    }

    fn read(&self, path: &str) -> Result<String, String> {
        let path = format!("/proc/{}/{path}", self.child.id());
        fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
    }

    /// What all its threads have spent on a CPU so far, kernel included, in µs.
    pub(crate) fn cpu_us(&self) -> Result<f64, String> {
        let spent = loadtest::cpu_of(self.child.id()).ok_or("a node has ended")?;
        Ok(spent.as_secs_f64() * 1e6)
    }

    /// What it holds in memory now: as the kernel counts it page by page, for what stands in `status` it only
    /// approximates, some megabytes off.
    pub(crate) fn memory(&self) -> Result<Memory, String> {
        let text = self.read("smaps_rollup")?;
        let of = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<f64>().ok()
        };
        let bytes =
            |name: &str| of(name).map(|kib| kib * 1024.0).ok_or(format!("no {name} in its smaps_rollup"));
        Ok(Memory { rss: bytes("Rss:")?, anon: bytes("Anonymous:")? })
    }

    /// The same, once it has settled. The allocator gives pages back some time after they were freed, and only
    /// when it is called: so the node is asked for its status meanwhile.
    pub(crate) fn settled_memory(&self) -> Result<Memory, String> {
        for _ in 0..SETTLE_LOOKS {
            pause(SETTLE / SETTLE_LOOKS);
            exchange(&self.ops, "GET /statusz", "", "")?;
        }
        self.memory()
    }

    /// Its metrics by name, without the `tidegate_gateway_` in front.
    pub(crate) fn metrics(&self) -> Result<HashMap<String, f64>, String> {
        let text = exchange(&self.ops, "GET /metrics", "", "")?;
        let values = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (name, value) = line.split_once(' ')?;
            Some((name.trim_start_matches("tidegate_gateway_").to_owned(), value.trim().parse().ok()?))
        });
        Ok(values.collect())
    }

    /// The body of a GET.
    pub(crate) fn get(&self, path: &str) -> Result<String, String> {
        exchange(&self.main, &format!("GET {path}"), "", "")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // An error says that it has ended already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// One HTTP/1.1 exchange on a connection of its own; the body of a good answer.
fn exchange(address: &str, head: &str, kind: &str, body: &str) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{head} at {address}: {error}");
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let length = body.len();
    let request = format!(
        "{head} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed)?;
    match answer.split_once("\r\n\r\n") {
        Some((status, body)) if status.starts_with("HTTP/1.1 2") => Ok(body.to_owned()),
        _ => Err(format!("{head} at {address}: {}", answer.lines().next().unwrap_or("no answer"))),
    }
}
