//! `tidegate token`: signs a client token, as a backend would; to try things, and for scripts.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use common::patterns::Pattern;
use common::token::{Claims, SigningKey, sign};

use super::values;
use crate::failure::Failure;
use crate::output;

const EXAMPLES: &str = "Examples:
  openssl rand -hex 32 > token.key
  tidegate gateway --token-key-file token.key …
  tidegate token --key-file token.key --user alice --room 'news.*' --ttl 1h

Any JWT library makes the same: HS256, RS256, ES256 or EdDSA with the claims sub (the user), appId (a number), rooms
(a list of names and patterns that may be joined), exp, nbf, aud, iss.";

/// Flags of `token`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// File with the key to sign with: the secret that gateways have, or a private key in PEM
    #[arg(long, env = "TIDEGATE_SIGNING_KEY_FILE", hide_env_values = true, value_name = "FILE")]
    key_file: PathBuf,
    /// Name of the key, which becomes the token's kid
    #[arg(long, value_name = "KID")]
    key_id: Option<String>,
    /// The user
    #[arg(long, value_name = "USER", value_parser = values::name)]
    user: Option<String>,
    /// The application
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    app_id: Option<u32>,
    /// Room that may be joined, * for any text (repeatable)
    #[arg(long, value_name = "PATTERN", value_parser = values::pattern)]
    room: Vec<Pattern>,
    /// Service that it is for
    #[arg(long, value_name = "NAME")]
    audience: Option<String>,
    /// How long it counts
    #[arg(long, default_value = "1h", value_name = "DURATION", value_parser = humantime::parse_duration)]
    ttl: Duration,
}

impl Args {
    /// Prints the token.
    ///
    /// # Errors
    /// A key that cannot be read.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let say = |why: &dyn std::fmt::Display| {
            Failure::config(format!("--key-file {}: {why}", self.key_file.display()))
        };
        let text = std::fs::read_to_string(&self.key_file).map_err(|error| say(&error))?;
        let key = SigningKey::read(&text, self.key_id.clone()).map_err(|why| say(&why))?;
        let claims = Claims {
            user: self.user.clone(),
            app: self.app_id,
            rooms: self.room.clone(),
            expires: Some(SystemTime::now() + self.ttl),
        };
        let token = sign(&claims, self.audience.as_deref(), &key).map_err(Failure::failed)?;
        output::line(&token)
    }
}
