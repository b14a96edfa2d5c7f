//! The course of a comparison: a floor, a peer under each discipline, the next floor, the next peer.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::recipe::{self, FILE, Source};
use super::report::{Absent, Report, Row};
use super::server::{self, Programs, Server};
use super::{Discipline, Plan};
use crate::any::{self, Error, Measured};
use crate::floor;
use crate::machine::Machine;

/// Header of a server's frame with 126 to 65,535 bytes (RFC 6455 §5.2).
const HEADER_BYTES: usize = 4;

/// Fewest rounds of a floor.
const FLOOR_ROUNDS_MIN: u32 = 5;

/// Where peers are when nobody says it.
const FOLDER: &str = "deploy/peers";

/// Compares. `command`: what repeats it. `stop`: asks for the end; what was measured by then is given. `say` is told
/// what is being done.
///
/// # Errors
/// [`Error`] when nothing could be begun.
pub fn run(
    plan: &Plan,
    command: &str,
    stop: &AtomicBool,
    say: &mut dyn FnMut(&str),
) -> Result<Report, Error> {
    for discipline in &plan.disciplines {
        plan.load(*discipline)?;
    }
    let program = std::env::current_exe().map_err(|error| Error::Broken(error.to_string()))?;
    let folder = plan.folder.clone().unwrap_or_else(|| find_folder(&program));
    // Servers are started in folders of their own, from where a relative one leads nowhere.
    let folder = folder.canonicalize().unwrap_or(folder);
    let sources = recipe::all(&folder, &plan.only)?;
    let beside = program.with_file_name("tidegate");
    let tidegate = plan.tidegate.clone().or_else(|| beside.is_file().then_some(beside));
    let programs = Programs { loadtest: program, tidegate };
    let mut course = Course { plan, programs, stop, say, report: empty(plan, command) };
    let mut floor = course.floor();
    for source in &sources {
        if stop.load(Relaxed) {
            break;
        }
        let first = course.report.rows.len();
        if !course.peer(source)? {
            continue;
        }
        let after = course.floor();
        let both: Vec<f64> = [floor, after].into_iter().flatten().collect();
        let mean = both.iter().sum::<f64>() / both.len().max(1) as f64;
        course.report.rows[first..].iter_mut().for_each(|row| row.divide_by(mean));
        floor = after.or(floor);
    }
    course.report.interrupted = stop.load(Relaxed);
    Ok(course.report)
}

fn empty(plan: &Plan, command: &str) -> Report {
    Report {
        command: command.to_owned(),
        machine: Machine::this(),
        clients: plan.clients,
        size: plan.size,
        publishes: plan.publishes,
        every_ms: plan.every.as_millis() as u64,
        item_rate: plan.item_rate,
        merged_secs: plan.merged_for.as_secs_f64(),
        rows: Vec::new(),
        absent: Vec::new(),
        interrupted: false,
        notes: Vec::new(),
    }
}

/// `deploy/peers` here, or of the workspace in whose `target` folder the program is.
fn find_folder(program: &Path) -> PathBuf {
    let here = PathBuf::from(FOLDER);
    let built = program.ancestors().skip(1).map(|folder| folder.join(FOLDER)).find(|folder| folder.is_dir());
    if here.is_dir() { here } else { built.unwrap_or(here) }
}

impl Row {
    fn divide_by(&mut self, floor_us: f64) {
        if floor_us > 0.0 {
            self.floor_us = floor_us;
            self.frame_to_floor = self.measured.cpu_us_per_frame / floor_us;
            self.item_to_floor = self.measured.cpu_us_per_item / floor_us;
        }
    }
}

struct Course<'a> {
    plan: &'a Plan,
    programs: Programs,
    stop: &'a AtomicBool,
    say: &'a mut dyn FnMut(&str),
    report: Report,
}

impl Course<'_> {
    /// What a bare send costs now, µs; `None`: it cannot be said.
    fn floor(&mut self) -> Option<f64> {
        if self.stop.load(Relaxed) {
            return None;
        }
        (self.say)("floor: bare sends over as many sockets");
        let Plan { clients, publishes, every, size, .. } = *self.plan;
        let rounds = (publishes / 3).max(FLOOR_ROUNDS_MIN);
        let plan = floor::Plan {
            connections: clients,
            bytes: size + HEADER_BYTES,
            rounds,
            every,
            ..floor::Plan::default()
        };
        match floor::run(&plan) {
            Ok(report) => {
                let invalid = report.invalid.iter().map(|why| format!("a floor of this run: {why}"));
                self.report.notes.extend(invalid);
                Some(report.send_cpu_us)
            }
            Err(error) => {
                self.report.notes.push(format!("no floor: {error}"));
                None
            }
        }
    }

    /// Measures a peer under each discipline; whether there was anything to measure.
    fn peer(&mut self, source: &Source) -> Result<bool, Error> {
        let words = server::words(source, &self.programs);
        let recipe = source.recipe(&words)?;
        if let Some(need) = recipe::missing(&recipe) {
            let need = if need.is_empty() { String::new() } else { format!("{need} is not there; ") };
            let why = format!("not installed: {need}{}", recipe.install);
            self.absent(source, &recipe.name, None, why);
            return Ok(false);
        }
        let version = server::version(&recipe, source);
        for discipline in self.plan.disciplines.clone() {
            match self.measure(source, discipline) {
                Ok(measured) => self.report.rows.push(Row {
                    id: source.id.clone(),
                    name: recipe.name.clone(),
                    version: version.clone(),
                    discipline,
                    configuration: configuration(source, &recipe.files),
                    measured,
                    floor_us: 0.0,
                    frame_to_floor: 0.0,
                    item_to_floor: 0.0,
                }),
                Err(Error::Interrupted) => return Ok(true),
                Err(error) => self.absent(source, &recipe.name, Some(discipline), error.to_string()),
            }
        }
        Ok(true)
    }

    fn measure(&mut self, source: &Source, discipline: Discipline) -> Result<Measured, Error> {
        let load = self.plan.load(discipline)?;
        (self.say)(&format!(
            "{} {discipline}: {} clients, {} items",
            source.id, load.clients, load.publishes
        ));
        let server = Server::start(source, discipline, &self.programs)?;
        let roots = server.processes();
        self.pause(load.rest)?;
        let Server { recipe, .. } = &server;
        any::measure(&recipe.client, &recipe.publish, &load, &roots, self.stop).map_err(|error| match error {
            Error::Unavailable(why) => Error::Unavailable(format!("{why}; it said: {}", server.last_words())),
            other => other,
        })
    }

    /// Lets a server come to rest.
    fn pause(&self, time: std::time::Duration) -> Result<(), Error> {
        let until = std::time::Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(std::time::Instant::now());
            if self.stop.load(Relaxed) {
                return Err(Error::Interrupted);
            }
            if left.is_zero() {
                return Ok(());
            }
            std::thread::park_timeout(left.min(std::time::Duration::from_millis(50)));
        }
    }

    fn absent(&mut self, source: &Source, name: &str, discipline: Option<Discipline>, why: String) {
        (self.say)(&format!("{}: {why}", source.id));
        self.report.absent.push(Absent { id: source.id.clone(), name: name.to_owned(), discipline, why });
    }
}

/// The files that say how a peer was started, as they are found in the repository.
fn configuration(source: &Source, files: &[String]) -> Vec<String> {
    let all = std::iter::once(FILE).chain(files.iter().map(String::as_str));
    all.map(|file| format!("{FOLDER}/{}/{file}", source.id)).collect()
}
