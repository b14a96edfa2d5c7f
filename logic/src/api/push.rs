//! `POST /v1/push` and `/v1/push/batch`: from a request to an answer.

mod answer;
pub(super) mod batch;
pub(super) mod keyed;
pub(super) mod members;
pub(super) mod parse;
pub(super) mod schema;
mod slow;

use std::time::Instant;

use bytes::Bytes;
use common::http1::{self, Answer};
use common::problem::Problem;
use common::trace::Trace;
use http::StatusCode;
use http::request::Parts as Head;
use hyper::body::Incoming;

use super::{Api, Parts, json, media_type, query, text};
use crate::idempotency::{KEPT, KEY_BYTES_MAX};
use crate::publish::{Published, Refusal};
use crate::push::Push;
pub(crate) use batch::PUSHES_MAX;
pub(crate) use slow::STAGES;

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

/// No gateway took what was sent, or could have been sent.
const GATEWAYS_FAILED: &str = "gateways_failed";

/// How a body is to be read and answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    One,
    Array,
    Lines,
}

impl Form {
    fn as_str(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Array => "array",
            Self::Lines => "lines",
        }
    }
}

/// A call on its way.
#[derive(Debug, Clone, Copy)]
struct Coming {
    form: Form,
    trace: Option<Trace>,
    began: Instant,
    /// When its body was there.
    read: Instant,
}

impl Coming {
    fn new(form: Form, head: &Head) -> Self {
        let now = Instant::now();
        Self { form, trace: trace(head), began: now, read: now }
    }
}

/// The trace that a call belongs to. One that is given twice, or is none, is as good as none (W3C Trace Context §4.3).
fn trace(head: &Head) -> Option<Trace> {
    let mut given = head.headers.get_all("traceparent").iter();
    let first = given.next()?;
    if given.next().is_some() {
        return None;
    }
    Trace::parse(first.to_str().ok()?)
}

/// `POST /v1/push`.
pub(super) async fn one(api: &Api, head: &Head, body: Incoming) -> Result<Answer, Problem> {
    let mut coming = Coming::new(Form::One, head);
    let [dry_run] = query::read(head.uri.query(), &["dryRun"])?;
    let is_dry = query::flag("dryRun", dry_run)?;
    media_type(head, &[JSON])?;
    let key = idempotency_key(head)?;
    let body = read(api, body).await?;
    if is_dry {
        let push = parse::one(&body, api.0.tune.now().limits.sizes)?;
        let reach = api.0.publisher.reach(&push).map_err(refused)?;
        return json(StatusCode::OK, &answer::DryRun::new(&reach));
    }
    coming.read = Instant::now();
    call(api, coming, key, body).await
}

/// `POST /v1/push/batch`.
pub(super) async fn batch(api: &Api, head: &Head, body: Incoming) -> Result<Answer, Problem> {
    query::read(head.uri.query(), &[])?;
    let form = if media_type(head, &[JSON, NDJSON])? == NDJSON { Form::Lines } else { Form::Array };
    let mut coming = Coming::new(form, head);
    let key = idempotency_key(head)?;
    let body = read(api, body).await?;
    coming.read = Instant::now();
    call(api, coming, key, body).await
}

async fn read(api: &Api, body: Incoming) -> Result<Bytes, Problem> {
    let (bytes_max, time_max) = {
        let tune = api.0.tune.now();
        (tune.limits.body_bytes_max, tune.limits.body_time_max)
    };
    http1::body_within(body, bytes_max, time_max).await
}

async fn call(api: &Api, coming: Coming, key: Option<String>, body: Bytes) -> Result<Answer, Problem> {
    match key {
        None => {
            let pushes = parsed(&api.0, coming, &body)?;
            let parsed = Instant::now();
            let published = api.0.publisher.publish(&pushes).await;
            let taken = published.as_deref().map_err(|_| ());
            slow::look(&api.0.slow, coming, parsed, &pushes, taken);
            answered(coming.form, &published.map_err(refused)?, false)
        }
        // Boxed: rare, and not to be paid for in the size of all calls.
        Some(key) => Box::pin(keyed::call(api, coming, key, body)).await,
    }
}

fn parsed<'a>(parts: &Parts, coming: Coming, body: &'a [u8]) -> Result<Vec<Push<'a>>, Problem> {
    let sizes = parts.tune.now().limits.sizes;
    let parsed = match coming.form {
        Form::One => parse::one(body, sizes).map(|push| vec![push]),
        Form::Array => batch::array(body, sizes),
        Form::Lines => batch::lines(body, sizes),
    };
    let mut pushes = parsed.inspect_err(|_| _ = parts.counters.invalid.inc())?;
    if coming.trace.is_some() {
        pushes.iter_mut().for_each(|push| push.trace = coming.trace);
    }
    Ok(pushes)
}

fn other_call() -> Problem {
    let secs = KEPT.as_secs();
    let detail = format!(
        "this Idempotency-Key was used for another call in the last {secs} s; the same call has the same \
         path and the same bytes as its body, white space included"
    );
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_mismatch", detail)
}

/// The answer to what was published; a failure if nothing of it was taken by anyone.
fn answered(form: Form, published: &[Published], replayed: bool) -> Result<Answer, Problem> {
    Ok(accepted(written(form, published, replayed)?))
}

/// The same, as text.
fn written(form: Form, published: &[Published], replayed: bool) -> Result<Vec<u8>, Problem> {
    if published.iter().all(|published| published.is_failure) {
        return Err(failed(published));
    }
    match (form, published) {
        (Form::One, [published]) => text(&answer::Push::new(published, replayed)),
        _ => text(&answer::Batch::new(published, replayed)),
    }
}

fn accepted(text: impl Into<Bytes>) -> Answer {
    let mut answer = http1::ok("application/json", text);
    *answer.status_mut() = StatusCode::ACCEPTED;
    answer
}

fn idempotency_key(head: &Head) -> Result<Option<String>, Problem> {
    let mut values = head.headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    if values.next().is_some() || text.is_empty() || text.len() > KEY_BYTES_MAX {
        let detail = format!("Idempotency-Key is given once, 1 to {KEY_BYTES_MAX} visible ASCII characters");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_idempotency_key", detail));
    }
    Ok(Some(text.to_owned()))
}

fn away(detail: &str) -> Problem {
    Problem::unavailable("engine_unavailable", detail, 1)
}

fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::NoGateway => Problem::unavailable("no_gateway", "no gateway is known to this logic node", 1),
        Refusal::Overloaded(gateway) => {
            let detail = format!("the link to gateway {gateway} is full; nothing was sent");
            Problem::unavailable("overloaded", detail, 1)
        }
        Refusal::HistoryFull => {
            let detail = "the histories take as much memory as they may (--history-memory, maxmemory of Redis); \
                          nothing was sent or stored";
            Problem::unavailable("history_full", detail, 1)
        }
        Refusal::EngineAway(why) => away(&format!(
            "the history cannot be written now: {why}; nothing was sent, and it may have been stored"
        )),
        Refusal::OtherCall => other_call(),
    }
}

/// 503 for a push that every gateway concerned failed to take.
fn failed(published: &[Published]) -> Problem {
    let was_sent = published.iter().any(|published| published.was_sent);
    let mut named: Vec<_> = published.iter().flat_map(|published| &published.failed).collect();
    named.sort_unstable();
    named.dedup();
    let named: Vec<_> = named.iter().map(|(gateway, code)| format!("{gateway} ({code})")).collect();
    let sent = if was_sent { "it was sent and may still arrive" } else { "nothing was sent" };
    let detail = format!("no gateway took it, {sent}: {}", named.join(", "));
    let mut problem = Problem::unavailable(GATEWAYS_FAILED, detail, 1);
    problem.retryable = !was_sent;
    problem
}
