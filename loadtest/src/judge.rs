//! The end of a run: what each client has, against what the ledger says it must have.

use std::collections::HashMap;

use crate::ledger::Outcome;
use serde::{Deserialize, Serialize};

use crate::tracker::{Counts, Course, Seen, Span, name};

/// What excuses a miss.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Excuses {
    /// Of each gateway, whether its clients may lose their connection.
    pub(crate) churn: Vec<bool>,
    /// How long after its 202 an item may have been in a gateway that then died, µs.
    pub(crate) slack: u64,
    /// After a hello, how long until every logic node knows of the client, µs.
    pub(crate) settle: u64,
    /// Nobody waited for what was under way: what comes after the last item that a client has of a stream is not lost.
    pub(crate) interrupted: bool,
}

/// One stream as it ended.
struct Ended {
    accepted: u64,
    refused: Vec<u32>,
    length: u32,
}

/// What slow clients should have got, and did not: nobody is blamed for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Slow {
    pub(crate) expected: u64,
    pub(crate) missed: u64,
}

/// Counts what is expected, lost and excused; the rest was counted as it came. Counts are by gateway, and
/// apart from them those of slow clients.
pub(crate) fn judge(course: &Course, loops: &mut [Seen], excuses: &Excuses) -> (Vec<Counts>, Slow) {
    let streams = ended(course);
    let world = &course.world;
    let (mut judged, mut slow) = (vec![Counts::default(); world.gateways as usize], Slow::default());
    for seen in loops.iter_mut() {
        for client in (seen.offset..world.clients).step_by(seen.stride as usize) {
            let counts = &mut judged[world.gateway(client) as usize];
            let mut judge = Judge { course, excuses, counts, slow: &mut slow };
            for slot in 0..world.slots() {
                let number = world.number(world.stream_at(client, slot));
                if let Some(stream) = streams.get(&number) {
                    judge.stream(seen, (client, slot, number), stream);
                }
            }
        }
    }
    for seen in loops {
        judged.iter_mut().zip(&seen.counts).for_each(|(judged, counted)| judged.add(counted));
    }
    (judged, slow)
}

fn ended(course: &Course) -> HashMap<u32, Ended> {
    let ledger = &course.ledger;
    let end = |items: &Vec<u32>| {
        let with = |wanted| items.iter().filter(move |&&item| ledger.outcome(item) == wanted);
        let refused = with(Outcome::Refused).map(|&item| ledger.schedule.items[item as usize].seq).collect();
        Ended { accepted: with(Outcome::Accepted).count() as u64, refused, length: items.len() as u32 }
    };
    ledger.schedule.streams.iter().map(|(&number, items)| (number, end(items))).collect()
}

/// One client at a time.
struct Judge<'a> {
    course: &'a Course,
    excuses: &'a Excuses,
    counts: &'a mut Counts,
    slow: &'a mut Slow,
}

impl Judge<'_> {
    fn stream(&mut self, seen: &mut Seen, (client, slot, number): (u32, u32, u32), stream: &Ended) {
        let Self { course, excuses, counts, slow } = self;
        let is_prompt = course.world.is_prompt(client);
        *(if is_prompt { &mut counts.expected } else { &mut slow.expected }) += stream.accepted;
        let items = &course.ledger.schedule.streams[&number];
        let missing: Vec<u32> = seen.missing(client, slot, number, stream.length).collect();
        let tail = if excuses.interrupted { seen.next(client, slot) } else { stream.length };
        for &seq in &missing {
            let item = items[seq as usize];
            if course.ledger.outcome(item) != Outcome::Accepted {
                continue;
            }
            if !is_prompt {
                slow.missed += 1;
            } else if excused(course, seen, excuses, client, item) {
                counts.excused += 1;
            } else if seq >= tail {
                counts.under_way += 1;
            } else {
                counts.lost += 1;
                let name = name(course, course.ledger.label(item));
                let gateway = course.world.gateway(client);
                let (sent, answered) = course.ledger.lifetime(item);
                seen.example(|| {
                    let (sent, answered) = (sent as f64 / 1e6, answered as f64 / 1e6);
                    format!("client {client} (gateway {gateway}): item {name} never came; sent at {sent:.3} s, 202 at {answered:.3} s")
                });
            }
        }
        for &seq in stream.refused.iter().filter(|seq| !missing.contains(seq)) {
            counts.unexpected += 1;
            let name = name(course, course.ledger.label(items[seq as usize]));
            seen.example(|| format!("client {client}: item {name} came, although its push was refused"));
        }
    }
}

fn excused(course: &Course, seen: &Seen, excuses: &Excuses, client: u32, item: u32) -> bool {
    let gateway = course.world.gateway(client);
    let (sent, answered) = course.ledger.lifetime(item);
    let span = Span { from: sent, to: answered + excuses.slack, settle: excuses.settle };
    let stream = course.world.stream(course.ledger.schedule.items[item as usize].stream);
    let column = course.world.column(stream.target);
    course.ledger.has_failed_at(course.ledger.schedule.number(item), gateway)
        || seen.absences.was_away(client, excuses.churn[gateway as usize], span)
        || column.is_some_and(|column| seen.absences.was_out(client, column, span))
}
