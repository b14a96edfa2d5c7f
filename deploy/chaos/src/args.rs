//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::cluster::Engine;
use crate::schedule::ACTS;

/// Faults for a cluster of real processes, and a checker of what its clients saw
#[derive(Debug, Parser)]
#[command(name = "tidegate-chaos", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: Run,
}

/// What there is beside a plain run.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Random faults for a while; what is done without a command
    Run(Run),
    /// 200,000 pushes and 100 kills over all roles, Redis (AOF) included
    Long(Run),
    /// Racing copies of each call at several nodes, with kills: one offset each
    Keys {
        /// How many keys
        #[arg(long, default_value_t = 10_000)]
        count: u64,
        #[command(flatten)]
        run: Run,
    },
    /// Redis comes back with less than it had, again and again: resets, and no silent hole
    Rollback {
        /// How often
        #[arg(long, default_value_t = 50)]
        trials: u32,
        #[command(flatten)]
        run: Run,
    },
    /// Redis is away for --for: plain rooms flow on, histories say so, and come back
    RedisDown {
        /// What happens to it: kill, pause or blackhole
        #[arg(long, default_value = "kill", value_parser = ["kill", "pause", "blackhole"])]
        how: String,
        #[command(flatten)]
        run: Run,
    },
    /// Every node is replaced, one after the other, under load: nothing lost, and nobody moved twice
    Rolling(Rolling),
    /// Reads the logs of an earlier run
    Check {
        /// Their folder
        folder: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Flags of a run; each command has defaults of its own for those that are not given.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Run {
    /// Logic nodes [default: 1 with an engine of their own, 2 over Redis]
    #[arg(long)]
    pub(crate) logic: Option<u32>,
    /// Gateways [default: 3]
    #[arg(long)]
    pub(crate) gateways: Option<u32>,
    /// Clients [default: 300]
    #[arg(long)]
    pub(crate) clients: Option<u32>,
    /// embedded, data-dir, redis (one of its own), or the URL of a Redis that is left alone [default: embedded]
    #[arg(long)]
    pub(crate) engine: Option<String>,
    /// How the Redis of a run writes to disk: aof (each command), or rdb (only when told to)
    #[arg(long, default_value = "aof", value_parser = ["aof", "rdb"])]
    pub(crate) redis: String,
    /// How long it takes, the quiet end included [default: 60s]
    #[arg(long = "for", value_parser = humantime::parse_duration)]
    pub(crate) length: Option<Duration>,
    /// End after so many pushes to histories instead
    #[arg(long)]
    pub(crate) pushes: Option<u64>,
    /// Pushes to histories a second; a quarter as many go to rooms without [default: 300]
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// So many processes are killed, all roles in turn [default: as it comes]
    #[arg(long)]
    pub(crate) kills: Option<usize>,
    /// What faults, mix and clients are drawn from [default: another each time]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Who may have faults
    #[arg(long, value_delimiter = ',', default_values_t = ROLES.map(str::to_owned), value_parser = ROLES)]
    pub(crate) roles: Vec<String>,
    /// Which faults
    #[arg(long, value_delimiter = ',', default_values_t = ACTS.map(str::to_owned), value_parser = ACTS)]
    pub(crate) faults: Vec<String>,
    /// The gateways' window
    #[arg(long, default_value = "100ms")]
    pub(crate) window: String,
    /// Where the logs go; kept [default: a folder of the system's for such, kept if something is found]
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// The program tidegate [default: beside this one]
    #[arg(long)]
    pub(crate) program: Option<PathBuf>,
    /// The report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of a rolling restart.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Rolling {
    /// Logic nodes, over a Redis of the run's own (AOF)
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..=20))]
    pub(crate) logic: u32,
    /// Gateways
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=20))]
    pub(crate) gateways: u32,
    /// Clients, each in two rooms with a history
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(20..=1_000_000))]
    pub(crate) clients: u32,
    /// Pushes a second to these rooms, of which there are a tenth as many as clients
    #[arg(long, default_value_t = 500.0)]
    pub(crate) rate: f64,
    /// Over how long each gateway spreads its good-byes
    #[arg(long, default_value = "15s", value_parser = humantime::parse_duration)]
    pub(crate) drain: Duration,
    /// The gateways' window
    #[arg(long, default_value = "100ms")]
    pub(crate) window: String,
    /// An older release of the program: the cluster starts with it, and each node is replaced by one of the current
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) previous: Option<PathBuf>,
    /// And then back to the older release, node by node
    #[arg(long, requires = "previous")]
    pub(crate) back: bool,
    /// What rooms and ways of clients are drawn from [default: another each time]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Where the nodes' logs go; kept [default: a folder of the system's for such, kept if something is found]
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// The program tidegate [default: beside this one]
    #[arg(long)]
    pub(crate) program: Option<PathBuf>,
    /// The report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Who can have faults.
const ROLES: [&str; 6] = ["gateway", "logic", "redis", "client-link", "gateway-link", "redis-link"];

impl Run {
    /// The engine that is asked for, or else `default`.
    ///
    /// # Errors
    /// One that there is not.
    pub(crate) fn engine(&self, default: &str) -> Result<Engine, String> {
        let aof = self.redis == "aof";
        match self.engine.as_deref().unwrap_or(default) {
            "embedded" => Ok(Engine::Embedded),
            "data-dir" => Ok(Engine::DataDir),
            "redis" if aof => Ok(Engine::RedisAof),
            "redis" => Ok(Engine::RedisRdb),
            url if url.contains("://") => Ok(Engine::Url(url.to_owned())),
            other => Err(format!("--engine {other:?}: embedded, data-dir, redis, or a URL")),
        }
    }
}
