//! `tidegate gateway`: one gateway of a cluster.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::BoolishValueParser;
use common::descriptors::Descriptors;

use super::admission::Admission;
use super::limits;
use super::node::{self, Common};
use super::reload::Reloader;
use super::tls::{self, Plaintext};
use super::{Command, values};
use crate::failure::Failure;
use crate::sockets::{self, Passed};
use crate::{nodes, output};

const EXAMPLES: &str = "Examples:
  tidegate gateway --insecure
  tidegate gateway --listen 0.0.0.0:7200 --ingress 10.0.0.5:7201 --link-secret-file /etc/tidegate/link \\
                   --announce http://10.0.0.2:7100 --advertise wss://gw1.example.com
  tidegate gateway --listen 0.0.0.0:7200 --tls-cert cert.pem --tls-key key.pem --token-key-file token.key …

A logic node finds a gateway by its own list (--gateway), by DNS (--gateway-dns), or because the gateway announces itself.";

/// Flags of a gateway.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where clients connect
    #[arg(long, env = "TIDEGATE_LISTEN", hide_env_values = true, default_value = "127.0.0.1:7200", value_parser = values::listen)]
    listen: SocketAddr,
    /// Where logic nodes connect
    #[arg(long, env = "TIDEGATE_INGRESS", hide_env_values = true, default_value = "127.0.0.1:7201", value_parser = values::listen)]
    ingress: SocketAddr,
    /// The operator's port: /healthz, /readyz, /metrics, /statusz
    #[arg(long, env = "TIDEGATE_OPS", hide_env_values = true, default_value = "127.0.0.1:7209", value_parser = values::listen)]
    ops: SocketAddr,
    /// What the node is called; unique in the cluster [default: the machine's name and the port]
    #[arg(long, env = "TIDEGATE_NAME", hide_env_values = true, value_parser = values::name)]
    name: Option<String>,
    /// Announce this gateway to the logic node at this URL (repeatable)
    #[arg(long, env = "TIDEGATE_ANNOUNCE", hide_env_values = true, value_name = "URL", value_delimiter = ',', value_parser = values::logic_url)]
    announce: Vec<String>,
    /// The URL under which clients reach this gateway [default: ws:// and the address of --listen]
    #[arg(long, env = "TIDEGATE_ADVERTISE", hide_env_values = true, value_name = "URL", value_parser = values::client_url)]
    advertise: Option<String>,
    /// File with the secret that logic nodes must prove (16 bytes of visible ASCII or more)
    #[arg(long, env = "TIDEGATE_LINK_SECRET_FILE", hide_env_values = true, value_name = "FILE")]
    link_secret_file: Option<PathBuf>,
    /// Start without a link secret, or without keys: then clients are believed whoever they say they are
    #[arg(long, env = "TIDEGATE_INSECURE", hide_env_values = true, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL", value_parser = BoolishValueParser::new())]
    insecure: bool,
    /// Client connections at a time [default: what the descriptors allow, at most 1000000]
    #[arg(long, env = "TIDEGATE_MAX_CONNECTIONS", hide_env_values = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,
    #[command(flatten)]
    tls: tls::Outside,
    #[command(flatten)]
    ingress_tls: tls::Ingress,
    #[command(flatten)]
    admission: Admission,
    #[command(flatten)]
    limits: limits::Gateway,
    #[command(flatten)]
    edge: limits::Edge,
    #[command(flatten)]
    flow: Flow,
    /// Threads that write [default: one for each core]
    #[arg(long, env = "TIDEGATE_WORKERS", hide_env_values = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// Serve /echo too, which sends back what it hears: for conformance suites, and nothing that strangers should reach
    #[arg(long, env = "TIDEGATE_ECHO", hide = true, hide_env_values = true, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL", value_parser = BoolishValueParser::new())]
    echo: bool,
    #[command(flatten)]
    common: Common,
}

/// Flags that `dev` gives to its gateways too.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Flow {
    /// How long items gather before they leave as one frame; 0: not at all
    #[arg(long, env = "TIDEGATE_WINDOW", hide_env_values = true, default_value = "1s", value_name = "DURATION", value_parser = values::window)]
    pub(super) window: Duration,
    /// When the first item after a quiet window leaves
    #[arg(long, env = "TIDEGATE_WINDOW_MODE", hide_env_values = true, default_value = "trailing")]
    pub(super) window_mode: WindowMode,
    /// Over how long a drain spreads the good-byes
    #[arg(long, env = "TIDEGATE_DRAIN", hide_env_values = true, default_value = "30s", value_name = "DURATION", value_parser = values::drain)]
    pub(super) drain: Duration,
    /// What happens to a client that reads too slowly
    #[arg(long, env = "TIDEGATE_SLOW", hide_env_values = true, default_value = "close")]
    pub(super) slow: Slow,
    /// How often each client is pinged
    #[arg(long, env = "TIDEGATE_HEARTBEAT", hide_env_values = true, default_value = "25s", value_name = "DURATION", value_parser = values::heartbeat)]
    pub(super) heartbeat: Duration,
    /// Tell clients to reconnect once they have been here for so long, a tenth more or less, so that gateways that were
    /// added get their share [default: they may stay]
    #[arg(long, env = "TIDEGATE_MAX_CONNECTION_AGE", hide_env_values = true, value_name = "DURATION", value_parser = values::stay)]
    pub(super) max_connection_age: Option<Duration>,
    /// How hard frames are compressed for clients that negotiate permessage-deflate; 0: it is not offered
    #[arg(long, env = "TIDEGATE_DEFLATE_LEVEL", hide_env_values = true, default_value = "6", value_name = "0-9", value_parser = clap::value_parser!(u32).range(0..=9))]
    pub(super) deflate_level: u32,
    /// Frames with a shorter payload are not compressed
    #[arg(long, env = "TIDEGATE_DEFLATE_MIN", hide_env_values = true, default_value = "256B", value_name = "SIZE", value_parser = values::short)]
    pub(super) deflate_min: usize,
}

/// When the first item after a quiet window leaves.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum WindowMode {
    /// With the others, at the end of the window
    Trailing,
    /// At once; the others together at the end
    Leading,
}

/// What happens to a client that reads too slowly.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Slow {
    /// It is closed with 4002 and reconnects
    Close,
    /// What does not fit is dropped, and it is told so
    Drop,
}

impl Flow {
    /// Puts these into the settings of a gateway.
    pub(super) fn apply(&self, settings: &mut ::gateway::Settings) {
        settings.window = self.window;
        settings.window_mode = match self.window_mode {
            WindowMode::Trailing => ::gateway::WindowMode::Trailing,
            WindowMode::Leading => ::gateway::WindowMode::Leading,
        };
        settings.drain = self.drain;
        settings.heartbeat = self.heartbeat;
        settings.connection_age_max = self.max_connection_age;
        settings.deflate_level = self.deflate_level;
        settings.deflate_bytes_min = self.deflate_min;
        settings.slow = match self.slow {
            Slow::Close => ::gateway::Slow::Close,
            Slow::Drop => ::gateway::Slow::Drop,
        };
    }
}

impl Args {
    /// The settings, checked against each other.
    ///
    /// # Errors
    /// What cannot be (78).
    pub(super) fn settings(&self) -> Result<::gateway::Settings, Failure> {
        let link_secret = node::secret(self.link_secret_file.as_deref())?;
        if link_secret.is_none() && !self.ingress_tls.wants_certificates() && !self.insecure {
            return Err(Failure::config(
                "a gateway without a link secret would let anyone push to its clients, so it does not start.\n\
                 Give it --link-secret-file FILE (the same secret as the logic nodes'; make one with: openssl rand -hex 32 > FILE),\n\
                 or --link-tls-client-ca FILE, so that they prove themselves with certificates, or --insecure on a network that you trust",
            ));
        }
        if !self.admission.has_keys() && !self.insecure {
            return Err(Failure::config(
                "a gateway without keys for tokens cannot know who its clients are, so it does not start.\n\
                 Give it --token-key-file FILE (a public key, JSON Web Keys, or a secret; tidegate token --help)\n\
                 or --token-jwks-url URL,\n\
                 or --insecure, which believes what clients say of themselves",
            ));
        }
        self.common.check()?;
        self.limits.check(self.flow.heartbeat)?;
        let outgoing_tls = self.admission.outgoing(&self.announce)?;
        let mut settings = ::gateway::Settings {
            name: self.name.clone().unwrap_or_else(|| node::default_name("gateway", self.listen.port())),
            listen: self.listen,
            ingress: self.ingress,
            ops: self.ops,
            advertise: self.advertise.clone(),
            announce: self.announce.clone(),
            link_secret,
            edge: self.edge.edge()?,
            tls: self.tls.read()?,
            link_tls: self.ingress_tls.read()?,
            admission: self.admission.read(self.insecure, outgoing_tls.as_ref())?,
            outgoing_tls,
            slow_push: self.common.slow_push,
            echo: self.echo,
            ..Default::default()
        };
        self.flow.apply(&mut settings);
        self.limits.apply(&mut settings);
        if let Some(most) = self.max_connections {
            settings.max_connections = most as usize;
        }
        if let Some(workers) = self.workers {
            settings.workers = workers.into();
        }
        Ok(settings)
    }

    /// Says where others could read along.
    fn warn_plaintext(&self, settings: &::gateway::Settings) {
        let has_tls = (settings.tls.is_some(), settings.link_tls.is_some());
        let flags = "--tls-cert and --tls-key, unless a proxy before it speaks TLS";
        let ports = Plaintext::default().port("clients", settings.listen, has_tls.0, flags).port(
            "links",
            self.ingress,
            has_tls.1,
            "--link-tls-cert and --link-tls-key",
        );
        self.announce.iter().fold(ports, |found, url| found.call("announcing to", url)).warn();
    }

    /// Says what --insecure opens.
    fn warn_insecure(&self, settings: &::gateway::Settings) {
        let is_proved = settings.link_secret.is_some() || self.ingress_tls.wants_certificates();
        match (is_proved, self.admission.has_keys()) {
            (false, false) => node::warn_insecure(
                "anyone may drive this gateway, and its clients are believed whoever they say they are",
            ),
            (true, false) => node::warn_insecure("clients are believed whoever they say they are"),
            (false, true) => node::warn_insecure("anyone may drive this gateway"),
            (true, true) => tracing::warn!("--insecure opens nothing: links are proved, and there are keys"),
        }
    }

    /// Runs the gateway to its end.
    ///
    /// # Errors
    /// Settings that cannot be, a port that cannot be had, a part that failed.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut settings = self.settings()?;
        self.common.start_logging()?;
        let passed = sockets::take("a gateway", "clients", settings.listen)?;
        settings.listen = passed.address;
        self.common.watch_stdin()?;
        if self.insecure {
            self.warn_insecure(&settings);
        }
        self.warn_plaintext(&settings);
        if settings.echo {
            tracing::warn!(
                "--echo: /echo sends back what it hears, up to 16 MiB a message; for conformance suites only"
            );
        }
        let descriptors = nodes::raise_descriptors();
        self.fit(&mut settings, descriptors.connections());
        nodes::on_runtime(Box::pin(serve(settings, passed, descriptors)))
    }

    /// Lets in as many clients as descriptors allow, unless another number was asked for.
    fn fit(&self, settings: &mut ::gateway::Settings, fit: usize) {
        if self.max_connections.is_none() {
            settings.max_connections = settings.max_connections.min(fit);
        } else if settings.max_connections > fit {
            let asked = settings.max_connections;
            tracing::warn!(
                asked,
                fit,
                "--max-connections is more than the descriptors allow: raise their limit (LimitNOFILE, ulimit -n), or clients beyond {fit} wait in the backlog"
            );
        }
    }
}

async fn serve(
    settings: ::gateway::Settings,
    passed: Passed,
    descriptors: Descriptors,
) -> Result<(), Failure> {
    let signals = nodes::signals()?;
    let flags = [("--listen", settings.listen), ("--ingress", settings.ingress), ("--ops", settings.ops)];
    let connections = settings.max_connections;
    let bound = ::gateway::Node::bind_with(settings, passed.listener).await;
    let bound = bound.map_err(|error| nodes::not_bound(&error, &flags))?;
    let text = format!(
        "gateway {}\n  clients      {}://{}/ws\n  link         {}\n  ops          http://{}/statusz\n  \
         descriptors  {}: up to {connections} clients",
        bound.name(),
        bound.scheme(),
        bound.clients_addr(),
        bound.ingress_addr(),
        bound.ops_addr(),
        descriptors.limit,
    );
    let (tuner, fit) = (bound.tuner(), descriptors.connections());
    let reloader = Reloader::new("gateway", vec![tuner.reloads.clone()], move |command| {
        let Command::Gateway(args) = command else { return Ok(()) };
        let mut settings = args.settings()?;
        args.fit(&mut settings, fit);
        tuner.tune(&settings);
        Ok(())
    })?;
    let ready = async move { output::line(&format!("{text}\nREADY")) };
    Box::pin(nodes::run(vec![vec![nodes::Part::gateway(bound)]], ready, signals, reloader)).await
}

#[cfg(test)]
mod tests {
    use crate::cli::{Cli, Command};
    use clap::Parser;

    #[test]
    fn the_defaults_of_the_flags_are_those_of_a_gateway() {
        let cli = Cli::parse_from(["tidegate", "gateway", "--insecure", "--name=gateway"]);
        let Command::Gateway(args) = cli.command else { panic!("not a gateway") };
        let mut expected = ::gateway::Settings {
            admission: ::gateway::Admission { open: true, ..Default::default() },
            ..Default::default()
        };
        expected.name = "gateway".into();
        assert_eq!(format!("{:?}", args.settings().unwrap()), format!("{expected:?}"));
    }
}
