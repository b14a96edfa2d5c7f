//! A good log passes; into it each fault is planted, and is found as what it is.

use serde_json::json;

use super::report::Kind;
use super::*;
use crate::producer::PRODUCERS;
use crate::world::tests::world;

/// Pushes to each history, and in each lane.
const EACH: u64 = 10;

/// Everybody is away behind this one, and gets the rest after a resume.
const HALF: u64 = 4;

const CLIENTS: u32 = 8;
const EPOCH: &str = "e1";

/// The lines of a log, by file.
struct Logs {
    world: World,
    producers: Vec<String>,
    finals: Vec<String>,
    faults: Vec<String>,
    clients: Vec<Vec<String>>,
}

/// The push at an offset of a history: each has a producer of its own.
fn push_of(history: &str, offset: u64) -> PushId {
    let number = world(CLIENTS).histories().iter().position(|name| name == history).unwrap();
    PushId(number as u32, offset - 1)
}

fn payload(to: &str, push: PushId) -> String {
    Label { run: world(CLIENTS).run, to: to.to_owned(), push }.write()
}

fn begins(push: PushId, to: &str) -> String {
    json!({"t": 1, "push": push, "to": to}).to_string()
}

fn acked(push: PushId, epoch: &str, offset: u64) -> String {
    json!({"t": 500_000, "push": push, "end": "ok", "at": [epoch, offset], "copy": 0, "logic": 0}).to_string()
}

/// An item as it is in a frame.
fn item(history: &str, epoch: &str, offset: u64, push: PushId) -> String {
    let data = payload(history, push);
    let name =
        if history.starts_with('@') { r#""user":true"#.to_owned() } else { format!(r#""room":"{history}""#) };
    format!(r#"{{{name},"epoch":"{epoch}","offset":{offset},"data":{data}}}"#)
}

fn plain(lane: u32, seq: u64) -> String {
    format!(r#"{{"room":"p.0","data":{}}}"#, payload("p.0", PushId(lane, seq)))
}

fn got(t: u64, frame: &str) -> String {
    format!(r#"{{"t":{t},"got":{frame}}}"#)
}

/// A frame of items at a time.
fn items(t: u64, items: &[String]) -> String {
    got(t, &format!(r#"{{"cmd":"push","items":[{}]}}"#, items.join(",")))
}

fn kept(history: &str, offset: u64) -> String {
    items(600_000, &[item(history, EPOCH, offset, push_of(history, offset))])
}

fn reset(history: &str, epoch: &str, offset: u64) -> String {
    got(650_000, &json!({"cmd": "reset", "room": history, "epoch": epoch, "offset": offset}).to_string())
}

fn page(history: &str, epoch: &str, offsets: std::ops::RangeInclusive<u64>) -> String {
    let head = *offsets.end();
    let items: Vec<String> = offsets
        .map(|offset| {
            format!(r#"{{"offset":{offset},"at":0,"data":{}}}"#, payload(history, push_of(history, offset)))
        })
        .collect();
    let items = items.join(",");
    format!(
        r#"{{"history":"{history}","page":{{"epoch":"{epoch}","offset":{head},"items":[{items}],"more":false,"reset":false}}}}"#
    )
}

/// What a client logs that gets everything, with a loss in between.
fn client(world: &World, number: u32) -> Vec<String> {
    let histories = world.histories_of(number);
    let positions: Vec<_> = histories
        .iter()
        .map(|name| match name.strip_prefix('@') {
            Some(_) => json!({"user": true, "epoch": EPOCH, "offset": 0}),
            None => json!({"room": name, "epoch": EPOCH, "offset": 0}),
        })
        .collect();
    let hello = |positions: &[serde_json::Value]| {
        got(10, &json!({"cmd": "hello", "data": {"clientId": "c", "positions": positions}}).to_string())
    };
    let connects = r#"{"t":5,"connects":0}"#.to_owned();
    let mut lines = vec![connects.clone(), hello(&positions)];
    lines.extend(histories.iter().flat_map(|name| (1..=HALF).map(|offset| kept(name, offset))));
    lines.push(r#"{"t":7,"closed":"cut"}"#.to_owned());
    lines.extend([connects, hello(&[])]);
    for (seq, name) in histories.iter().enumerate() {
        let (cmd, data) = match name.strip_prefix('@') {
            Some(user) => ("login", json!({"userId": user, "epoch": EPOCH, "offset": HALF})),
            None => ("join", json!({"room": name, "epoch": EPOCH, "offset": HALF})),
        };
        let seq = seq.to_string();
        let sent = json!({"seq": seq, "cmd": cmd, "data": data});
        lines.push(format!(r#"{{"t":8,"sent":{sent}}}"#));
        lines.extend((HALF + 1..=EACH).map(|offset| kept(name, offset)));
        let data = json!({"recovered": true, "epoch": EPOCH, "offset": EACH});
        let reply =
            json!({"seq": seq, "cmd": cmd, "response": {"code": 200, "codeMsg": "Success", "data": data}});
        lines.push(got(700_000, &reply.to_string()));
    }
    for lane in [PRODUCERS, PRODUCERS + 1] {
        lines.extend((0..EACH).map(|seq| items(1, &[plain(lane, seq)])));
    }
    lines
}

fn good() -> Logs {
    let world = world(CLIENTS);
    let mut producers = Vec::new();
    for name in world.histories() {
        for offset in 1..=EACH {
            let push = push_of(&name, offset);
            producers.extend([begins(push, &name), acked(push, EPOCH, offset)]);
        }
    }
    for lane in [PRODUCERS, PRODUCERS + 1] {
        for seq in 0..EACH {
            let push = PushId(lane, seq);
            producers.extend([begins(push, "p.0"), json!({"t": 2, "push": push, "end": "ok"}).to_string()]);
        }
    }
    let fault = |t: u64, lifted: bool| {
        json!({"t": t, "what": "kill", "role": "gateway", "name": "gateway-0", "lifted": lifted}).to_string()
    };
    Logs {
        finals: world.histories().iter().map(|name| page(name, EPOCH, 1..=EACH)).collect(),
        faults: vec![fault(100_000, false), fault(200_000, true)],
        clients: (0..CLIENTS).map(|number| client(&world, number)).collect(),
        producers,
        world,
    }
}

impl Logs {
    fn check(&self) -> Report {
        let mut checker = Checker::new(self.world.clone());
        checker.producer(&self.producers.join("\n"));
        checker.finals(&self.finals.join("\n"));
        checker.faults(&self.faults.join("\n"));
        for (number, lines) in (0..).zip(&self.clients) {
            checker.client(number, &lines.join("\n"));
        }
        checker.conclude()
    }

    /// Where the first client has this line.
    fn line(&self, line: &str) -> usize {
        self.clients[0].iter().position(|there| there == line).unwrap_or_else(|| panic!("no {line}"))
    }

    /// Only this is found, so many times.
    fn finds(&self, kind: Kind, count: u64) {
        let report = self.check();
        let found: Vec<_> = report.findings.iter().map(|(kind, count)| (*kind, *count)).collect();
        assert_eq!(found, [(kind, count)], "{report}");
        assert!(!report.ok && !report.examples.is_empty());
    }
}

#[test]
fn a_good_log_passes() {
    let report = good().check();
    assert!(report.ok && report.findings.is_empty(), "{report}");
    let histories = good().world.histories().len() as u64;
    let followed: u64 = (0..CLIENTS).map(|number| good().world.histories_of(number).len() as u64).sum();
    assert_eq!((report.pushes.history.ok, report.pushes.plain.ok), (histories * EACH, 2 * EACH));
    assert_eq!((report.seen.items, report.seen.resumes), (followed * EACH, followed));
    assert_eq!((report.seen.plain_items, report.seen.plain_expected), (160, 160));
    assert_eq!((report.kills["gateway"], report.seen.resets), (1, 0));
    assert_eq!(report.convergence_ms, 200, "700 ms for the last reply, 500 for the last acknowledgement");
}

#[test]
fn an_item_that_never_came_is_lost() {
    let mut logs = good();
    let at = logs.line(&kept("h.0", 3));
    logs.clients[0].remove(at);
    logs.finds(Kind::Lost, 1);
    // The last ones are as well: nothing comes behind them.
    let mut logs = good();
    for offset in [EACH - 1, EACH] {
        let at = logs.line(&kept("h.0", offset));
        logs.clients[0].remove(at);
    }
    logs.finds(Kind::Lost, 2);
}

#[test]
fn what_was_acknowledged_and_is_not_kept_is_lost() {
    let mut logs = good();
    let late = PushId(7, 0);
    logs.producers.extend([begins(late, "h.0"), acked(late, EPOCH, EACH + 1)]);
    logs.finds(Kind::Lost, 1);
}

#[test]
fn an_item_twice_is_duplicated() {
    let mut logs = good();
    let line = kept("h.0", HALF);
    let at = logs.line(&line);
    logs.clients[0].insert(at + 1, line.clone());
    logs.finds(Kind::Duplicated, 1);
    // Across a resume too.
    let mut logs = good();
    let at = logs.line(&kept("h.0", HALF + 1));
    logs.clients[0].insert(at, line);
    logs.finds(Kind::Duplicated, 1);
    let mut logs = good();
    logs.clients[0].push(items(1, &[plain(PRODUCERS, 3)]));
    logs.finds(Kind::Duplicated, 1);
}

#[test]
fn items_that_change_places_are_reordered() {
    let mut logs = good();
    let at = logs.line(&kept("h.0", 2));
    logs.clients[0].swap(at, at + 1);
    logs.finds(Kind::Reordered, 1);
    let mut logs = good();
    let at = logs.line(&items(1, &[plain(PRODUCERS, 2)]));
    logs.clients[0].swap(at, at + 1);
    logs.finds(Kind::Reordered, 1);
}

#[test]
fn a_plain_item_whose_push_was_not_answered_may_come_late_or_not_at_all() {
    let mut logs = good();
    let open = PushId(PRODUCERS, EACH);
    logs.producers.extend([begins(open, "p.0"), json!({"t": 2, "push": open, "end": "unknown"}).to_string()]);
    let after = PushId(PRODUCERS, EACH + 1);
    logs.producers.extend([begins(after, "p.0"), json!({"t": 2, "push": after, "end": "ok"}).to_string()]);
    logs.clients[0].extend([items(1, &[plain(PRODUCERS, EACH + 1)]), items(1, &[plain(PRODUCERS, EACH)])]);
    assert!(logs.check().ok, "{}", logs.check());
}

#[test]
fn what_nobody_pushed_there_is_a_phantom() {
    let never = items(1, &[plain(PRODUCERS, EACH)]);
    let elsewhere = items(1, &[item("@u0", EPOCH, EACH + 1, push_of("h.0", 1)).replace("@u0", "h.0")]);
    for line in [never, elsewhere] {
        let mut logs = good();
        logs.clients[0].push(line.clone());
        let report = logs.check();
        assert!(!report.ok && (report.found(Kind::Phantom) == 1 || line.contains("h.0")), "{report}");
    }
    // One that was refused, and one of a room that the client is not in.
    let mut logs = good();
    let refused = PushId(PRODUCERS, EACH);
    logs.producers
        .extend([begins(refused, "p.0"), json!({"t": 2, "push": refused, "end": "failed"}).to_string()]);
    logs.clients[0].push(items(1, &[plain(PRODUCERS, EACH)]));
    logs.finds(Kind::Phantom, 1);
    let mut logs = good();
    logs.clients[0].push(items(1, &[plain(PRODUCERS, 1).replace("\"room\":\"p.0\"", "\"room\":\"p.9\"")]));
    logs.finds(Kind::Phantom, 1);
}

#[test]
fn two_at_one_place_conflict() {
    let mut logs = good();
    let other = PushId(7, 0);
    logs.producers.push(begins(other, "h.0"));
    let at = logs.line(&kept("h.0", 3));
    logs.clients[0][at] = items(600_000, &[item("h.0", EPOCH, 3, other)]);
    logs.finds(Kind::Conflicting, 1);
}

#[test]
fn one_key_at_two_offsets_conflicts() {
    let mut logs = good();
    // A copy of a call is told another place, and the history has it there too.
    logs.producers.push(acked(push_of("h.0", 3), EPOCH, EACH + 1));
    let report = logs.check();
    assert_eq!(report.found(Kind::Conflicting), 1, "{report}");
}

#[test]
fn a_changed_payload_is_corrupted() {
    for (from, to) in [("\"producer\":0", "\"producer\":1"), ("\"sum\":\"", "\"sum\":\"0")] {
        let mut logs = good();
        let at = logs.line(&kept("h.0", 3));
        logs.clients[0][at] = logs.clients[0][at].replace(from, to);
        logs.finds(Kind::Corrupted, 1);
    }
}

#[test]
fn a_reset_covers_what_is_before_its_place_and_nothing_else() {
    // Told that it goes on behind 7, a client gets 8, 9 and 10, and has been told of 5 to 7.
    let mut logs = good();
    let at = logs.line(&kept("h.0", HALF + 1));
    logs.clients[0].drain(at..at + 3);
    logs.clients[0].insert(at, reset("h.0", EPOCH, HALF + 3));
    let report = logs.check();
    assert!(report.ok && report.seen.resets == 1, "{report}");
    // Told so too late, it had been shown a hole.
    let mut logs = good();
    let at = logs.line(&kept("h.0", HALF + 1));
    logs.clients[0].remove(at);
    logs.clients[0].insert(at + 1, reset("h.0", EPOCH, HALF + 2));
    logs.finds(Kind::Lost, 1);
}

#[test]
fn another_epoch_without_a_reset_is_a_silent_hole() {
    let new = |logs: &mut Logs| {
        logs.world.keeps = Keeps::Less;
        let push = PushId(7, 0);
        logs.producers.extend([begins(push, "h.0"), acked(push, "e2", 1)]);
        logs.finals[0] = format!(
            r#"{{"history":"h.0","page":{{"epoch":"e2","offset":1,"items":[{{"offset":1,"at":0,"data":{}}}],"more":false,"reset":false}}}}"#,
            payload("h.0", push)
        );
        for number in 0..CLIENTS {
            if logs.world.histories_of(number).contains(&"h.0".to_owned()) {
                let next = items(680_000, &[item("h.0", "e2", 1, push)]);
                logs.clients[number as usize].extend([reset("h.0", "e2", 0), next]);
            }
        }
    };
    let mut logs = good();
    new(&mut logs);
    let report = logs.check();
    assert!(report.ok && report.pushes.of_ended_epochs == EACH, "{report}");
    let at = logs.line(&reset("h.0", "e2", 0));
    logs.clients[0].remove(at);
    logs.finds(Kind::Lost, 1);
    // A store that keeps everything may not do that at all.
    let mut logs = good();
    new(&mut logs);
    logs.world.keeps = Keeps::All;
    assert!(logs.check().found(Kind::Lost) >= EACH - 1, "{}", logs.check());
}

#[test]
fn clients_that_come_too_late_and_processes_that_fall_are_found() {
    let mut logs = good();
    logs.world.converge_ms = 199;
    logs.finds(Kind::Late, 1);
    let mut logs = good();
    logs.faults.push(
        json!({"t": 1, "what": "crashed", "role": "node", "name": "gateway-1", "lifted": true}).to_string(),
    );
    logs.finds(Kind::Crashed, 1);
    let mut logs = good();
    logs.producers.push(
        json!({"t": 2, "push": push_of("h.0", 1), "attempt": [422, "idempotency_mismatch"]}).to_string(),
    );
    logs.finds(Kind::Refused, 1);
    let mut logs = good();
    logs.finals.pop();
    logs.finds(Kind::Unread, 1);
    let mut logs = good();
    logs.world.plain_share_min = 0.99;
    assert!(logs.check().ok);
    for seq in 0..EACH {
        let at = logs.line(&items(1, &[plain(PRODUCERS, seq)]));
        logs.clients[0].remove(at);
    }
    logs.finds(Kind::Promise, 1);
}
