//! A cluster of real nodes on this machine, started for one run and ended with it.
//!
//! Nodes are processes of the program `tidegate`, on ports of 127.0.0.1 that the kernel chooses and the nodes print. Each
//! ends when its standard input does: so none outlives this process, even when that is killed.

mod node;
mod program;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::shutdown::Shutdown;
use common::tasks::Tasks;
use tempfile::NamedTempFile;

use crate::account::{Role, Watched};
use crate::probe;
use crate::publisher::Caller;
use crate::run::Error;
use crate::target::{Endpoint, Scheme};
use node::{Node, Share, Starting};

/// Logic has linked to all gateways in this time: a link takes milliseconds, and processes wait for their cores.
const LINK_TIME_MAX: Duration = Duration::from_secs(60);
const LINK_LOOK_EVERY: Duration = Duration::from_millis(50);

/// Nodes that were told to end take this long at the most: each has thousands of sockets to close.
const END_TIME_MAX: Duration = Duration::from_secs(20);

/// Name of the logic node.
const LOGIC: &str = "logic";

/// Any port that is free.
const ANY: &str = "127.0.0.1:0";

/// Bytes of randomness in the secret of the links.
const SECRET_BYTES: usize = 32;

/// What cluster to start.
#[derive(Debug, Clone, Default)]
pub struct Spec {
    /// How many gateways; at least one is started.
    pub gateways: u32,
    /// The program `tidegate`; `None`: the one beside this program.
    pub program: Option<PathBuf>,
    /// The merge window; `None`: the nodes' own default.
    pub window: Option<Duration>,
    /// More flags for each gateway.
    pub gateway_flags: Vec<String>,
}

/// A cluster that runs. Dropped, its nodes are killed.
#[derive(Debug)]
pub struct Cluster {
    program: PathBuf,
    logic: Node,
    gateways: Vec<Node>,
    /// Kept for a gateway that is started again.
    _secret: NamedTempFile,
    tasks: Tasks,
}

impl Cluster {
    /// Starts one logic node and the gateways, and waits until all are linked.
    ///
    /// # Errors
    /// What cannot be started, with the last lines that it said.
    pub async fn start(spec: &Spec) -> Result<Self, Error> {
        let program = program::find(spec.program.as_deref()).await.map_err(Error::Unreachable)?;
        let secret = secret()
            .map_err(|error| Error::Broken(format!("cannot write the secret of the links: {error}")))?;
        let tasks = Tasks::new(Shutdown::new());
        let gateways = gateways(spec, &program, secret.path(), &tasks).await.map_err(Error::Unreachable)?;
        let mut logic = logic_command(secret.path());
        logic.extend(gateways.iter().flat_map(|gateway| ["--gateway".to_owned(), gateway.link.clone()]));
        let logic = Starting::start(&program, LOGIC, logic, None, &tasks).map_err(Error::Unreachable)?;
        let logic = logic.ready().await.map_err(Error::Unreachable)?;
        let mut cluster = Self { program, logic, gateways, _secret: secret, tasks };
        cluster.linked().await.map_err(Error::Unreachable)?;
        Ok(cluster)
    }

    /// Where clients connect.
    #[must_use]
    pub fn gateways(&self) -> Vec<String> {
        self.gateways.iter().map(|gateway| format!("ws://{}", gateway.main)).collect()
    }

    /// Where pushes go.
    #[must_use]
    pub fn logics(&self) -> Vec<String> {
        vec![format!("http://{}", self.logic.main)]
    }

    /// Name and process of every node that runs, logic first.
    #[must_use]
    pub fn nodes(&self) -> Vec<(&str, u32)> {
        let nodes = std::iter::once(&self.logic).chain(&self.gateways);
        nodes.filter_map(|node| Some((node.name(), node.pid()?))).collect()
    }

    /// Every node that runs, to be accounted for.
    #[must_use]
    pub fn watched(&self) -> Vec<Watched> {
        let role = |name: &str| if name == LOGIC { Role::Logic } else { Role::Gateway };
        let nodes = self.nodes().into_iter();
        nodes.map(|(name, pid)| Watched { role: role(name), name: name.to_owned(), pid }).collect()
    }

    /// Kills a gateway as a crash would.
    pub async fn kill_gateway(&mut self, number: usize) {
        if let Some(gateway) = self.gateways.get_mut(number) {
            gateway.kill().await;
        }
    }

    /// Starts a gateway that was killed once more, on the ports that it had; gives its process.
    ///
    /// # Errors
    /// Why it cannot be started.
    pub async fn restart_gateway(&mut self, number: usize) -> Result<Option<Watched>, Error> {
        let Some(gateway) = self.gateways.get_mut(number) else { return Ok(None) };
        let again = gateway.again(&self.program, &self.tasks).map_err(Error::Unreachable)?;
        *gateway = again.ready().await.map_err(Error::Unreachable)?;
        let (name, pid) = (gateway.name().to_owned(), gateway.pid());
        Ok(pid.map(|pid| Watched { role: Role::Gateway, name, pid }))
    }

    /// Ends all nodes, and gives a line about each that had ended by itself.
    pub async fn stop(mut self) -> Vec<String> {
        let mut nodes: Vec<&mut Node> = std::iter::once(&mut self.logic).chain(&mut self.gateways).collect();
        let mut fallen: Vec<String> = nodes.iter_mut().filter_map(|node| node.fallen()).collect();
        nodes.iter_mut().for_each(|node| node.end());
        let until = tokio::time::Instant::now() + END_TIME_MAX;
        for node in nodes {
            match tokio::time::timeout_at(until, node.ended()).await {
                // A process that is killed is gone for others some time before it is for us.
                Ok(killed) => fallen.extend(killed),
                Err(_) => node.kill().await,
            }
        }
        fallen
    }

    /// Waits until logic says that it is linked to all gateways.
    async fn linked(&mut self) -> Result<(), String> {
        let url = format!("http://{}", self.logic.main);
        let endpoint = Endpoint::parse(&url, Scheme::Http)?;
        let address: SocketAddr = self.logic.main.parse().map_err(|_| format!("{url} is no address"))?;
        let mut caller = Caller::new(endpoint, address, None, self.tasks.clone());
        let begun = Instant::now();
        let mut look = tokio::time::interval(LINK_LOOK_EVERY);
        loop {
            look.tick().await;
            let known = Box::pin(probe::logic(&mut caller, &url)).await?;
            let linked = known.iter().filter(|known| known.is_open()).count();
            if linked == self.gateways.len() {
                return Ok(());
            }
            let fallen = std::iter::once(&mut self.logic).chain(&mut self.gateways).find_map(Node::fallen);
            if let Some(fallen) = fallen {
                return Err(fallen);
            }
            if begun.elapsed() > LINK_TIME_MAX {
                let wanted = self.gateways.len();
                return Err(format!(
                    "logic is linked to {linked} of {wanted} gateways after 60 s\n{}",
                    self.logic.said()
                ));
            }
        }
    }
}

/// Starts the gateways: some at a time, or each would wait for all others' turns on the cores.
async fn gateways(spec: &Spec, program: &Path, secret: &Path, tasks: &Tasks) -> Result<Vec<Node>, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let count = spec.gateways.max(1) as usize;
    // Where gateways are more than cores, one thread each does for what runs on it.
    let share = Share { threads: cores.div_ceil(count), is_lower: count > cores };
    let (mut starting, mut ready) = (VecDeque::new(), Vec::new());
    for number in 0..count {
        if starting.len() > cores
            && let Some(first) = starting.pop_front()
        {
            ready.push(Starting::ready(first).await?);
        }
        let name = format!("gateway-{number}");
        let command = gateway_command(spec, &name, secret, share.threads);
        starting.push_back(Starting::start(program, &name, command, Some(share), tasks)?);
    }
    for last in starting {
        ready.push(last.ready().await?);
    }
    Ok(ready)
}

fn gateway_command(spec: &Spec, name: &str, secret: &Path, workers: usize) -> Vec<String> {
    let mut command = node_command("gateway", secret);
    let workers = workers.to_string();
    command.extend(["--ingress", ANY, "--name", name, "--workers", &workers].map(str::to_owned));
    if let Some(window) = spec.window {
        command.extend(["--window".to_owned(), humantime::format_duration(window).to_string()]);
    }
    command.extend(spec.gateway_flags.iter().cloned());
    command
}

fn logic_command(secret: &Path) -> Vec<String> {
    let mut command = node_command("logic", secret);
    command.extend(["--name", LOGIC].map(str::to_owned));
    command
}

fn node_command(role: &str, secret: &Path) -> Vec<String> {
    let flags = [role, "--insecure", "--end-with-stdin", "--drain", "0s", "--log", "warn"];
    let mut command: Vec<_> = flags.map(str::to_owned).into();
    command.extend(["--listen", ANY, "--ops", ANY].map(str::to_owned));
    command.extend(["--link-secret-file".to_owned(), secret.display().to_string()]);
    command
}

/// A new secret of the links, in a file that only this user can read and that goes away with it.
fn secret() -> std::io::Result<NamedTempFile> {
    let mut random = [0; SECRET_BYTES];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let mut file = NamedTempFile::with_prefix("tidegate-link-")?;
    file.write_all(data_encoding::HEXLOWER.encode(&random).as_bytes())?;
    file.flush()?;
    Ok(file)
}
