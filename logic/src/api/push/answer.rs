//! What a publisher is told.

use common::ids::Epoch;
use common::names::Kind;
use schemars::JsonSchema;
use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

use crate::publish::stored::Stored;
use crate::publish::{Published, Reach};
use crate::push::Wait;

/// The answer to one push.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Pushed")]
pub(super) struct Push<'a> {
    id: String,
    replayed: bool,
    matched: i64,
    /// For callers that waited for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending: Option<u64>,
    gateways: Gateways<'a>,
    /// The places in the histories of rooms, if any of those it is for keeps one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    rooms: Vec<RoomPlace<'a>>,
    /// The same of users.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    users: Vec<UserPlace<'a>>,
    /// In a batch: this one was taken by nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

/// Where an item stands in a room's history.
#[derive(Debug, Serialize, JsonSchema)]
struct RoomPlace<'a> {
    room: &'a str,
    epoch: String,
    offset: u64,
}

/// Where an item stands in a user's history.
#[derive(Debug, Serialize, JsonSchema)]
struct UserPlace<'a> {
    user: &'a str,
    epoch: String,
    offset: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Gateways<'a> {
    known: usize,
    accepted: usize,
    #[serde(serialize_with = "failed")]
    #[schemars(with = "Vec<super::schema::Failed>")]
    failed: &'a [(std::sync::Arc<str>, &'static str)],
}

impl<'a> Push<'a> {
    pub(super) fn new(published: &'a Published, replayed: bool) -> Self {
        let (known, accepted, tally) = (published.known, published.accepted, &published.tally);
        let waited = published.wait == Wait::Written;
        let place =
            |stored: &'a Stored| (&*stored.name, Epoch(stored.at.epoch).to_string(), stored.at.offset);
        let places = |kind| published.stored.iter().filter(move |stored| stored.kind == kind).map(place);
        Self {
            id: published.id.to_string(),
            replayed,
            matched: tally.matched.max(0),
            written: waited.then_some(tally.written),
            pending: waited.then(|| tally.pending()),
            gateways: Gateways { known, accepted, failed: &published.failed },
            rooms: places(Kind::Room)
                .map(|(room, epoch, offset)| RoomPlace { room, epoch, offset })
                .collect(),
            users: places(Kind::User)
                .map(|(user, epoch, offset)| UserPlace { user, epoch, offset })
                .collect(),
            code: published.is_failure.then_some("gateways_failed"),
        }
    }
}

/// The answer to a batch: one for each push, in their order.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Batch<'a> {
    replayed: bool,
    pushes: Vec<Push<'a>>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(published: &'a [Published], replayed: bool) -> Self {
        Self { replayed, pushes: published.iter().map(|published| Push::new(published, replayed)).collect() }
    }
}

/// The answer to a push that is not sent.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DryRun<'a> {
    dry_run: bool,
    /// The item as a client would get it, without the room's name.
    item_bytes: usize,
    /// Over all links.
    link_bytes: usize,
    gateways: DryGateways<'a>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct DryGateways<'a> {
    known: usize,
    /// The names of those that hold somebody it would reach.
    concerned: Vec<&'a str>,
    #[serde(serialize_with = "failed")]
    #[schemars(with = "Vec<super::schema::Failed>")]
    failed: &'a [(std::sync::Arc<str>, &'static str)],
}

impl<'a> DryRun<'a> {
    pub(super) fn new(reach: &'a Reach) -> Self {
        Self {
            dry_run: true,
            item_bytes: reach.item_bytes,
            link_bytes: reach.concerned.iter().map(|(_, bytes)| bytes).sum(),
            gateways: DryGateways {
                known: reach.known,
                concerned: reach.concerned.iter().map(|(gateway, _)| &**gateway).collect(),
                failed: &reach.failed,
            },
        }
    }
}

/// `[{"gateway":"gw-7","code":"timeout"}]`
fn failed<S: Serializer>(
    failed: &[(std::sync::Arc<str>, &'static str)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Failed<'a> {
        gateway: &'a str,
        code: &'a str,
    }
    let mut list = serializer.serialize_seq(Some(failed.len()))?;
    for (gateway, code) in failed {
        list.serialize_element(&Failed { gateway, code })?;
    }
    list.end()
}
