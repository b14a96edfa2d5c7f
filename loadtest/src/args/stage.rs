//! Flags of runs for which a cluster is started: `million`, `scenario run`, `doctor`.

use std::path::PathBuf;
use std::time::Duration;

use loadtest::cluster::Spec;
use loadtest::layout::{Asked, Gateways};
use loadtest::{Event, Plan};

use super::words::{read_count, read_event};
use super::{Output, RunArgs};

/// A run on a cluster of its own, unless one is named.
#[derive(Debug, clap::Args)]
pub(crate) struct StageArgs {
    #[command(flatten)]
    local: LocalArgs,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, clap::Args)]
struct LocalArgs {
    /// Gateways to start, at least; 0: as few as the limits of this machine demand
    #[arg(long = "gateways", value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    gateways_here: u32,
    /// The program tidegate [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    tidegate: Option<PathBuf>,
    /// What happens to the cluster, counted from the first push, such as 30s:kill=gateway-1, 40s:start=gateway-1;
    /// repeatable
    #[arg(long = "event", value_name = "AT:DO=GATEWAY", value_parser = read_event)]
    events: Vec<(Duration, Event)>,
    /// One more flag for each gateway that is started, such as --deflate-level=9; repeatable
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    gateway_flag: Vec<String>,
}

impl StageArgs {
    /// What to run, the cluster to start for it, and where its report goes.
    pub(crate) fn split(self) -> (Plan, Option<Spec>, Output) {
        let Self { local, run } = self;
        let is_elsewhere = run.has_target();
        let (mut plan, output) = run.split();
        plan.events.at = local.events;
        let spec = Spec {
            gateways: local.gateways_here,
            program: local.tidegate,
            window: plan.window,
            gateway_flags: local.gateway_flag,
        };
        (plan, (!is_elsewhere).then_some(spec), output)
    }
}

/// Flags of `doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Clients that are to be opened: 20000, 100k, 1m
    #[arg(long, visible_alias = "clients", value_name = "N", default_value = "1m", value_parser = read_count)]
    connections: u32,
    /// Gateways that are to be started on this machine, at least; 0: as few as the limits demand
    #[arg(long, value_name = "N", default_value_t = 0)]
    gateways: u32,
    /// Gateways on other machines that the clients are for, instead of some that are started here
    #[arg(long, value_name = "N", conflicts_with = "gateways", value_parser = clap::value_parser!(u32).range(1..))]
    elsewhere: Option<u32>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl DoctorArgs {
    /// What would be asked of the machine.
    pub(crate) fn asked(&self) -> Asked {
        let defaults = Plan::default();
        Asked {
            clients: self.connections,
            gateways: self.elsewhere.map_or(Gateways::Here(self.gateways), Gateways::Elsewhere),
            agents: 0,
            publishers: defaults.publisher_connections as u32,
            connects_in_flight: defaults.connects_in_flight,
        }
    }
}
