//! Calls with an `Idempotency-Key`: made once in two minutes, whichever node they come to.
//!
//! This node's own memory is asked first. What it does not know, the engine may: what was appended under a key is in the
//! same step as the append, and a call that appends nothing claims its key before it is made. An engine that only this
//! process uses, and that ends with it, knows no more than the node and is not asked.

use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::digest;
use bytes::Bytes;
use common::http1::Answer;
use common::problem::Problem;
use http::StatusCode;
use prost::Message;
use tokio::sync::oneshot;

use super::{Coming, Form, accepted, answered, away, failed, other_call, parsed, refused, slow, written};
use crate::api::{Api, Parts};
use crate::engine::{Away, Claim, Engine, Once};
use crate::idempotency::Begin;
use crate::publish::{Called, Published};

/// What is kept under a key: what was done, or the failure of something that was sent.
pub(in crate::api) type Kept = Result<Done, Problem>;

/// What a call has done.
#[derive(Debug, Clone)]
pub(in crate::api) enum Done {
    /// This node made it.
    Here(Arc<[Published]>),
    /// It was made at another node or before a restart; where its items are is all that is known.
    Before(Arc<[Published]>),
    /// The same, and this was the answer.
    Said(Bytes),
}

/// An answer as the engine keeps it. Fields are only ever added.
#[derive(Clone, PartialEq, Message)]
struct Record {
    /// JSON, as it is said again; empty for a failure.
    #[prost(bytes = "bytes", tag = "1")]
    json: Bytes,
    /// What was sent and then failed.
    #[prost(string, tag = "2")]
    failure: String,
}

/// Makes a call, or says again what it was answered. In a task of its own: a caller that hangs up in the middle may ask
/// again, and must then be told what was done.
pub(super) async fn call(api: &Api, coming: Coming, key: String, body: Bytes) -> Result<Answer, Problem> {
    let form = coming.form;
    let print = print(form, &body);
    let begun = api.0.answers.lock().begin(&key, print, Instant::now());
    let using = match begun {
        Begin::Replay(kept) => return said(form, &kept?, true),
        Begin::Running => return Err(in_progress()),
        Begin::OtherCall => return Err(other_call()),
        Begin::New(using) => using,
    };
    let (sender, receiver) = oneshot::channel();
    let end = End { api: api.clone(), key, using, kept: None };
    api.0.tasks.spawn(async move {
        let mut end = end;
        let done = make(&end.api.0, coming, Once { key: &end.key, print }, &body).await;
        end.kept = done.as_ref().ok().and_then(keep);
        drop(end);
        // A caller that hung up asks again.
        let _ = sender.send(done);
    });
    let done = receiver.await.map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the call ended without an answer")
    })?;
    said(form, &done?, false)
}

/// The same on all nodes and in all runs, for engines keep it. SHA-256, cut: nobody finds two calls with one print.
fn print(form: Form, body: &[u8]) -> [u8; 16] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(form.as_str().as_bytes());
    context.update(&[0]);
    context.update(body);
    let mut print = [0; 16];
    print.copy_from_slice(&context.finish().as_ref()[..16]);
    print
}

fn in_progress() -> Problem {
    let detail = "a call with this Idempotency-Key is still in progress, or the node that made it died of it";
    let mut problem = Problem::new(StatusCode::CONFLICT, "idempotency_in_progress", detail);
    (problem.retryable, problem.retry_after_secs) = (true, Some(1));
    problem
}

async fn make(parts: &Parts, coming: Coming, once: Once<'_>, body: &[u8]) -> Kept {
    let pushes = parsed(parts, coming, body)?;
    let parsed = Instant::now();
    let publisher = &parts.publisher;
    if !publisher.histories.remembers_calls() {
        let published = publisher.publish(&pushes).await;
        slow::look(&parts.slow, coming, parsed, &pushes, published.as_deref().map_err(|_| ()));
        return published.map(|done| Done::Here(done.into())).map_err(refused);
    }
    let is_stored = publisher.histories.concern(&pushes);
    if !is_stored && let Some(known) = claimed(parts, once).await? {
        return known;
    }
    // As it was decided above, whatever the rules are by now: a claim is no item, and an item needs no claim.
    let called = match is_stored {
        true => publisher.publish_once(&pushes, once).await,
        false => publisher.publish(&pushes).await.map(Called::Now),
    };
    let taken = called.as_ref().map(|(Called::Before(done) | Called::Now(done))| &done[..]).map_err(|_| ());
    slow::look(&parts.slow, coming, parsed, &pushes, taken);
    let done = match called {
        Ok(Called::Before(places)) => return Ok(before(parts, once, places).await),
        Ok(Called::Now(published)) => Ok(Done::Here(published.into())),
        Err(refusal) => Err(refused(refusal)),
    };
    let record = done.as_ref().ok().and_then(keep).map(|kept| record(coming.form, kept));
    match record {
        Some(record) => publisher.histories.engine().keep_answer(once, record).await,
        // Nothing came of it, and the key is free again.
        None if !is_stored => publisher.histories.engine().keep_answer(once, Bytes::new()).await,
        None => {}
    }
    done
}

/// What is known of a call that stores nothing; nothing if it is to be made now.
async fn claimed(parts: &Parts, once: Once<'_>) -> Result<Option<Kept>, Problem> {
    match parts.publisher.histories.engine().claim(once).await {
        Ok(Claim::New) => Ok(None),
        Ok(Claim::Answered(record)) if record.is_empty() => Ok(None),
        Ok(Claim::Answered(record)) => Ok(read(&record)),
        Ok(Claim::Running) => Err(in_progress()),
        Ok(Claim::OtherCall) => Err(other_call()),
        Err(Away(why)) => {
            parts.counters.engine_away.inc();
            Err(away(&format!(
                "whether the call was made before cannot be said now: {why}; nothing was sent"
            )))
        }
    }
}

/// The answer to a call of which the engine knows the places.
async fn before(parts: &Parts, once: Once<'_>, places: Vec<Published>) -> Done {
    let record = parts.publisher.histories.engine().answer(once).await;
    match record.as_ref().and_then(read) {
        Some(Ok(done)) => done,
        _ => Done::Before(places.into()),
    }
}

fn record(form: Form, kept: Kept) -> Bytes {
    let json = |done: &Done| match done {
        Done::Here(published) | Done::Before(published) => written(form, published, true).map(Bytes::from),
        Done::Said(json) => Ok(json.clone()),
    };
    let record = match kept.and_then(|done| json(&done)) {
        Ok(json) => Record { json, failure: String::new() },
        Err(problem) => Record { json: Bytes::new(), failure: problem.detail },
    };
    record.encode_to_vec().into()
}

/// What a record says; nothing if it is none.
fn read(record: &Bytes) -> Option<Kept> {
    let Record { json, failure } = Record::decode(record.clone()).ok()?;
    match (json.is_empty(), failure.is_empty()) {
        (false, _) => Some(Ok(Done::Said(json))),
        (true, false) => {
            Some(Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, super::GATEWAYS_FAILED, failure)))
        }
        (true, true) => None,
    }
}

/// What is kept of a call: everything of which something was sent. What was refused may be tried again.
fn keep(done: &Done) -> Option<Kept> {
    if let Done::Here(published) = done {
        if !published.iter().any(|published| published.was_sent || !published.is_failure) {
            return None;
        }
        if published.iter().all(|published| published.is_failure) {
            return Some(Err(failed(published)));
        }
    }
    Some(Ok(done.clone()))
}

fn said(form: Form, done: &Done, replayed: bool) -> Result<Answer, Problem> {
    match done {
        Done::Here(published) => answered(form, published, replayed),
        Done::Before(published) => answered(form, published, true),
        Done::Said(json) => Ok(accepted(json.clone())),
    }
}

/// Says how a keyed call ended, however it ends: a panic frees the key.
struct End {
    api: Api,
    key: String,
    using: u64,
    kept: Option<Kept>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.api.0.answers.lock().end(&self.key, self.using, self.kept.take());
    }
}
