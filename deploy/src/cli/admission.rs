//! Flags that say which clients a gateway admits: keys of tokens, origins, rooms for all.

use std::path::PathBuf;
use std::sync::Arc;

use common::fresh::Fresh;
use common::patterns::Pattern;
use common::token::{Key, Verifier};

use super::values;
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
        !self.token_key_file.is_empty()
    }

    /// Reads the keys. `open`: clients are believed where there are none.
    ///
    /// # Errors
    /// A file that cannot be read, or holds no key (78).
    pub(super) fn read(&self, open: bool) -> Result<::gateway::Admission, Failure> {
        let names_others = !self.token_audience.is_empty() || !self.token_issuer.is_empty();
        if names_others && !self.has_keys() {
            return Err(Failure::config(
                "--token-audience and --token-issuer need keys: --token-key-file FILE",
            ));
        }
        let tokens = if self.has_keys() { Some(self.keys().map_err(Failure::config)?) } else { None };
        Ok(::gateway::Admission { tokens, open, origins: self.origin.clone(), rooms: self.open_room.clone() })
    }

    fn keys(&self) -> Result<Arc<Fresh<Verifier>>, String> {
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
                Ok(Verifier { keys, audience: audience.clone(), issuer: issuer.clone() })
            }
        };
        Fresh::load("token keys", files, read)
    }
}
