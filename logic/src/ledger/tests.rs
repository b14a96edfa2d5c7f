//! The ledger against examples, and its sum against anything.

use proptest::prelude::*;

use super::*;

const A: LinkId = LinkId(1);
const B: LinkId = LinkId(2);

const DEADLINES: Deadlines = Deadlines { taken: Duration::from_secs(1), written: Duration::from_secs(10) };

impl Answer {
    fn try_recv(&mut self) -> Result<Outcome, oneshot::error::TryRecvError> {
        match self {
            Self::Now(outcome) => Ok(outcome.clone()),
            Self::Later(receiver) => receiver.try_recv(),
        }
    }
}

fn taken(serial: u64, matched: u64) -> Receipts {
    Receipts { taken: vec![Taken { serial, matched }], counts: Vec::new() }
}

fn written(serial: u64, written: u64, settled: bool) -> Receipts {
    let counts = Counts { serial, written, settled, ..Counts::default() };
    Receipts { taken: Vec::new(), counts: vec![counts] }
}

#[test]
fn accepted_is_answered_once_all_have_taken_it() {
    let mut ledger = Ledger::default();
    let (serial, mut answer) = ledger.append([A, B], Wait::Accepted, Instant::now());
    ledger.receipts(A, &taken(serial, 3));
    assert!(answer.try_recv().is_err());
    ledger.receipts(B, &taken(serial, 4));
    let outcome = answer.try_recv().unwrap();
    assert_eq!((outcome.tally.matched, outcome.accepted, outcome.failed), (7, 2, vec![]));
    assert_eq!(ledger.tally(serial).unwrap().pending(), 7);
}

#[test]
fn written_is_answered_once_all_have_settled_or_are_lost() {
    let mut ledger = Ledger::default();
    let (serial, mut answer) = ledger.append([A, B], Wait::Written, Instant::now());
    ledger.receipts(A, &taken(serial, 3));
    ledger.receipts(B, &taken(serial, 4));
    ledger.receipts(A, &written(serial, 3, true));
    ledger.receipts(B, &written(serial, 1, false));
    assert!(answer.try_recv().is_err());
    assert_eq!(ledger.lose(B), 3);
    let outcome = answer.try_recv().unwrap();
    assert_eq!(outcome.failed, vec![(B, "link_lost")]);
    assert_eq!(outcome.tally, Tally { matched: 7, written: 4, gateway_lost: 3, ..Tally::default() });
    assert_eq!(outcome.tally.pending(), 0);
    assert_eq!(ledger.open_from, 2);
}

#[test]
fn impatience_fails_who_has_not_taken_it_and_late_counts_still_add_up() {
    let mut ledger = Ledger::default();
    let start = Instant::now();
    let (serial, mut answer) = ledger.append([A, B], Wait::Written, start);
    ledger.receipts(A, &taken(serial, 1));
    assert!(!ledger.look(start + DEADLINES.taken, DEADLINES, 10));
    assert!(answer.try_recv().is_err(), "one has taken it and may settle");
    assert!(!ledger.look(start + DEADLINES.written, DEADLINES, 10));
    let outcome = answer.try_recv().unwrap();
    assert_eq!((outcome.accepted, outcome.failed), (1, vec![(B, "timeout")]));
    ledger.receipts(B, &taken(serial, 5));
    ledger.receipts(B, &written(serial, 5, true));
    ledger.receipts(A, &written(serial, 1, true));
    assert_eq!(ledger.tally(serial).unwrap(), Tally { matched: 6, written: 6, ..Tally::default() });
}

#[test]
fn nobody_waits_for_a_link_that_missed_a_deadline_until_it_acknowledges_something() {
    let mut ledger = Ledger::default();
    let start = Instant::now();
    let (first, mut answer) = ledger.append([A, B], Wait::Accepted, start);
    let (_, mut in_flight) = ledger.append([B], Wait::Accepted, start + Duration::from_millis(1));
    ledger.receipts(A, &taken(first, 1));
    ledger.look(start + DEADLINES.taken, DEADLINES, 10);
    assert_eq!(answer.try_recv().unwrap().failed, vec![(B, "timeout")]);
    assert!(in_flight.try_recv().is_err() && ledger.is_suspect(B) && !ledger.is_suspect(A));
    let (serial, mut answer) = ledger.append([A, B], Wait::Accepted, start + DEADLINES.taken);
    ledger.receipts(A, &taken(serial, 1));
    let outcome = answer.try_recv().unwrap();
    assert_eq!((outcome.accepted, outcome.failed), (1, vec![(B, "unresponsive")]));
    let (alone, mut answer) = ledger.append([B], Wait::Written, start + DEADLINES.taken);
    assert_eq!(answer.try_recv().unwrap().failed, vec![(B, "unresponsive")]);
    ledger.receipts(B, &taken(alone, 7));
    assert_eq!(ledger.tally(alone).unwrap().matched, 7, "what comes late is counted");
    let (_, mut answer) = ledger.append([B], Wait::Accepted, start + DEADLINES.taken);
    assert!(!ledger.is_suspect(B) && answer.try_recv().is_err(), "it is waited for again");
    ledger.look(start + 2 * DEADLINES.taken, DEADLINES, 10);
    ledger.lose(B);
    assert!(!ledger.is_suspect(B));
}

#[test]
fn a_push_that_concerns_nobody_is_answered_at_once() {
    let mut ledger = Ledger::default();
    let (serial, mut answer) = ledger.append([], Wait::Written, Instant::now());
    assert_eq!((serial, answer.try_recv().unwrap()), (1, Outcome::default()));
}

#[test]
fn entries_go_after_five_minutes_or_when_there_are_too_many() {
    let start = Instant::now();
    let mut ledger = Ledger { entries_max: 3, ..Ledger::default() };
    for _ in 0..5 {
        ledger.append([A], Wait::Accepted, start);
    }
    assert_eq!((ledger.len(), ledger.tally(2), ledger.tally(99)), (3, None, None));
    assert!(ledger.tally(3).is_some());
    ledger.forget(start + KEPT, 10);
    assert_eq!((ledger.len(), ledger.tally(5)), (0, None));
    assert_eq!(ledger.append([A], Wait::Accepted, start).0, 6, "serial numbers go on");
    ledger.receipts(A, &taken(2, 9));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_sum_holds_once_everybody_has_settled_or_is_lost(
        shares in prop::collection::vec((0..50_u64, 0..50_u64, any::<bool>()), 1..6)
    ) {
        let mut ledger = Ledger::default();
        let links = (0..shares.len() as u64).map(LinkId);
        let (serial, mut answer) = ledger.append(links, Wait::Written, Instant::now());
        for (link, (matched, some, settles)) in shares.iter().enumerate() {
            let link = LinkId(link as u64);
            let first = (*some).min(*matched);
            ledger.receipts(link, &taken(serial, *matched));
            ledger.receipts(link, &written(serial, first, false));
            if *settles {
                ledger.receipts(link, &written(serial, matched - first, true));
            } else {
                ledger.lose(link);
            }
        }
        let tally = answer.try_recv().unwrap().tally;
        prop_assert_eq!(tally.pending(), 0);
        let matched = shares.iter().map(|(matched, ..)| matched).sum::<u64>();
        prop_assert_eq!(tally.written + tally.gateway_lost, matched);
        prop_assert_eq!(u64::try_from(tally.matched).unwrap(), matched);
    }
}
