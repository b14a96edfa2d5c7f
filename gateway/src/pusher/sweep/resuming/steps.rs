//! What may happen, and how often it does.

use proptest::prelude::*;

use super::{CLIENTS, LINKS};

/// One thing that happens.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// An item is stored and put on these links; or one that will be sent to nobody.
    Push([bool; LINKS], bool),
    /// Of what waits on a link, one of the first comes.
    Deliver(usize, usize),
    /// What waits on a link is lost.
    Lose(usize),
    /// The store starts anew and has forgotten everything. What waits on links is lost, or comes when it is stale.
    Restart(bool),
    /// The store forgets all but the last items.
    Trim(u64),
    /// A logic node says where the history stands; or that it does not know.
    Hear(bool),
    /// Time passes, and whoever has a time is looked at.
    Pass(u64),
    /// What a track asked is answered as things are now; or not at all.
    AnswerTrack(bool),
    /// The answer comes.
    TakeTrack,
    /// What has gathered is planned, unless a sweep is at work.
    Plan,
    /// So many buckets of the sweep are written.
    Write(u8),
    /// A client comes, or comes back.
    Come(usize),
    /// A client that comes is answered as things are now.
    Answer(usize),
    /// The answer is written, and the client is let go if that will do.
    Take(usize),
    /// A client goes, wherever it was.
    Go(usize),
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let client = || 0..CLIENTS;
    prop_oneof![
        6 => (prop::array::uniform2(any::<bool>()), prop::bool::weighted(0.85)).prop_map(|(on, sent)| Step::Push(on, sent)),
        9 => (0..LINKS, 0..3_usize).prop_map(|(link, place)| Step::Deliver(link, place)),
        1 => (0..LINKS).prop_map(Step::Lose),
        1 => any::<bool>().prop_map(Step::Restart),
        1 => (0..4_u64).prop_map(Step::Trim),
        2 => prop::bool::weighted(0.8).prop_map(Step::Hear),
        4 => (1..400_u64).prop_map(Step::Pass),
        4 => prop::bool::weighted(0.8).prop_map(Step::AnswerTrack),
        4 => Just(Step::TakeTrack),
        4 => Just(Step::Plan),
        5 => (1..64_u8).prop_map(Step::Write),
        4 => client().prop_map(Step::Come),
        6 => client().prop_map(Step::Answer),
        6 => client().prop_map(Step::Take),
        2 => client().prop_map(Step::Go),
    ]
}
