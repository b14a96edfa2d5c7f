//! When something is asked, and how much may wait; the order itself has a model (`pusher/sweep/resuming`).

use bytes::Bytes;

use super::*;
use crate::tally::{Outgoing, Passage};

const MS: Duration = Duration::from_millis(1);

fn order() -> (Order, Arc<AtomicUsize>) {
    let bytes = Arc::<AtomicUsize>::default();
    (Order::new(bytes.clone()), bytes)
}

fn at(offset: u64) -> Position {
    Position { epoch: 5, offset }
}

fn item(size: usize) -> (Filter, Item) {
    let part = tally::Part { passage: Passage::new(Arc::<Outgoing>::default(), 1, 1), matched: 1 };
    let body = Bytes::from(vec![b'x'; size]);
    (Filter::default(), Item { body, key: None, expires: None, part, kept: None })
}

/// An item comes: what passes of it and others, what became of it, and when it is to be asked.
fn take(order: &mut Order, offset: u64, size: usize, now: Instant) -> (Vec<u64>, Fate, Option<Instant>) {
    let mut outs = Vec::new();
    let fate = order.take(Coming { at: at(offset), hurries: false, offer: Some(item(size)) }, now, &mut outs);
    let wakes = order.wakes_for(&fate, 5, now);
    (passed(&outs), fate, wakes)
}

fn passed(outs: &[Out]) -> Vec<u64> {
    let offset = |out: &Out| match out {
        Out::Item { at, .. } | Out::Reset(at) => at.offset,
    };
    outs.iter().map(offset).collect()
}

fn part(last: u64, head: u64, offsets: &[u64]) -> Part {
    let kept = |offset: &u64| KeptItem { offset: *offset, ..KeptItem::default() };
    let items = offsets.iter().map(kept).collect();
    let asked = Instant::now();
    Part { head: at(head), continues: true, last, items, asked, frame: Default::default() }
}

#[test]
fn an_item_waits_for_those_before_it_and_they_are_asked_for_after_a_while() {
    let ((mut order, bytes), now) = (order(), Instant::now());
    assert_eq!(take(&mut order, 1, 1, now).0, [1]);
    let (passes, fate, wakes) = take(&mut order, 4, 1, now);
    assert!(passes.is_empty() && matches!(fate, Fate::Waits));
    assert_eq!(wakes, Some(now + WAIT));
    assert_eq!(take(&mut order, 3, 1, now + 100 * MS).2, None, "it is called already");
    assert_eq!(take(&mut order, 2, 1, now + 150 * MS).0, [2, 3, 4], "they came by themselves");
    assert_eq!(order.asks(now + WAIT, now + WAIT), Asks::Nothing);
    assert!(matches!(take(&mut order, 3, 1, now + WAIT).1, Fate::Double(_)));
    // The next gap has its own time, whenever it is looked.
    assert_eq!(take(&mut order, 6, 1, now + WAIT).2, Some(now + 2 * WAIT));
    let Asks::Now(asked) = order.asks(now + 2 * WAIT, now + 2 * WAIT) else { panic!("it is time") };
    assert_eq!(asked.at, at(4));
    // 5 is not to be sent any more; 6 is here; 7 is news.
    let answered = order.answered(asked, &part(7, 7, &[6, 7]), |_, _| item(1), now + 3 * WAIT);
    assert_eq!((passed(&answered.outs), answered.brought), (vec![6, 7], 1));
    assert_eq!(order.wakes(), None);
    assert_eq!(bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn as_many_items_wait_as_may_and_the_rest_is_left_to_history() {
    for size in [1, WAITING_BYTES_MAX / 4] {
        let ((mut order, bytes), now) = (order(), Instant::now());
        take(&mut order, 1, 1, now);
        let mut waiting = 0;
        let wakes = loop {
            let (_, fate, wakes) = take(&mut order, 3 + waiting, size, now);
            if matches!(fate, Fate::Left(_)) {
                break wakes;
            }
            waiting += 1;
        };
        let fits = if size == 1 { WAITING_MAX as u64 } else { 3 };
        assert_eq!(waiting, fits, "of {size} bytes each");
        assert_eq!(wakes, Some(now), "it is asked at once");
        let Asks::Now(asked) = order.asks(now, now) else { panic!("it is time") };
        let last = 3 + waiting;
        let answered = order.answered(asked, &part(last, last, &[2, last]), |_, _| item(1), now);
        assert_eq!(passed(&answered.outs), (2..=last).collect::<Vec<_>>());
        assert_eq!((answered.brought, bytes.load(Ordering::Relaxed)), (2, 0));
    }
}

#[test]
fn what_all_histories_wait_for_is_bounded_and_ends_with_them() {
    let bytes = Arc::<AtomicUsize>::default();
    let now = Instant::now();
    let mut orders = Vec::new();
    let (size, mut is_left) = (WAITING_BYTES_MAX / 2, false);
    while !is_left {
        let mut order = Order::new(bytes.clone());
        take(&mut order, 1, 1, now);
        is_left = matches!(take(&mut order, 3, size, now).1, Fate::Left(_));
        orders.push(order);
    }
    assert!(bytes.load(Ordering::Relaxed) <= WAITING_BYTES_ALL && orders.len() > 200);
    drop(orders);
    assert_eq!(bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn questions_without_an_answer_are_asked_again_ever_later() {
    let ((mut order, _), mut now) = (order(), Instant::now());
    take(&mut order, 1, 1, now);
    order.hears(None, now);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        let at = order.wakes().expect("it is still not known");
        pauses.push(at.saturating_duration_since(now).as_millis());
        now = now.max(at);
        assert!(matches!(order.asks(at, now), Asks::Now(_)));
        assert_eq!(order.wakes(), None, "one question at a time");
        order.unanswered(now);
    }
    assert_eq!(pauses, [0, 100, 200, 400, 800, 1_000]);
}

#[test]
fn a_head_is_looked_into_after_a_grace_unless_what_is_missing_has_come() {
    let ((mut order, _), now) = (order(), Instant::now());
    take(&mut order, 1, 1, now);
    order.hears(Some(at(1)), now);
    assert_eq!(order.wakes(), None, "it is here");
    order.hears(Some(at(2)), now);
    assert_eq!(order.wakes(), Some(now + GRACE));
    // It comes, and another is missing since: that has a grace of its own.
    take(&mut order, 2, 1, now + 10 * MS);
    order.hears(Some(at(3)), now + 200 * MS);
    assert_eq!(order.asks(now + GRACE, now + GRACE), Asks::Later(now + 200 * MS + GRACE));
    order.hears(Some(Position { epoch: 6, offset: 0 }), now + 250 * MS);
    assert_eq!(order.wakes(), Some(now + 250 * MS), "another life has none");
}

#[test]
fn an_answer_that_was_overtaken_by_a_later_life_is_asked_for_again() {
    let ((mut order, _), now) = (order(), Instant::now());
    take(&mut order, 1, 1, now);
    let life = |epoch| Position { epoch, offset: 0 };
    let says = |epoch, asked| Part { head: life(epoch), continues: false, asked, ..part(0, 0, &[]) };
    order.hears(Some(life(6)), now);
    let called = order.wakes().expect("another life is looked into");
    let Asks::Now(asked) = order.asks(called, now + MS) else { panic!("it is time") };
    // While the question is on its way, the history begins anew once more, and a member that resumes is told first.
    assert_eq!(order.is_news(7, now + 2 * MS), Ok(()));
    order.hears_of(7, now + 3 * MS);
    let answered = order.answered(asked, &says(6, now + MS), |_, _| item(1), now + 4 * MS);
    assert!(answered.outs.is_empty(), "nobody goes back to a life that is over");
    assert_eq!(order.place(), Some(Position { epoch: 5, offset: 1 }));
    let again = order.wakes().expect("it is asked again, at once");
    let Asks::Now(asked) = order.asks(again, now + 5 * MS) else { panic!("it is time") };
    let answered = order.answered(asked, &says(7, now + 5 * MS), |_, _| item(1), now + 6 * MS);
    assert!(matches!(answered.outs[..], [Out::Reset(at)] if at == life(7)), "{:?}", answered.outs);
    assert_eq!(order.wakes(), None);
}
