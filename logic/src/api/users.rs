//! `/v1/users`: who is online, and what is done to all connections of one user.

use common::http1::Answer as Http;
use common::link::ask::{Act, Scope};
use common::names::Kind;
use common::problem::Problem;
use http::StatusCode;
use http::request::Parts as Head;
use schemars::JsonSchema;
use serde::Serialize;

use super::clients::{self, CLOSED, ClientPage};
use super::manage::{Answer, Listing, app, name_place, no_answer, no_change, too_many_rooms};
use super::routes::Segments;
use super::{Parts, json};
use crate::query::Unanswered;

/// A user with a connection.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct OnlineUser {
    /// The user.
    user_id: String,
    /// How many connections it has.
    clients: u64,
}

/// A page of users.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct UserPage {
    /// At most as many as were asked for; fewer do not mean that this is the last page.
    users: Vec<OnlineUser>,
    /// For the next page; null: this is the last.
    cursor: Option<String>,
    /// How many there are in all; on the first page only, and not with `appId`: see `/v1/stats`.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
}

/// A user, online or not.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct User {
    /// The user.
    user_id: String,
    /// Whether it has a connection; on later pages, whether one is on this page.
    online: bool,
    #[serde(flatten)]
    page: ClientPage,
}

/// Connections that were closed.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Closed {
    /// How many.
    closed: u64,
}

/// Connections that joined a room.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Joined {
    /// Connections of the user.
    matched: u64,
    /// Of them, those that were not in the room before.
    joined: u64,
    /// Of them, those that are in as many rooms as they may be.
    refused: u64,
}

/// Connections that left a room.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Left {
    /// Connections that were meant.
    pub(super) matched: u64,
    /// Of them, those that were in the room before.
    pub(super) left: u64,
}

/// `GET /v1/users`.
pub(super) async fn list(parts: &Parts, head: &Head) -> Result<Http, Problem> {
    let listing = Listing::read(head.uri.query())?;
    let after = listing.place(name_place)?;
    let total = match (&after, listing.app) {
        (None, None) => Some(parts.inquirer.unique(Kind::User, None).await.map_err(no_answer)?.value),
        _ => None,
    };
    let page =
        parts.inquirer.names(Kind::User, listing.app, after, listing.limit).await.map_err(no_answer)?;
    let user = |(user_id, clients)| OnlineUser { user_id, clients };
    let answer: Answer<_> = page
        .map(|page| UserPage {
            users: page.entries.into_iter().map(user).collect(),
            cursor: page.cursor,
            total,
        })
        .into();
    json(StatusCode::OK, &answer)
}

/// `GET /v1/users/{id}`.
pub(super) async fn one(parts: &Parts, head: &Head, at: Segments<'_>) -> Result<Http, Problem> {
    let (listing, user) = (Listing::read(head.uri.query())?, at.first()?);
    let answer = clients::page(parts, Scope::user(&user, listing.app), &listing).await?;
    let answer = answer.map(|page| User {
        user_id: user.into_owned(),
        online: page.total.is_some_and(|total| total > 0) || !page.clients.is_empty(),
        page,
    });
    json(StatusCode::OK, &answer)
}

/// `DELETE /v1/users/{id}`.
pub(super) async fn close(parts: &Parts, head: &Head, at: Segments<'_>) -> Result<Http, Problem> {
    let scope = Scope::user(&at.first()?, app(head.uri.query())?);
    let done = parts.inquirer.change(scope, Act::Close, CLOSED).await.map_err(no_change)?;
    let answer: Answer<_> = done.map(|done| Closed { closed: done.changed }).into();
    json(StatusCode::OK, &answer)
}

/// `PUT /v1/users/{id}/rooms/{room}`.
pub(super) async fn join(parts: &Parts, head: &Head, at: Segments<'_>) -> Result<Http, Problem> {
    let (scope, room) = (Scope::user(&at.first()?, app(head.uri.query())?), at.second()?);
    let done = parts.inquirer.change(scope, Act::Join, &room).await.map_err(no_change)?;
    let changed = &done.value;
    if changed.matched == 0 {
        if !done.failed.is_empty() {
            return Err(no_change(Unanswered::Away(done.failed)));
        }
        let detail = "this user has no connection, so nobody joined";
        return Err(Problem::new(StatusCode::NOT_FOUND, "user_not_online", detail));
    }
    if changed.refused == changed.matched {
        return Err(too_many_rooms(changed.refused));
    }
    let answer: Answer<_> =
        done.map(|done| Joined { matched: done.matched, joined: done.changed, refused: done.refused }).into();
    json(StatusCode::OK, &answer)
}

/// `DELETE /v1/users/{id}/rooms/{room}`.
pub(super) async fn leave(parts: &Parts, head: &Head, at: Segments<'_>) -> Result<Http, Problem> {
    let (scope, room) = (Scope::user(&at.first()?, app(head.uri.query())?), at.second()?);
    let done = parts.inquirer.change(scope, Act::Leave, &room).await.map_err(no_change)?;
    let answer: Answer<_> = done.map(|done| Left { matched: done.matched, left: done.changed }).into();
    json(StatusCode::OK, &answer)
}
