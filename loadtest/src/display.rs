//! What a person sees while a run goes: a bar for each phase on a terminal, a line now and then elsewhere.

use std::convert::Infallible;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use loadtest::{Phase, Progress};

/// How often a terminal is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(250);

/// How often a line is written elsewhere.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Rates are of at least so long.
const RATE_TIME: Duration = Duration::from_secs(1);

/// Shows a run until it is dropped. `publish`: for how long is published, if all goes well.
pub(crate) async fn show(progress: &Progress, publish: Duration) -> Infallible {
    // A dumb terminal does not know how to draw a line again.
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    if std::io::stderr().is_terminal() && !is_dumb {
        draw(progress, publish).await
    } else {
        write(progress).await
    }
}

/// The phase after one; `None`: it is the last that takes time.
fn next(phase: Phase) -> Option<Phase> {
    match phase {
        Phase::Checking => Some(Phase::Connecting),
        Phase::Connecting => Some(Phase::Publishing),
        Phase::Publishing => Some(Phase::Draining),
        Phase::Draining => Some(Phase::Judging),
        Phase::Judging => None,
    }
}

/// A line every ten seconds and at each new phase.
async fn write(progress: &Progress) -> Infallible {
    let mut tick = tokio::time::interval(LINE_EVERY);
    while let Some(next) = next(progress.phase()) {
        tokio::select! {
            _ = tick.tick() => {}
            () = progress.reached(next) => {}
        }
        // Whoever does not want to read it does not want the run to end for it.
        _ = writeln!(std::io::stderr(), "{}", progress.line());
    }
    std::future::pending().await
}

/// A bar a phase. Bars that are done stay.
async fn draw(progress: &Progress, publish: Duration) -> Infallible {
    let mut tick = tokio::time::interval(DRAW_EVERY);
    while let Some(next) = next(progress.phase()) {
        let phase = Shown::new(progress.phase(), progress, publish);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = progress.reached(next) => break phase.draw(progress),
            }
            phase.draw(progress);
        }
    }
    std::future::pending().await
}

/// One phase on a terminal.
struct Shown {
    phase: Phase,
    bar: ProgressBar,
    begun: Instant,
    publish: Duration,
    rate: std::cell::RefCell<Rate>,
}

impl Shown {
    fn new(phase: Phase, progress: &Progress, publish: Duration) -> Self {
        let (name, length) = match phase {
            Phase::Checking => ("checking", 0),
            Phase::Connecting => ("connecting", progress.clients()),
            Phase::Publishing => ("publishing", publish.as_millis() as u64),
            Phase::Draining => ("draining", progress.due()),
            Phase::Judging => ("judging", 0),
        };
        // Colours are left out where NO_COLOR is set.
        let template = if length > 0 {
            "{prefix:>10.bold} {bar:28.cyan/dim} {percent:>3} %  {msg}"
        } else {
            "{prefix:>10.bold} {spinner}  {msg}"
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
        let bar = bar
            .with_style(style.progress_chars("━━╌"))
            .with_prefix(name)
            .with_finish(ProgressFinish::Abandon);
        let begun = Instant::now();
        Self { phase, bar, begun, publish, rate: Rate::new(begun).into() }
    }

    fn draw(&self, progress: &Progress) {
        let now = Instant::now();
        let per_sec = |count| self.rate.borrow_mut().now(now, count) as u64;
        let people = HumanCount;
        let (connected, clients) = (progress.connected(), progress.clients());
        let (received, due) = (progress.received(), progress.due());
        let (position, message) = match self.phase {
            Phase::Checking => (0, "limits and targets".to_owned()),
            Phase::Connecting => (
                connected,
                format!(
                    "{} of {} clients, {}/s",
                    people(connected),
                    people(clients),
                    people(per_sec(connected))
                ),
            ),
            Phase::Publishing => (
                self.begun.elapsed().min(self.publish).as_millis() as u64,
                format!(
                    "{} pushes accepted, {} items received, {}/s, {} clients",
                    people(progress.accepted()),
                    people(received),
                    people(per_sec(received)),
                    people(connected)
                ),
            ),
            Phase::Draining => (
                received,
                format!(
                    "{} of {} items received, {}/s",
                    people(received),
                    people(due),
                    people(per_sec(received))
                ),
            ),
            Phase::Judging => (0, "every item at every client".to_owned()),
        };
        if self.phase == Phase::Draining {
            self.bar.set_length(due.max(1));
        }
        self.bar.set_position(position);
        self.bar.set_message(message);
        self.bar.tick();
    }
}

/// How fast a count grows.
#[derive(Debug)]
struct Rate {
    at: Instant,
    count: u64,
    per_sec: f64,
}

impl Rate {
    fn new(now: Instant) -> Self {
        Self { at: now, count: 0, per_sec: 0.0 }
    }

    fn now(&mut self, now: Instant, count: u64) -> f64 {
        let time = now.saturating_duration_since(self.at);
        if time >= RATE_TIME {
            self.per_sec = count.saturating_sub(self.count) as f64 / time.as_secs_f64();
            (self.at, self.count) = (now, count);
        }
        self.per_sec
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_last_second_or_more() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut rate = Rate::new(begun);
        let rates = [(500, 100), (1_000, 200), (1_500, 900), (3_000, 1_200)]
            .map(|(ms, count)| rate.now(at(ms), count));
        assert_eq!(rates, [0.0, 200.0, 200.0, 500.0]);
    }
}
