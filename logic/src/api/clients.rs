//! `/v1/clients`: connections, one by one and in pages; and what is done to one of them.

use std::time::{Duration, UNIX_EPOCH};

use common::http1::{self, Answer as Http};
use common::ids::ClientId;
use common::link::ask::{Act, Changed, Scope};
use common::problem::Problem;
use http::StatusCode;
use http::request::Parts as Head;
use hyper::body::Incoming;
use schemars::JsonSchema;
use serde::Serialize;

use super::manage::{Answer, Listing, client_id, client_place, no_answer, no_change, too_many_rooms};
use super::push::members::{Members, whole};
use super::push::parse::{Faults, body_text, called, not_json, pointer, unknown_member};
use super::routes::Segments;
use super::{Parts, json, media_type, query};
use crate::query::list;

/// Longest body of a bind: a user of 256 bytes, escaped, and a number.
const BODY_BYTES_MAX: usize = 4 * 1024;

/// What an operator says when nobody else says it.
pub(super) const CLOSED: &str = "closed by the operator";

/// A connection.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Client")]
pub(super) struct Client {
    /// Its id.
    client_id: String,
    /// Its user, if it has one.
    user_id: Option<String>,
    /// Its application, if it has one.
    app_id: Option<u32>,
    /// The name of the gateway that holds it.
    gateway: String,
    /// When it connected, by that gateway's clock.
    #[schemars(extend("format" = "date-time"))]
    since: String,
}

impl From<list::Client> for Client {
    fn from(client: list::Client) -> Self {
        let since = UNIX_EPOCH.checked_add(Duration::from_millis(client.seen.since_ms)).unwrap_or(UNIX_EPOCH);
        Self {
            client_id: client.id().to_string(),
            user_id: client.seen.user,
            app_id: client.seen.app,
            gateway: client.gateway.to_string(),
            since: humantime::format_rfc3339_seconds(since).to_string(),
        }
    }
}

/// A page of connections.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ClientPage {
    /// At most as many as were asked for; fewer do not mean that this is the last page.
    pub(super) clients: Vec<Client>,
    /// For the next page; null: this is the last.
    pub(super) cursor: Option<String>,
    /// How many there are in all; on the first page only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) total: Option<u64>,
}

/// One connection.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct OneClient {
    /// Always true: who is not here is not found.
    online: bool,
    #[serde(flatten)]
    client: Client,
    /// Its rooms.
    rooms: Vec<String>,
}

/// A connection that was closed.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClosedClient {
    /// Its id, never used again.
    client_id: String,
    /// Always true: it gets nothing any more.
    closed: bool,
}

/// A connection after its user was changed.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct BoundClient {
    /// Its id.
    client_id: String,
    /// Its user now.
    user_id: Option<String>,
    /// Whether it was otherwise before.
    changed: bool,
}

/// A connection after it joined or left a room.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct MovedClient {
    /// Its id.
    client_id: String,
    /// The room.
    room: String,
    /// Whether it is in the room now.
    joined: bool,
    /// Whether it was otherwise before.
    changed: bool,
}

/// The user that a connection is made.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code, reason = "only its schema is used: it is parsed by hand, for better words")]
pub(super) struct Binding {
    /// The user.
    #[schemars(length(min = 1, max = 256), regex(pattern = super::manage::NAME))]
    user_id: String,
    /// The application; not given: it stays as it is.
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    app_id: Option<u32>,
}

/// All connections of a scope, in pages.
pub(super) async fn page(
    parts: &Parts,
    scope: Scope,
    listing: &Listing<'_>,
) -> Result<Answer<ClientPage>, Problem> {
    let after = listing.place(client_place)?;
    let total = match after {
        Some(_) => None,
        None => Some(parts.inquirer.count(&scope).await.map_err(no_answer)?.value),
    };
    let page = parts.inquirer.clients(&scope, after, listing.limit).await.map_err(no_answer)?;
    Ok(page
        .map(|page| ClientPage {
            clients: page.entries.into_iter().map(Client::from).collect(),
            cursor: page.cursor,
            total,
        })
        .into())
}

/// `GET /v1/clients`.
pub(super) async fn list(parts: &Parts, head: &Head) -> Result<Http, Problem> {
    let listing = Listing::read(head.uri.query())?;
    json(StatusCode::OK, &page(parts, Scope::all(listing.app), &listing).await?)
}

/// `GET /v1/clients/{id}`.
pub(super) async fn one(parts: &Parts, head: &Head, at: Segments<'_>) -> Result<Http, Problem> {
    query::read(head.uri.query(), &[])?;
    let mut client = parts.inquirer.client(client_id(at.raw())?).await.map_err(no_answer)?;
    let rooms = std::mem::take(&mut client.seen.rooms);
    json(StatusCode::OK, &OneClient { online: true, client: client.into(), rooms })
}

/// `DELETE /v1/clients/{id}`.
pub(super) async fn close(parts: &Parts, head: &Head, at: Segments<'_>) -> Result<Http, Problem> {
    query::read(head.uri.query(), &[])?;
    let id = client_id(at.raw())?;
    change(parts, id, Act::Close, CLOSED, None).await?;
    json(StatusCode::OK, &ClosedClient { client_id: id.to_string(), closed: true })
}

/// `PUT /v1/clients/{id}/user`.
pub(super) async fn bind(
    parts: &Parts,
    head: &Head,
    body: Incoming,
    at: Segments<'_>,
) -> Result<Http, Problem> {
    query::read(head.uri.query(), &[])?;
    media_type(head, &["application/json"])?;
    let id = client_id(at.raw())?;
    let time_max = parts.tune.now().limits.body_time_max;
    let body = http1::body_within(body, BODY_BYTES_MAX, time_max).await?;
    let (user, app) = binding(&body, parts.tune.now().limits.sizes.json_depth_max)?;
    let changed = change(parts, id, Act::Bind, &user, app).await?.changed > 0;
    json(StatusCode::OK, &BoundClient { client_id: id.to_string(), user_id: Some(user), changed })
}

/// `DELETE /v1/clients/{id}/user`.
pub(super) async fn unbind(parts: &Parts, head: &Head, at: Segments<'_>) -> Result<Http, Problem> {
    query::read(head.uri.query(), &[])?;
    let id = client_id(at.raw())?;
    let changed = change(parts, id, Act::Unbind, "", None).await?.changed > 0;
    json(StatusCode::OK, &BoundClient { client_id: id.to_string(), user_id: None, changed })
}

/// `PUT` and `DELETE /v1/clients/{id}/rooms/{room}`.
pub(super) async fn enter(
    parts: &Parts,
    head: &Head,
    at: Segments<'_>,
    joined: bool,
) -> Result<Http, Problem> {
    query::read(head.uri.query(), &[])?;
    let (id, room) = (client_id(at.raw())?, at.second()?.into_owned());
    let act = if joined { Act::Join } else { Act::Leave };
    let done = change(parts, id, act, &room, None).await?;
    if done.refused > 0 {
        return Err(too_many_rooms(done.refused));
    }
    let changed = done.changed > 0;
    json(StatusCode::OK, &MovedClient { client_id: id.to_string(), room, joined, changed })
}

async fn change(
    parts: &Parts,
    id: ClientId,
    act: Act,
    name: &str,
    app: Option<u32>,
) -> Result<Changed, Problem> {
    parts.inquirer.change_one(id, act, name, app).await.map_err(no_change)
}

/// Reads `{"userId":"…","appId":1}`.
fn binding(body: &[u8], depth_max: usize) -> Result<(String, Option<u32>), Problem> {
    let text = body_text(body, depth_max)?;
    let array = ('[', "an object such as {\"userId\":\"u1\"} is expected");
    let members: Members<'_> = serde_json::from_str(text).map_err(|error| not_json(&error, text, array))?;
    let (mut user, mut app, mut faults) = (None, None, Faults::default());
    let mut is_given = false;
    for (name, raw) in &members.0 {
        let checked = match &**name {
            "userId" => {
                is_given = true;
                called(raw).map(|name| user = Some(name))
            }
            "appId" => whole(raw, 1, u64::from(u32::MAX)).map(|number| app = u32::try_from(number).ok()),
            unknown => Err(unknown_member(unknown, &["userId", "appId"])),
        };
        if let Err(detail) = checked {
            faults.add(pointer("", name), detail);
        }
    }
    if !is_given {
        faults.add("/userId", "is missing; to make it nobody's, DELETE this path");
    }
    match user {
        Some(user) if faults.is_empty() => Ok((user, app)),
        _ => Err(faults.problem()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(body: &[u8]) -> Result<(String, Option<u32>), Problem> {
        super::binding(body, 64)
    }

    #[test]
    fn a_binding_is_read_and_what_is_wrong_is_pointed_at() {
        assert_eq!(binding(br#"{"userId":"u","appId":7}"#), Ok(("u".into(), Some(7))));
        assert_eq!(binding(br#"{"userId":"u"}"#), Ok(("u".into(), None)));
        for (body, at) in [
            ("{}", "/userId"),
            (r#"{"userId":""}"#, "/userId"),
            (r#"{"userId":null}"#, "/userId"),
            (r#"{"userId":"u","appId":0}"#, "/appId"),
            (r#"{"userId":"u","appId":"1"}"#, "/appId"),
            (r#"{"userId":"u","app":1}"#, "/app"),
            (r#"{"userId":"u","userId":"v"}"#, ""),
            ("[]", ""),
            ("{", ""),
        ] {
            assert_eq!(binding(body.as_bytes()).unwrap_err().errors[0].pointer, at, "{body}");
        }
    }
}
