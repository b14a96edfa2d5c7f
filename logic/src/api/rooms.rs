//! `/v1/rooms`: which rooms have members, who they are, and the end of a room.

use common::http1::Answer as Http;
use common::link::ask::{Act, Scope};
use common::names::Kind;
use common::problem::Problem;
use http::StatusCode;
use http::request::Parts as Head;
use schemars::JsonSchema;
use serde::Serialize;

use super::clients;
use super::manage::{Answer, Listing, app, name_place, no_answer, no_change};
use super::routes::Segments;
use super::users::Left;
use super::{Parts, json};

/// A room with a member.
#[derive(Debug, Serialize, JsonSchema)]
struct OpenRoom {
    /// The room.
    room: String,
    /// How many connections are in it.
    clients: u64,
}

/// A page of rooms.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RoomPage {
    /// At most as many as were asked for; fewer do not mean that this is the last page.
    rooms: Vec<OpenRoom>,
    /// For the next page; null: this is the last.
    cursor: Option<String>,
    /// How many there are in all; on the first page only, and not with `appId`: see `/v1/stats`.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
}

/// A room, with members or without.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Room {
    /// The room.
    room: String,
    /// Whether anybody is in it.
    online: bool,
    /// How many connections are in it.
    clients: u64,
}

/// `GET /v1/rooms`.
pub(super) async fn list(parts: &Parts, head: &Head) -> Result<Http, Problem> {
    let listing = Listing::read(head.uri.query())?;
    let after = listing.place(name_place)?;
    let total = match (&after, listing.app) {
        (None, None) => Some(parts.inquirer.unique(Kind::Room, None).await.map_err(no_answer)?.value),
        _ => None,
    };
    let page =
        parts.inquirer.names(Kind::Room, listing.app, after, listing.limit).await.map_err(no_answer)?;
    let room = |(room, clients)| OpenRoom { room, clients };
    let answer: Answer<_> = page
        .map(|page| RoomPage {
            rooms: page.entries.into_iter().map(room).collect(),
            cursor: page.cursor,
            total,
        })
        .into();
    json(StatusCode::OK, &answer)
}

/// `GET /v1/rooms/{room}`.
pub(super) async fn one(parts: &Parts, head: &Head, at: Segments<'_>) -> Result<Http, Problem> {
    let (room, app) = (at.first()?.into_owned(), app(head.uri.query())?);
    let count = parts.inquirer.count(&Scope::room(&room, app)).await.map_err(no_answer)?;
    let answer: Answer<_> = count.map(|clients| Room { room, online: clients > 0, clients }).into();
    json(StatusCode::OK, &answer)
}

/// `GET /v1/rooms/{room}/clients`.
pub(super) async fn members(parts: &Parts, head: &Head, at: Segments<'_>) -> Result<Http, Problem> {
    let (listing, room) = (Listing::read(head.uri.query())?, at.first()?);
    json(StatusCode::OK, &clients::page(parts, Scope::room(&room, listing.app), &listing).await?)
}

/// `DELETE /v1/rooms/{room}`.
pub(super) async fn dissolve(parts: &Parts, head: &Head, at: Segments<'_>) -> Result<Http, Problem> {
    let (room, app) = (at.first()?, app(head.uri.query())?);
    let done = parts.inquirer.change(Scope::room(&room, app), Act::Leave, &room).await.map_err(no_change)?;
    let answer: Answer<_> = done.map(|done| Left { matched: done.matched, left: done.changed }).into();
    json(StatusCode::OK, &answer)
}
