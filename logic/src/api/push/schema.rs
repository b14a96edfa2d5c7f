//! What a push looks like, for the description of the API. By hand, as its parser is.

use common::limits::NAMES_PER_PUSH_MAX;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

use super::answer::{Batch, DryRun, Push};
use super::batch::PUSHES_MAX;
use crate::api::manage::NAME;

/// A client's id: see [`common::ids`].
pub(in crate::api) const ID: &str = "^([0-9a-hjkmnp-tv-z]{12}[02468acegjmprtwy]){2}$";

/// An epoch: half of an id.
pub(in crate::api) const EPOCH: &str = "^[0-9a-hjkmnp-tv-z]{12}[02468acegjmprtwy]$";

/// Longest time to live: a day.
const TTL_MS_MAX: u64 = super::parse::TTL_MS_MAX;

fn schema(value: Value) -> Schema {
    value.try_into().expect("an object is a schema")
}

/// One push.
pub(in crate::api) fn push(_: &mut SchemaGenerator) -> Schema {
    schema(one())
}

fn one() -> Value {
    let name = json!({"type": "string", "minLength": 1, "maxLength": 256, "pattern": NAME});
    let id = json!({"type": "string", "pattern": ID});
    let many =
        |of: &Value| json!({"type": "array", "minItems": 1, "maxItems": NAMES_PER_PUSH_MAX, "items": of});
    let only = |name: &str, of: Value| json!({"type": "object", "properties": {name: of}, "required": [name], "additionalProperties": false});
    json!({
        "type": "object",
        "required": ["to", "data"],
        "additionalProperties": false,
        "properties": {
            "to": {"description": "Whom it is for.", "oneOf": [
                only("all", json!({"const": true})),
                only("room", name.clone()), only("rooms", many(&name)),
                only("user", name.clone()), only("users", many(&name)),
                only("client", id.clone()), only("clients", many(&id)),
            ]},
            "appId": {"type": "integer", "minimum": 1, "maximum": u32::MAX, "description": "Only connections of this application."},
            "exceptClients": {"type": "array", "minItems": 1, "maxItems": NAMES_PER_PUSH_MAX, "items": id,
                "description": "Not these connections."},
            "event": {"type": "string", "minLength": 1, "maxLength": 256, "pattern": NAME, "description": "A name, given to the client."},
            "data": {"description": "Any JSON, up to 64 KiB; it reaches the client byte for byte."},
            "key": {"type": "string", "minLength": 1, "maxLength": 256, "pattern": NAME,
                "description": "Within a window only the newest item with this key is sent."},
            "urgent": {"type": "boolean", "description": "It does not wait for the window."},
            "ttlMs": {"type": "integer", "minimum": 1, "maximum": TTL_MS_MAX, "description": "Not sent once older."},
            "wait": {"enum": ["accepted", "written"],
                "description": "Answer when the gateways took it (the default) or wrote it."},
        },
    })
}

/// Many, as an array.
pub(in crate::api) fn batch(_: &mut SchemaGenerator) -> Schema {
    schema(json!({"type": "array", "minItems": 1, "maxItems": PUSHES_MAX, "items": one()}))
}

/// Many, one on each line.
pub(in crate::api) fn lines(_: &mut SchemaGenerator) -> Schema {
    schema(json!({"type": "string", "description": "One push on each line."}))
}

/// The answer to one push.
pub(in crate::api) fn answer(generator: &mut SchemaGenerator) -> Schema {
    let push = generator.subschema_for::<Push<'static>>();
    let dry_run = generator.subschema_for::<DryRun<'static>>();
    schema(json!({"anyOf": [push, dry_run]}))
}

/// The answer to many.
pub(in crate::api) fn batch_answer(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Batch<'static>>()
}

/// A gateway that failed, as it stands in answers.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "only its schema is used")]
pub(super) struct Failed {
    /// Its name.
    gateway: String,
    /// Why.
    code: String,
}

#[cfg(test)]
mod tests {
    use super::super::parse::{MEMBERS, TARGETS};
    use super::*;

    #[test]
    fn the_schema_has_the_members_that_are_parsed() {
        let schema = one();
        let mut known: Vec<_> =
            schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        let mut parsed = MEMBERS.to_vec();
        known.sort_unstable();
        parsed.sort_unstable();
        assert_eq!(known, parsed);
        let targets = schema["properties"]["to"]["oneOf"].as_array().unwrap();
        let targets: Vec<_> = targets.iter().map(|target| target["required"][0].as_str().unwrap()).collect();
        assert_eq!(targets, TARGETS);
    }
}
