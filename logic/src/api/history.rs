//! `/v1/rooms/{room}/history` and `/v1/users/{userId}/history`: what is kept, in pages.

use common::http1::Answer as Http;
use common::ids::Epoch;
use common::names::Kind;
use common::problem::Problem;
use http::StatusCode;
use http::request::Parts as Head;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use super::manage::{LIMIT, LIMIT_MAX, bad_query, number};
use super::routes::Segments;
use super::{Parts, json, query};
use crate::engine::{Away, Item, Most, Since};

/// Bytes of the items of a page; one item may be larger by itself.
const PAGE_BYTES: usize = 1024 * 1024;

/// A page of a history.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct History {
    /// The present life of the history; offsets are of it.
    epoch: String,
    /// The offset of the newest item that there ever was; 0: none.
    offset: u64,
    /// Items in order. Ask again with the last one's offset as `since` while there is `more`.
    #[schemars(with = "Vec<KeptItem>")]
    items: Vec<Box<RawValue>>,
    /// Whether there are more behind these.
    more: bool,
    /// Between `since` and the first item something may be missing: the epoch is over, or items were let go of.
    reset: bool,
}

/// An item of a history.
#[derive(Debug, JsonSchema)]
#[allow(dead_code, reason = "only its schema is used")]
struct KeptItem {
    /// Its number.
    offset: u64,
    /// When it was pushed, in milliseconds since 1970.
    at: u64,
    /// What the publisher called it.
    #[schemars(default)]
    event: Option<String>,
    /// What the publisher sent, byte for byte.
    data: serde_json::Value,
}

/// `GET …/history?since=&epoch=&limit=`.
pub(super) async fn read(parts: &Parts, head: &Head, kind: Kind, at: Segments<'_>) -> Result<Http, Problem> {
    let [since, epoch, limit] = query::read(head.uri.query(), &["since", "epoch", "limit"])?;
    let since = since_of(since, epoch)?;
    let items = match limit {
        None => LIMIT,
        Some(text) => {
            number(text, LIMIT_MAX as u64).and_then(|limit| usize::try_from(limit).ok()).ok_or_else(|| {
                bad_query(format!("\"limit\" is {text:?}; it is a number from 1 to {LIMIT_MAX}"))
            })?
        }
    };
    let name = at.first()?;
    let histories = &parts.publisher.histories;
    let Some(whose) = histories.find(kind, &name) else {
        let detail = format!("no rule of this node keeps a history of {name:?}");
        return Err(Problem::new(StatusCode::NOT_FOUND, "no_history", detail));
    };
    parts.counters.history_reads.inc();
    let page = histories.read(whose, since, Most { items, bytes: PAGE_BYTES }).await;
    let page = page.map_err(|Away(why)| Problem::unavailable("engine_unavailable", why, 1))?;
    let last = page.last(page.head.offset);
    let answer = History {
        epoch: Epoch(page.head.epoch).to_string(),
        offset: page.head.offset,
        more: last < page.head.offset,
        items: page.items.iter().map(|(offset, item)| written(*offset, item)).collect::<Result<_, _>>()?,
        reset: !page.continues,
    };
    json(StatusCode::OK, &answer)
}

fn since_of(since: Option<&str>, epoch: Option<&str>) -> Result<Option<Since>, Problem> {
    let Some(since) = since else {
        return match epoch {
            None => Ok(None),
            Some(_) => Err(bad_query("\"epoch\" comes with \"since\", or not at all".to_owned())),
        };
    };
    let digits = since.bytes().all(|byte| byte.is_ascii_digit());
    let offset = since.parse().ok().filter(|_| digits);
    let offset =
        offset.ok_or_else(|| bad_query(format!("\"since\" is {since:?}; it is an offset, from 0")))?;
    let bad = |_| bad_query(format!("\"epoch\" is {epoch:?}; it is one that this API has said"));
    let epoch = epoch.map(str::parse).transpose().map_err(bad)?;
    Ok(Some(Since { epoch, offset }))
}

/// An item as it stands in an answer: `data` as it was sent.
fn written(offset: u64, item: &Item) -> Result<Box<RawValue>, Problem> {
    let body = String::from_utf8_lossy(&item.body);
    let text = format!("{{\"offset\":{offset},\"at\":{},{body}", item.at.unix_ms);
    RawValue::from_string(text).map_err(|error| {
        let detail = format!("an item cannot be read again: {error}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    })
}
