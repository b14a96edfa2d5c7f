//! The commands `peers`, `any` and `plan`: other servers, and what is worked out and not measured.

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::sync_channel;

use common::shutdown::{Asked, Signals};
use loadtest::model::{self, Constants};
use loadtest::{any, peers};

use crate::args::{AnyArgs, JsonOutput, PeersArgs, PlanArgs};
use crate::fail;

/// Measures servers beside Tidegate, and prints their table.
pub(crate) fn compare(asked: &PeersArgs) -> ExitCode {
    let command = std::env::args()
        .enumerate()
        .map(|(at, word)| if at == 0 { "tidegate-loadtest".into() } else { word });
    let command = command.collect::<Vec<_>>().join(" ");
    let plan = asked.plan();
    let mut json = match Json::open(&asked.output) {
        Ok(json) => json,
        Err(why) => return fail(1, &why),
    };
    let found = until_asked(move |stop| {
        let mut say = |what: &str| eprintln!("{what}");
        peers::run(&plan, &command, stop, &mut say)
    });
    let report = match found {
        Ok(report) => report,
        Err(error) => return fail(error.exit_code(), &error.to_string()),
    };
    if let Some(path) = &asked.constants {
        let constants = Constants::default().with(&report).map_err(|bad| bad.to_string());
        let written =
            constants.and_then(|all| std::fs::write(path, all.file()).map_err(|error| error.to_string()));
        if let Err(why) = written {
            eprintln!("{}: no constants: {why}", path.display());
        }
    }
    let text = if asked.markdown { report.markdown() } else { report.to_string() };
    let code = report.exit_code();
    match json.write(&text, &report.json()) {
        Ok(()) => ExitCode::from(code),
        Err(why) => fail(1, &why),
    }
}

/// Measures one server that runs.
pub(crate) fn measure(asked: AnyArgs) -> ExitCode {
    let (asked, output) = match asked.split() {
        Ok(split) => split,
        Err(why) => return fail(2, &why),
    };
    let mut json = match Json::open(&output) {
        Ok(json) => json,
        Err(why) => return fail(1, &why),
    };
    let found = until_asked(move |stop| {
        any::measure(&asked.dialect, &asked.publishing, &asked.load, &asked.pids, stop)
    });
    let measured = match found {
        Ok(measured) => measured,
        Err(error) => return fail(error.exit_code(), &error.to_string()),
    };
    let code = u8::from(!measured.faults().is_empty());
    match json.write(&measured.to_string(), &measured.json()) {
        Ok(()) => ExitCode::from(code),
        Err(why) => fail(1, &why),
    }
}

/// Works out what a cluster needs.
pub(crate) fn reckon(asked: &PlanArgs) -> ExitCode {
    let constants = match &asked.constants {
        None => Ok(Constants::default()),
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| error.to_string())
            .and_then(|text| Constants::parse(&text).map_err(|bad| bad.to_string()))
            .map_err(|why| format!("{}: {why}", path.display())),
    };
    let constants = match constants {
        Ok(constants) => constants,
        Err(why) => return fail(2, &why),
    };
    let answer = match model::answer(&asked.question(), &constants) {
        Ok(answer) => answer,
        Err(bad) => return fail(2, &bad.to_string()),
    };
    let written =
        Json::open(&asked.output).and_then(|mut json| json.write(&answer.to_string(), &answer.json()));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => fail(1, &why),
    }
}

/// Works in a thread of its own; the first signal asks it for the end, the second ends the program.
fn until_asked<T: Send + 'static>(
    work: impl FnOnce(&AtomicBool) -> Result<T, any::Error> + Send + 'static,
) -> Result<T, any::Error> {
    let broken = |error: std::io::Error| any::Error::Broken(format!("cannot start: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(broken)?;
    let stop = Arc::new(AtomicBool::new(false));
    let (give, take) = tokio::sync::oneshot::channel();
    let (seen, started) = (stop.clone(), std::thread::Builder::new().name("measure".into()));
    let (go, wait) = sync_channel::<()>(1);
    let thread = started.spawn(move || {
        // Signals are listened for first.
        _ = wait.recv();
        // Nobody takes it after a second signal.
        _ = give.send(work(&seen));
    });
    let thread = thread.map_err(broken)?;
    let found = runtime.block_on(async {
        let mut signals = Signals::listen().map_err(broken)?;
        drop(go);
        let mut take = take;
        loop {
            tokio::select! {
                found = &mut take => {
                    return found.unwrap_or(Err(any::Error::Broken("the measurement panicked".into())));
                }
                asked = signals.next() => if stop.swap(true, Relaxed) { second(asked) },
            }
        }
    });
    // It has given what it found, or panicked and said so.
    _ = thread.join();
    found
}

/// Nobody wants to wait: what was started ends by its pipes.
fn second(asked: Asked) {
    std::process::exit(asked.exit_code());
}

/// Where the JSON goes. Opened before the run, so that a path that cannot be written costs no run.
enum Json {
    Nowhere,
    Stdout,
    File(File, String),
}

impl Json {
    fn open(output: &JsonOutput) -> Result<Self, String> {
        match output.json.as_deref() {
            None => Ok(Self::Nowhere),
            Some("-") => Ok(Self::Stdout),
            Some(path) => match File::create(path) {
                Ok(file) => Ok(Self::File(file, path.to_owned())),
                Err(error) => Err(format!("cannot write the report to {path}: {error}")),
            },
        }
    }

    /// The text to people, the JSON to where it goes.
    fn write(&mut self, text: &str, json: &str) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("cannot write the report: {error}");
        match self {
            Self::Stdout => {
                eprintln!("{text}");
                writeln!(std::io::stdout(), "{json}").map_err(failed)
            }
            Self::Nowhere => writeln!(std::io::stdout(), "{text}").map_err(failed),
            Self::File(file, path) => {
                writeln!(std::io::stdout(), "{text}").map_err(failed)?;
                let written = file.write_all(json.as_bytes()).and_then(|()| file.sync_all());
                written.map_err(|error| format!("cannot write the report to {path}: {error}"))
            }
        }
    }
}
