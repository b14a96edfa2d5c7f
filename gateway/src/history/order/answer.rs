//! What follows from an answer of logic: what was missing passes, and where a history does not continue, members are reset.

use super::*;

impl Order {
    /// There is no answer: it is asked again, later.
    pub(in crate::history) fn unanswered(&mut self, now: Instant) {
        self.is_asking = false;
        let times = self.retry.map_or(0, |(_, times)| times);
        let pause = (RETRY * 2_u32.pow(times.min(8))).min(RETRY_MAX);
        self.retry = Some((now + pause, times + 1));
    }

    /// Logic answers; `make` makes an item of one that was kept, and of when it expires.
    pub(in crate::history) fn answered(
        &mut self,
        asked: Asked,
        part: &Part,
        make: impl Fn(&KeptItem, Option<Instant>) -> (Filter, Item),
        now: Instant,
    ) -> Answered {
        self.is_asking = false;
        self.retry = None;
        let mut answered = Answered::default();
        if self.is_news(part.head.epoch, part.asked).is_err() {
            // It is asked again, at once.
            self.doubt(now, None);
            return answered;
        }
        let is_older = |doubt: &Doubt| doubt.serial <= asked.serial;
        self.doubts.iter_mut().for_each(|doubt| _ = doubt.take_if(|doubt| is_older(doubt)));
        // It came before the question, and the answer knows nothing of it: what it stood in is no more.
        let head = part.head;
        let is_past = |(epoch, offset): &(u64, u64), waits: &mut Waits| {
            waits.serial <= asked.serial && (*epoch != head.epoch || *offset > head.offset)
        };
        let past: Vec<_> = self.waiting.extract_if(.., is_past).collect();
        for (_, waits) in past {
            self.leaves(&waits);
            answered.past.extend(waits.coming.part());
        }
        let leads_on = part.last > asked.at.offset || part.last >= head.offset;
        if part.continues && head.epoch == asked.at.epoch && leads_on {
            self.goes_on(part, make, &mut answered);
        } else if head.epoch != asked.at.epoch || self.taken == Some(asked.at) {
            // Else what was missing has come meanwhile, and what is still missing is asked for from there.
            self.begins_anew(head, now, &mut answered.outs);
        }
        self.pass_next(&mut answered.outs);
        if self.taken.is_some_and(|taken| taken.offset < head.offset) {
            // The answer was full, or members begin before an item that came: the rest is asked for, at once.
            self.doubt(now, None);
        }
        answered
    }

    fn goes_on(
        &mut self,
        part: &Part,
        make: impl Fn(&KeptItem, Option<Instant>) -> (Filter, Item),
        into: &mut Answered,
    ) {
        let epoch = part.head.epoch;
        let taken = |order: &Self| order.taken.map_or(0, |taken| taken.offset);
        for kept in &part.items {
            let at = Position { epoch, offset: kept.offset };
            // What waits itself is better: somebody hears what becomes of it.
            self.pass_waiting(at, &mut into.outs);
            if taken(self) < kept.offset {
                into.brought += 1;
                let offer = Some(make(kept, part.expires(kept)));
                self.pass(Coming { at, hurries: false, offer }, &mut into.outs);
            }
        }
        // What is not in the answer is not to be sent any more, or waits and says so itself.
        let last = Position { epoch, offset: part.last };
        self.pass_waiting(last, &mut into.outs);
        if taken(self) < part.last {
            self.taken = Some(last);
        }
    }

    /// Members are told where the history is now: there, or right before the first item of it that has come.
    fn begins_anew(&mut self, head: Position, now: Instant, outs: &mut Vec<Out>) {
        let first = self.waiting.range((head.epoch, 0)..=(head.epoch, u64::MAX)).next();
        let before = first.map_or(u64::MAX, |((_, offset), _)| offset.saturating_sub(1));
        let at = Position { offset: head.offset.min(before), ..head };
        self.hears_of(at.epoch, now);
        (self.taken, self.since, self.passed) = (Some(at), at.offset, Some(at));
        outs.push(Out::Reset(at));
    }

    /// Nobody is here any more: what waits is for nobody.
    pub(in crate::history) fn forget(&mut self) -> Vec<tally::Part> {
        self.wakes_at = None;
        self.doubts = [None; 2];
        let waiting = std::mem::take(&mut self.waiting);
        waiting.values().for_each(|waits| self.leaves(waits));
        waiting.into_values().filter_map(|waits| waits.coming.part()).collect()
    }
}
