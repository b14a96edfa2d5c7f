//! The flags of those who call a logic node from a shell, and the calls.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;

use crate::failure::Failure;
use crate::web;

/// Whom to call, and what proves that one may.
#[derive(Debug, clap::Args)]
pub(super) struct Api {
    /// File with an API key, or the key in the variable TIDEGATE_API_KEY
    #[arg(long, global = true, env = "TIDEGATE_API_KEY_FILE", hide_env_values = true, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// A logic node
    #[arg(
        long,
        global = true,
        env = "TIDEGATE_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:7100"
    )]
    url: String,
    /// File with the authority to trust for https:// [default: those that this machine trusts]
    #[arg(long, global = true, env = "TIDEGATE_TLS_CA", hide_env_values = true, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
}

impl Api {
    /// Makes a call; `request` has a path for a URI. The answer's body, if it is a good one.
    ///
    /// # Errors
    /// A refusal (1), nobody there (69), a key that cannot be read (78).
    pub(super) async fn call(
        &self,
        what: &str,
        mut request: Request<Full<Bytes>>,
        time_max: Duration,
    ) -> Result<Bytes, Failure> {
        let node = web::Node::parse(&self.url, "http", self.tls_ca.as_deref())?;
        if let Some(key) = self.key()? {
            let value = format!("Bearer {key}").parse();
            let value = value.map_err(|_| Failure::config("the API key holds what no header may hold"))?;
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let (status, answer) = node.call(request, time_max).await.map_err(|no_answer| {
            Failure::unavailable(format!("{what}: {no_answer}. Is a logic node there? --url says where"))
        })?;
        if status.is_success() {
            return Ok(answer);
        }
        let keyless = status == StatusCode::UNAUTHORIZED && self.key()?.is_none();
        let hint = if keyless { " (--api-key-file FILE, or TIDEGATE_API_KEY)" } else { "" };
        Err(Failure::failed(format!("{what}: {}{hint}", web::problem_in_words(status, &answer))))
    }

    /// The first key of the file, or that of the environment.
    fn key(&self) -> Result<Option<String>, Failure> {
        let Some(file) = &self.api_key_file else { return Ok(std::env::var("TIDEGATE_API_KEY").ok()) };
        let say = |why: &dyn std::fmt::Display| {
            Failure::config(format!("--api-key-file {}: {why}", file.display()))
        };
        let text = std::fs::read_to_string(file).map_err(|error| say(&error))?;
        ::logic::Keys::parse(&text).map_err(|why| say(&why))?;
        let first = text.lines().map(str::trim_end).find(|line| !line.is_empty() && !line.starts_with('#'));
        match first {
            Some(key) if !key.starts_with('[') => Ok(Some(key.to_owned())),
            _ => Err(say(&"it holds tables of keys; this needs a file with one key alone")),
        }
    }
}
