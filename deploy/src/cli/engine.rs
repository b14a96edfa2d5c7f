//! Flags that say where that lives which outlives a push.

use std::path::PathBuf;

use ::logic::{EngineChoice, RedisBeside, RedisSettings, without_password};

use crate::failure::Failure;

/// Where it lives.
#[derive(Clone, clap::Args)]
pub(super) struct Engine {
    /// Where that lives which outlives a push: embedded, in this process, or the URL of a Redis for many logic nodes:
    /// redis://host:port/db, redis+sentinel://host:port,host:port/SERVICE, redis+cluster://host:port,host:port, with TLS
    /// rediss…
    #[arg(
        long,
        env = "TIDEGATE_ENGINE",
        hide_env_values = true,
        default_value = "embedded",
        value_name = "URL"
    )]
    engine: String,
    /// File with the password of Redis, which is better not in the URL, where others can read it
    #[arg(long, env = "TIDEGATE_ENGINE_PASSWORD_FILE", hide_env_values = true, value_name = "FILE")]
    engine_password_file: Option<PathBuf>,
    /// File with the authority that has signed the certificates of Redis [default: those that this machine trusts]
    #[arg(long, env = "TIDEGATE_ENGINE_CA", hide_env_values = true, value_name = "FILE")]
    engine_ca: Option<PathBuf>,
    /// What the keys in Redis begin with; clusters with the same one share their histories
    #[arg(
        long,
        env = "TIDEGATE_ENGINE_PREFIX",
        hide_env_values = true,
        default_value = "tidegate",
        value_name = "PREFIX"
    )]
    engine_prefix: String,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engine({})", without_password(&self.engine))
    }
}

impl Engine {
    /// What was chosen.
    ///
    /// # Errors
    /// What cannot be (78).
    pub(super) fn choice(&self) -> Result<EngineChoice, Failure> {
        if self.engine == "embedded" {
            return match (&self.engine_password_file, &self.engine_ca) {
                (None, None) => Ok(EngineChoice::Embedded),
                _ => Err(Failure::config(
                    "--engine-password-file and --engine-ca are for --engine redis://…; the embedded engine has neither",
                )),
            };
        }
        if !self.engine.starts_with("redis") {
            return Err(Failure::config(format!(
                "--engine {}: it is \"embedded\" or the URL of a Redis, redis://host:port",
                without_password(&self.engine)
            )));
        }
        let beside = RedisBeside {
            password: self.password()?,
            ca: self.engine_ca.clone().map(|path| ("--engine-ca", path)),
            prefix: self.engine_prefix.clone(),
        };
        RedisSettings::parse(&self.engine, beside)
            .map(EngineChoice::Redis)
            .map_err(|why| Failure::config(format!("--engine {why}")))
    }

    fn password(&self) -> Result<Option<String>, Failure> {
        let Some(file) = &self.engine_password_file else { return Ok(None) };
        let wrong = |why: &dyn std::fmt::Display| {
            Failure::config(format!("--engine-password-file {}: {why}", file.display()))
        };
        let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
        let password = text.trim_end_matches(['\r', '\n']);
        if password.is_empty() || password.contains('\n') {
            return Err(wrong(&"a password is one line"));
        }
        Ok(Some(password.to_owned()))
    }
}

/// Tries to reach the engine; what is not as it should be and can be worked with.
///
/// # Errors
/// Why it cannot be used.
pub(super) fn try_out(choice: &EngineChoice) -> Result<Vec<String>, String> {
    let EngineChoice::Redis(redis) = choice else { return Ok(Vec::new()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime to try --engine with: {error}"))?;
    runtime.block_on(redis.try_out()).map_err(|why| format!("--engine {redis}: {why}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        engine: Engine,
    }

    fn choice(args: &[&str]) -> Result<EngineChoice, String> {
        let line = Line::try_parse_from([&["x"], args].concat()).map_err(|error| error.to_string())?;
        line.engine.choice().map_err(|failure| match failure {
            Failure::Said { text, .. } => text,
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn a_password_comes_from_its_file_and_is_never_said() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "secret\n").unwrap();
        let path = file.path().to_str().unwrap();
        let redis = choice(&["--engine=redis://a", "--engine-password-file", path]).unwrap();
        assert_eq!(format!("{redis:?}"), "Redis(RedisSettings(redis://a, prefix tidegate))");
        for (args, fault) in [
            (
                &["--engine=redis://u:secret@a", "--engine-password-file", path][..],
                "stands in it and in a file",
            ),
            (&["--engine=redis://u:secret@a,b"], "several servers"),
            (&["--engine=rediss://u:secret@a", "--engine-ca=/nowhere"], "--engine-ca /nowhere"),
            (&["--engine=redis://u:secret@a", "--engine-prefix={x}"], "no prefix"),
            (&["--engine=postgres://u:secret@a"], "\"embedded\" or the URL of a Redis"),
            (&["--engine-ca=x"], "the embedded engine has neither"),
            (&["--engine=redis://a", "--engine-password-file=/nowhere"], "--engine-password-file /nowhere"),
        ] {
            let said = choice(args).unwrap_err();
            assert!(said.contains(fault) && !said.contains("secret"), "{args:?}: {said}");
        }
    }
}
