//! The bytes of every kind of message as version 0.1 wrote them: whatever is changed, they are read and written so.
//!
//! `golden.txt` has a line for each kind: its name, and what stands on the wire without its length, in hex. Lines are added,
//! never changed: nodes of two releases share a cluster while it is upgraded. A field that is added later has its default
//! in the samples here, which leaves the bytes as they are; what it looks like when it is set is another line's.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes};
use data_encoding::HEXLOWER;
use prost::Message;

use super::ask::{self, Answer, Ask, Scope};
use super::codec::{Inbound, encoded};
use super::history::{Fetch, Fetched, Head, Heads, KeptItem};
use super::message::*;
use crate::names::Kind;
use crate::trace::Context;

const GOLDEN: &str = include_str!("golden.txt");

/// Reads a message and gives it as text, and as it would be written again.
type Reread = fn(&[u8]) -> Result<(String, Vec<u8>), prost::DecodeError>;

struct Sample {
    name: &'static str,
    text: String,
    bytes: Vec<u8>,
    reread: Reread,
}

fn reread<M: Message + Default + std::fmt::Debug>(
    bytes: &[u8],
) -> Result<(String, Vec<u8>), prost::DecodeError> {
    let message = M::decode(bytes)?;
    Ok((format!("{message:?}"), message.encode_to_vec()))
}

fn sample<M: Message + Default + std::fmt::Debug>(name: &'static str, message: &M) -> Sample {
    Sample { name, text: format!("{message:?}"), bytes: message.encode_to_vec(), reread: reread::<M> }
}

// Whoever adds a kind of message is led here by the compiler: it needs a name, a sample and a line.

fn down(body: control_down::Body) -> Sample {
    use control_down::Body::*;
    let name = match &body {
        Hello(_) => "control-down hello",
        RoutesTaken(_) => "control-down routes-taken",
        Alive(_) => "control-down alive",
        Ask(ask) => asked(ask.body.as_ref()),
        Fetched(_) => "control-down fetched",
        Heads(_) => "control-down heads",
    };
    sample(name, &ControlDown { body: Some(body) })
}

fn asked(body: Option<&ask::ask::Body>) -> &'static str {
    use ask::ask::Body::*;
    match body {
        Some(Clients(_)) => "control-down ask-clients",
        Some(Names(_)) => "control-down ask-names",
        Some(Count(_)) => "control-down ask-count",
        Some(Change(_)) => "control-down ask-change",
        Some(Drain(_)) => "control-down ask-drain",
        None => "control-down ask-nothing",
    }
}

fn up(body: control_up::Body) -> Sample {
    use control_up::Body::*;
    let name = match &body {
        Hello(_) => "control-up hello",
        Routes(_) => "control-up routes",
        Stats(_) => "control-up stats",
        Refused(_) => "control-up refused",
        Answer(answer) => answered(answer.body.as_ref()),
        Fetch(_) => "control-up fetch",
    };
    sample(name, &ControlUp { body: Some(body) })
}

fn answered(body: Option<&ask::answer::Body>) -> &'static str {
    use ask::answer::Body::*;
    match body {
        Some(Clients(_)) => "control-up answer-clients",
        Some(Names(_)) => "control-up answer-names",
        Some(Count(_)) => "control-up answer-count",
        Some(Changed(_)) => "control-up answer-changed",
        Some(Failed(_)) => "control-up answer-failed",
        None => "control-up answer-nothing",
    }
}

fn data(body: down::Body) -> Sample {
    let name = match &body {
        down::Body::Delivery(delivery) if delivery.trace.is_some() => "data-down delivery-of-a-trace",
        down::Body::Delivery(_) => "data-down delivery",
    };
    sample(name, &Down { body: Some(body) })
}

fn receipts(body: up::Body) -> Sample {
    let name = match &body {
        up::Body::Receipts(_) => "data-up receipts",
    };
    sample(name, &Up { body: Some(body) })
}

const AT: Position = Position { epoch: 0x0102_0304_0506_0708, offset: 300 };
const MARK: Mark = Mark { shard: 63, term: 0x1112_1314_1516_1718, seq: 70_000 };

fn scope() -> Scope {
    Scope { whose: ask::Whose::Client as i32, name: "room-ä".into(), local: 0x2122_2324, app: Some(101) }
}

fn place() -> ask::NamePlace {
    ask::NamePlace { order: 0x3132_3334_3536_3738, name: "lobby".into() }
}

/// Logic's words on the control stream, every field set.
fn control_down_samples() -> Vec<Sample> {
    use ask::ask::Body as Asked;
    use control_down::Body;
    let ask = |body| Body::Ask(Ask { id: 9, body: Some(body) });
    let item = KeptItem {
        offset: 301,
        app: Some(101),
        except: vec![1, 2],
        body: Bytes::from_static(b"\"data\":1}"),
        ttl_ms: 5_000,
    };
    let fetched =
        Fetched { id: 4, head: Some(AT), continues: true, last: 301, items: vec![item, KeptItem::default()] };
    let hello = LogicHello {
        version: 1,
        name: "logic-0".into(),
        instance: 0x4142_4344,
        history_rooms: vec!["chat.*".into(), "h.?".into()],
        history_users: vec!["*".into()],
        engine: 0x5152_5354,
        fence: 12,
    };
    let clients = ask::ListClients { scope: scope(), from: 77, limit: 100 };
    let names = ask::ListNames { kind: Kind::App as i32, app: Some(101), after: Some(place()), limit: 1_000 };
    let change = ask::Change { scope: scope(), act: ask::Act::Join as i32, name: "r".into(), app: Some(7) };
    let head = Head { kind: Kind::User as i32, name: "alice".into(), at: Some(AT) };
    vec![
        down(Body::Hello(hello)),
        down(Body::RoutesTaken(RoutesTaken { serial: 1_000_000 })),
        down(Body::Alive(Alive { beat: 3 })),
        down(ask(Asked::Clients(clients))),
        down(ask(Asked::Names(names))),
        down(ask(Asked::Count(scope()))),
        down(ask(Asked::Change(change))),
        down(ask(Asked::Drain(ask::Drain {}))),
        down(Body::Ask(Ask { id: 9, body: None })),
        down(Body::Fetched(fetched)),
        down(Body::Heads(Heads { heads: vec![head], missed: true })),
    ]
}

/// A gateway's, every field set.
fn control_up_samples() -> Vec<Sample> {
    use ask::answer::Body as Said;
    use control_up::Body;
    let answer = |body| Body::Answer(Answer { id: 9, body: Some(body) });
    let hello = GatewayHello {
        version: 1,
        name: "gateway-0".into(),
        instance: 0x6162_6364,
        client_url: "wss://g0.example:7200".into(),
        release: "0.1.0".into(),
    };
    let route = |kind: Kind, name: &str| Route { kind: kind as i32, name: name.into() };
    let routes = Routes {
        serial: 2,
        begun: vec![route(Kind::Room, "r"), route(Kind::User, "u")],
        ceased: vec![route(Kind::App, "101")],
        complete: true,
    };
    let client = ask::Client {
        local: 0x7172_7374,
        user: Some("alice".into()),
        app: Some(101),
        since_ms: 1_700_000_000_000,
        rooms: vec!["r".into(), "s".into()],
    };
    let names =
        ask::Names { names: vec![ask::Name { name: "r".into(), clients: 412_304 }], upto: Some(place()) };
    let stats = Stats { clients: 15_000, users: 14_000, rooms: 300, draining: true, marks: vec![MARK] };
    let fetch = Fetch { id: 4, kind: Kind::User as i32, name: "alice".into(), since: Some(AT) };
    vec![
        up(Body::Hello(hello)),
        up(Body::Routes(routes)),
        up(Body::Stats(stats)),
        up(Body::Refused(Refused { reason: "too old".into() })),
        up(answer(Said::Clients(ask::Clients { clients: vec![client], next: Some(78) }))),
        up(answer(Said::Names(names))),
        up(answer(Said::Count(70_000))),
        up(answer(Said::Changed(ask::Changed { matched: 3, changed: 2, refused: 1 }))),
        up(answer(Said::Failed(ask::Failed { code: "busy".into() }))),
        up(Body::Answer(Answer { id: 9, body: None })),
        up(Body::Fetch(fetch)),
    ]
}

/// Both directions of the data stream, every field set.
fn data_samples() -> Vec<Sample> {
    let delivery = Delivery {
        serial: 41,
        to: To::Rooms as i32,
        names: vec!["r".into(), "s".into()],
        clients: vec![0x8182_8384],
        app: Some(101),
        except: vec![5, 6],
        key: "BTC".into(),
        urgent: true,
        ttl_ms: 30_000,
        body: Bytes::from_static(b"\"event\":\"price\",\"data\":{\"n\":1}}"),
        positions: vec![AT, Position { epoch: 0, offset: 0 }],
        marks: vec![MARK],
        trace: None,
    };
    let trace = Context {
        trace_high: 0x0102_0304_0506_0708,
        trace_low: 0x1112_1314_1516_1718,
        span_id: 0x2122_2324_2526_2728,
        flags: 1,
    };
    let traced = Delivery { serial: 41, trace: Some(trace), ..Delivery::default() };
    let counts = Counts {
        serial: 41,
        matched_delta: -2,
        written: 10,
        conflated: 11,
        expired: 12,
        dropped_slow: 13,
        dropped_gone: 14,
        settled: true,
    };
    let taken = vec![Taken { serial: 41, matched: 60 }, Taken { serial: 42, matched: 0 }];
    vec![
        data(down::Body::Delivery(delivery)),
        data(down::Body::Delivery(traced)),
        receipts(up::Body::Receipts(Receipts { taken, counts: vec![counts] })),
    ]
}

fn samples() -> Vec<Sample> {
    [control_down_samples(), control_up_samples(), data_samples()].into_iter().flatten().collect()
}

#[test]
fn every_message_is_read_and_written_as_version_0_1_wrote_it() {
    let lines = GOLDEN.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let golden: BTreeMap<&str, Vec<u8>> = lines
        .map(|line| {
            let (name, hex) = line.rsplit_once(' ').expect("a name and its bytes");
            (name, HEXLOWER.decode(hex.as_bytes()).expect("hex"))
        })
        .collect();
    let samples = samples();
    let lacks = |sample: &&Sample| !golden.contains_key(sample.name);
    let line = |sample: &Sample| format!("{} {}\n", sample.name, HEXLOWER.encode(&sample.bytes));
    let lacking: String = samples.iter().filter(lacks).map(line).collect();
    assert!(lacking.is_empty(), "golden.txt lacks lines:\n{lacking}");
    for Sample { name, text, bytes, reread } in &samples {
        let golden = &golden[name];
        let (read, written) = reread(golden).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(&read, text, "{name} is read as something else");
        assert_eq!(&written, golden, "{name} is written otherwise than it was read");
        assert_eq!(bytes, golden, "{name} is written otherwise");
    }
    let names: Vec<_> = samples.iter().map(|sample| sample.name).collect();
    assert!(golden.keys().all(|name| names.contains(name)), "a line that nobody reads any more");
    assert_eq!(names.len(), golden.len());
}

/// Fields of a later release: a number, eight bytes, text, four bytes; with tags that are far from ours.
fn later_fields() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut key = |tag: u64, wire: u64, value: &[u8]| {
        prost::encoding::encode_varint(tag << 3 | wire, &mut bytes);
        bytes.put_slice(value);
    };
    key(1_000, 0, &[0x96, 0x01]);
    key(1_001, 1, &[7; 8]);
    key(1_002, 2, b"\x05later");
    key(1_003, 5, &[7; 4]);
    bytes
}

/// The same message with fields of a later release in its body, and behind it.
fn with_later_fields(bytes: &[u8]) -> Vec<u8> {
    let mut inner = bytes;
    let key = prost::encoding::decode_varint(&mut inner).expect("an envelope begins with its body's key");
    prost::encoding::decode_varint(&mut inner).expect("its length follows");
    let (mut whole, later) = (Vec::new(), later_fields());
    prost::encoding::encode_varint(key, &mut whole);
    prost::encoding::encode_varint((inner.len() + later.len()) as u64, &mut whole);
    whole.extend([inner, &later, &later].concat());
    whole
}

#[test]
fn fields_of_a_later_release_are_passed_over_wherever_they_stand() {
    for Sample { name, text, bytes, reread } in samples() {
        let (read, written) = reread(&with_later_fields(&bytes)).unwrap();
        assert_eq!(read, text, "{name}");
        assert_eq!(written, bytes, "{name}");
    }
}

#[test]
fn a_kind_of_message_of_a_later_release_is_no_message_and_what_follows_is_read() {
    let later = later_fields();
    assert_eq!(ControlDown::decode(&later[..]).unwrap().body, None);
    assert_eq!(ControlUp::decode(&later[..]).unwrap().body, None);
    assert_eq!(Down::decode(&later[..]).unwrap().body, None);
    assert_eq!(Up::decode(&later[..]).unwrap().body, None);
    // A question that is not understood is still answered: its id is.
    let ask = [Ask { id: 9, body: None }.encode_to_vec(), later.clone()].concat();
    assert_eq!(Ask::decode(&ask[..]).unwrap(), Ask { id: 9, body: None });
    let mut inbound = Inbound::default();
    let alive = ControlDown { body: Some(control_down::Body::Alive(Alive { beat: 3 })) };
    inbound.put(&[&[later.len() as u8], &later[..], &encoded(&alive)].concat());
    assert_eq!(inbound.next_message::<ControlDown>(), Ok(Some(ControlDown { body: None })));
    assert_eq!(inbound.next_message::<ControlDown>(), Ok(Some(alive)));
}

#[test]
fn a_word_of_a_later_release_is_kept_as_its_number() {
    let delivery = Delivery { to: 99, ..Delivery::default() };
    let read = Delivery::decode(&delivery.encode_to_vec()[..]).unwrap();
    assert_eq!((read.to, To::try_from(read.to).is_err()), (99, true));
    let change =
        ask::Change { scope: Scope { whose: 99, ..scope() }, act: 99, name: String::new(), app: None };
    assert_eq!(ask::Change::decode(&change.encode_to_vec()[..]).unwrap(), change);
}
