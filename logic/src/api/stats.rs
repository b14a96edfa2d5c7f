//! `/v1/stats` and `/v1/apps`: how many are online, in all and by application; and the drain of a gateway.

use common::http1::Answer as Http;
use common::link::ask::Scope;
use common::names::Kind;
use common::problem::Problem;
use http::StatusCode;
use http::request::Parts as Head;
use schemars::JsonSchema;
use serde::Serialize;

use super::manage::{Answer, Listing, app, name_place, no_answer, unanswered};
use super::routes::Segments;
use super::{Parts, json, manage, query};
use crate::link::view::State;
use crate::query::{Unanswered, Whole};

/// How many are online.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stats {
    /// The application that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    app_id: Option<u32>,
    /// Connections.
    clients: u64,
    /// Users with a connection, each once.
    users: u64,
    /// Rooms with a connection, each once.
    rooms: u64,
    /// Applications with a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    apps: Option<u64>,
    /// The gateways.
    gateways: GatewayCounts,
}

/// How many gateways there are.
#[derive(Debug, Serialize, JsonSchema)]
struct GatewayCounts {
    /// That are known.
    known: usize,
    /// Of them, those with a link.
    linked: usize,
    /// Of them, those that drain.
    draining: usize,
}

/// An application with a connection.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct App {
    /// The application.
    app_id: u32,
    /// How many connections it has.
    clients: u64,
}

/// A page of applications.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct AppPage {
    /// At most as many as were asked for; fewer do not mean that this is the last page.
    apps: Vec<App>,
    /// For the next page; null: this is the last.
    cursor: Option<String>,
}

/// A gateway that goes.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Draining {
    /// Its name.
    gateway: String,
    /// Always true: it takes no new clients, and ends when those it has are gone.
    draining: bool,
    /// Whether it did not drain before.
    changed: bool,
}

/// `GET /v1/stats`.
pub(super) async fn totals(parts: &Parts, head: &Head) -> Result<Http, Problem> {
    let app_id = app(head.uri.query())?;
    let inquirer = &parts.inquirer;
    let (clients, users, rooms) = tokio::try_join!(
        async { inquirer.count(&Scope::all(app_id)).await },
        inquirer.unique(Kind::User, app_id),
        inquirer.unique(Kind::Room, app_id),
    )
    .map_err(no_answer)?;
    let apps = match app_id {
        None => Some(inquirer.unique(Kind::App, None).await.map_err(no_answer)?.value),
        Some(_) => None,
    };
    let views = parts.fleet.views();
    let seen: Vec<_> = views.iter().map(|(_, view)| view.seen()).collect();
    let linked: Vec<_> = seen.iter().filter(|seen| seen.state == State::Linked).collect();
    let gateways = GatewayCounts {
        known: seen.iter().filter(|seen| seen.state != State::Duplicate).count(),
        linked: linked.len(),
        draining: linked.iter().filter(|seen| seen.stats.draining).count(),
    };
    let value =
        Stats { app_id, clients: clients.value, users: users.value, rooms: rooms.value, apps, gateways };
    json(StatusCode::OK, &Answer::from(Whole { value, failed: clients.failed }))
}

/// `GET /v1/apps`.
pub(super) async fn apps(parts: &Parts, head: &Head) -> Result<Http, Problem> {
    let listing = Listing::read(head.uri.query())?;
    let after = listing.place(name_place)?;
    let page = parts.inquirer.names(Kind::App, listing.app, after, listing.limit).await.map_err(no_answer)?;
    let app = |(name, clients): (String, u64)| Some(App { app_id: name.parse().ok()?, clients });
    let answer: Answer<_> = page
        .map(|page| AppPage { apps: page.entries.into_iter().filter_map(app).collect(), cursor: page.cursor })
        .into();
    json(StatusCode::OK, &answer)
}

/// `POST /v1/gateways/{gateway}/drain`.
pub(super) async fn drain(parts: &Parts, head: &Head, at: Segments<'_>) -> Result<Http, Problem> {
    query::read(head.uri.query(), &[])?;
    let name = at.first()?;
    let (gateway, changed) = parts.inquirer.drain(&name).await.map_err(|why| match why {
        Unanswered::Nobody => {
            let detail = "no gateway with a link has this name, instance or link address";
            Problem::new(StatusCode::NOT_FOUND, "gateway_not_found", detail)
        }
        why => unanswered(why, manage::Kind::Change),
    })?;
    json(StatusCode::ACCEPTED, &Draining { gateway: gateway.to_string(), draining: true, changed })
}
