//! `/openapi.json`: the description of the API (OpenAPI 3.1), made from the table of routes and the types of answers.

use std::sync::OnceLock;

use bytes::Bytes;
use common::http1::{Answer, ok};
use common::problem::Problem;
use http::request::Parts as Head;
use http::{Method, StatusCode};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::describe::{Content, Described, Query, describe};
use super::manage::NAME;
use super::push::schema::{EPOCH, ID};
use super::query;
use super::routes::ROUTES;

/// `GET /openapi.json`.
pub(super) fn document(head: &Head) -> Result<Answer, Problem> {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    query::read(head.uri.query(), &[])?;
    let text = TEXT.get_or_init(|| Bytes::from(build().to_string()));
    Ok(ok("application/json", text.clone()))
}

/// The document.
pub(super) fn build() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for route in ROUTES {
        let mut operations = Map::new();
        for (method, call) in route.calls {
            let Some(described) = describe(*call) else { continue };
            operations.insert(method.as_str().to_lowercase(), operation(&described, &mut generator));
            if *method == Method::GET && route.path == "/v1/clients/{clientId}" {
                operations.insert(
                    "head".into(),
                    json!({
                        "operationId": "isClientOnline", "tags": ["clients"],
                        "summary": "Whether a connection is online: 200 or 404, as for GET",
                        "responses": {"200": {"description": "It is."}, "404": {"description": "It is not."},
                                      "default": {"description": "As for GET, without a body."}},
                    }),
                );
            }
        }
        if operations.is_empty() {
            continue;
        }
        let parameters: Vec<_> = route.path.split('/').filter_map(segment).collect();
        if !parameters.is_empty() {
            operations.insert("parameters".into(), parameters.into());
        }
        paths.insert(route.path.into(), operations.into());
    }
    let mut schemas = generator.take_definitions(true);
    schemas.insert("Problem".into(), problem_schema());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Pushes to WebSocket clients, and everything an operator asks of their connections. \
                Every answer is for the whole cluster. Every error is a problem (RFC 9457). A list comes in pages: \
                ask again with the `cursor` of the page before, until it is null. Who is there during the whole \
                list is in it exactly once, whoever comes and goes meanwhile.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": schemas},
    })
}

fn operation(described: &Described, generator: &mut SchemaGenerator) -> Value {
    let mut content = |of: &Content| json!({of.media_type: {"schema": (of.schema)(generator)}});
    let mut responses = Map::new();
    let mut takes = Map::new();
    for one in described.takes {
        if let Value::Object(one) = content(one) {
            takes.extend(one);
        }
    }
    let answer = content(&described.answer);
    responses.insert(described.status.to_string(), json!({"description": "Done.", "content": answer}));
    if described.query.contains(&Query::DryRun) {
        responses.insert(
            "200".into(),
            json!({"description": "With `dryRun`: nothing was sent.", "content": answer}),
        );
    }
    for status in described.problems {
        let title = StatusCode::from_u16(*status).ok().and_then(|status| status.canonical_reason());
        responses.insert(status.to_string(), problem(title.unwrap_or("A problem.")));
    }
    responses.insert("429".into(), problem("Too many calls of this key or address; see Retry-After."));
    responses.insert("default".into(), problem("Any other problem."));
    let mut operation = json!({
        "operationId": described.id,
        "tags": [described.tag],
        "summary": described.summary,
        "responses": responses,
    });
    let mut parameters: Vec<_> = described.query.iter().map(parameter).collect();
    if matches!(described.id, "push" | "pushBatch") {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header",
            "description": "The same key and body again are answered alike, and done once.",
            "schema": {"type": "string", "minLength": 1, "maxLength": crate::idempotency::KEY_BYTES_MAX, "pattern": "^[!-~]+$"},
        }));
    }
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if !takes.is_empty() {
        operation["requestBody"] = json!({"required": true, "content": takes});
    }
    operation
}

fn problem(description: &str) -> Value {
    let schema = json!({"$ref": "#/components/schemas/Problem"});
    json!({"description": description, "content": {"application/problem+json": {"schema": schema}}})
}

/// The parameter that a segment of a path is.
fn segment(segment: &str) -> Option<Value> {
    let name = segment.strip_prefix('{')?.strip_suffix('}')?;
    let schema = match name {
        "clientId" | "pushId" => json!({"type": "string", "pattern": ID}),
        _ => json!({"type": "string", "minLength": 1, "maxLength": 256, "pattern": NAME}),
    };
    let description = match name {
        "clientId" => "A connection's id, as its hello and the lists say it.",
        "pushId" => "A push's id, as its answer said it.",
        "gateway" => "A gateway's name, instance or link address.",
        _ => "A name of 1 to 256 bytes without control characters, percent-encoded.",
    };
    Some(json!({"name": name, "in": "path", "required": true, "description": description, "schema": schema}))
}

fn parameter(query: &Query) -> Value {
    let (name, description, schema) = match query {
        Query::AppId => (
            "appId",
            "Only connections of this application.",
            json!({"type": "integer", "minimum": 1, "maximum": u32::MAX}),
        ),
        Query::Cursor => (
            "cursor",
            "From the page before; it means nothing to you.",
            json!({"type": "string", "pattern": "^[A-Za-z0-9_-]+$"}),
        ),
        Query::Limit => (
            "limit",
            "Most entries of the page.",
            json!({"type": "integer", "minimum": 1, "maximum": common::link::ask::PAGE_MAX, "default": 100}),
        ),
        Query::Since => (
            "since",
            "The offset of the last item that is known; without it, from the oldest that is kept.",
            json!({"type": "integer", "minimum": 0}),
        ),
        Query::Epoch => (
            "epoch",
            "The epoch that `since` is of; without it, the present one.",
            json!({"type": "string", "pattern": EPOCH}),
        ),
        Query::DryRun => ("dryRun", "Say whom it would reach; send nothing.", json!({"type": "boolean"})),
    };
    json!({"name": name, "in": "query", "description": description, "schema": schema})
}

/// What [`Problem`] looks like.
fn problem_schema() -> Value {
    json!({
        "type": "object",
        "description": "An error (RFC 9457).",
        "required": ["type", "title", "status", "detail", "code", "requestId", "retryable"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string", "description": "What happened and what to change."},
            "code": {"type": "string", "description": "A word for programs.", "pattern": "^[a-z0-9_]+$"},
            "requestId": {"type": "string"},
            "retryable": {"type": "boolean", "description": "The same call may succeed later; nothing of it was done."},
            "errors": {"type": "array", "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "A JSON pointer into the body (RFC 6901)."},
                    "detail": {"type": "string"},
                },
            }},
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// All values of `$ref`.
    fn references(value: &Value, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                into.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|value| references(value, into));
            }
            Value::Array(elements) => elements.iter().for_each(|value| references(value, into)),
            _ => {}
        }
    }

    #[test]
    fn the_document_has_every_path_and_its_references_lead_somewhere() {
        let document = build();
        let paths = document["paths"].as_object().unwrap();
        for route in
            ROUTES.iter().filter(|route| route.calls.iter().any(|(_, call)| describe(*call).is_some()))
        {
            for (method, _) in route.calls {
                assert!(
                    paths[route.path][method.as_str().to_lowercase()].is_object(),
                    "{method} {}",
                    route.path
                );
            }
        }
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 10, "{found:?}");
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        let operations = paths.values().flat_map(|path| path.as_object().unwrap().values());
        let ids: Vec<_> = operations.filter_map(|operation| operation["operationId"].as_str()).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "each once: {ids:?}");
    }
}
