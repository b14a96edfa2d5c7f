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
    /// The client reads too slowly and its outbox is full.
    SlowConsumer = 4002,
    /// Nothing was heard from the client for too long.
    NoHeartbeat = 4003,
    /// Too many messages that could not be understood.
    BadMessage = 4500,
    /// The token is missing or not valid.
    BadToken = 4501,
    /// An operator closed it.
    Operator = 4502,
    /// The client is in too many rooms.
    TooManyRooms = 4503,
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

/// What a client sent, with the number it wants in the reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered<T> {
    /// Given back in the reply; without it there is none.
    pub seq: Option<String>,
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
    #[serde(borrow)]
    seq: Option<Cow<'a, str>>,
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

/// As much of a refused message as a reply needs.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Head {
    seq: Option<String>,
    cmd: Option<String>,
}

impl Command {
    /// Reads one message.
    ///
    /// # Errors
    /// [`Refused`], with the message's `seq` where it could be read.
    pub fn parse(text: &str) -> Result<Numbered<Self>, Numbered<Refused>> {
        let refuse = |seq, cmd: &str, reason: String| {
            Err(Numbered { seq, body: Refused { code: 400, cmd: cmd.to_owned(), reason } })
        };
        if !json::nests_within(text.as_bytes(), JSON_DEPTH_MAX) {
            return refuse(None, "", format!("nests more than {JSON_DEPTH_MAX} deep"));
        }
        // simd-json parses in place.
        let mut copy = text.as_bytes().to_vec();
        match simd_json::serde::from_slice::<Envelope<'_>>(&mut copy) {
            Ok(envelope) => {
                let seq = envelope.seq.map(Cow::into_owned);
                match Self::from_fields(&envelope.cmd, envelope.data.unwrap_or_default()) {
                    Ok(body) => Ok(Numbered { seq, body }),
                    Err(reason) => refuse(seq, &envelope.cmd, reason),
                }
            }
            Err(error) => {
                let head: Head =
                    simd_json::serde::from_slice(&mut text.as_bytes().to_vec()).unwrap_or_default();
                refuse(head.seq, head.cmd.as_deref().unwrap_or(""), format!("not a command: {error}"))
            }
        }
    }

    fn from_fields(cmd: &str, fields: Fields) -> Result<Self, String> {
        let takes: &[&str] = match cmd {
            "login" => &["token", "userId", "appId", "epoch", "offset"],
            "join" => &["room", "epoch", "offset"],
            "leave" => &["room"],
            "heartbeat" => &[],
            unknown => return Err(unknown_command(unknown)),
        };
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
            return Err(format!("{cmd:?} takes no {name:?}"));
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
    pub seq: Option<&'a str>,
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
        assert_eq!(join.seq.as_deref(), Some("1"));
        assert_eq!(join.body, Command::Join { room: "r1".into(), from: None });
        assert_eq!(parse(r#"{"cmd":"heartbeat"}"#).unwrap().body, Command::Heartbeat);
        assert_eq!(parse(r#"{"cmd":"heartbeat","data":{}}"#).unwrap().body, Command::Heartbeat);
        let resumed = parse(r#"{"cmd":"join","data":{"room":"r","epoch":"e","offset":7}}"#).unwrap();
        let from = Some(Position { epoch: "e".into(), offset: 7 });
        assert_eq!(resumed.body, Command::Join { room: "r".into(), from });
    }

    #[test]
    fn bad_commands_are_refused_with_their_number_and_a_reason() {
        for (text, seq, reason) in [
            ("", None, "not a command"),
            ("7", None, "not a command"),
            ("{\"cmd\":", None, "not a command"),
            (r#"{"seq":"2","cmd":"jion","data":{"room":"r"}}"#, Some("2"), "did you mean \"join\""),
            (r#"{"seq":"3","cmd":"join"}"#, Some("3"), "needs"),
            (r#"{"seq":"4","cmd":"join","data":{"room":7}}"#, Some("4"), "not a command"),
            (r#"{"seq":"5","cmd":"join","data":{"room":"r","epoch":"e"}}"#, Some("5"), "together"),
            (
                r#"{"seq":"6","cmd":"join","data":{"room":"r","offset":-1,"epoch":"e"}}"#,
                Some("6"),
                "not a command",
            ),
            (r#"{"seq":"7","cmd":"heartbeat","data":{"room":"r"}}"#, Some("7"), "takes no"),
            (r#"{"seq":"8","cmd":"join","cmd":"join","data":{"room":"r"}}"#, None, "not a command"),
            (r#"{"seq":"9","cmd":"join","data":{"room":"r"},"x":1}"#, Some("9"), "not a command"),
        ] {
            let refused = parse(text).unwrap_err();
            assert!(refused.body.reason.contains(reason), "{text}: {}", refused.body.reason);
            if seq.is_some() {
                assert_eq!(refused.seq.as_deref(), seq, "{text}");
            }
        }
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        assert!(parse(&deep).unwrap_err().body.reason.contains("deep"));
    }
}
