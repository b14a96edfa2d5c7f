//! The messages between a gateway and its clients: commands, replies, pushes, close codes.
//!
//! Text frames of JSON. [`Command::parse`] reads what clients send; the functions beside it write what they
//! get; [`Incoming`] reads that again, for our own clients.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::json;
use crate::limits::JSON_DEPTH_MAX;
use crate::nearest::nearest;

/// Version of this protocol, said in the hello.
pub const VERSION: u32 = 1;

/// Longest `seq` of a command, and how much of an unknown command's name is said again.
const ECHO_BYTES_MAX: usize = 64;

/// What every push frame begins with; the items follow, separated by commas, then [`PUSH_END`].
pub const PUSH_START: &[u8] = br#"{"cmd":"push","items":["#;

/// What every push frame ends with.
pub const PUSH_END: &[u8] = b"]}";

/// Why a gateway closes a connection (RFC 6455 §7.4). 4000–4499: reconnect, with jitter; 4500–4999: do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum CloseCode {
    /// The client said good-bye first.
    Normal = 1000,
    /// A frame that breaks the WebSocket protocol.
    Protocol = 1002,
    /// A binary message, which nobody here understands.
    Unsupported = 1003,
    /// Text that is not UTF-8.
    NotUtf8 = 1007,
    /// A message longer than the limit.
    TooBig = 1009,
    /// The node is leaving; reconnect.
    Leaving = 1012,
    /// The node has no room for what the client asks for; another may have, or this one later.
    TryLater = 1013,
    /// The client reads too slowly and its outbox is full.
    SlowConsumer = 4002,
    /// Nothing was heard from the client for too long.
    NoHeartbeat = 4003,
    /// The client began a message and did not end it in time.
    LateMessage = 4004,
    /// The client sends more messages or bytes than it may, and goes on although it was told.
    TooFast = 4005,
    /// Too many messages that could not be understood.
    BadMessage = 4500,
    /// The token is missing or not valid.
    BadToken = 4501,
    /// An operator closed it.
    Operator = 4502,
    /// The client is in too many rooms.
    TooManyRooms = 4503,
    /// The client's user has as many connections as it may.
    TooManyConnections = 4504,
}

/// A command that a client may give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Says or changes who the client is.
    Login {
        /// A signed token; needed where the gateway demands one.
        token: Option<String>,
        /// The user, where no token is demanded.
        user: Option<String>,
        /// The application of this connection.
        app: Option<u32>,
        /// Where the user's own history was left.
        from: Option<Position>,
    },
    /// Says that the client is alive.
    Heartbeat,
    /// Joins a room, or resumes it.
    Join {
        /// The room.
        room: String,
        /// Where its history was left.
        from: Option<Position>,
    },
    /// Leaves a room.
    Leave {
        /// The room.
        room: String,
    },
}

/// A place in a history: the item at `offset` was the last one seen under `epoch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Which history.
    pub epoch: String,
    /// The last item seen in it.
    pub offset: u64,
}

/// The number that a client gives a command, given back in the reply as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Seq {
    /// As our own clients write it.
    Text(String),
    /// As others do.
    Number(u64),
}

impl Seq {
    fn is_short(&self) -> bool {
        !matches!(self, Self::Text(text) if text.len() > ECHO_BYTES_MAX)
    }
}

/// What a client sent, with the number it wants in the reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered<T> {
    /// Given back in the reply; without it there is none.
    pub seq: Option<Seq>,
    /// What was sent.
    pub body: T,
}

/// Why a message of a client is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Code of the reply, as in HTTP.
    pub code: u16,
    /// The command's name, as far as it could be read.
    pub cmd: String,
    /// What is wrong and what to change.
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    seq: Option<Seq>,
    #[serde(borrow)]
    cmd: Cow<'a, str>,
    #[serde(default)]
    data: Option<Fields>,
}

/// The fields of all commands; which of them belong to which command is checked after.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Fields {
    token: Option<String>,
    user_id: Option<String>,
    app_id: Option<u32>,
    room: Option<String>,
    epoch: Option<String>,
    offset: Option<u64>,
}

impl Command {
    /// Reads one message.
    ///
    /// # Errors
    /// [`Refused`], with the message's `seq` where it could be read.
    pub fn parse(text: &str) -> Result<Numbered<Self>, Numbered<Refused>> {
        // What is given back is bounded: a few compressed bytes may say 64 KiB, and would be answered with as many.
        let refuse = |seq: Option<Seq>, cmd: &str, reason: String| {
            let seq = seq.filter(Seq::is_short);
            let cmd = cmd[..cmd.floor_char_boundary(ECHO_BYTES_MAX)].to_owned();
            let reason = reason[..reason.floor_char_boundary(4 * ECHO_BYTES_MAX)].to_owned();
            Err(Numbered { seq, body: Refused { code: 400, cmd, reason } })
        };
        if !json::nests_within(text.as_bytes(), JSON_DEPTH_MAX) {
            return refuse(None, "", format!("nests more than {JSON_DEPTH_MAX} deep"));
        }
        // A derived struct would also be read from an array of its members.
        if !text.trim_start().starts_with('{') {
            let (seq, cmd, reason) = explain(text);
            return refuse(seq, &cmd, reason);
        }
        // simd-json parses in place.
        let mut copy = text.as_bytes().to_vec();
        match simd_json::serde::from_slice::<Envelope<'_>>(&mut copy) {
            Ok(envelope) => {
                let seq = envelope.seq;
                if !seq.as_ref().is_none_or(Seq::is_short) {
                    let reason = format!("\"seq\" is at most {ECHO_BYTES_MAX} bytes");
                    return refuse(None, &envelope.cmd, reason);
                }
                match Self::from_fields(&envelope.cmd, envelope.data.unwrap_or_default()) {
                    Ok(body) => Ok(Numbered { seq, body }),
                    Err(reason) => refuse(seq, &envelope.cmd, reason),
                }
            }
            Err(_) => {
                let (seq, cmd, reason) = explain(text);
                refuse(seq, &cmd, reason)
            }
        }
    }

    fn from_fields(cmd: &str, fields: Fields) -> Result<Self, String> {
        let Some(takes) = members(cmd) else { return Err(unknown_command(cmd)) };
        let Fields { token, user_id, app_id, room, epoch, offset } = fields;
        let given = [
            ("token", token.is_some()),
            ("userId", user_id.is_some()),
            ("appId", app_id.is_some()),
            ("room", room.is_some()),
            ("epoch", epoch.is_some()),
            ("offset", offset.is_some()),
        ];
        if let Some((name, _)) = given.iter().find(|(name, there)| *there && !takes.contains(name)) {
            return Err(unknown_member(cmd, name, takes));
        }
        let from = match (epoch, offset) {
            (Some(epoch), Some(offset)) => Some(Position { epoch, offset }),
            (None, None) => None,
            _ => return Err("\"epoch\" and \"offset\" come together or not at all".into()),
        };
        let room = room.ok_or_else(|| format!("{cmd:?} needs {{\"room\":\"…\"}} in \"data\""));
        Ok(match cmd {
            "login" => Self::Login { token, user: user_id, app: app_id, from },
            "join" => Self::Join { room: room?, from },
            "leave" => Self::Leave { room: room? },
            _ => Self::Heartbeat,
        })
    }
}

/// The members of `data` that a command takes; `None`: there is no such command.
fn members(cmd: &str) -> Option<&'static [&'static str]> {
    match cmd {
        "login" => Some(&["token", "userId", "appId", "epoch", "offset"]),
        "join" => Some(&["room", "epoch", "offset"]),
        "leave" => Some(&["room"]),
        "heartbeat" => Some(&[]),
        _ => None,
    }
}

fn unknown_member(cmd: &str, name: &str, takes: &[&str]) -> String {
    match (nearest(name, takes.iter().copied()), takes) {
        (Some(near), _) => format!("{cmd:?} takes no {name:?}; did you mean {near:?}?"),
        (None, []) => format!("{cmd:?} takes no {name:?}; its \"data\" is empty"),
        (None, _) => format!("{cmd:?} takes no {name:?}; it takes {}", takes.join(", ")),
    }
}

/// What is wrong with a message that is not a command, with as much of it as could be read: off the path of
/// those that are, so that it can look at leisure.
fn explain(text: &str) -> (Option<Seq>, String, String) {
    let said = |reason: &str| (None, String::new(), reason.to_owned());
    let message: serde_json::Value = match serde_json::from_str(text) {
        Ok(message) => message,
        Err(error) => return said(&format!("not JSON: {error}")),
    };
    let Some(message) = message.as_object() else {
        return said("a command is an object: {\"seq\":\"1\",\"cmd\":\"join\",\"data\":{…}}");
    };
    let seq = message.get("seq").and_then(|seq| Seq::deserialize(seq).ok());
    let cmd = message.get("cmd").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let reason = reason(message, &cmd);
    (seq, cmd, reason)
}

fn reason(message: &serde_json::Map<String, serde_json::Value>, cmd: &str) -> String {
    if let Some(name) = message.keys().find(|name| !["seq", "cmd", "data"].contains(&name.as_str())) {
        return format!("unknown member {name:?}; a command has \"seq\", \"cmd\" and \"data\"");
    }
    match message.get("cmd") {
        None => return "\"cmd\" is missing: login, heartbeat, join or leave".into(),
        Some(other) if !other.is_string() => return "\"cmd\" is a text".into(),
        Some(_) => {}
    }
    if message.get("seq").is_some_and(|seq| !seq.is_null() && Seq::deserialize(seq).is_err()) {
        return "\"seq\" is a text, or a whole number from 0".into();
    }
    let Some(takes) = members(cmd) else { return unknown_command(cmd) };
    let Some(data) = message.get("data").and_then(serde_json::Value::as_object) else {
        return "\"data\" is an object".into();
    };
    for (name, value) in data {
        if !takes.contains(&name.as_str()) {
            return unknown_member(cmd, name, takes);
        }
        let (fits, what) = match name.as_str() {
            "offset" => (value.is_u64(), "a whole number from 0"),
            "appId" => (
                value.as_u64().is_some_and(|app| u32::try_from(app).is_ok()),
                "a number from 1 to 4294967295",
            ),
            _ => (value.is_string(), "a text"),
        };
        if !fits && !value.is_null() {
            return format!("{name:?} is {what}");
        }
    }
    "a member comes twice".into()
}

fn unknown_command(unknown: &str) -> String {
    match nearest(unknown, ["login", "heartbeat", "join", "leave"]) {
        Some(known) => format!("unknown command {unknown:?}; did you mean {known:?}?"),
        None => format!("unknown command {unknown:?}; known are login, heartbeat, join, leave"),
    }
}

/// A reply to a command.
#[derive(Debug, Serialize)]
pub struct Reply<'a> {
    /// The command's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<&'a Seq>,
    /// The command's name.
    pub cmd: &'a str,
    /// How it went.
    pub response: Response<'a>,
}

/// How a command went.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response<'a> {
    /// 200, or as in HTTP.
    pub code: u16,
    /// `Success`, or what is wrong.
    pub code_msg: &'a str,
    /// What the command gives back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
}

/// The first message on a connection.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// The connection's id; backends may push to it.
    pub client_id: String,
    /// Who the client is, if that is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user_id: Option<String>,
    /// The application of this connection.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub app_id: Option<u32>,
    /// How often the gateway pings, in milliseconds.
    pub heartbeat_ms: u64,
    /// The merge window, in milliseconds; 0: none.
    pub window_ms: u64,
    /// [`VERSION`].
    pub version: u32,
    /// Where it begins in the histories that it is a member of.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub positions: Vec<Begin>,
}

/// Where a client begins in a history: every item behind this place comes to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// The room, if it is a room's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub room: Option<String>,
    /// Whether it is the user's own.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub user: bool,
    /// Which history.
    pub epoch: String,
    /// The newest item in it.
    pub offset: u64,
}

/// Any message of a gateway, as our own clients read it.
#[derive(Debug, Deserialize)]
pub struct Incoming<'a> {
    /// `hello`, `push`, `gap`, `reset`, `reconnect`, or the command that is answered.
    #[serde(borrow)]
    pub cmd: Cow<'a, str>,
    /// The number of the command that is answered.
    #[serde(borrow, default)]
    pub seq: Option<Cow<'a, str>>,
    /// Items of a push.
    #[serde(borrow, default)]
    pub items: Vec<Item<'a>>,
    /// The body of a hello or a reconnect.
    #[serde(borrow, default)]
    pub data: Option<&'a RawValue>,
    /// The body of a reply.
    #[serde(borrow, default)]
    pub response: Option<&'a RawValue>,
    /// The room of a gap or a reset.
    #[serde(borrow, default)]
    pub room: Option<Cow<'a, str>>,
    /// The reason of a gap.
    #[serde(borrow, default)]
    pub reason: Option<Cow<'a, str>>,
}

/// One item of a push, as our own clients read it.
#[derive(Debug, Deserialize)]
pub struct Item<'a> {
    /// The room it was pushed to.
    #[serde(borrow, default)]
    pub room: Option<Cow<'a, str>>,
    /// Whether it stands in the user's own history.
    #[serde(default)]
    pub user: bool,
    /// Which history it stands in.
    #[serde(borrow, default)]
    pub epoch: Option<Cow<'a, str>>,
    /// Its place in that history.
    #[serde(default)]
    pub offset: Option<u64>,
    /// What the publisher called it.
    #[serde(borrow, default)]
    pub event: Option<Cow<'a, str>>,
    /// What the publisher sent, byte for byte.
    #[serde(borrow)]
    pub data: &'a RawValue,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Numbered<Command>, Numbered<Refused>> {
        Command::parse(text)
    }

    #[test]
    fn commands_are_read() {
        let join = parse(r#"{"seq":"1","cmd":"join","data":{"room":"r1"}}"#).unwrap();
        assert_eq!(join.seq, Some(Seq::Text("1".into())));
        assert_eq!(parse(r#"{"seq":7,"cmd":"heartbeat"}"#).unwrap().seq, Some(Seq::Number(7)));
        assert_eq!(join.body, Command::Join { room: "r1".into(), from: None });
        assert_eq!(parse(r#"{"cmd":"heartbeat"}"#).unwrap().body, Command::Heartbeat);
        assert_eq!(parse(r#"{"cmd":"heartbeat","data":{}}"#).unwrap().body, Command::Heartbeat);
        let resumed = parse(r#"{"cmd":"join","data":{"room":"r","epoch":"e","offset":7}}"#).unwrap();
        let from = Some(Position { epoch: "e".into(), offset: 7 });
        assert_eq!(resumed.body, Command::Join { room: "r".into(), from });
    }

    #[test]
    fn what_is_given_back_is_bounded() {
        let long = "ä".repeat(30_000);
        for text in [
            format!(r#"{{"seq":"{long}","cmd":"heartbeat"}}"#),
            format!(r#"{{"seq":"{long}","cmd":7}}"#),
            format!(r#"{{"seq":"1","cmd":"{long}"}}"#),
            format!(r#"{{"seq":"1","cmd":"join","data":{{"{long}":1}}}}"#),
        ] {
            let Numbered { seq, body } = parse(&text).unwrap_err();
            let given = serde_json::to_string(&seq).unwrap().len() + body.cmd.len() + body.reason.len();
            assert!(given < 400, "{given} bytes for {}", &text[..30]);
        }
        let fits = format!(r#"{{"seq":"{}","cmd":"heartbeat"}}"#, "x".repeat(64));
        assert!(parse(&fits).is_ok());
    }

    #[test]
    fn bad_commands_are_refused_with_their_number_and_a_reason() {
        for (text, seq, reason) in [
            ("", None, "not JSON"),
            ("7", None, "is an object"),
            ("[]", None, "is an object"),
            ("{\"cmd\":", None, "not JSON"),
            (r#"{"seq":"1","data":{}}"#, Some("1"), "\"cmd\" is missing"),
            (r#"{"seq":"1","cmd":7}"#, Some("1"), "\"cmd\" is a text"),
            (r#"{"seq":"2","cmd":"jion","data":{"room":"r"}}"#, Some("2"), "did you mean \"join\""),
            (r#"{"seq":"2","cmd":"join","data":{"romo":"r"}}"#, Some("2"), "did you mean \"room\""),
            (r#"{"seq":"3","cmd":"join"}"#, Some("3"), "needs"),
            (r#"{"seq":"4","cmd":"join","data":{"room":7}}"#, Some("4"), "\"room\" is a text"),
            (r#"{"seq":"4","cmd":"join","data":7}"#, Some("4"), "\"data\" is an object"),
            (r#"["1","join",{"room":"r"}]"#, None, "is an object"),
            (r#"{"seq":"4","cmd":"login","data":{"appId":"x"}}"#, Some("4"), "\"appId\" is a number"),
            (r#"{"seq":"5","cmd":"join","data":{"room":"r","epoch":"e"}}"#, Some("5"), "together"),
            (
                r#"{"seq":"6","cmd":"join","data":{"room":"r","offset":-1,"epoch":"e"}}"#,
                Some("6"),
                "\"offset\" is",
            ),
            (r#"{"seq":"7","cmd":"heartbeat","data":{"room":"r"}}"#, Some("7"), "takes no"),
            (r#"{"seq":"8","cmd":"join","cmd":"join","data":{"room":"r"}}"#, Some("8"), "twice"),
            (r#"{"seq":"9","cmd":"join","data":{"room":"r"},"x":1}"#, Some("9"), "unknown member \"x\""),
            (r#"{"seq":{},"cmd":"heartbeat"}"#, None, "\"seq\" is a text"),
        ] {
            let refused = parse(text).unwrap_err();
            assert!(refused.body.reason.contains(reason), "{text}: {}", refused.body.reason);
            assert_eq!(refused.seq, seq.map(|seq| Seq::Text(seq.into())), "{text}");
        }
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        assert!(parse(&deep).unwrap_err().body.reason.contains("deep"));
    }
}
