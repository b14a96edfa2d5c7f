//! One push, from text to a checked [`Push`]. Every error says at which member, and what to change.

use std::collections::HashSet;
use std::str::FromStr;

use common::ids::ClientId;
use common::json;
use common::limits::NAMES_PER_PUSH_MAX;
use common::names::{self, Kind};
use common::nearest::nearest;
use common::problem::{Fault, Problem};
use http::StatusCode;
use serde_json::value::RawValue;

use super::members::{Members, boolean, elements, kind, text, whole};
use crate::limits::Sizes;
use crate::push::{Push, Target, Wait};

/// Longest time to live: a day.
pub(super) const TTL_MS_MAX: u64 = 86_400_000;

/// Faults that are told at once.
const FAULTS_MAX: usize = 16;

pub(super) const MEMBERS: [&str; 9] =
    ["to", "appId", "exceptClients", "event", "data", "key", "urgent", "ttlMs", "wait"];
pub(super) const TARGETS: [&str; 7] = ["all", "room", "rooms", "user", "users", "client", "clients"];

/// What is wrong with a push, gathered.
#[derive(Debug, Default)]
pub(in crate::api) struct Faults {
    list: Vec<Fault>,
    /// One of them is that the data is too large.
    too_large: bool,
}

impl Faults {
    /// Adds a fault.
    pub(in crate::api) fn add(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        if self.list.len() < FAULTS_MAX {
            self.list.push(Fault { pointer: pointer.into(), detail: detail.into() });
        }
    }

    /// Adds those of a push that stands at `pointer`, `place` in words before each.
    pub(in crate::api) fn nest(&mut self, inner: Self, pointer: &str, place: &str) {
        self.too_large |= inner.too_large;
        for fault in inner.list {
            self.add(format!("{pointer}{}", fault.pointer), format!("{place}{}", fault.detail));
        }
    }

    /// Whether nothing is wrong.
    pub(in crate::api) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The answer.
    pub(in crate::api) fn problem(self) -> Problem {
        let (status, code) = if self.too_large {
            (StatusCode::PAYLOAD_TOO_LARGE, "data_too_large")
        } else {
            (StatusCode::BAD_REQUEST, "invalid_request")
        };
        let first = self.list.first().map_or_else(String::new, |fault| {
            let at = if fault.pointer.is_empty() { "the body" } else { &fault.pointer };
            format!("{at}: {}", fault.detail)
        });
        let mut problem = Problem::new(status, code, first);
        problem.errors = self.list;
        problem
    }
}

/// The text of a body: UTF-8, and not nested too deep for a parser.
pub(in crate::api) fn body_text(body: &[u8], depth_max: usize) -> Result<&str, Problem> {
    let bad = |code, detail: String| {
        let mut problem = Problem::fault("", detail);
        problem.code = code;
        problem
    };
    if !json::nests_within(body, depth_max) {
        return Err(bad("json_too_deep", format!("the JSON nests more than {depth_max} deep")));
    }
    std::str::from_utf8(body)
        .map_err(|error| bad("invalid_utf8", format!("not UTF-8 from byte {} on", error.valid_up_to())))
}

/// A parser's error, as an answer: what is no JSON at all, and what is JSON of the wrong shape.
///
/// `other` is the shape that callers take for ours: the byte that it begins with, and what to do about it.
pub(in crate::api) fn not_json(error: &serde_json::Error, text: &str, other: (char, &str)) -> Problem {
    let (begin, advice) = other;
    let is_other = error.is_data() && text.trim_start().starts_with(begin);
    let mut problem =
        Problem::fault("", if is_other { format!("{error}; {advice}") } else { error.to_string() });
    if !error.is_data() {
        problem.code = "invalid_json";
    }
    problem
}

/// Parses a body that is one push.
pub(in crate::api) fn one(body: &[u8], sizes: Sizes) -> Result<Push<'_>, Problem> {
    let text = body_text(body, sizes.json_depth_max)?;
    let array = ('[', "an array of pushes goes to /v1/push/batch");
    let members = serde_json::from_str(text).map_err(|error| not_json(&error, text, array))?;
    push(&members, sizes).map_err(Faults::problem)
}

/// Checks the members of a push.
pub(in crate::api) fn push<'a>(members: &Members<'a>, sizes: Sizes) -> Result<Push<'a>, Faults> {
    let mut faults = Faults::default();
    let mut to = None;
    let mut data = None;
    let mut push = Push {
        to: Target::All,
        app: None,
        except: Vec::new(),
        event: None,
        data: "null",
        key: String::new(),
        urgent: false,
        ttl_ms: 0,
        wait: Wait::Accepted,
        trace: None,
    };
    for (name, raw) in &members.0 {
        let raw: &'a RawValue = raw;
        let checked = match &**name {
            "to" => {
                to = Some(raw);
                Ok(())
            }
            "data" => {
                data = Some(raw);
                Ok(())
            }
            "appId" => whole(raw, 1, u64::from(u32::MAX)).map(|app| push.app = u32::try_from(app).ok()),
            "event" => called(raw).map(|_| push.event = Some(raw.get())),
            "key" => called(raw).map(|key| push.key = key),
            "urgent" => boolean(raw).map(|urgent| push.urgent = urgent),
            "ttlMs" => whole(raw, 1, TTL_MS_MAX).map(|ttl| push.ttl_ms = ttl),
            "wait" => wait(raw).map(|wait| push.wait = wait),
            "exceptClients" => {
                push.except = list(raw, "/exceptClients", &mut faults, client);
                Ok(())
            }
            unknown => Err(unknown_member(unknown, &MEMBERS)),
        };
        if let Err(detail) = checked {
            faults.add(pointer("", name), detail);
        }
    }
    match to {
        Some(raw) => push.to = target(raw, &mut faults).unwrap_or(Target::All),
        None => faults.add("/to", "is missing; say whom the push is for, such as {\"room\":\"r1\"}"),
    }
    match data.map(RawValue::get) {
        Some(text) if text.len() > sizes.data_bytes_max => {
            faults.too_large = true;
            let most = sizes.data_bytes_max;
            faults.add("/data", format!("has {} bytes; at most {most} are taken", text.len()));
        }
        Some(text) => push.data = text,
        None => faults.add("/data", "is missing; it may be any JSON, null included"),
    }
    if faults.is_empty() { Ok(push) } else { Err(faults) }
}

fn target(raw: &RawValue, faults: &mut Faults) -> Option<Target> {
    if kind(raw) != "an object" {
        faults.add("/to", format!("must be an object such as {{\"room\":\"r1\"}}, not {}", kind(raw)));
        return None;
    }
    let members = match serde_json::from_str::<Members<'_>>(raw.get()) {
        Ok(Members(members)) => members,
        Err(error) => {
            faults.add("/to", error.to_string());
            return None;
        }
    };
    if let Some((unknown, _)) = members.iter().find(|(name, _)| !TARGETS.contains(&&**name)) {
        faults.add(pointer("/to", unknown), unknown_member(unknown, &TARGETS));
        return None;
    }
    let [(name, raw)] = &members[..] else {
        let one = TARGETS.join(", ");
        faults.add("/to", format!("has {} members; it has exactly one of {one}", members.len()));
        return None;
    };
    // A name of ours needs no escapes.
    let at = || format!("/to/{name}");
    let one = |found: Result<Target, String>, faults: &mut Faults| {
        found.map_err(|detail| faults.add(at(), detail)).ok()
    };
    Some(match &**name {
        "all" if raw.get() == "true" => Target::All,
        "all" => return one(Err("must be true".to_owned()), faults),
        "room" => return one(called(raw).map(|name| Target::Names(Kind::Room, vec![name])), faults),
        "user" => return one(called(raw).map(|name| Target::Names(Kind::User, vec![name])), faults),
        "client" => return one(client(raw).map(|id| Target::Clients(vec![id])), faults),
        "rooms" => Target::Names(Kind::Room, list(raw, &at(), faults, called)),
        "users" => Target::Names(Kind::User, list(raw, &at(), faults, called)),
        _ => Target::Clients(list(raw, &at(), faults, client)),
    })
}

/// A list without repetitions. Faults are added at their elements.
fn list<T: Clone + Eq + std::hash::Hash>(
    raw: &RawValue,
    at: &str,
    faults: &mut Faults,
    parse: impl Fn(&RawValue) -> Result<T, String>,
) -> Vec<T> {
    let elements = elements(raw, NAMES_PER_PUSH_MAX).unwrap_or_else(|detail| {
        faults.add(at, detail);
        Vec::new()
    });
    let mut seen = HashSet::with_capacity(elements.len());
    let mut list = Vec::with_capacity(elements.len());
    for (place, raw) in elements.into_iter().enumerate() {
        match parse(raw) {
            Err(detail) => faults.add(format!("{at}/{place}"), detail),
            Ok(value) => {
                if seen.insert(value.clone()) {
                    list.push(value);
                }
            }
        }
    }
    list
}

/// A name.
pub(in crate::api) fn called(raw: &RawValue) -> Result<String, String> {
    let name = text(raw)?;
    names::check(&name).map_err(|bad| bad.to_string())?;
    Ok(name.into_owned())
}

fn client(raw: &RawValue) -> Result<ClientId, String> {
    ClientId::from_str(&text(raw)?).map_err(|error| error.to_string())
}

fn wait(raw: &RawValue) -> Result<Wait, String> {
    match &*text(raw)? {
        "accepted" => Ok(Wait::Accepted),
        "written" => Ok(Wait::Written),
        other => Err(format!("is {other:?}; it is \"accepted\" or \"written\"")),
    }
}

/// What is said of a member that is not known.
pub(in crate::api) fn unknown_member(unknown: &str, known: &[&'static str]) -> String {
    match nearest(unknown, known.iter().copied()) {
        Some(near) => format!("is unknown; did you mean {near:?}?"),
        None => format!("is unknown; known are {}", known.join(", ")),
    }
}

/// The pointer of a member (RFC 6901 §3: `~` and `/` in names are escaped), shortened if it is long.
pub(in crate::api) fn pointer(parent: &str, name: &str) -> String {
    let shown: String = name.chars().take(64).collect();
    format!("{parent}/{}", shown.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests;
