//! A cluster of real processes for a test: `cluster().logics(2).gateways(3).start()`.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{Running, http};

/// How logic nodes find gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Discovery {
    /// `--gateway` for each.
    List,
    /// `--gateway-dns localhost:port`; of one gateway.
    Dns,
    /// Gateways `--announce` themselves to every logic node.
    Announce,
}

/// What is to be started.
pub(crate) struct Plan {
    logics: usize,
    gateways: usize,
    window: &'static str,
    discovery: Discovery,
    drain: &'static str,
    secret: Option<String>,
    /// More flags for each gateway.
    flags: Vec<String>,
    /// More flags for each logic node.
    logic_flags: Vec<String>,
}

/// A cluster of one logic node and one gateway, a window of 200 ms. Several logic nodes share a Redis.
pub(crate) fn cluster() -> Plan {
    Plan {
        logics: 1,
        gateways: 1,
        window: "200ms",
        discovery: Discovery::List,
        drain: "0s",
        secret: None,
        flags: Vec::new(),
        logic_flags: Vec::new(),
    }
}

/// One process, and where it is.
pub(crate) struct Node {
    process: Option<Running>,
    args: Vec<String>,
    /// Host and port of the API or of the client port.
    pub(crate) main: String,
    pub(crate) ops: String,
    /// Host and port of the link port, of a gateway.
    pub(crate) link: String,
}

pub(crate) struct Cluster {
    pub(crate) logics: Vec<Node>,
    pub(crate) gateways: Vec<Node>,
    /// What several logic nodes share.
    redis: Option<Redis>,
}

/// A Redis that keeps nothing on a disk. Dropped, it is killed.
struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    fn start() -> Self {
        let port = free_port();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--port"]).arg(port.to_string());
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let redis = Self { process: process.expect("redis-server is installed (deploy/test does)"), port };
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "redis-server does not listen");
            std::thread::yield_now();
        }
        redis
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port that nobody had a moment ago. Below those that the kernel gives to who asks for none, and from another place
/// in each process: tests that run side by side do not take each other's.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let place = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 10_000 + (place % 20_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn address() -> String {
    format!("127.0.0.1:{}", free_port())
}

impl Plan {
    pub(crate) fn logics(self, logics: usize) -> Self {
        Self { logics, ..self }
    }

    pub(crate) fn gateways(self, gateways: usize) -> Self {
        Self { gateways, ..self }
    }

    pub(crate) fn window(self, window: &'static str) -> Self {
        Self { window, ..self }
    }

    pub(crate) fn drain(self, drain: &'static str) -> Self {
        Self { drain, ..self }
    }

    pub(crate) fn found_by(self, discovery: Discovery) -> Self {
        Self { discovery, ..self }
    }

    /// More flags for each gateway.
    pub(crate) fn flags(self, flags: &[&str]) -> Self {
        Self { flags: flags.iter().map(|flag| (*flag).to_owned()).collect(), ..self }
    }

    /// More flags for each logic node.
    pub(crate) fn logic_flags(self, flags: &[&str]) -> Self {
        Self { logic_flags: flags.iter().map(|flag| (*flag).to_owned()).collect(), ..self }
    }

    pub(crate) fn secret(self, file: &str) -> Self {
        Self { secret: Some(file.to_owned()), ..self }
    }

    /// Starts all processes and waits until every logic node is linked to every gateway.
    pub(crate) fn start(self) -> Cluster {
        let node = |role: &str| {
            let (main, ops) = (address(), address());
            let mut args: Vec<String> =
                [role, "--insecure", "--listen", &main, "--ops", &ops, "--drain", self.drain]
                    .map(str::to_owned)
                    .into();
            args.extend(self.secret.iter().flat_map(|file| ["--link-secret-file".to_owned(), file.clone()]));
            Node { process: None, args, main, ops, link: address() }
        };
        let mut logics: Vec<Node> = (0..self.logics).map(|_| node("logic")).collect();
        let redis = (self.logics > 1).then(Redis::start);
        for logic in &mut logics {
            logic.args.extend(self.logic_flags.iter().cloned());
            if let Some(Redis { port, .. }) = &redis {
                logic.args.extend(["--engine".to_owned(), format!("redis://127.0.0.1:{port}")]);
            }
        }
        let mut gateways: Vec<Node> = (0..self.gateways).map(|_| node("gateway")).collect();
        for (number, gateway) in gateways.iter_mut().enumerate() {
            let name = format!("gw-{number}");
            let more =
                ["--ingress", &gateway.link, "--window", self.window, "--name", &name].map(str::to_owned);
            gateway.args.extend(more);
            gateway.args.extend(self.flags.iter().cloned());
            for logic in &mut logics {
                match self.discovery {
                    Discovery::List => logic.args.extend(["--gateway".to_owned(), gateway.link.clone()]),
                    Discovery::Dns => {
                        let (_, port) = gateway.link.split_once(':').unwrap();
                        logic.args.extend(["--gateway-dns".to_owned(), format!("localhost:{port}")]);
                    }
                    Discovery::Announce => {
                        gateway.args.extend(["--announce".to_owned(), format!("http://{}", logic.main)]);
                    }
                }
            }
        }
        let mut cluster = Cluster { logics, gateways, redis };
        for node in cluster.gateways.iter_mut().chain(&mut cluster.logics) {
            node.start();
        }
        for logic in 0..self.logics {
            cluster.wait_for_linked(logic, self.gateways);
        }
        cluster
    }
}

impl Node {
    /// Starts the process, on the ports that it had before if it ran already.
    pub(crate) fn start(&mut self) {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        let mut process = Running::start(&args);
        process.line("READY");
        self.process = Some(process);
    }

    /// The process's number.
    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().pid()
    }

    /// Whether the process has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process.as_mut().unwrap().is_running()
    }

    /// Everything that it printed so far.
    pub(crate) fn output(&mut self) -> String {
        let process = self.process.as_mut().unwrap();
        process.catch_up();
        process.text()
    }

    /// Waits for a line that contains `part`, and returns it.
    pub(crate) fn line(&mut self, part: &str) -> String {
        self.process.as_mut().unwrap().line(part)
    }

    /// Kills the process as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        self.process.as_ref().unwrap().signal(name);
    }

    /// Waits for the process to end by itself.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        self.process.as_mut().unwrap().ended().code()
    }

    pub(crate) fn ws(&self) -> String {
        format!("ws://{}", self.main)
    }

    pub(crate) fn http(&self) -> String {
        format!("http://{}", self.main)
    }

    /// A GET, as status and JSON.
    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        parse(&http(&self.main, &format!("GET {path}"), ""))
    }

    /// Any call, as status and JSON.
    pub(crate) fn call(&self, head: &str, body: &str) -> (u16, Value) {
        parse(&http(&self.main, head, body))
    }

    /// A push, as status and JSON.
    pub(crate) fn push(&self, body: &str) -> (u16, Value) {
        parse(&http(&self.main, "POST /v1/push", body))
    }

    /// The answer of the ops port.
    pub(crate) fn statusz(&self) -> Value {
        parse(&http(&self.ops, "GET /statusz", "")).1
    }
}

fn parse(answer: &str) -> (u16, Value) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
}

impl Cluster {
    /// Stops the store of several logic nodes where it is: it keeps its connections and answers nobody.
    pub(crate) fn pause_store(&self) {
        let pid = self.redis.as_ref().unwrap().process.id();
        assert!(Command::new("sh").args(["-c", &format!("kill -STOP {pid}")]).status().unwrap().success());
    }

    /// The state that a logic node sees each gateway in.
    pub(crate) fn states(&self, logic: usize) -> Vec<String> {
        let (_, gateways) = self.logics[logic].get("/v1/gateways");
        let gateways = gateways.as_array().cloned().unwrap_or_default();
        gateways.iter().map(|gateway| gateway["state"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Waits until a logic node is linked to so many gateways.
    pub(crate) fn wait_for_linked(&self, logic: usize, gateways: usize) {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let states = self.states(logic);
            if states.iter().filter(|state| *state == "linked").count() == gateways {
                return;
            }
            assert!(std::time::Instant::now() < until, "logic {logic} sees {states:?}");
            std::thread::yield_now();
        }
    }
}
