//! Flags that say where certificates are: of clients' and callers' ports, of the link, and whom to trust.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use common::tls::{Acceptor, AcceptorFiles, Connector, ConnectorFiles, Inside, Named};

use super::values;
use crate::failure::Failure;

/// The certificate of the port that the outside uses.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct Outside {
    /// File with the certificate (PEM, with those between it and its authority); with it the port speaks TLS (read
    /// again when it changes)
    #[arg(long, env = "TIDEGATE_TLS_CERT", hide_env_values = true, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// File with its private key (PEM)
    #[arg(long, env = "TIDEGATE_TLS_KEY", hide_env_values = true, value_name = "FILE")]
    tls_key: Option<PathBuf>,
}

impl Outside {
    /// What takes connections with TLS, if that was asked for.
    ///
    /// # Errors
    /// Files that are missing or wrong (78).
    pub(super) fn read(&self) -> Result<Option<Acceptor>, Failure> {
        let pair = pair(["--tls-cert", "--tls-key"], &self.tls_cert, &self.tls_key)?;
        acceptor(pair, None, Inside::Http1)
    }
}

/// How a gateway takes links.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct Ingress {
    /// File with the certificate of the link port; with it the link speaks TLS
    #[arg(long, env = "TIDEGATE_LINK_TLS_CERT", hide_env_values = true, value_name = "FILE")]
    link_tls_cert: Option<PathBuf>,
    /// File with its private key
    #[arg(long, env = "TIDEGATE_LINK_TLS_KEY", hide_env_values = true, value_name = "FILE")]
    link_tls_key: Option<PathBuf>,
    /// File with the authority that must have signed the certificates of logic nodes; with it they prove themselves, and
    /// no link secret is needed
    #[arg(long, env = "TIDEGATE_LINK_TLS_CLIENT_CA", hide_env_values = true, value_name = "FILE")]
    link_tls_client_ca: Option<PathBuf>,
}

impl Ingress {
    /// Whether logic nodes prove themselves with a certificate.
    pub(super) fn wants_certificates(&self) -> bool {
        self.link_tls_client_ca.is_some()
    }

    /// What takes links with TLS, if that was asked for.
    ///
    /// # Errors
    /// Files that are missing or wrong (78).
    pub(super) fn read(&self) -> Result<Option<Acceptor>, Failure> {
        let pair = pair(["--link-tls-cert", "--link-tls-key"], &self.link_tls_cert, &self.link_tls_key)?;
        let ca = self.link_tls_client_ca.as_ref().map(|path| Named::new("--link-tls-client-ca", path));
        if pair.is_none() && ca.is_some() {
            return Err(Failure::config(
                "--link-tls-client-ca asks for certificates over a link without TLS: it needs --link-tls-cert and --link-tls-key",
            ));
        }
        acceptor(pair, ca, Inside::Http2)
    }
}

/// How a logic node opens links.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct Links {
    /// File with the authority that has signed the certificates of the gateways; with it links speak TLS
    #[arg(long, env = "TIDEGATE_LINK_TLS_CA", hide_env_values = true, value_name = "FILE")]
    link_tls_ca: Option<PathBuf>,
    /// File with a certificate of this node, which proves it to the gateways
    #[arg(long, env = "TIDEGATE_LINK_TLS_CERT", hide_env_values = true, value_name = "FILE")]
    link_tls_cert: Option<PathBuf>,
    /// File with its private key
    #[arg(long, env = "TIDEGATE_LINK_TLS_KEY", hide_env_values = true, value_name = "FILE")]
    link_tls_key: Option<PathBuf>,
    /// Name that the certificates of the gateways are for [default: the host in the address of each]
    #[arg(long, env = "TIDEGATE_LINK_TLS_NAME", hide_env_values = true, value_name = "NAME", value_parser = values::server_name)]
    link_tls_name: Option<String>,
}

impl Links {
    /// What opens links with TLS, if that was asked for.
    ///
    /// # Errors
    /// Files that are missing or wrong (78).
    pub(super) fn read(&self) -> Result<Option<::logic::LinkTls>, Failure> {
        let identity = pair(["--link-tls-cert", "--link-tls-key"], &self.link_tls_cert, &self.link_tls_key)?;
        let Some(ca) = &self.link_tls_ca else {
            if identity.is_some() || self.link_tls_name.is_some() {
                return Err(Failure::config(
                    "--link-tls-cert and --link-tls-name are for links with TLS, which begin with --link-tls-ca FILE",
                ));
            }
            return Ok(None);
        };
        let shows_certificate = identity.is_some();
        let ca = Some(Named::new("--link-tls-ca", ca));
        let connector = Connector::load(ConnectorFiles { ca, identity, inside: Inside::Http2 });
        Ok(Some(::logic::LinkTls {
            connector: connector.map_err(Failure::config)?,
            name: self.link_tls_name.clone(),
            shows_certificate,
        }))
    }
}

/// Whom to trust when calling somebody over `https://` or `wss://`.
///
/// # Errors
/// A file that is wrong, or a machine that trusts nobody (78).
pub(crate) fn connector(ca: Option<&Path>) -> Result<Connector, Failure> {
    let ca = ca.map(|path| Named::new("--tls-ca", path));
    let files = ConnectorFiles { ca, identity: None, inside: Inside::Http1 };
    Connector::load(files).map_err(|why| Failure::config(format!("{why} (--tls-ca FILE)")))
}

fn acceptor(
    pair: Option<(Named, Named)>,
    client_ca: Option<Named>,
    inside: Inside,
) -> Result<Option<Acceptor>, Failure> {
    let load = |(cert, key)| Acceptor::load(AcceptorFiles { cert, key, client_ca, inside });
    pair.map(load).transpose().map_err(Failure::config)
}

/// A certificate and its key: both or none.
fn pair(
    flags: [&'static str; 2],
    cert: &Option<PathBuf>,
    key: &Option<PathBuf>,
) -> Result<Option<(Named, Named)>, Failure> {
    match (cert, key) {
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => Ok(Some((Named::new(flags[0], cert), Named::new(flags[1], key)))),
        (Some(_), None) => Err(Failure::config(format!("{} needs {} FILE beside it", flags[0], flags[1]))),
        (None, Some(_)) => Err(Failure::config(format!("{} needs {} FILE beside it", flags[1], flags[0]))),
    }
}

/// Where others could read along, for one line in the log.
#[derive(Debug, Default)]
pub(super) struct Plaintext(Vec<String>);

impl Plaintext {
    /// A port; `change` are the flags that would give it TLS.
    pub(super) fn port(mut self, what: &str, address: SocketAddr, has_tls: bool, change: &str) -> Self {
        if !has_tls && !address.ip().is_loopback() {
            self.0.push(format!("{what} on {address} ({change})"));
        }
        self
    }

    /// Somebody who is called.
    pub(super) fn call(mut self, what: &str, url: &str) -> Self {
        let is_seen = common::tls::Origin::parse(url, "http")
            .is_ok_and(|(_, origin)| !origin.is_tls && !origin.is_loopback());
        if is_seen {
            self.0.push(format!("{what} {url} (https://)"));
        }
        self
    }

    /// Where histories are kept.
    pub(super) fn engine(mut self, engine: &::logic::EngineChoice) -> Self {
        if let ::logic::EngineChoice::Redis(redis) = engine
            && redis.is_plaintext()
        {
            self.0.push(format!("the engine at {redis} (rediss://)"));
        }
        self
    }

    /// Says so, if there is anything to say.
    pub(super) fn warn(&self) {
        if !self.0.is_empty() {
            tracing::warn!(
                "PLAINTEXT: others on the network can read and change this: {}",
                self.0.join("; ")
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_leaves_the_machine_in_plaintext_is_named() {
        let here = "127.0.0.1:7200".parse().unwrap();
        let there = "0.0.0.0:7200".parse().unwrap();
        let found = Plaintext::default()
            .port("clients", here, false, "x")
            .port("clients", there, true, "x")
            .call("announcing to", "http://localhost:7100")
            .call("announcing to", "https://10.0.0.2:7100");
        assert!(found.0.is_empty(), "{found:?}");
        let found = found
            .port("links", there, false, "--link-tls-cert")
            .call("announcing to", "http://10.0.0.2:7100");
        assert_eq!(
            found.0,
            ["links on 0.0.0.0:7200 (--link-tls-cert)", "announcing to http://10.0.0.2:7100 (https://)"]
        );
    }

    #[test]
    fn a_certificate_without_its_key_is_refused() {
        let path = Some(PathBuf::from("x"));
        assert!(pair(["--a", "--b"], &path, &None).is_err());
        assert!(pair(["--a", "--b"], &None, &path).is_err());
        assert_eq!(pair(["--a", "--b"], &None, &None).unwrap(), None);
    }
}
