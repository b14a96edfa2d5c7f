//! The command line.

mod output;
mod outside;
mod scenario;
mod stage;
mod words;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use loadtest::{Events, Mix, Order, Plan, Remote, Verify, floor};

pub(crate) use output::{Asked, CompareArgs, JsonOutput, Output};
pub(crate) use outside::{AnyArgs, PeersArgs, PlanArgs};
pub(crate) use scenario::{Scenario, list};
pub(crate) use stage::{DoctorArgs, StageArgs};
use words::{Rate, read_count, read_key, read_size};

/// Where a cluster for development has its API.
const LOGIC: &str = "http://127.0.0.1:7100";

/// Clients and publishers for Tidegate that verify every item at every client.
///
/// Exit codes: 0 everything arrived, once, in order, whole; 1 it did not, or the run failed; 2 usage;
/// 69 a target is not reachable or not what it should be; 99 a threshold is missed; 130 interrupted (a partial
/// report is printed).
#[derive(Debug, Parser)]
#[command(name = "tidegate-loadtest", version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Open clients on a cluster that runs, publish, verify, report
    Run(Box<RunArgs>),
    /// Start a cluster on this machine, open a million clients, push, verify, report, and end the cluster
    #[command(
        after_help = "Where the scenario names a value, that stands in place of the default shown here: see `scenario show million`."
    )]
    Million(Box<MillionArgs>),
    /// Runs under a name: list them, show one, run one or a file like it
    #[command(subcommand)]
    Scenario(ScenarioCommand),
    /// Say what this machine allows, how a run would be laid out on it, and what to change.
    ///
    /// Exit codes: 0 it fits; 1 it does not.
    Doctor(DoctorArgs),
    /// Measure what the kernel alone costs: bare sends over as many sockets, and readers that only count.
    ///
    /// Exit codes: 0 the figures may be quoted; 1 they may not, for packets or connections were dropped,
    /// segments sent again, or bytes lost; 2 usage.
    Floor(FloorArgs),
    /// Measure other servers beside Tidegate, in the same run: CPU a frame and an item, memory a client, latency, loss.
    ///
    /// Exit codes: 0 all that are installed were measured; 1 one could not be; 2 usage; 69 none is installed;
    /// 130 interrupted (what was measured is printed).
    Peers(Box<PeersArgs>),
    /// Measure any server that pushes over WebSocket and runs already.
    ///
    /// Exit codes: 0 every item at every client, once, in order, whole; 1 not so; 2 usage; 69 it cannot be reached, or is
    /// not what it was said to be; 130 interrupted.
    Any(Box<AnyArgs>),
    /// Work out what a cluster needs for so many clients and items: a model, from measured costs
    Plan(Box<PlanArgs>),
    /// Hold clients for a run on another machine, which was started with --agents, until that ends
    ///
    /// Exit codes: 0 the run had what it wanted; 1 it could not be joined, or ended before its time; 2 usage.
    Agent(AgentArgs),
    /// Show two reports of the same plan beside each other, and what is worse in the second beyond noise.
    ///
    /// Exit codes: 0 nothing is worse; 1 something is; 2 they cannot be read or compared; 99 a threshold is missed.
    Compare(CompareArgs),
    /// Print reports as one table in Markdown, a row each: cores, memory, network, latency by clients online
    Table {
        /// Reports as JSON, in the order of their rows
        #[arg(value_name = "FILE.json", required = true)]
        reports: Vec<PathBuf>,
        /// Write a page too: what a connection, a frame and an item cost as clients become more
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct AgentArgs {
    /// Where the run takes agents
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) join: String,
    /// What the run printed; better not given as an argument, which others can see
    #[arg(long, env = "TIDEGATE_SECRET", hide_env_values = true)]
    pub(crate) secret: String,
    /// How long to wait for the run to begin
    #[arg(long, default_value = "1m", value_parser = humantime::parse_duration)]
    pub(crate) patience: Duration,
}

#[derive(Debug, clap::Args)]
pub(crate) struct MillionArgs {
    /// What to do with the clients: the name of a scenario, or a file
    #[arg(long, value_name = "NAME|FILE", default_value = "million")]
    pub(crate) scenario: String,
    #[command(flatten)]
    pub(crate) stage: StageArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ScenarioCommand {
    /// Names, and what each is
    List,
    /// Print one, to read or to begin with
    Show {
        /// Name of a scenario
        scenario: String,
    },
    /// Run one: on a cluster that is started for it, or on the one of --target
    Run(Box<ScenarioRunArgs>),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ScenarioRunArgs {
    /// Name of a scenario, or a file; flags go before what it says
    #[arg(value_name = "NAME|FILE")]
    pub(crate) scenario: String,
    #[command(flatten)]
    pub(crate) stage: StageArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct FloorArgs {
    /// Connections; more than one process may hold are several pairs of processes
    #[arg(long, default_value_t = 10_000)]
    connections: u32,
    /// Size of a frame, header included: bytes, or as in 4KiB
    #[arg(long, default_value = "200", value_parser = read_size)]
    bytes: usize,
    /// How often each connection gets a frame
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// From the beginning of a round to the next, as a gateway that merges writes; 0s: at once
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    every: Duration,
    /// Threads that send, and as many that read; 0: one a core
    #[arg(long, default_value_t = 0)]
    threads: usize,
    #[command(flatten)]
    output: JsonOutput,
}

impl FloorArgs {
    /// What to measure, and where its report goes.
    pub(crate) fn split(self) -> (floor::Plan, JsonOutput) {
        let Self { connections, bytes, rounds, every, threads, output } = self;
        (floor::Plan { connections, bytes, rounds, every, threads, program: None }, output)
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Clients to open: 2000, 20k, 1m
    #[arg(long, visible_alias = "connections", value_name = "N", default_value = "1000", value_parser = read_count)]
    clients: u32,
    /// Where clients connect; repeatable, clients spread over all of them evenly [default: all gateways that
    /// the logic nodes have links to, by the clientUrl in their GET /v1/gateways]
    #[arg(long = "gateway", value_name = "URL")]
    gateways: Vec<String>,
    /// Where pushes go; repeatable, pushes take turns [default: http://127.0.0.1:7100, or the cluster that is started]
    #[arg(long = "logic", visible_alias = "target", value_name = "URL")]
    logics: Vec<String>,
    /// Put in front of every room's and user's name, so that several of these programs can share a cluster; the
    /// mix has no all then
    #[arg(long, default_value = "")]
    prefix: String,
    /// Rooms there are
    #[arg(long, default_value_t = 200)]
    rooms: u32,
    /// Rooms that each client joins
    #[arg(long, default_value_t = 5)]
    rooms_per_client: u32,
    /// Clients that share one user
    #[arg(long, default_value_t = 2)]
    clients_per_user: u32,
    /// Pushes a second, over all logic nodes; 0: none, clients only connect; max: as fast as they are answered
    #[arg(long, value_name = "N|max", default_value_t = Rate::PerSec(100.0))]
    rate: Rate,
    /// For how long to publish
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Size of each push's data: bytes, or as in 64KiB
    #[arg(long, default_value = "200", value_parser = read_size)]
    size: usize,
    /// Weights of the targets: all, room, user, client, rooms
    #[arg(long, default_value_t = Mix::default())]
    mix: Mix,
    /// Rooms, users and clients as targets: random, or turn: each gets exactly its share, one after the other
    #[arg(long, default_value_t = Order::Random)]
    order: Order,
    /// Part of the pushes that is urgent, 0 to 1
    #[arg(long, default_value_t = 0.02)]
    urgent_share: f64,
    /// Merge window of the cluster, if it is not what its hello says
    #[arg(long, value_parser = humantime::parse_duration)]
    window: Option<Duration>,
    /// Seed of everything drawn; the same seed is the same run
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Processes that hold the clients; 1: this one does; 0: as many as the limit of descriptors demands
    #[arg(long, default_value_t = 0)]
    processes: u32,
    /// Wait for so many agents on other machines to hold the clients; 0: they are held here
    #[arg(long, default_value_t = 0)]
    agents: u32,
    /// Where those join
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:7400")]
    agents_listen: SocketAddr,
    /// Part of the clients that close and come back, a second, 0 to 1; what they miss meanwhile is excused
    #[arg(long, default_value_t = 0.0)]
    churn: f64,
    /// Part of the clients that leave a room and join it again, a second, 0 to 1
    #[arg(long, default_value_t = 0.0)]
    moves: f64,
    /// How much sizes of rooms differ: the exponent of Zipf's law; 0: they are all alike
    #[arg(long, value_name = "EXPONENT", default_value_t = 0.0)]
    zipf: f64,
    /// Clients that cannot connect try the other gateways too
    #[arg(long)]
    failover: bool,
    /// Count items that come so long after their intended time as late, which fails the run
    #[arg(long, value_parser = humantime::parse_duration)]
    late: Option<Duration>,
    /// Source addresses 127.0.0.2 and up, for more than about 28,000 clients a gateway; 0: as many as keep
    /// connects quick
    #[arg(long, default_value_t = 0)]
    source_addresses: u32,
    /// Items of other publishers: strict counts them as corrupted, shared passes them over
    #[arg(long, default_value = "strict")]
    verify: Verify,
    /// Part of the clients that never read after their hello, 0 to 1; slow clients are judged apart
    #[arg(long, default_value_t = 0.0)]
    stalled_share: f64,
    /// Part of the clients that read slowly, 0 to 1
    #[arg(long, default_value_t = 0.0)]
    slow_share: f64,
    /// What one of those reads a second
    #[arg(long, default_value = "1KiB", value_parser = read_size)]
    slow_read: usize,
    /// Part of the clients that offer permessage-deflate, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    deflate: f64,
    /// Connects a second, at most; 0: as fast as they succeed
    #[arg(long, default_value_t = 2_000)]
    connect_rate: u32,
    /// Connects and handshakes under way at once, at most
    #[arg(long, default_value_t = 512)]
    connects_in_flight: u32,
    /// Time from connect to hello, at most
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    handshake_time: Duration,
    /// Connections to each logic node
    #[arg(long, default_value_t = 16)]
    publisher_connections: usize,
    /// Pushes of one target in one call, at most: those that wait for the answer to the call before go as a batch
    #[arg(long, default_value_t = 1)]
    batch: u32,
    /// Event loops of each process of clients; 0: one for each core that is left for it, at most four
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Time from a client's hello until items count for it
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    settle: Duration,
    /// After the last push, how long items may still come
    #[arg(long, default_value = "15s", value_parser = humantime::parse_duration)]
    drain: Duration,
    /// A gateway (or `all`) whose clients may lose connections: misses meanwhile are excused; repeatable
    #[arg(long, value_name = "URL|all")]
    expect_churn: Vec<String>,
    /// File with the key for the API of logic
    #[arg(long, value_name = "FILE", value_parser = read_key)]
    api_key_file: Option<String>,
    #[command(flatten)]
    output: Output,
}

/// The command line of this process; ends it where that is wrong, or asks for help.
pub(crate) fn parse() -> Args {
    scenario::parse(std::env::args_os().collect()).unwrap_or_else(|error| error.exit())
}

impl RunArgs {
    /// Whether it names a cluster that runs already.
    fn has_target(&self) -> bool {
        !self.logics.is_empty() || !self.gateways.is_empty()
    }

    /// What to run, and where its report goes.
    pub(crate) fn split(self) -> (Plan, Output) {
        let remote = (self.agents > 0).then(|| Remote {
            listen: self.agents_listen,
            agents: self.agents,
            secret: String::new(),
        });
        let plan = Plan {
            clients: self.clients,
            gateways: self.gateways,
            logics: if self.logics.is_empty() { vec![LOGIC.into()] } else { self.logics },
            prefix: self.prefix,
            rooms: self.rooms,
            rooms_per_client: self.rooms_per_client,
            clients_per_user: self.clients_per_user,
            rate: self.rate.per_sec(),
            closed: self.rate == Rate::Max,
            duration: self.duration,
            size: self.size,
            mix: self.mix,
            order: self.order,
            urgent_share: self.urgent_share,
            window: self.window,
            seed: self.seed,
            processes: self.processes,
            program: None,
            remote,
            churn: self.churn,
            moves: self.moves,
            zipf: self.zipf,
            failover: self.failover,
            late: self.late,
            events: Events::default(),
            source_addresses: self.source_addresses,
            verify: self.verify,
            stalled_share: self.stalled_share,
            slow_share: self.slow_share,
            slow_read: self.slow_read,
            deflate_share: self.deflate,
            connect_rate: self.connect_rate,
            connects_in_flight: self.connects_in_flight,
            handshake_time_max: self.handshake_time,
            publisher_connections: self.publisher_connections,
            batch: self.batch,
            threads: self.threads,
            settle: self.settle,
            drain: self.drain,
            expect_churn: self.expect_churn,
            api_key: self.api_key_file,
            watched: Vec::new(),
        };
        (plan, self.output)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_its_defaults_are_the_plans() {
        Args::command().debug_assert();
        let Command::Run(asked) = Args::parse_from(["x", "run"]).command else { panic!("run") };
        let (plan, _) = asked.split();
        let defaults =
            Plan { gateways: plan.gateways.clone(), logics: plan.logics.clone(), ..Plan::default() };
        assert_eq!(format!("{plan:?}"), format!("{defaults:?}"));
        assert_eq!(plan.check(), Ok(()));
        let Command::Floor(asked) = Args::parse_from(["x", "floor"]).command else { panic!("floor") };
        assert_eq!(format!("{:?}", asked.split().0), format!("{:?}", floor::Plan::default()));
    }
}
