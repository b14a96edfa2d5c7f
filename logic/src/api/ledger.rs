//! `GET /v1/pushes/{id}`: what became of a push.

use common::http1::Answer;
use common::ids::PushId;
use common::problem::Problem;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::json;
use crate::ledger::{KEPT, Tally};
use crate::publish::Publisher;

#[derive(Serialize, JsonSchema)]
pub(super) struct Counts {
    id: String,
    matched: u64,
    written: u64,
    conflated: u64,
    expired: u64,
    dropped: Dropped,
    pending: u64,
}

#[derive(Serialize, JsonSchema)]
struct Dropped {
    slow: u64,
    gone: u64,
    gateway_lost: u64,
}

pub(super) fn tally(publisher: &Publisher, id: &str) -> Result<Answer, Problem> {
    let not_here = |code, detail: String| Problem::new(StatusCode::NOT_FOUND, code, detail);
    let push: PushId =
        id.parse().map_err(|error| not_here("push_not_found", format!("{id:?} is no push: {error}")))?;
    if push.logic != publisher.instance {
        let detail = "another logic node took this push, or this one before it was restarted: ask that one";
        return Err(not_here("push_elsewhere", detail.to_owned()));
    }
    let tally = publisher.tally(push.serial).ok_or_else(|| {
        let detail =
            format!("the counts of a push are kept {} minutes, of very many less", KEPT.as_secs() / 60);
        not_here("push_not_found", detail)
    })?;
    json(StatusCode::OK, &counts(id, &tally))
}

fn counts(id: &str, tally: &Tally) -> Counts {
    Counts {
        id: id.to_owned(),
        matched: u64::try_from(tally.matched).unwrap_or(0),
        written: tally.written,
        conflated: tally.conflated,
        expired: tally.expired,
        dropped: Dropped { slow: tally.slow, gone: tally.gone, gateway_lost: tally.gateway_lost },
        pending: tally.pending(),
    }
}
