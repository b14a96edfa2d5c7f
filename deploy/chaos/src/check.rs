//! What the logs of a run say: nothing lost, twice, out of order, made up, in conflict or changed; or what was.
//!
//! The logs are of people outside: producers know what was acknowledged, clients what came, the API what is kept. The
//! rules stand in README.md beside this crate, and each has a test that plants its fault into a good log.

mod client;
mod faults;
pub(crate) mod report;

use std::collections::HashMap;
use std::path::Path;

use crate::log::{End, FinalLine, Note, Page, PushLine};
use crate::payload::{Label, PushId, Reading};
use crate::world::{Keeps, World};
use report::{Kind, Report};

/// An epoch, by its number in [`Names`].
pub(crate) type Epoch = u32;

/// Texts that come again and again, as numbers.
#[derive(Debug, Default)]
struct Names(HashMap<String, u32>);

impl Names {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.0.get(name) {
            return *number;
        }
        let next = self.0.len() as u32;
        self.0.insert(name.to_owned(), next);
        next
    }
}

/// What is known of a push.
#[derive(Debug)]
struct Pushed {
    to: u32,
    end: Option<End>,
    /// Where it was seen to stand, by whoever saw it.
    stands: Vec<(Epoch, u64)>,
    /// Where its producer was told that it stands.
    acked: Vec<(Epoch, u64)>,
}

/// A history at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Final {
    epoch: Epoch,
    head: u64,
    /// The oldest item that is still kept.
    first: u64,
    is_whole: bool,
}

/// Takes the files of a log one after the other: producers, then final histories and faults, then clients.
#[derive(Debug)]
pub(crate) struct Checker {
    world: World,
    histories: Names,
    epochs: Names,
    pushes: HashMap<PushId, Pushed>,
    places: HashMap<(u32, Epoch, u64), PushId>,
    finals: HashMap<u32, Final>,
    report: Report,
    /// When the last push was acknowledged, and the last fault was over.
    last_ack: u64,
    last_fault: u64,
    /// When the last client was where it belongs.
    settled: u64,
}

/// Reads the log in a folder and judges it.
///
/// # Errors
/// That it cannot be read.
pub(crate) fn check(folder: &Path) -> Result<Report, String> {
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).map_err(|why| format!("{}: {why}", path.display()))
    };
    let world: World = serde_json::from_str(&read("run.json")?).map_err(|why| format!("run.json: {why}"))?;
    let clients = world.clients;
    let mut checker = Checker::new(world);
    let mut producer = 0;
    while folder.join(format!("producer-{producer}.jsonl")).exists() {
        checker.producer(&read(&format!("producer-{producer}.jsonl"))?);
        producer += 1;
    }
    checker.finals(&read("final.jsonl")?);
    checker.faults(&read("faults.jsonl")?);
    for number in 0..clients {
        checker.client(number, &read(&format!("client-{number}.jsonl"))?);
    }
    let mut report = checker.conclude();
    if folder.join("notes.json").exists() {
        let notes: Vec<Note> =
            serde_json::from_str(&read("notes.json")?).map_err(|why| format!("notes.json: {why}"))?;
        for Note { kept, text } in notes {
            if !kept {
                report.find(Kind::Promise, || text.clone());
            }
            report.notes.push(text);
        }
    }
    Ok(report)
}

impl Checker {
    /// A checker that has read nothing.
    pub(crate) fn new(world: World) -> Self {
        Self {
            report: Report::new(&world),
            world,
            histories: Names::default(),
            epochs: Names::default(),
            pushes: HashMap::new(),
            places: HashMap::new(),
            finals: HashMap::new(),
            last_ack: 0,
            last_fault: 0,
            settled: 0,
        }
    }

    /// The lines of a producer.
    pub(crate) fn producer(&mut self, text: &str) {
        for line in text.lines() {
            match serde_json::from_str::<PushLine>(line) {
                Ok(line) => self.push_line(line),
                Err(why) => self.report.find(Kind::Unread, || format!("a line of a producer: {why}: {line}")),
            }
        }
    }

    fn push_line(&mut self, line: PushLine) {
        if let Some(to) = &line.to {
            let to = self.histories.number(to);
            self.pushes.entry(line.push).or_insert(Pushed {
                to,
                end: None,
                stands: Vec::new(),
                acked: Vec::new(),
            });
            return;
        }
        let Some(pushed) = self.pushes.get_mut(&line.push) else { return };
        if let Some((status @ 400..500, why)) = &line.attempt {
            // Busy and limited are answers; that a good push is a bad one is not.
            if ![408, 409, 429].contains(status) {
                self.report.find(Kind::Refused, || format!("{:?} was answered {status} {why}", line.push));
            }
        }
        let Some(end) = line.end else { return };
        // Of racing copies one that was stored is enough, and one that may have been leaves it open.
        pushed.end = match (pushed.end, end) {
            (Some(End::Ok), _) | (_, End::Ok) => Some(End::Ok),
            (Some(End::Unknown), _) | (_, End::Unknown) => Some(End::Unknown),
            _ => Some(End::Failed),
        };
        if end != End::Ok {
            return;
        }
        self.last_ack = self.last_ack.max(line.t);
        let to = pushed.to;
        if let Some((epoch, offset)) = &line.at {
            let at = (self.epochs.number(epoch), *offset);
            pushed.acked.push(at);
            self.stands(line.push, to, at, "its producer was told");
        } else if line.push.0 < crate::producer::PRODUCERS {
            self.report.find(Kind::Lost, || format!("{:?} was acknowledged without a place", line.push));
        }
    }

    /// A push was seen at a place: nobody else stands there, and it stands nowhere else.
    fn stands(&mut self, push: PushId, history: u32, at: (Epoch, u64), by: &str) {
        let there = *self.places.entry((history, at.0, at.1)).or_insert(push);
        if there != push {
            self.report
                .find(Kind::Conflicting, || format!("{push:?} and {there:?} at one place, {at:?}: {by}"));
            return;
        }
        let Some(pushed) = self.pushes.get_mut(&push) else { return };
        if pushed.stands.contains(&at) {
            return;
        }
        let keeps = self.world.keeps;
        // A store that came back with less does not know its keys; a life that begins anew has them all at their offsets.
        let clash =
            pushed.stands.iter().find(|stand| stand.1 != at.1 && (keeps == Keeps::All || stand.0 == at.0));
        if let Some(clash) = clash {
            self.report
                .find(Kind::Conflicting, || format!("{push:?} stands at {clash:?} and at {at:?}: {by}"));
        }
        pushed.stands.push(at);
    }

    /// The histories at the end.
    pub(crate) fn finals(&mut self, text: &str) {
        for line in text.lines() {
            let read = serde_json::from_str::<FinalLine<'_>>(line)
                .and_then(|line| Ok((line.history, serde_json::from_str::<Page<'_>>(line.page.get())?)));
            match read {
                Ok((history, page)) => self.page(&history, &page),
                Err(why) => self.report.find(Kind::Unread, || format!("a page at the end: {why}")),
            }
        }
    }

    fn page(&mut self, name: &str, page: &Page<'_>) {
        let (history, epoch) = (self.histories.number(name), self.epochs.number(&page.epoch));
        let mut after = self.finals.get(&history).map(|before| before.head);
        let first = self.finals.get(&history).map(|before| before.first);
        if self.finals.get(&history).is_some_and(|before| before.epoch != epoch) {
            self.report.find(Kind::Unread, || format!("{name} began anew while it was read at the end"));
        }
        for item in &page.items {
            if after.is_some_and(|after| item.offset != after + 1) {
                self.report
                    .find(Kind::Lost, || format!("{name} at the end has {} behind {after:?}", item.offset));
            }
            after = Some(item.offset);
            if let Some(push) = self.payload(name, item.data.get(), "the API") {
                self.stands(push, history, (epoch, item.offset), "the API says");
            }
        }
        let first = first.or(page.items.first().map(|item| item.offset)).unwrap_or(page.offset + 1);
        // While there is more, the next page begins behind the last item of this one.
        let head = if page.more { after.unwrap_or(0) } else { page.offset };
        if !page.more && after.is_some_and(|after| after != page.offset) {
            self.report
                .find(Kind::Lost, || format!("{name} at the end says {} and ends at {after:?}", page.offset));
        }
        self.finals.insert(history, Final { epoch, head, first, is_whole: !page.more });
    }

    /// The push that a payload is of, if it may be here.
    fn payload(&mut self, name: &str, text: &str, by: &str) -> Option<PushId> {
        let Reading::Whole(label) = Label::read(text) else {
            self.report.find(Kind::Corrupted, || format!("{by} got from {name}: {text}"));
            return None;
        };
        let push = label.push;
        let why = match self.pushes.get(&push) {
            _ if label.run != self.world.run => "of another run",
            _ if label.to != name => "pushed to another",
            None => "never pushed",
            Some(Pushed { end: Some(End::Failed), .. }) => "refused",
            Some(_) => return Some(push),
        };
        self.report.find(Kind::Phantom, || format!("{by} got {push:?} from {name}, which was {why}"));
        None
    }

    /// Everything was read: what was acknowledged is kept.
    pub(crate) fn conclude(mut self) -> Report {
        for name in self.world.histories() {
            let number = self.histories.number(&name);
            if !self.finals.get(&number).is_some_and(|last| last.is_whole) {
                self.report.find(Kind::Unread, || format!("{name} was not read at the end"));
            }
        }
        let pushes = std::mem::take(&mut self.pushes);
        for (push, pushed) in &pushes {
            let counts = &mut self.report.pushes;
            let counts =
                if push.0 < crate::producer::PRODUCERS { &mut counts.history } else { &mut counts.plain };
            match pushed.end {
                Some(End::Ok) => counts.ok += 1,
                Some(End::Failed) => counts.failed += 1,
                Some(End::Unknown) | None => counts.unknown += 1,
            }
            for at in &pushed.acked {
                self.is_kept(*push, pushed.to, *at);
            }
        }
        let since = self.last_fault.max(self.last_ack);
        let converged = self.settled.saturating_sub(since) / 1000;
        self.report.convergence_ms = converged;
        if converged > self.world.converge_ms {
            self.report.find(Kind::Late, || format!("converged {converged} ms after the last fault"));
        }
        self.plain_promise();
        self.report
    }

    /// Rooms without history flow on, where the mode promises it.
    fn plain_promise(&mut self) {
        let (least, ends, seen) = (self.world.plain_share_min, self.report.pushes.plain, self.report.seen);
        let share = |part: u64, of: u64| part as f64 / of.max(1) as f64;
        let taken = share(ends.ok, ends.ok + ends.failed + ends.unknown);
        let came = share(seen.plain_items, seen.plain_expected);
        if taken < least || came < least {
            self.report.find(Kind::Promise, || {
                format!(
                    "of plain pushes {:.2} % were taken, and of those {:.2} % came",
                    100.0 * taken,
                    100.0 * came
                )
            });
        }
    }

    /// What was acknowledged is in the history at the end, where it was said to be.
    fn is_kept(&mut self, push: PushId, history: u32, (epoch, offset): (Epoch, u64)) {
        let Some(last) = self.finals.get(&history).copied() else { return };
        if epoch != last.epoch && self.world.keeps == Keeps::Less {
            self.report.pushes.of_ended_epochs += 1;
            return;
        }
        if offset < last.first {
            self.report.pushes.trimmed += 1;
            return;
        }
        if self.places.get(&(history, last.epoch, offset)) != Some(&push) || offset > last.head {
            self.report
                .find(Kind::Lost, || format!("{push:?} was acknowledged at {offset}, and is not kept there"));
        }
    }
}

#[cfg(test)]
mod tests;
