//! `tidegate logic`: one logic node of a cluster.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::logic::Keys;
use clap::builder::BoolishValueParser;
use common::fresh::Fresh;

use super::limits;
use super::node::{self, Common};
use super::reload::Reloader;
use super::tls::{self, Plaintext};
use super::{Command, engine, history, values};
use crate::failure::Failure;
use crate::sockets::{self, Passed};
use crate::{nodes, output};

const EXAMPLES: &str = "Examples:
  tidegate logic --insecure --gateway 127.0.0.1:7201 --gateway 127.0.0.1:7301
  tidegate logic --insecure --listen 10.0.0.2:7100 --gateway-dns gateways.internal:7201 --link-secret-file /etc/tidegate/link

Without --gateway and --gateway-dns it waits for gateways that announce themselves. /readyz says whether one is linked.";

/// Flags of a logic node.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where the API listens
    #[arg(long, env = "TIDEGATE_LISTEN", hide_env_values = true, default_value = "127.0.0.1:7100", value_parser = values::listen)]
    listen: SocketAddr,
    /// The operator's port: /healthz, /readyz, /metrics, /statusz
    #[arg(long, env = "TIDEGATE_OPS", hide_env_values = true, default_value = "127.0.0.1:7109", value_parser = values::listen)]
    ops: SocketAddr,
    /// What the node is called; unique in the cluster [default: the machine's name and the port]
    #[arg(long, env = "TIDEGATE_NAME", hide_env_values = true, value_parser = values::name)]
    name: Option<String>,
    /// Link port of a gateway that is always there (repeatable)
    #[arg(long, env = "TIDEGATE_GATEWAY", hide_env_values = true, value_name = "HOST:PORT", value_delimiter = ',', value_parser = values::host_port)]
    gateway: Vec<String>,
    /// DNS name whose addresses are gateways, looked up again and again (repeatable)
    #[arg(long, env = "TIDEGATE_GATEWAY_DNS", hide_env_values = true, value_name = "NAME:PORT", value_delimiter = ',', value_parser = values::host_port)]
    gateway_dns: Vec<String>,
    #[command(flatten)]
    engine: engine::Engine,
    /// What histories may take of memory; beyond it pushes that would be kept are answered 503. Whose are kept, the
    /// tables [[rooms]] and [[users]] of --config say
    #[arg(long, env = "TIDEGATE_HISTORY_MEMORY", hide_env_values = true, default_value = "512MiB", value_name = "SIZE", value_parser = values::memory)]
    history_memory: usize,
    /// Directory of this node alone in which histories, and what was answered to keys, outlive it [default: they end
    /// with the process]
    #[arg(long, env = "TIDEGATE_DATA_DIR", hide_env_values = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// File with the secret of the link (16 bytes of visible ASCII or more)
    #[arg(long, env = "TIDEGATE_LINK_SECRET_FILE", hide_env_values = true, value_name = "FILE")]
    link_secret_file: Option<PathBuf>,
    /// File with API keys: one a line, or TOML tables `key` with name, scopes (push, read, manage), key and perhaps rate,
    /// calls a second (repeatable; read again when it changes)
    #[arg(
        long,
        env = "TIDEGATE_API_KEY_FILE",
        hide_env_values = true,
        value_name = "FILE",
        value_delimiter = ','
    )]
    api_key_file: Vec<PathBuf>,
    /// An API key that may everything; better in the variable than on a command line, which others can read
    #[arg(long, env = "TIDEGATE_API_KEY", hide_env_values = true, value_name = "KEY", value_delimiter = ',')]
    api_key: Vec<String>,
    /// Start without API keys: anyone may call
    #[arg(long, env = "TIDEGATE_INSECURE", hide_env_values = true, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL", value_parser = BoolishValueParser::new())]
    insecure: bool,
    /// Time to end: calls in progress, then what waits for the links
    #[arg(long, env = "TIDEGATE_DRAIN", hide_env_values = true, default_value = "30s", value_name = "DURATION", value_parser = values::drain)]
    drain: Duration,
    /// Connections of callers at a time; more wait
    #[arg(long, env = "TIDEGATE_MAX_CONNECTIONS", hide_env_values = true, default_value = "10000", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_connections: u32,
    #[command(flatten)]
    limits: limits::Logic,
    #[command(flatten)]
    edge: limits::Edge,
    #[command(flatten)]
    tls: tls::Outside,
    #[command(flatten)]
    links: tls::Links,
    #[command(flatten)]
    common: Common,
}

impl Args {
    /// The settings, checked against each other.
    ///
    /// # Errors
    /// What cannot be (78).
    pub(super) fn settings(&self) -> Result<::logic::Settings, Failure> {
        let link_secret = node::secret(self.link_secret_file.as_deref())?;
        let api_keys = self.keys().map_err(Failure::config)?;
        if api_keys.is_none() && !self.insecure {
            return Err(Failure::config(
                "a logic node without API keys would let anyone push, so it does not start.\n\
                 Give it --api-key-file FILE (make a key with: openssl rand -hex 32 > FILE), or --insecure on a network that you trust",
            ));
        }
        let link_tls = self.links.read()?;
        let shows_certificate = link_tls.as_ref().is_some_and(|tls| tls.shows_certificate);
        if link_secret.is_none() && !shows_certificate && !self.insecure {
            return Err(Failure::config(
                "a logic node without a link secret cannot prove to gateways that it may drive them, so it does not start.\n\
                 Give it --link-secret-file FILE, the same as the gateways', or a certificate (--link-tls-cert), or --insecure on a network that you trust",
            ));
        }
        self.common.check()?;
        node::check_data_dir(self.data_dir.as_deref())?;
        let engine = self.engine.choice()?;
        if self.data_dir.is_some() && !matches!(engine, ::logic::EngineChoice::Embedded) {
            return Err(Failure::config(
                "--data-dir is of the embedded engine; with --engine redis://… histories live in Redis: leave one of them out",
            ));
        }
        let mut settings = ::logic::Settings {
            name: self.name.clone().unwrap_or_else(|| node::default_name("logic", self.listen.port())),
            listen: self.listen,
            ops: self.ops,
            gateways: self.gateway.clone(),
            gateway_dns: self.gateway_dns.clone(),
            link_secret,
            tls: self.tls.read()?,
            link_tls,
            api_keys,
            drain: self.drain,
            slow_push: self.common.slow_push,
            connections_max: self.max_connections as usize,
            edge: self.edge.edge()?,
            engine,
            history: history::rules(self.common.config.as_deref())?,
            history_bytes_max: self.history_memory,
            data_dir: self.data_dir.clone(),
            ..Default::default()
        };
        self.limits.apply(&mut settings);
        Ok(settings)
    }

    fn keys(&self) -> Result<Option<Arc<Fresh<Keys>>>, String> {
        if self.api_key_file.is_empty() && self.api_key.is_empty() {
            return Ok(None);
        }
        let (files, given) = (self.api_key_file.clone(), self.api_key.join("\n"));
        let read = {
            let files = files.clone();
            move || {
                let mut keys = Keys::default();
                if !given.is_empty() {
                    keys.extend(
                        Keys::parse(&given).map_err(|why| format!("--api-key (TIDEGATE_API_KEY): {why}"))?,
                    );
                }
                for file in &files {
                    let say =
                        |why: &dyn std::fmt::Display| format!("--api-key-file {}: {why}", file.display());
                    let text = std::fs::read_to_string(file).map_err(|error| say(&error))?;
                    keys.extend(Keys::parse(&text).map_err(|why| say(&why))?);
                }
                Ok(keys)
            }
        };
        Fresh::load("API keys", files, read).map(Some)
    }

    /// Runs the node to its end.
    ///
    /// # Errors
    /// Settings that cannot be, a port that cannot be had, a part that failed.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut settings = self.settings()?;
        self.common.start_logging()?;
        let passed = sockets::take("a logic node", "api", settings.listen)?;
        settings.listen = passed.address;
        self.common.watch_stdin()?;
        if self.insecure {
            let shows_certificate = settings.link_tls.as_ref().is_some_and(|tls| tls.shows_certificate);
            match (settings.api_keys.is_some(), settings.link_secret.is_some() || shows_certificate) {
                (false, true) => node::warn_insecure("anyone may push through its API"),
                (false, false) => node::warn_insecure(
                    "anyone may push through its API, and it proves nothing to its gateways",
                ),
                (true, false) => node::warn_insecure("it proves nothing to its gateways"),
                (true, true) => tracing::warn!("--insecure opens nothing: there are keys and a link secret"),
            }
        }
        let flags = "--tls-cert and --tls-key, unless a proxy before it speaks TLS";
        Plaintext::default()
            .port("the API", settings.listen, settings.tls.is_some(), flags)
            .engine(&settings.engine)
            .warn();
        let descriptors = nodes::raise_descriptors();
        nodes::on_runtime(Box::pin(serve(settings, passed, descriptors.limit)))
    }
}

async fn serve(settings: ::logic::Settings, passed: Passed, descriptors: u64) -> Result<(), Failure> {
    let signals = nodes::signals()?;
    let flags = [("--listen", settings.listen), ("--ops", settings.ops)];
    let known = match settings.gateways.len() + settings.gateway_dns.len() {
        0 => "those that announce themselves".to_owned(),
        _ => [settings.gateways.join(", "), settings.gateway_dns.join(", ")].join(" ").trim().to_owned(),
    };
    let bound = ::logic::Node::bind_with(settings, passed.listener).await;
    let bound = bound.map_err(|error| nodes::not_bound(&error, &flags))?;
    let text = format!(
        "logic {}\n  API          {}://{}/\n  ops          http://{}/statusz\n  gateways     {known}\n  \
         descriptors  {descriptors}",
        bound.name(),
        bound.scheme(),
        bound.api_addr(),
        bound.ops_addr(),
    );
    let tuner = bound.tuner();
    let reloader = Reloader::new("logic", vec![tuner.reloads.clone()], move |command| {
        let Command::Logic(args) = command else { return Ok(()) };
        tuner.tune(&args.settings()?);
        Ok(())
    })?;
    let ready = async move { output::line(&format!("{text}\nREADY")) };
    Box::pin(nodes::run(vec![vec![nodes::Part::logic(bound)]], ready, signals, reloader)).await
}

#[cfg(test)]
mod tests {
    use crate::cli::{Cli, Command};
    use clap::Parser;

    #[test]
    fn the_defaults_of_the_flags_are_those_of_a_logic_node() {
        let cli = Cli::parse_from(["tidegate", "logic", "--insecure", "--name=logic"]);
        let Command::Logic(args) = cli.command else { panic!("not a logic node") };
        let expected = ::logic::Settings::default();
        assert_eq!(format!("{:?}", args.settings().unwrap()), format!("{expected:?}"));
    }
}
