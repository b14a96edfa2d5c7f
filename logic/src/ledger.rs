//! What became of each push: the counts that gateways send, who waits for them, and for how long they are
//! kept. Pure: time is an argument. The publisher holds it under its sequencer's lock.
//!
//! Serial numbers are given here, one for each entry, so an entry is found by subtraction. For every push,
//! matched = written + conflated + expired + dropped + pending; what was pending at a gateway whose link is
//! lost counts as dropped.
//!
//! A link that has missed one deadline is *suspect* until it acknowledges something: what is sent to it is named
//! in the answers as failed, and holds up none of them. So a frozen gateway costs the pushes that are in
//! flight when it freezes one deadline, and later ones nothing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use common::link::message::{Counts, Receipts, Taken};
use tokio::sync::oneshot;

use crate::push::Wait;
use crate::routing::LinkId;

/// How long an entry is kept.
pub(crate) const KEPT: Duration = Duration::from_secs(5 * 60);

/// Most entries; beyond it the oldest goes early. 2^19 is five minutes at 1,747 pushes a second. Memory
/// usage will be (16 + 56 + 24 + 16) * 524,288 = 59 MB, and 32 B more for each gateway that has not settled.
const ENTRIES_MAX: usize = 1 << 19;

/// Entries that are forgotten at each append: more than one, so that old ones never gather.
const FORGET_STEP: usize = 4;

/// All entries, in the order of their serial numbers.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// Serial number of the first entry.
    first: u64,
    entries: VecDeque<Entry>,
    /// Entries before this serial number have no open share: where a lost link need not be looked for.
    open_from: u64,
    /// Entries before these serial numbers have been called late, and over.
    late_from: u64,
    over_from: u64,
    /// Links that missed a deadline and have acknowledged nothing since: nobody waits for them.
    suspects: Vec<LinkId>,
    entries_max: usize,
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    tally: Tally,
    shares: Vec<Share>,
    waiter: Option<(Wait, oneshot::Sender<Outcome>)>,
}

/// The counts of one push, over all gateways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Connections it matched. Signed, for in the news of one gateway it may go down.
    pub(crate) matched: i64,
    /// Written to the kernel.
    pub(crate) written: u64,
    /// Replaced by a newer item with the same key.
    pub(crate) conflated: u64,
    /// Too old when its turn came.
    pub(crate) expired: u64,
    /// Dropped: the connection's outbox was full.
    pub(crate) slow: u64,
    /// Dropped: the connection went.
    pub(crate) gone: u64,
    /// Dropped: the gateway was lost.
    pub(crate) gateway_lost: u64,
}

impl Tally {
    /// What nobody has said anything about yet.
    pub(crate) fn pending(&self) -> u64 {
        u64::try_from(self.matched).unwrap_or(0).saturating_sub(self.done())
    }

    /// What somebody has said something about.
    pub(crate) fn done(&self) -> u64 {
        self.written + self.conflated + self.expired + self.slow + self.gone + self.gateway_lost
    }
}

/// How long a caller waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadlines {
    /// What is not taken by then counts as failed; who waits for more goes on waiting for the others.
    pub(crate) taken: Duration,
    /// Then the answer is what is known.
    pub(crate) written: Duration,
}

/// What a caller gets for its push.
#[derive(Debug)]
pub(crate) enum Answer {
    /// There is nobody to wait for.
    Now(Outcome),
    /// It comes.
    Later(oneshot::Receiver<Outcome>),
}

/// The part of a push that one gateway has.
#[derive(Debug)]
struct Share {
    link: LinkId,
    stage: Stage,
    matched: u64,
    done: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// On the way to the gateway.
    Sent,
    /// The same, for longer than the caller waits.
    Late,
    /// On the way to a gateway that is suspect: the caller does not wait for it.
    Unasked,
    /// In the gateway's merger.
    Taken,
    /// Nothing is pending there.
    Settled,
    /// The link was lost before the gateway said that it took it.
    Lost,
    /// The link was lost after.
    LostTaken,
}

/// What a caller is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The counts so far.
    pub(crate) tally: Tally,
    /// Gateways that took it.
    pub(crate) accepted: usize,
    /// Gateways that did not, and why.
    pub(crate) failed: Vec<(LinkId, &'static str)>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            first: 1,
            entries: VecDeque::new(),
            open_from: 1,
            late_from: 1,
            over_from: 1,
            suspects: Vec::new(),
            entries_max: ENTRIES_MAX,
        }
    }
}

impl Ledger {
    /// Gives the next serial number to a push that goes to these links.
    pub(crate) fn append(
        &mut self,
        links: impl IntoIterator<Item = LinkId>,
        wait: Wait,
        now: Instant,
    ) -> (u64, Answer) {
        self.forget(now, FORGET_STEP);
        let serial = self.first + self.entries.len() as u64;
        let share = |link| {
            let stage = if self.suspects.contains(&link) { Stage::Unasked } else { Stage::Sent };
            Share { link, stage, matched: 0, done: 0 }
        };
        let shares: Vec<_> = links.into_iter().map(share).collect();
        let mut entry = Entry { at: now, tally: Tally::default(), shares, waiter: None };
        let answer = if entry.shares.iter().any(|share| share.stage == Stage::Sent) {
            let (sender, receiver) = oneshot::channel();
            entry.waiter = Some((wait, sender));
            Answer::Later(receiver)
        } else {
            Answer::Now(entry.outcome(wait))
        };
        self.entries.push_back(entry);
        self.advance();
        (serial, answer)
    }

    /// Whether a link has missed a deadline and has acknowledged nothing since.
    pub(crate) fn is_suspect(&self, link: LinkId) -> bool {
        self.suspects.contains(&link)
    }

    /// Forgets up to `most` entries that are too old or too many.
    pub(crate) fn forget(&mut self, now: Instant, most: usize) {
        for _ in 0..most {
            let Some(oldest) = self.entries.front() else { break };
            let old = now.saturating_duration_since(oldest.at) >= KEPT;
            if !old && self.entries.len() < self.entries_max {
                break;
            }
            self.entries.pop_front();
            self.first += 1;
        }
        for mark in [&mut self.open_from, &mut self.late_from, &mut self.over_from] {
            *mark = self.first.max(*mark);
        }
    }

    /// What a gateway says of its shares. Says the counts that were new.
    pub(crate) fn receipts(&mut self, link: LinkId, receipts: &Receipts) -> Tally {
        let mut news = Tally::default();
        if !receipts.taken.is_empty() {
            self.suspects.retain(|suspect| *suspect != link);
        }
        for Taken { serial, matched } in &receipts.taken {
            let Some(entry) = self.entry(*serial) else { continue };
            if let Some(share) = entry.share(link)
                && matches!(share.stage, Stage::Sent | Stage::Late | Stage::Unasked)
            {
                share.matched = *matched;
                // Whom nobody holds needs no further word.
                share.stage = if *matched == 0 { Stage::Settled } else { Stage::Taken };
                let matched = i64::try_from(*matched).unwrap_or(i64::MAX);
                entry.tally.matched = entry.tally.matched.saturating_add(matched);
                news.matched = news.matched.saturating_add(matched);
                entry.answer_if_due();
            }
        }
        for counts in &receipts.counts {
            if let Some(entry) = self.entry(counts.serial) {
                entry.count(link, counts, &mut news);
                entry.answer_if_due();
            }
        }
        self.advance();
        news
    }

    /// A link is lost: what it had not settled is dropped. Says how many items that were.
    pub(crate) fn lose(&mut self, link: LinkId) -> u64 {
        self.suspects.retain(|suspect| *suspect != link);
        let from = usize::try_from(self.open_from - self.first).unwrap_or(usize::MAX);
        let mut lost = 0;
        for entry in self.entries.iter_mut().skip(from) {
            let Some(share) = entry.share(link) else { continue };
            let pending = share.matched.saturating_sub(share.done);
            share.stage = match share.stage {
                Stage::Sent | Stage::Late | Stage::Unasked => Stage::Lost,
                Stage::Taken => Stage::LostTaken,
                ended => ended,
            };
            share.done = share.matched;
            entry.tally.gateway_lost += pending;
            lost += pending;
            entry.answer_if_due();
        }
        self.advance();
        lost
    }

    /// Looks at up to `most` entries whose deadline may have passed: answers callers that need not wait any
    /// more, and makes links suspect. Whether there may be more of them.
    ///
    /// Entries are in the order of time, so two marks that only go up find them: no push has a timer.
    pub(crate) fn look(&mut self, now: Instant, deadlines: Deadlines, most: usize) -> bool {
        let is_past = |entry: &Entry, time: Duration| now.saturating_duration_since(entry.at) >= time;
        for _ in 0..most {
            if let Some(entry) = self.entry(self.late_from)
                && is_past(entry, deadlines.taken)
            {
                let late = entry.late();
                self.late_from += 1;
                for link in late {
                    if !self.suspects.contains(&link) {
                        self.suspects.push(link);
                    }
                }
            } else if let Some(entry) = self.entry(self.over_from)
                && is_past(entry, deadlines.written)
            {
                entry.answer();
                entry.answer_if_due();
                self.over_from += 1;
            } else {
                return false;
            }
        }
        true
    }

    /// The counts of a push, if they are still kept.
    pub(crate) fn tally(&self, serial: u64) -> Option<Tally> {
        let at = usize::try_from(serial.checked_sub(self.first)?).ok()?;
        self.entries.get(at).map(|entry| entry.tally)
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn entry(&mut self, serial: u64) -> Option<&mut Entry> {
        let at = usize::try_from(serial.checked_sub(self.first)?).ok()?;
        self.entries.get_mut(at)
    }

    /// Moves the mark behind which nothing is open.
    fn advance(&mut self) {
        while let Some(entry) = self.entry(self.open_from) {
            if entry.is_open() {
                break;
            }
            self.open_from += 1;
        }
    }
}

impl Entry {
    fn share(&mut self, link: LinkId) -> Option<&mut Share> {
        self.shares.iter_mut().find(|share| share.link == link)
    }

    /// What was not taken by now counts as failed. Which links that concerns.
    fn late(&mut self) -> Vec<LinkId> {
        let mut late = Vec::new();
        for share in self.shares.iter_mut().filter(|share| share.stage == Stage::Sent) {
            share.stage = Stage::Late;
            late.push(share.link);
        }
        self.answer_if_due();
        late
    }

    fn is_open(&self) -> bool {
        let is_open = |stage| matches!(stage, Stage::Sent | Stage::Late | Stage::Unasked | Stage::Taken);
        self.shares.iter().any(|share| is_open(share.stage))
    }

    fn count(&mut self, link: LinkId, counts: &Counts, news: &mut Tally) {
        let done =
            [counts.written, counts.conflated, counts.expired, counts.dropped_slow, counts.dropped_gone]
                .into_iter()
                .fold(0_u64, u64::saturating_add);
        if let Some(share) = self.share(link) {
            share.matched = share.matched.saturating_add_signed(counts.matched_delta);
            share.done = share.done.saturating_add(done);
            if counts.settled && share.stage == Stage::Taken {
                share.stage = Stage::Settled;
            }
        }
        for tally in [&mut self.tally, news] {
            tally.matched = tally.matched.saturating_add(counts.matched_delta);
            tally.written = tally.written.saturating_add(counts.written);
            tally.conflated = tally.conflated.saturating_add(counts.conflated);
            tally.expired = tally.expired.saturating_add(counts.expired);
            tally.slow = tally.slow.saturating_add(counts.dropped_slow);
            tally.gone = tally.gone.saturating_add(counts.dropped_gone);
        }
    }

    /// Answers the caller if what it waits for has happened; then shares that are closed are not needed.
    fn answer_if_due(&mut self) {
        if let Some((wait, _)) = &self.waiter {
            let due = self.shares.iter().all(|share| match share.stage {
                Stage::Sent => false,
                Stage::Taken => *wait == Wait::Accepted,
                Stage::Late | Stage::Unasked | Stage::Settled | Stage::Lost | Stage::LostTaken => true,
            });
            if due {
                self.answer();
            }
        }
        if self.waiter.is_none() && !self.is_open() {
            self.shares = Vec::new();
        }
    }

    fn answer(&mut self) {
        let Some((wait, sender)) = self.waiter.take() else { return };
        // A caller that hung up is not told.
        let _ = sender.send(self.outcome(wait));
    }

    fn outcome(&self, wait: Wait) -> Outcome {
        let mut outcome = Outcome { tally: self.tally, ..Outcome::default() };
        for share in &self.shares {
            match (share.stage, wait) {
                (Stage::Sent | Stage::Late, _) => outcome.failed.push((share.link, "timeout")),
                (Stage::Unasked, _) => outcome.failed.push((share.link, "unresponsive")),
                (Stage::Lost, _) | (Stage::LostTaken, Wait::Written) => {
                    outcome.failed.push((share.link, "link_lost"));
                }
                _ => outcome.accepted += 1,
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests;
