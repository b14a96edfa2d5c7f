//! `/asyncapi.json`: the WebSocket side of the gateways, as AsyncAPI 3.0.

use std::sync::OnceLock;

use bytes::Bytes;
use common::client::CloseCode;
use common::http1::{Answer, ok};
use common::limits::{CLIENT_MESSAGE_BYTES_MAX, ROOMS_PER_CLIENT_MAX};
use common::problem::Problem;
use http::request::Parts as Head;
use serde_json::{Map, Value, json};

use super::manage::NAME;
use super::push::schema::ID;
use super::query;

/// `GET /asyncapi.json`.
pub(super) fn document(head: &Head) -> Result<Answer, Problem> {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    query::read(head.uri.query(), &[])?;
    let text = TEXT.get_or_init(|| Bytes::from(build().to_string()));
    Ok(ok("application/json", text.clone()))
}

/// What a client is told when it is closed, and whether it comes back.
const CLOSES: [(CloseCode, &str); 12] = [
    (CloseCode::TooBig, "A message was longer than it may be."),
    (CloseCode::Leaving, "The gateway leaves: reconnect."),
    (CloseCode::TryLater, "The gateway has as many rooms as it may: reconnect, with jitter."),
    (CloseCode::SlowConsumer, "It read too slowly: reconnect, with jitter."),
    (CloseCode::NoHeartbeat, "Nothing was heard of it: reconnect, with jitter."),
    (CloseCode::LateMessage, "It began a message and did not end it: reconnect, with jitter."),
    (CloseCode::TooFast, "It sent more than it may and went on: reconnect, with jitter."),
    (CloseCode::BadMessage, "It sent what is no command too often: do not reconnect."),
    (CloseCode::BadToken, "Its token is missing or not valid: do not reconnect with it."),
    (CloseCode::Operator, "An operator closed it: do not reconnect."),
    (CloseCode::TooManyRooms, "It asked for too many rooms: do not reconnect."),
    (CloseCode::TooManyConnections, "Its user has as many connections as it may: do not reconnect."),
];

fn name() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 256, "pattern": NAME})
}

/// Whose history: a room's, or the user's own.
fn owner() -> [(&'static str, Value); 2] {
    [("room", name()), ("user", json!({"const": true}))]
}

/// A place in somebody's history.
fn of_history(required: &[&str]) -> Value {
    object(owner().into_iter().chain(position()), required)
}

fn position() -> [(&'static str, Value); 2] {
    [("epoch", json!({"type": "string"})), ("offset", json!({"type": "integer", "minimum": 0}))]
}

/// An object with these members; those in `required` are always there.
fn object(members: impl IntoIterator<Item = (&'static str, Value)>, required: &[&str]) -> Value {
    let members: Map<_, _> = members.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    json!({"type": "object", "properties": members, "required": required})
}

/// What a client sends: `{"seq":"1","cmd":"join","data":{…}}`.
fn command(cmd: &str, data: Value) -> Value {
    let seq = json!({"type": ["string", "integer"], "description": "Repeated in the reply."});
    object([("seq", seq), ("cmd", json!({"const": cmd})), ("data", data)], &["cmd"])
}

fn sent() -> Vec<(&'static str, &'static str, Value)> {
    let room = || object(std::iter::once(("room", name())).chain(position()), &["room"]);
    let login = [("token", json!({"type": "string"})), ("userId", name()), ("appId", app())];
    vec![
        (
            "login",
            "Says or changes who the client is.",
            command("login", object(login.into_iter().chain(position()), &[])),
        ),
        ("heartbeat", "Says that it lives.", command("heartbeat", json!({"type": "object"}))),
        (
            "join",
            "Joins a room, or resumes it from a place. Replied to once what was missed was sent and what is pushed reaches it.",
            command("join", room()),
        ),
        ("leave", "Leaves a room.", command("leave", object([("room", name())], &["room"]))),
        ("ping", "The text `ping`, answered by the text `pong`.", json!({"const": "ping"})),
    ]
}

fn app() -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": u32::MAX})
}

fn received() -> Vec<(&'static str, &'static str, Value)> {
    let said = |cmd: &str, more: Vec<(&'static str, Value)>, required: &[&str]| {
        let all = std::iter::once(("cmd", json!({"const": cmd}))).chain(more);
        object(all, &[&["cmd"], required].concat())
    };
    let hello = object(
        [
            ("clientId", json!({"type": "string", "pattern": ID})),
            ("userId", json!({"type": ["string", "null"]})),
            ("appId", json!({"type": ["integer", "null"]})),
            ("heartbeatMs", json!({"type": "integer"})),
            ("windowMs", json!({"type": "integer"})),
            ("version", json!({"type": "integer"})),
            ("positions", json!({"type": "array", "items": of_history(&["epoch", "offset"])})),
        ],
        &["clientId", "heartbeatMs", "windowMs", "version"],
    );
    let item = object(
        [("room", name()), ("user", json!({"const": true})), ("event", name()), ("data", json!({}))]
            .into_iter()
            .chain(position()),
        &["data"],
    );
    let response = object(
        [("code", json!({"type": "integer"})), ("codeMsg", json!({"type": "string"})), ("data", json!({}))],
        &["code", "codeMsg"],
    );
    let items = json!({"type": "array", "minItems": 1, "items": item});
    let reply = object(
        [
            ("seq", json!({"type": ["string", "integer"]})),
            ("cmd", json!({"type": "string"})),
            ("response", response),
        ],
        &["cmd", "response"],
    );
    let reset = owner().into_iter().chain(position()).collect();
    let gap = vec![("room", name()), ("reason", json!({"type": "string"}))];
    let reconnect = object([("afterMs", json!({"type": "integer", "minimum": 0}))], &["afterMs"]);
    vec![
        ("hello", "The first message.", said("hello", vec![("data", hello)], &["data"])),
        ("push", "What was pushed in a window, in order.", said("push", vec![("items", items)], &["items"])),
        ("reply", "The answer to a command: 200, or why not.", reply),
        ("reset", "History could not continue: reload; this is the place now.", said("reset", reset, &[])),
        ("gap", "Something was dropped on purpose.", said("gap", gap, &["reason"])),
        (
            "reconnect",
            "The gateway drains: this is when to go.",
            said("reconnect", vec![("data", reconnect)], &["data"]),
        ),
        ("pong", "The answer to the text `ping`.", json!({"const": "pong"})),
    ]
}

/// The document.
fn build() -> Value {
    let (mut messages, mut channel) = (Map::new(), Map::new());
    let mut operations = Map::new();
    // AsyncAPI speaks from the side of the application that is described: the gateway receives what clients send.
    for (action, id, list) in [("receive", "hear", sent()), ("send", "say", received())] {
        let mut of = Vec::new();
        for (name, summary, payload) in list {
            messages.insert(name.into(), json!({"name": name, "summary": summary, "payload": payload}));
            channel.insert(name.into(), json!({"$ref": format!("#/components/messages/{name}")}));
            of.push(json!({"$ref": format!("#/channels/ws/messages/{name}")}));
        }
        let operation = json!({"action": action, "channel": {"$ref": "#/channels/ws"}, "messages": of});
        operations.insert(id.into(), operation);
    }
    let closes: Map<_, _> =
        CLOSES.iter().map(|(code, words)| ((*code as u16).to_string(), Value::from(*words))).collect();
    let query = object(
        [
            ("token", json!({"type": "string"})),
            ("room", json!({"type": "array", "maxItems": ROOMS_PER_CLIENT_MAX, "items": name()})),
            ("userId", name()),
            ("appId", app()),
            (
                "login",
                json!({"const": "later", "description": "The user is not in the history before its login says where it was."}),
            ),
        ],
        &[],
    );
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tidegate, for clients",
            "version": env!("CARGO_PKG_VERSION"),
            "description": format!(
                "WebSocket text frames in JSON, of at most {CLIENT_MESSAGE_BYTES_MAX} bytes from a client; \
                 permessage-deflate if both want it. `userId` and `appId` in the query are for gateways that take \
                 no tokens."
            ),
        },
        "defaultContentType": "application/json",
        "channels": {"ws": {
            "address": "/ws",
            "messages": channel,
            "bindings": {"ws": {"method": "GET", "query": query, "bindingVersion": "0.1.0"}},
            "x-close-codes": closes,
        }},
        "operations": operations,
        "components": {"messages": messages},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_has_its_place() {
        let document = build();
        for operation in ["hear", "say"] {
            for message in document["operations"][operation]["messages"].as_array().unwrap() {
                let at = document.pointer(&message["$ref"].as_str().unwrap()[1..]).unwrap();
                assert!(document.pointer(&at["$ref"].as_str().unwrap()[1..]).unwrap()["payload"].is_object());
            }
        }
        assert_eq!(document["channels"]["ws"]["messages"].as_object().unwrap().len(), 12);
    }
}
