//! Logs: for people on a terminal, JSON lines otherwise; on standard error, so that standard output stays
//! for what a command was asked to print.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload::Handle;

/// Puts another filter in the place of the one that holds.
type Change = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// Of the first start, which is the one that holds.
static CHANGE: OnceLock<Change> = OnceLock::new();

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
    let (change, started) = if human {
        let builder = builder.with_target(false).with_filter_reloading();
        (changing(builder.reload_handle()), builder.try_init())
    } else {
        let builder = builder.json().flatten_event(true).with_current_span(false).with_span_list(false);
        let builder = builder.with_filter_reloading();
        (changing(builder.reload_handle()), builder.try_init())
    };
    // Only a second start fails, and then the first one holds.
    if started.is_ok() {
        let _ = CHANGE.set(change);
    }
    Ok(())
}

fn changing<S: 'static>(handle: Handle<EnvFilter, S>) -> Change {
    Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
}

/// Whether a filter can be read.
///
/// # Errors
/// The directive that cannot.
pub fn check(filter: &str) -> Result<(), String> {
    directives(filter).map(drop)
}

/// Logs by another filter from now on. What is logged nowhere costs as little as before.
///
/// # Errors
/// The directive that cannot be read; then nothing changes.
pub fn change(filter: &str) -> Result<(), String> {
    let filter = directives(filter)?;
    CHANGE.get().map_or(Ok(()), |change| change(filter))
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
