//! Flags that say which clients a gateway admits: keys of tokens, origins, rooms for all.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::fresh::Fresh;
use common::patterns::Pattern;
use common::tls::Connector;
use common::token::{Jwks, Key, Verifier};

use super::{tls, values};
use crate::failure::Failure;

/// Who may come.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Clients")]
pub(super) struct Admission {
    /// File with a key that clients' tokens are checked with: a public key in PEM, JSON Web Keys, or a secret of 32
    /// bytes or more for HS256 (repeatable; read again when it changes)
    #[arg(
        long,
        env = "TIDEGATE_TOKEN_KEY_FILE",
        hide_env_values = true,
        value_name = "FILE",
        value_delimiter = ','
    )]
    token_key_file: Vec<PathBuf>,
    /// URL of JSON Web Keys that clients' tokens are checked with, https:// or on this machine (repeatable; fetched at the
    /// start, every --token-jwks-every and on SIGHUP, never because of a token; the last good ones stay in force)
    #[arg(long, env = "TIDEGATE_TOKEN_JWKS_URL", hide_env_values = true, value_name = "URL", value_delimiter = ',', value_parser = values::keys_url)]
    token_jwks_url: Vec<String>,
    /// How often keys are fetched
    #[arg(long, env = "TIDEGATE_TOKEN_JWKS_EVERY", hide_env_values = true, default_value = "5m", value_name = "DURATION", value_parser = values::every)]
    token_jwks_every: Duration,
    /// File with the authority to trust where keys are fetched and where this gateway announces itself, over https://
    /// [default: those that this machine trusts]
    #[arg(long, env = "TIDEGATE_TLS_CA", hide_env_values = true, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Name of this service, one of which must stand in a token's aud (repeatable) [default: not looked at]
    #[arg(
        long,
        env = "TIDEGATE_TOKEN_AUDIENCE",
        hide_env_values = true,
        value_name = "NAME",
        value_delimiter = ','
    )]
    token_audience: Vec<String>,
    /// Who may have given a token: its iss (repeatable) [default: not looked at]
    #[arg(
        long,
        env = "TIDEGATE_TOKEN_ISSUER",
        hide_env_values = true,
        value_name = "NAME",
        value_delimiter = ','
    )]
    token_issuer: Vec<String>,
    /// Room that every client with a token may join, * for any text, {userId} and {appId} for its own (repeatable)
    #[arg(long, env = "TIDEGATE_OPEN_ROOM", hide_env_values = true, value_name = "PATTERN", value_delimiter = ',', value_parser = values::pattern)]
    open_room: Vec<Pattern>,
    /// Origin whose pages may connect, * for any text, as in https://*.example.com (repeatable) [default: all]
    #[arg(long, env = "TIDEGATE_ORIGIN", hide_env_values = true, value_name = "ORIGIN", value_delimiter = ',', value_parser = values::pattern)]
    origin: Vec<Pattern>,
}

impl Admission {
    /// Whether clients need tokens.
    pub(super) fn has_keys(&self) -> bool {
        !self.token_key_file.is_empty() || !self.token_jwks_url.is_empty()
    }

    /// What `https://` is called with, if keys are fetched there or these URLs are called.
    ///
    /// # Errors
    /// A file that is wrong (78).
    pub(super) fn outgoing(&self, urls: &[String]) -> Result<Option<Connector>, Failure> {
        let is_needed = self.token_jwks_url.iter().chain(urls).any(|url| url.starts_with("https:"));
        is_needed.then(|| tls::connector(self.tls_ca.as_deref())).transpose()
    }

    /// Reads the keys. `open`: clients are believed where there are none. `outgoing`: what others are fetched with.
    ///
    /// # Errors
    /// A file that cannot be read, or holds no key (78).
    pub(super) fn read(
        &self,
        open: bool,
        outgoing: Option<&Connector>,
    ) -> Result<::gateway::Admission, Failure> {
        let names_others = !self.token_audience.is_empty() || !self.token_issuer.is_empty();
        if names_others && !self.has_keys() {
            return Err(Failure::config(
                "--token-audience and --token-issuer need keys: --token-key-file FILE or --token-jwks-url URL",
            ));
        }
        let tokens = if self.has_keys() {
            Some(self.keys(self.fetched(outgoing)?).map_err(Failure::config)?)
        } else {
            None
        };
        Ok(::gateway::Admission { tokens, open, origins: self.origin.clone(), rooms: self.open_room.clone() })
    }

    /// The places where keys are fetched.
    fn fetched(&self, outgoing: Option<&Connector>) -> Result<Vec<Arc<Jwks>>, Failure> {
        let place = |url: &String| {
            Jwks::new(url, outgoing.cloned(), self.token_jwks_every)
                .map_err(|why| Failure::config(format!("--token-jwks-url {why}")))
        };
        self.token_jwks_url.iter().map(place).collect()
    }

    fn keys(&self, fetched: Vec<Arc<Jwks>>) -> Result<Arc<Fresh<Verifier>>, String> {
        let files = self.token_key_file.clone();
        let (audience, issuer) = (self.token_audience.clone(), self.token_issuer.clone());
        let read = {
            let files = files.clone();
            move || {
                let mut keys = Vec::new();
                for file in &files {
                    let say =
                        |why: &dyn std::fmt::Display| format!("--token-key-file {}: {why}", file.display());
                    let text = std::fs::read_to_string(file).map_err(|error| say(&error))?;
                    keys.extend(Key::read(&text).map_err(|why| say(&why))?);
                }
                let fetched = fetched.clone();
                Ok(Verifier { keys, fetched, audience: audience.clone(), issuer: issuer.clone() })
            }
        };
        Fresh::load("token keys", files, read)
    }
}
