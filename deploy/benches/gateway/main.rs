//! The gateway's table: every figure of it measured, each with its floor, in one command.
//!
//! `cargo bench -p deploy --bench gateway`: quick, three minutes at most on two cores. `-- full`: all sizes.
//! `-- WORD`: only the cases whose name contains the word (`-- list` names them). `-- --markdown`: for a README.
//!
//! Nodes are processes of their own, clients those of the load tool, which verifies every item; beside them, where
//! a frame's cost is compared with the floor's, such as only count, as the floor's do. What was
//! invalid (lost, duplicated, reordered, corrupted; drops, retransmits or overflows of the kernel) is said to be
//! and tried again, twice at most. Exit code 1: a figure is beyond what is acceptable, or could not be had.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to people")]

mod arrivals;
mod count;
mod counted;
mod cpu;
mod deflate;
mod link;
mod load;
#[path = "../../../gateway/benches/million/measure.rs"]
mod measure;
mod memory;
mod million;
mod overload;
mod process;
mod raw;
mod slow;
mod table;
mod unicast;
mod window;

use std::process::{Command, ExitCode};
use std::time::{Instant, SystemTime};

use table::{Bound, Row, Verdict};

/// What the gateway has, for what is measured of it in this program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Tries of a case whose run was invalid, the first included.
const TRIES: usize = 3;

/// How it was called.
pub(crate) struct Bench {
    pub(crate) full: bool,
    /// How often floor and gateway alternate.
    pub(crate) rounds: usize,
    /// The same, for what takes long.
    pub(crate) few: usize,
    begun: Instant,
}

impl Bench {
    /// Tells whoever waits how it goes.
    pub(crate) fn say(&self, what: &str) {
        eprintln!("{:>6.1} s  {what}", self.begun.elapsed().as_secs_f64());
    }
}

/// What finds some rows, or says why it cannot.
type Run = dyn Fn(&Bench) -> Result<Vec<Row>, String>;

/// Some rows that are found together.
pub(crate) struct Case {
    name: String,
    full_only: bool,
    run: Box<Run>,
}

impl Case {
    pub(crate) fn new(
        name: &str,
        full_only: bool,
        run: impl Fn(&Bench) -> Result<Vec<Row>, String> + 'static,
    ) -> Self {
        Self { name: name.to_owned(), full_only, run: Box::new(run) }
    }

    /// Its rows, from the first try that is valid or the last.
    fn rows(&self, bench: &Bench) -> Vec<Row> {
        let mut tries = 1;
        loop {
            bench.say(&self.name);
            let rows = (self.run)(bench).unwrap_or_else(|why| {
                vec![Row::plain(&*self.name, Bound::None, f64::NAN, "").faults(vec![why])]
            });
            let invalid = rows.iter().find(|row| row.verdict() == Verdict::Invalid);
            match invalid {
                Some(row) if tries < TRIES => {
                    bench.say(&format!("invalid, again: {}", row.faults.join("; ")));
                    tries += 1;
                }
                _ => return rows,
            }
        }
    }
}

/// What stands above the table.
fn head(flags: &str, markdown: bool) -> String {
    let lines = [
        format!("machine: {}", loadtest::Machine::this()),
        format!("commit: {}", commit()),
        format!("flags: {flags}"),
        format!("date: {}", humantime::format_rfc3339_seconds(SystemTime::now())),
    ];
    lines.map(|line| format!("{}{line}\n", if markdown { "- " } else { "" })).concat()
}

fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(["-C", env!("CARGO_MANIFEST_DIR")]).args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".into() };
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|text| !text.is_empty());
    if changed { format!("{commit} with changes that are not committed") } else { commit }
}

fn main() -> ExitCode {
    if let Some(code) = loadtest::floor::role().or_else(load::role).or_else(count::role) {
        return code;
    }
    measure::role();
    let args: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let markdown = args.iter().any(|word| word == "--markdown");
    let words: Vec<&str> = args.iter().map(String::as_str).filter(|word| !word.starts_with('-')).collect();
    let full = words.contains(&"full");
    let wanted: Vec<_> = words.iter().filter(|word| **word != "full").collect();
    let cases: Vec<Case> = [
        cpu::cases(),
        unicast::cases(),
        memory::cases(),
        million::cases(),
        arrivals::cases(),
        overload::cases(),
        slow::cases(),
        window::cases(),
        deflate::cases(),
        link::cases(),
    ]
    .into_iter()
    .flatten()
    .collect();
    if words.contains(&"list") {
        cases
            .iter()
            .for_each(|case| println!("{}{}", case.name, if case.full_only { " (full)" } else { "" }));
        return ExitCode::SUCCESS;
    }
    let (rounds, few) = if full { (5, 5) } else { (3, 2) };
    let bench = Bench { full, rounds, few, begun: Instant::now() };
    let is_wanted = |case: &&Case| {
        let named = wanted.iter().any(|word| case.name.contains(**word));
        named || (wanted.is_empty() && (full || !case.full_only))
    };
    let rows: Vec<Row> = cases.iter().filter(is_wanted).flat_map(|case| case.rows(&bench)).collect();
    let flags = if args.is_empty() { "none (quick)".to_owned() } else { args.join(" ") };
    println!("{}\n{}", head(&flags, markdown), table::print(&rows, markdown));
    bench.say("done");
    let is_bad = |row: &Row| matches!(row.verdict(), Verdict::Missed | Verdict::Invalid);
    ExitCode::from(u8::from(rows.iter().any(is_bad)))
}
