//! What one client sent and got, followed line by line.

mod track;

use std::collections::{HashMap, HashSet};

use super::report::Kind;
use super::{Checker, Final};
use crate::log::{ClientLine, End};
use crate::payload::PushId;
use crate::producer::{PRODUCERS, plain};
use crate::wire::{Frame, Hello, Item, Place, Response, Sent};
use track::{At, Took, Track};

/// One client's story so far.
struct Story {
    number: u32,
    /// The histories that it follows.
    tracks: HashMap<String, Track>,
    plain_room: String,
    /// The inbox that is its user's.
    inbox: Option<String>,
    /// Commands of this connection: which history, and whether with a place.
    asked: HashMap<String, (String, bool)>,
    /// Of each lane of its room: what came by this connection, and the newest of it.
    lanes: HashMap<u32, (HashSet<u64>, u64)>,
    /// What came by those before.
    before: HashSet<PushId>,
}

impl Story {
    /// A history as logs name it, if this client follows it.
    fn history(&self, room: Option<&str>, is_inbox: bool) -> Option<String> {
        let name = if is_inbox { self.inbox.clone()? } else { room?.to_owned() };
        self.tracks.contains_key(&name).then_some(name)
    }
}

impl Checker {
    /// The lines of a client.
    pub(crate) fn client(&mut self, number: u32, text: &str) {
        let histories = self.world.histories_of(number);
        let mut story = Story {
            number,
            inbox: self.world.user_of(number).map(|user| format!("@{user}")),
            plain_room: self.world.plain_room_of(number),
            tracks: histories.iter().map(|name| (name.clone(), Track::default())).collect(),
            asked: HashMap::new(),
            lanes: HashMap::new(),
            before: HashSet::new(),
        };
        for line in text.lines() {
            match serde_json::from_str::<ClientLine<'_>>(line) {
                Ok(line) => self.client_line(&mut story, &line),
                Err(why) => self.report.find(Kind::Unread, || format!("a line of client {number}: {why}")),
            }
        }
        for name in histories {
            let track = &story.tracks[&name];
            self.track_ends(number, &name, track);
        }
        self.plain_share(&story);
    }

    fn client_line(&mut self, story: &mut Story, line: &ClientLine<'_>) {
        let number = story.number;
        if line.connects.is_some() {
            self.report.seen.connects += 1;
            story.asked.clear();
            // Without a place nobody can know what a client had elsewhere: order and at most once are a connection's.
            let lanes = std::mem::take(&mut story.lanes);
            story.before.extend(
                lanes
                    .into_iter()
                    .flat_map(|(lane, (seen, _))| seen.into_iter().map(move |seq| PushId(lane, seq))),
            );
        }
        if let Some(text) = &line.garbage {
            self.report.find(Kind::Corrupted, || format!("client {number} got {text:?}"));
        }
        if let Some(sent) = line.sent
            && let Ok(sent) = serde_json::from_str::<Sent>(sent.get())
            && let Some(name) = story.history(sent.data.room.as_deref(), sent.cmd == "login")
        {
            story.asked.insert(sent.seq, (name, sent.data.epoch.is_some()));
        }
        let Some(got) = line.got else { return };
        match serde_json::from_str::<Frame<'_>>(got.get()) {
            Ok(frame) => self.frame(story, line.t, frame),
            Err(why) => self.report.find(Kind::Corrupted, || format!("client {number} got {got}: {why}")),
        }
    }

    fn frame(&mut self, story: &mut Story, t: u64, frame: Frame<'_>) {
        if let (Some(seq), Some(response)) = (&frame.seq, frame.response) {
            self.reply(story, t, seq, response);
            return;
        }
        match frame.cmd.as_str() {
            "hello" => {
                let hello: Hello =
                    frame.data.and_then(|data| serde_json::from_str(data.get()).ok()).unwrap_or_default();
                for begin in hello.positions {
                    if let Some(name) = story.history(begin.room.as_deref(), begin.user) {
                        let at = At { epoch: self.epochs.number(&begin.epoch), offset: begin.offset };
                        self.begins(story, t, &name, at);
                    }
                }
            }
            "push" => frame.items.iter().for_each(|item| self.item(story, t, item)),
            "reset" => {
                self.report.seen.resets += 1;
                let name = story.history(frame.room.as_deref(), frame.user);
                let place = Place::of(frame.epoch, frame.offset);
                if let (Some(track), Some(place)) = (name.and_then(|name| story.tracks.get_mut(&name)), place)
                {
                    let at = At { epoch: self.epochs.number(&place.epoch), offset: place.offset };
                    if track.at().is_some_and(|known| known.epoch == at.epoch) {
                        self.report.seen.resets_within += 1;
                    }
                    track.resets(at, t);
                }
            }
            "gap" => self.report.seen.gaps += 1,
            _ => {}
        }
    }

    /// A client that had no place is told one.
    fn begins(&mut self, story: &mut Story, t: u64, name: &str, at: At) {
        let Some(track) = story.tracks.get_mut(name) else { return };
        if let Some(hole) = track.begins(at, t) {
            let number = story.number;
            self.report.find_many(Kind::Lost, hole, || {
                format!(
                    "client {number} was told to begin at {at:?} in {name}, and got what is behind the next"
                )
            });
        }
    }

    fn reply(&mut self, story: &mut Story, t: u64, seq: &str, response: Response) {
        let Some((name, with_place)) = story.asked.remove(seq) else { return };
        let number = story.number;
        if response.code != 200 {
            self.report.seen.refused_commands += 1;
            return;
        }
        let replied = response.data.unwrap_or_default();
        let Some(place) = Place::of(replied.epoch, replied.offset) else { return };
        let at = At { epoch: self.epochs.number(&place.epoch), offset: place.offset };
        if !with_place {
            self.begins(story, t, &name, at);
            return;
        }
        let Some(track) = story.tracks.get_mut(&name) else { return };
        track.is_in(t);
        if replied.recovered == Some(true) {
            self.report.seen.resumes += 1;
        }
        // What it is told in a reply is what it was brought, or reset to, before it.
        if track.at().is_some_and(|known| known.epoch != at.epoch) {
            self.report.find(Kind::Lost, || {
                format!("client {number} resumed {name} in another epoch without a reset")
            });
        }
    }

    fn item(&mut self, story: &mut Story, t: u64, item: &Item<'_>) {
        let number = story.number;
        if item.epoch.is_none() && !item.user {
            self.plain_item(story, item);
            return;
        }
        let Some(name) = story.history(item.room.as_deref(), item.user) else {
            let room = &item.room;
            self.report.find(Kind::Phantom, || {
                format!("client {number} got an item of {room:?}, in which it is not")
            });
            return;
        };
        self.report.seen.items += 1;
        let (Some(epoch), Some(offset)) = (&item.epoch, item.offset) else {
            self.report
                .find(Kind::Corrupted, || format!("client {number} got an item of {name} without a place"));
            return;
        };
        let at = At { epoch: self.epochs.number(epoch), offset };
        let by = format!("client {number}");
        if let Some(push) = self.payload(&name, item.data.get(), &by) {
            let history = self.histories.number(&name);
            self.stands(push, history, (at.epoch, at.offset), &by);
        }
        let Some(track) = story.tracks.get_mut(&name) else { return };
        let before = track.at();
        match track.takes(at, t) {
            Took::Next => {}
            // What is missing is counted at the end: it may still come, too late.
            Took::BehindHole => {}
            Took::Again => self
                .report
                .find(Kind::Duplicated, || format!("{by} got {at:?} of {name} again, at {before:?}")),
            Took::Late => {
                self.report.find(Kind::Reordered, || format!("{by} got {at:?} of {name} behind {before:?}"))
            }
            Took::OtherLife => {
                self.report.find(Kind::Lost, || {
                    format!("{by} got {at:?} of {name} behind {before:?} without a reset")
                });
            }
        }
    }

    fn plain_item(&mut self, story: &mut Story, item: &Item<'_>) {
        let number = story.number;
        let room = item.room.as_deref().unwrap_or_default();
        if room != story.plain_room {
            self.report.find(Kind::Phantom, || {
                format!("client {number} got an item of {room:?}, in which it is not")
            });
            return;
        }
        let by = format!("client {number}");
        let Some(PushId(lane, seq)) = self.payload(room, item.data.get(), &by) else { return };
        let is_sure = self.pushes.get(&PushId(lane, seq)).is_some_and(|pushed| pushed.end == Some(End::Ok));
        let (seen, newest) = story.lanes.entry(lane).or_default();
        if !seen.insert(seq) {
            self.report.find(Kind::Duplicated, || format!("{by} got {seq} of lane {lane} again"));
            return;
        }
        // One that was not answered may have been taken at any later time.
        if seq < *newest && is_sure {
            let newest = *newest;
            self.report.find(Kind::Reordered, || format!("{by} got {seq} of lane {lane} behind {newest}"));
        }
        *newest = seq.max(*newest);
        if story.before.contains(&PushId(lane, seq)) {
            self.report.seen.plain_again += 1;
        } else if is_sure {
            self.report.seen.plain_items += 1;
        }
    }

    /// What was acknowledged in the lanes of its room.
    fn plain_share(&mut self, story: &Story) {
        let logics = self.world.logics;
        let room = story.number % self.world.plain_rooms();
        debug_assert!(plain::lanes(self.world.plain_rooms(), logics) >= (room + 1) * logics);
        for lane in (PRODUCERS + room * logics)..(PRODUCERS + (room + 1) * logics) {
            self.report.seen.plain_expected += self.plain_ok(lane);
        }
    }

    /// Pushes of a lane that were acknowledged.
    fn plain_ok(&self, lane: u32) -> u64 {
        (0..)
            .map_while(|seq| self.pushes.get(&PushId(lane, seq)))
            .filter(|pushed| pushed.end == Some(End::Ok))
            .count() as u64
    }

    /// At the end every client is where its histories are, and nothing between was left out.
    fn track_ends(&mut self, number: u32, name: &str, track: &Track) {
        let history = self.histories.number(name);
        self.settled = self.settled.max(track.moved());
        for (epoch, first, count) in track.missing() {
            self.report.find_many(Kind::Lost, count, || {
                format!("client {number} never got {count} items of {name} from {first} on (epoch {epoch}), and no reset")
            });
        }
        let Some(Final { epoch, head, .. }) = self.finals.get(&history).copied() else { return };
        let end = At { epoch, offset: head };
        match track.at() {
            Some(at) if at == end => {}
            Some(at) if at.epoch == epoch && at.offset < head => {
                self.report.find_many(Kind::Lost, head - at.offset, || {
                    format!("client {number} ended at {at:?} in {name}, which ended at {end:?}")
                });
            }
            at => self.report.find(Kind::Lost, || {
                format!("client {number} ended at {at:?} in {name}, which ended at {end:?}")
            }),
        }
    }
}
