//! Any bytes as a text message of a client, read by simd-json in the gateway and by serde_json here.

use common::client::{Command, Numbered, Position, Reply, Response, Seq};
use serde_json::{Value, json};

/// Longest text of a client that is said again to it.
const ECHO_BYTES_MAX: usize = 64;

/// Longest reason.
const REASON_BYTES_MAX: usize = 256;

/// Any bytes as a message of a client.
///
/// # Panics
/// If a command is understood that serde_json reads otherwise or not at all, or a refusal says too much.
pub fn commands(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (seq, cmd, code, reason) = match Command::parse(text) {
        Ok(Numbered { seq, body }) => {
            let said: Value = serde_json::from_str(text).expect("a command is JSON");
            let cmd = check(&said, &body);
            assert_eq!(seq_of(&seq), number(&said["seq"]));
            (seq, cmd.to_owned(), 200, String::new())
        }
        Err(Numbered { seq, body }) => (seq, body.cmd, body.code, body.reason),
    };
    let is_short = |text: &str, most| text.len() <= most;
    assert!(is_short(&cmd, ECHO_BYTES_MAX) && is_short(&reason, REASON_BYTES_MAX), "{cmd:?} {reason:?}");
    assert!(!matches!(&seq, Some(Seq::Text(text)) if !is_short(text, ECHO_BYTES_MAX)), "{seq:?}");
    assert!(code == 200 || !reason.is_empty(), "without a reason");
    let response = Response { code, code_msg: &reason, data: None };
    let reply = serde_json::to_string(&Reply { seq: seq.as_ref(), cmd: &cmd, response });
    assert!(reply.is_ok_and(|reply| reply.len() < 16 * ECHO_BYTES_MAX), "a few bytes make a long reply");
}

fn seq_of(seq: &Option<Seq>) -> Value {
    match seq {
        None => Value::Null,
        Some(Seq::Text(text)) => json!(text),
        Some(Seq::Number(number)) => json!(number),
    }
}

/// A value as commands have it: `-0` is no less than nothing, and serde_json keeps it as a fraction.
fn number(said: &Value) -> Value {
    if said.as_f64() == Some(0.0) { json!(0) } else { said.clone() }
}

/// Whether a command is what was said; its name.
fn check(said: &Value, command: &Command) -> &'static str {
    let data = &said["data"];
    let has = |name: &str, value: Value| assert_eq!(number(&data[name]), value, "{name}");
    let is_from = |from: &Option<Position>| {
        has("epoch", json!(from.as_ref().map(|from| &from.epoch)));
        has("offset", json!(from.as_ref().map(|from| from.offset)));
    };
    let cmd = match command {
        Command::Login { token, user, app, from } => {
            has("token", json!(token));
            has("userId", json!(user));
            has("appId", json!(app));
            is_from(from);
            "login"
        }
        Command::Heartbeat => "heartbeat",
        Command::Join { room, from } => {
            has("room", json!(room));
            is_from(from);
            "join"
        }
        Command::Leave { room } => {
            has("room", json!(room));
            "leave"
        }
    };
    assert_eq!(said["cmd"], cmd);
    cmd
}
