//! Logs: for people on a terminal, JSON lines otherwise; on standard error, so that standard output stays
//! for what a command was asked to print.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Human on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Starts logging for the process, once; a second call changes nothing.
///
/// `filter` has the syntax of `tracing`'s directives: `info`, `warn,gateway=debug`.
///
/// # Errors
/// The directive that cannot be read.
pub fn start(filter: &str, format: Format) -> Result<(), String> {
    let filter = directives(filter)?;
    let human = match format {
        Format::Auto => std::io::stderr().is_terminal(),
        Format::Human => true,
        Format::Json => false,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Only a second start fails, and then the first one holds.
    let _ = if human {
        builder.with_target(false).try_init()
    } else {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    };
    Ok(())
}

/// What is logged. h2 warns of frames that a stranger may send without end, a line for each: of it only errors are, unless
/// it is named.
fn directives(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(filter).map_err(|error| format!("log filter {filter:?}: {error}"))?;
    let with_h2 = format!("h2=error,{filter}");
    EnvFilter::try_new(&with_h2).map_err(|error| format!("log filter {filter:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::directives;

    #[test]
    fn h2_is_silent_unless_it_is_named() {
        for (filter, h2) in [("info", "h2=error"), ("h2=debug,info", "h2=debug"), ("h2=trace", "h2=trace")] {
            let said = directives(filter).unwrap().to_string();
            assert!(said.split(',').any(|directive| directive == h2), "{filter}: {said}");
        }
        assert!(directives("x=y=z").is_err());
    }
}
