//! The end of a run: its floor, its thresholds, its report; and reports beside each other.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use common::shutdown::Signals;
use loadtest::{Comparison, Figure, Report, Threshold, floor, floor_plan};

use crate::args::{Asked, CompareArgs, Output};
use crate::fail;
use crate::output::{self, Files};

/// What is asked of a run.
///
/// # Errors
/// The exit code when there is nothing to run: the figures were listed, or a threshold needs another run.
pub(crate) fn asked(output: &Output) -> Result<Vec<Threshold>, ExitCode> {
    let thresholds = Asked::all(&output.thresholds).ok_or_else(list_figures)?;
    match thresholds.iter().find(|threshold| threshold.is_relative()) {
        Some(relative) => Err(fail(
            2,
            &format!("the threshold {relative} needs another run beside it: tidegate-loadtest compare"),
        )),
        None => Ok(thresholds),
    }
}

/// Two reports beside each other.
pub(crate) fn compare(asked: &CompareArgs) -> ExitCode {
    let Some(thresholds) = Asked::all(&asked.thresholds) else { return list_figures() };
    let compared = read(&asked.before)
        .and_then(|before| Comparison::of(&before, &read(&asked.after)?, asked.noise, &thresholds));
    match compared {
        Ok(comparison) => {
            output::tell(&comparison);
            ExitCode::from(comparison.exit_code())
        }
        Err(why) => fail(2, &why),
    }
}

/// Reports as rows of one table, and as plots over the number of clients where a page is asked for.
pub(crate) fn table(reports: &[PathBuf], html: Option<&Path>) -> ExitCode {
    let read: Result<Vec<_>, _> = reports.iter().map(|path| read(path)).collect();
    let made = read.and_then(|reports| Ok((loadtest::table(&reports)?, loadtest::growth(&reports)?)));
    let (table, page) = match made {
        Ok(made) => made,
        Err(why) => return fail(2, &why),
    };
    output::tell(&table.trim_end());
    let Some(path) = html else { return ExitCode::SUCCESS };
    match std::fs::write(path, page) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &format!("cannot write the page to {}: {error}", path.display())),
    }
}

/// A report as JSON.
fn read(path: &Path) -> Result<serde_json::Value, String> {
    let text = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("{} is no JSON: {error}", path.display()))
}

fn list_figures() -> ExitCode {
    output::tell(&Figure::list());
    ExitCode::SUCCESS
}

/// The report to all who are to have it, and the exit code.
pub(crate) fn conclude(
    mut report: Report,
    thresholds: &[Threshold],
    files: Files,
    interrupted: Option<u8>,
) -> ExitCode {
    report.judge(thresholds);
    if let Err(why) = files.give(&report, &report.json(), || report.html()) {
        return fail(interrupted.unwrap_or(1), &why);
    }
    ExitCode::from(interrupted.unwrap_or(report.exit_code()))
}

/// Measures the floor of a run that has just ended; the exit code of a signal that came meanwhile.
pub(crate) async fn measure_beside(report: &mut Report, signals: &mut Signals) -> Option<u8> {
    let Some(plan) = floor_plan(report) else {
        report.notes.push("no floor: nothing was received that could be compared with it".into());
        return None;
    };
    let (give, measured) = tokio::sync::oneshot::channel();
    // A thread that nobody waits for: the processes of the floor end with this one.
    let started = std::thread::Builder::new().name("floor".into()).spawn(move || {
        // Nobody to take it: interrupted.
        _ = give.send(floor::run(&plan));
    });
    let mut interrupted = None;
    let why = tokio::select! {
        asked = signals.next() => {
            interrupted = Some(u8::try_from(asked.exit_code()).unwrap_or(1));
            "interrupted".to_owned()
        }
        measured = measured => match (measured, started) {
            (Ok(Ok(floor)), _) => {
                report.measured.set_floor(floor);
                return None;
            }
            (Ok(Err(error)), _) => error.to_string(),
            (Err(_), Err(error)) => error.to_string(),
            (Err(_), Ok(_)) => "its thread panicked".to_owned(),
        },
    };
    report.notes.push(format!("no floor: {why}"));
    interrupted
}
