//! `tidegate dev`: one logic node and some gateways in one process.
//!
//! A deployment, not a second code path: the nodes are those of a cluster and speak HTTP/2 over loopback.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use common::descriptors::Descriptors;

use super::admission::Admission;
use super::gateway::Flow;
use super::node::{self, Common};
use super::reload::Reloader;
use super::tls::Plaintext;
use super::{Command, history, limits, values};
use crate::failure::Failure;
use crate::{nodes, output, web};

const EXAMPLES: &str = "Examples:
  tidegate                                            the same as tidegate dev
  tidegate dev --gateways 3 --window 100ms
  tidegate dev --port-base 0                          on ports that are free
  tidegate dev --rooms-per-client 2 --data-bytes 1KiB limits as gateway and logic have them
  tidegate dev --listen-host 0.0.0.0 --insecure       reachable by others: no keys, no tokens";

/// Ports of one node are this far from those of the next; the ops port is the ninth.
const PORTS_A_NODE: u16 = 100;
const LINK: u16 = 1;
const OPS: u16 = 9;

/// How often it is looked whether all gateways are linked, and how long one look may take.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const LOOK_TIME_MAX: Duration = Duration::from_secs(2);

/// Logic has this long to flush its links before the gateways say good-bye.
const LOGIC_DRAIN_MAX: Duration = Duration::from_secs(5);

/// Flags of `dev`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// How many gateways
    #[arg(long, env = "TIDEGATE_GATEWAYS", hide_env_values = true, default_value = "2", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    gateways: u16,
    /// Address to listen on; other than loopback only with --insecure
    #[arg(long, env = "TIDEGATE_LISTEN_HOST", hide_env_values = true, default_value = "127.0.0.1", value_name = "ADDRESS", value_parser = values::host)]
    listen_host: IpAddr,
    /// Port of the API; gateways have theirs from 100 above; 0: ports that are free
    #[arg(
        long,
        env = "TIDEGATE_PORT_BASE",
        hide_env_values = true,
        default_value = "7100",
        value_name = "PORT"
    )]
    port_base: u16,
    /// Directory in which histories outlive the process [default: they end with it]
    #[arg(long, env = "TIDEGATE_DATA_DIR", hide_env_values = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Allow addresses other than loopback, without keys, tokens and link secret
    #[arg(long, env = "TIDEGATE_INSECURE", hide_env_values = true, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL", value_parser = BoolishValueParser::new())]
    insecure: bool,
    #[command(flatten)]
    admission: Admission,
    #[command(flatten)]
    flow: Flow,
    /// Client connections of one gateway at a time [default: its share of the descriptors]
    #[arg(long, env = "TIDEGATE_MAX_CONNECTIONS", hide_env_values = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,
    #[command(flatten)]
    gateway_limits: limits::Gateway,
    #[command(flatten)]
    logic_limits: limits::Logic,
    #[command(flatten)]
    common: Common,
}

/// The settings of all nodes, gateways first.
pub(super) struct Cluster {
    gateways: Vec<::gateway::Settings>,
    logic: ::logic::Settings,
}

impl Args {
    /// The settings of all nodes; logic does not know its gateways yet.
    ///
    /// # Errors
    /// What cannot be (78).
    pub(super) fn settings(&self) -> Result<Cluster, Failure> {
        if !self.listen_host.is_loopback() && !self.insecure {
            return Err(Failure::config(format!(
                "dev has no keys and no tokens, so it listens on loopback only, not on {}.\n\
                 With --insecure it does, for a network that you trust",
                self.listen_host
            )));
        }
        self.common.check()?;
        self.gateway_limits.check(self.flow.heartbeat)?;
        let outgoing_tls = self.admission.outgoing(&[])?;
        let admission = self.admission.read(true, outgoing_tls.as_ref())?;
        let mut gateways = Vec::new();
        for number in 1..=self.gateways {
            let mut settings = ::gateway::Settings {
                name: format!("gateway-{number}"),
                listen: self.at(self.listen_host, number, 0)?,
                // The link is nobody's business but ours, whatever --listen-host says.
                ingress: self.at(Ipv4Addr::LOCALHOST.into(), number, LINK)?,
                ops: self.at(self.listen_host, number, OPS)?,
                admission: admission.clone(),
                slow_push: self.common.slow_push,
                outgoing_tls: outgoing_tls.clone(),
                ..Default::default()
            };
            self.flow.apply(&mut settings);
            self.gateway_limits.apply(&mut settings);
            gateways.push(settings);
        }
        node::check_data_dir(self.data_dir.as_deref())?;
        let given = history::rules(self.common.config.as_deref())?;
        let mut logic = ::logic::Settings {
            history: if given == Default::default() { history::of_dev() } else { given },
            listen: self.at(self.listen_host, 0, 0)?,
            ops: self.at(self.listen_host, 0, OPS)?,
            data_dir: self.data_dir.clone(),
            slow_push: self.common.slow_push,
            drain: self.flow.drain.min(LOGIC_DRAIN_MAX),
            ..Default::default()
        };
        self.logic_limits.apply(&mut logic);
        Ok(Cluster { gateways, logic })
    }

    fn at(&self, host: IpAddr, node: u16, port: u16) -> Result<SocketAddr, Failure> {
        if self.port_base == 0 {
            return Ok((host, 0).into());
        }
        let above = node * PORTS_A_NODE + port;
        match self.port_base.checked_add(above) {
            Some(port) => Ok((host, port).into()),
            None => Err(Failure::config(format!(
                "--port-base {} leaves no room: the highest port would be {}",
                self.port_base,
                u32::from(self.port_base) + u32::from(self.gateways * PORTS_A_NODE + OPS)
            ))),
        }
    }

    /// Runs the cluster to its end.
    ///
    /// # Errors
    /// Settings that cannot be, a port that cannot be had, a part that failed.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut cluster = self.settings()?;
        self.common.start_logging()?;
        self.common.watch_stdin()?;
        if self.insecure {
            node::warn_insecure(
                "anyone who reaches it may push, and clients are believed whoever they say they are",
            );
        }
        let open = SocketAddr::new(self.listen_host, self.port_base);
        Plaintext::default().port("all nodes", open, false, "tidegate gateway and logic have TLS").warn();
        let descriptors = nodes::raise_descriptors();
        let share = self.share(&mut cluster, descriptors.connections());
        nodes::on_runtime(Box::pin(serve(cluster, descriptors, share)))
    }

    /// Lets as many clients into each gateway as descriptors allow: it is one process. How many that are.
    pub(super) fn share(&self, cluster: &mut Cluster, fit: usize) -> usize {
        let share = (fit / usize::from(self.gateways)).max(1);
        let share = self.max_connections.map_or(share, |most| share.min(most as usize));
        for gateway in &mut cluster.gateways {
            gateway.max_connections = gateway.max_connections.min(share);
        }
        share
    }
}

#[cfg(test)]
impl Cluster {
    /// All that can change while the nodes run.
    pub(super) fn changing(&self) -> String {
        format!("{} {}", ::gateway::Tuner::changing(&self.gateways[0]), ::logic::Tuner::changing(&self.logic))
    }
}

async fn serve(cluster: Cluster, descriptors: Descriptors, share: usize) -> Result<(), Failure> {
    let signals = nodes::signals()?;
    let taken = |error: io::Error| match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::ResourceBusy | io::ErrorKind::StorageFull => {
            nodes::not_bound(&error, &[])
        }
        io::ErrorKind::AddrInUse => Failure::failed(format!("{error}; choose other ports with --port-base")),
        _ => Failure::failed(format!("{error}; choose another address with --listen-host")),
    };
    let mut gateways = Vec::new();
    for settings in cluster.gateways {
        gateways.push(::gateway::Node::bind(settings).await.map_err(taken)?);
    }
    let mut settings = cluster.logic;
    settings.gateways = gateways.iter().map(|gateway| gateway.ingress_addr().to_string()).collect();
    let logic = ::logic::Node::bind(settings).await.map_err(taken)?;
    let (api, wanted) = (reachable(logic.api_addr()), gateways.len());
    output::line(&addresses(&logic, &gateways, descriptors.limit, share))
        .or_else(|failure| if matches!(failure, Failure::Unread) { Ok(()) } else { Err(failure) })?;
    let ready = async move {
        linked(&api.to_string(), wanted).await;
        output::line("READY")
    };
    let reloader = reloader(&logic, &gateways, descriptors.connections())?;
    let gateways = gateways.into_iter().map(nodes::Part::gateway).collect();
    // Logic first: what it accepted is with the gateways before they send their last frames.
    Box::pin(nodes::run(vec![vec![nodes::Part::logic(logic)], gateways], ready, signals, reloader)).await
}

/// What tells all nodes their settings anew.
fn reloader(logic: &::logic::Node, gateways: &[::gateway::Node], fit: usize) -> Result<Reloader, Failure> {
    let logic = logic.tuner();
    let gateways: Vec<_> = gateways.iter().map(::gateway::Node::tuner).collect();
    let reloads = gateways.iter().map(|tuner| tuner.reloads.clone()).chain([logic.reloads.clone()]).collect();
    Reloader::new("dev", reloads, move |command| {
        let Command::Dev(args) = command else { return Ok(()) };
        let mut cluster = args.settings()?;
        args.share(&mut cluster, fit);
        gateways.iter().zip(&cluster.gateways).for_each(|(tuner, settings)| tuner.tune(settings));
        logic.tune(&cluster.logic);
        Ok(())
    })
}

fn addresses(logic: &::logic::Node, gateways: &[::gateway::Node], descriptors: u64, share: usize) -> String {
    let api = reachable(logic.api_addr());
    let mut text = format!("tidegate dev: 1 logic node, {} gateways, one process\n", gateways.len());
    text += &format!("  logic        API http://{api}  ops http://{}\n", logic.ops_addr());
    for gateway in gateways {
        text += &format!(
            "  {}    clients ws://{}/ws  link {}  ops http://{}\n",
            gateway.name(),
            gateway.clients_addr(),
            gateway.ingress_addr(),
            gateway.ops_addr()
        );
    }
    text += &format!("  descriptors  {descriptors}: up to {share} clients a gateway\n");
    text += &format!(
        "push: curl http://{api}/v1/push -H 'Content-Type: application/json' -d '{{\"to\":{{\"all\":true}},\"data\":{{\"hello\":\"world\"}}}}'\n"
    );
    text + &format!("page: http://{api}/")
}

/// An address to type: the one of "any address" is this machine's.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, address.port())
}

/// Waits until logic is linked to all gateways, asking as anybody would ask.
async fn linked(api: &str, wanted: usize) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        look.tick().await;
        if let Ok((_, body)) = web::get(api, "/v1/gateways", LOOK_TIME_MAX).await
            && count_linked(&body) == wanted
        {
            return;
        }
    }
}

/// How many gateways `GET /v1/gateways` calls linked.
fn count_linked(body: &[u8]) -> usize {
    let answer: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let list = answer.as_array().or_else(|| answer["gateways"].as_array());
    list.into_iter().flatten().filter(|gateway| gateway["state"] == "linked").count()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    #[test]
    fn limits_hold_for_the_nodes_of_dev_as_for_others_and_are_the_same_without_flags() {
        let cluster = |flags: &[&str]| {
            let cli = Cli::parse_from(["tidegate", "dev"].iter().chain(flags));
            let Command::Dev(args) = cli.command else { panic!("not dev") };
            args.settings()
        };
        let plain = cluster(&[]).unwrap();
        assert_eq!(plain.gateways[0].limits, ::gateway::Limits::default());
        assert_eq!(plain.logic.limits, ::logic::Limits::default());
        let flags = ["--rooms-per-client=3", "--outbox=8KiB", "--silence=90s", "--json-depth=9"];
        let given = cluster(&flags).unwrap();
        for gateway in &given.gateways {
            assert_eq!((gateway.limits.rooms_per_client, gateway.outbox_bytes_max), (3, 8 * 1024));
            assert_eq!(gateway.silence_max.as_secs(), 90);
        }
        assert_eq!(given.logic.limits.sizes.json_depth_max, 9);
        assert!(cluster(&["--silence=10s"]).is_err(), "shorter than the heartbeat");
    }
}
