//! `GET /v1/gateways`: the gateways that are known, linked or not, and why not.

use std::time::Instant;

use common::ids::Instance;
use schemars::JsonSchema;
use serde::Serialize;

use crate::fleet::Fleet;

/// One gateway.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Gateway {
    /// Its name once it has said it, its address before.
    gateway: String,
    instance: Option<String>,
    address: String,
    client_url: Option<String>,
    release: Option<String>,
    state: &'static str,
    since_secs: u64,
    reason: Option<String>,
    draining: bool,
    clients: u64,
    users: u64,
    rooms: u64,
    queue_bytes: usize,
}

/// All gateways, by address.
pub(crate) fn list(fleet: &Fleet) -> Vec<Gateway> {
    let outboxes = fleet.outboxes();
    let depth = |address: &str| {
        let found = outboxes.iter().find(|(known, _)| &**known == address);
        found.and_then(|(_, outbox)| outbox.as_ref()).map_or(0, |outbox| outbox.depth().0)
    };
    let gateway = |(address, view): (std::sync::Arc<str>, std::sync::Arc<crate::link::view::View>)| {
        let seen = view.seen();
        let hello = seen.hello.as_ref();
        Gateway {
            gateway: hello.map_or_else(|| address.to_string(), |hello| hello.name.clone()),
            instance: hello.map(|hello| Instance(hello.instance).to_string()),
            client_url: hello.map(|hello| hello.client_url.clone()),
            release: hello.map(|hello| hello.release.clone()),
            state: seen.state.as_str(),
            since_secs: Instant::now().duration_since(seen.since).as_secs(),
            reason: seen.reason,
            draining: seen.stats.draining,
            clients: seen.stats.clients,
            users: seen.stats.users,
            rooms: seen.stats.rooms,
            queue_bytes: depth(&address),
            address: address.to_string(),
        }
    };
    fleet.views().into_iter().map(gateway).collect()
}
