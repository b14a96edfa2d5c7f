//! What a client may ask for, carried out and answered.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::client::{CloseCode, Command, Numbered, Refused, Reply, Response, Seq};
use common::names;
use serde_json::json;

use super::Step;
use crate::admission::Claimed;
use crate::connection::Connection;
use crate::frame;
use crate::history::resume::{self, Outcome};
use crate::limits::Limit;
use crate::node::Parts;
use crate::registry::Registration;

/// Messages that could not be understood before the client is closed: a program that sends rubbish.
pub(crate) const BAD_MESSAGES_MAX: u8 = 16;

/// Hears one text message.
pub(super) fn hear(
    text: &str,
    bad_messages: &mut u8,
    registration: &Registration,
    parts: &Arc<Parts>,
) -> Step {
    let connection = &registration.connection;
    if text == "ping" {
        connection.send_control(frame::text(b"pong"));
        return Step::Done;
    }
    match Command::parse(text) {
        Ok(command) => {
            parts.counters.commands.inc();
            Step::Do(Box::pin(answer(command, connection.clone(), parts.clone())))
        }
        Err(Numbered { seq, body: Refused { code, cmd, reason } }) => {
            parts.counters.commands_bad.inc();
            *bad_messages += 1;
            if *bad_messages > BAD_MESSAGES_MAX {
                parts.counters.refuse(Limit::BadMessages);
                let words = "too many messages that are not commands";
                return Step::Refuse(CloseCode::BadMessage, words.into());
            }
            connection.send_control(reply(seq.as_ref(), &cmd, Err((code, reason))));
            Step::Done
        }
    }
}

/// Answers a message that came too fast to be heard.
pub(super) fn refuse(text: &str, wait: Duration, registration: &Registration, parts: &Parts) {
    let (seq, cmd) = match Command::parse(text) {
        Ok(Numbered { seq, body }) => (seq, Cow::Borrowed(name(&body))),
        Err(Numbered { seq, body }) => (seq, Cow::Owned(body.cmd)),
    };
    let reason = format!("{}; try again in {} ms", too_fast(parts), wait.as_millis().max(1));
    registration.connection.send_control(reply(seq.as_ref(), &cmd, Err((429, reason))));
}

/// What is said to one who sends more than it may.
pub(super) fn too_fast(parts: &Parts) -> String {
    let most = parts.tune.now().limits.commands.map_or(0, |rate| rate.per_second());
    format!("too fast: at most {most} messages a second")
}

/// Carries out a command and answers it: one with a number always, one without if it went wrong.
async fn answer(command: Numbered<Command>, connection: Arc<Connection>, parts: Arc<Parts>) {
    let Numbered { seq, body } = command;
    let name = name(&body);
    let outcome = carry_out(body, &connection, &parts).await;
    if seq.is_some() || outcome.is_err() {
        connection.send_control(reply(seq.as_ref(), name, outcome));
    }
}

fn name(command: &Command) -> &'static str {
    match command {
        Command::Login { .. } => "login",
        Command::Heartbeat => "heartbeat",
        Command::Join { .. } => "join",
        Command::Leave { .. } => "leave",
    }
}

fn reply(seq: Option<&Seq>, cmd: &str, outcome: Outcome) -> bytes::Bytes {
    let (code, code_msg, data) = match &outcome {
        Ok(data) => (200, "Success", data.clone()),
        Err((code, reason)) => (*code, reason.as_str(), None),
    };
    frame::json(&Reply { seq, cmd, response: Response { code, code_msg, data } })
}

async fn carry_out(command: Command, connection: &Arc<Connection>, parts: &Arc<Parts>) -> Outcome {
    let local = connection.local;
    let bad = |what: &str, error: names::BadName| (400, format!("{what} {error}"));
    match command {
        Command::Heartbeat => Ok(None),
        Command::Login { token, user, app, from } => {
            if let Some(user) = &user {
                names::check(user).map_err(|error| bad("userId", error))?;
            }
            if app == Some(0) {
                return Err((400, "appId is a number from 1 to 4294967295".into()));
            }
            if user.is_none() && token.is_none() && !parts.settings.wants_tokens() {
                return Err((400, "\"login\" needs {\"userId\":\"…\"} in \"data\"".into()));
            }
            let claimed = Claimed { token, user, app };
            let tune = parts.tune.keep();
            let admitted = tune.admission.admit(claimed, SystemTime::now());
            let (identity, rights) = admitted.map_err(|(_, words)| (401, words))?;
            let mut data = json!({"userId": identity.user, "appId": identity.app});
            // Rooms that only the token before allowed are left, and named.
            let may = |room: &str| tune.admission.may_join(room, &identity, rights.as_deref()).is_ok();
            let left = parts.registry.leave_unless(local, may);
            if !left.is_empty() {
                data["left"] = left.into();
            }
            if let Some(rights) = rights {
                parts.registry.allow(local, rights);
            }
            resume::log_in(parts, connection, &identity, from.as_ref(), data).await
        }
        Command::Join { room, from } => {
            names::check(&room).map_err(|error| bad("room", error))?;
            if parts.settings.wants_tokens()
                && let Some((identity, rights)) = parts.registry.rights(local)
            {
                let may = parts.tune.now().admission.may_join(&room, &identity, rights.as_deref());
                may.map_err(|words| (403, words))?;
            }
            resume::join(parts, connection, &room, from.as_ref()).await
        }
        Command::Leave { room } => {
            names::check(&room).map_err(|error| bad("room", error))?;
            if parts.registry.leave(local, &room) { Ok(None) } else { Err((404, "not in that room".into())) }
        }
    }
}
