//! What the management calls have in common: parameters, and answers that may be partial.

use common::ids::ClientId;
use common::problem::Problem;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use crate::query::list::{self, BadCursor};
use crate::query::{Failed, Unanswered, Whole};

/// Entries of a page if nobody says how many, and at most.
pub(super) const LIMIT: usize = 100;
pub(super) const LIMIT_MAX: usize = common::link::ask::PAGE_MAX as usize;

/// What a name looks like, for descriptions of the API: no control characters.
pub(super) const NAME: &str = r"^[^\u0000-\u001f\u007f-\u009f]+$";

/// Whether an answer is whole.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Completeness {
    /// Whether gateways that have no link may hold more than is said here.
    partial: bool,
    /// Those gateways.
    failed: Vec<FailedGateway>,
}

/// A gateway that has nothing to say.
#[derive(Debug, Serialize, JsonSchema)]
struct FailedGateway {
    /// Its name, or its address if it never said one.
    gateway: String,
    /// Why: `link_lost`, `refused`.
    code: &'static str,
}

impl From<Failed> for Completeness {
    fn from(failed: Failed) -> Self {
        let gateway = |(gateway, code): (std::sync::Arc<str>, &'static str)| FailedGateway {
            gateway: gateway.to_string(),
            code,
        };
        Self { partial: !failed.is_empty(), failed: failed.into_iter().map(gateway).collect() }
    }
}

/// An answer with what is missing of it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Answer<T> {
    #[serde(flatten)]
    value: T,
    #[serde(flatten)]
    completeness: Completeness,
}

impl<T> From<Whole<T>> for Answer<T> {
    fn from(whole: Whole<T>) -> Self {
        Self { value: whole.value, completeness: whole.failed.into() }
    }
}

impl<T> Answer<T> {
    /// The same with another value.
    pub(super) fn map<U>(self, map: impl FnOnce(T) -> U) -> Answer<U> {
        Answer { value: map(self.value), completeness: self.completeness }
    }
}

/// What the query of a list says.
pub(super) struct Listing<'a> {
    pub(super) app: Option<u32>,
    pub(super) cursor: Option<&'a str>,
    pub(super) limit: usize,
}

impl<'a> Listing<'a> {
    pub(super) fn read(query: Option<&'a str>) -> Result<Self, Problem> {
        let [app, cursor, limit] = super::query::read(query, &["appId", "cursor", "limit"])?;
        let limit = match limit {
            None => LIMIT,
            Some(text) => number(text, LIMIT_MAX as u64).map_or_else(
                || Err(bad_query(format!("\"limit\" is {text:?}; it is a number from 1 to {LIMIT_MAX}"))),
                |number| Ok(usize::try_from(number).unwrap_or(LIMIT_MAX)),
            )?,
        };
        Ok(Self { app: app.map(app_id).transpose()?, cursor, limit })
    }

    /// The place that the cursor says.
    pub(super) fn place<T>(&self, decode: fn(&str) -> Result<T, BadCursor>) -> Result<Option<T>, Problem> {
        self.cursor.map(decode).transpose().map_err(|BadCursor| {
            let detail = "the cursor is not one that this list has given: begin again without it";
            Problem::new(StatusCode::BAD_REQUEST, "invalid_cursor", detail)
        })
    }
}

/// `?appId=` alone.
pub(super) fn app(query: Option<&str>) -> Result<Option<u32>, Problem> {
    let [app] = super::query::read(query, &["appId"])?;
    app.map(app_id).transpose()
}

fn app_id(text: &str) -> Result<u32, Problem> {
    let app = number(text, u64::from(u32::MAX)).and_then(|number| u32::try_from(number).ok());
    app.ok_or_else(|| bad_query(format!("\"appId\" is {text:?}; it is a number from 1 to {}", u32::MAX)))
}

/// Digits only, and not 0.
pub(super) fn number(text: &str, most: u64) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_plain && (1..=most).contains(number))
}

pub(super) fn bad_query(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_query", detail)
}

/// The client that a path names.
pub(super) fn client_id(segment: &str) -> Result<ClientId, Problem> {
    segment.parse().map_err(|error| {
        let shown: String = segment.chars().take(64).collect();
        client_not_found(&format!("{shown:?} is no client: {error}"))
    })
}

fn client_not_found(detail: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "client_not_found", detail)
}

/// What kind of call went unanswered: a question can be asked again, a change may have been made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Question,
    Change,
}

/// The problem for a call without an answer.
pub(super) fn unanswered(why: Unanswered, kind: Kind) -> Problem {
    match why {
        Unanswered::NoGateway => {
            Problem::unavailable("no_gateway", "no gateway is known to this logic node", 1)
        }
        Unanswered::Away(failed) => {
            let named: Vec<_> = failed.iter().map(|(gateway, code)| format!("{gateway} ({code})")).collect();
            let detail = format!("no link to a gateway that may hold it: {}", named.join(", "));
            Problem::unavailable("gateways_failed", detail, 1)
        }
        Unanswered::Late(gateway) => {
            let advice = match kind {
                Kind::Question => "nothing was changed",
                Kind::Change => {
                    "the change may have been made there, and was made elsewhere: it may be asked for again"
                }
            };
            let detail = format!("gateway {gateway} did not answer in time; {advice}");
            let mut problem = Problem::new(StatusCode::GATEWAY_TIMEOUT, "gateway_timeout", detail);
            (problem.retryable, problem.retry_after_secs) = (kind == Kind::Question, Some(1));
            problem
        }
        Unanswered::Busy(gateway) => {
            let detail = format!("too many questions wait for gateway {gateway}");
            Problem::unavailable("overloaded", detail, 1)
        }
        Unanswered::Outdated(gateway) => {
            let detail = format!("gateway {gateway} does not know this call: update it");
            Problem::new(StatusCode::NOT_IMPLEMENTED, "gateway_outdated", detail)
        }
        Unanswered::Opening => Problem::unavailable(
            "routes_incomplete",
            "a gateway has just come or gone, and what it holds is being put in order",
            1,
        ),
        Unanswered::TooMany => Problem::unavailable(
            "count_timeout",
            "there are too many to count them one by one in time: list them by pages",
            1,
        ),
        Unanswered::Nobody => client_not_found("no such client is connected"),
        Unanswered::Ambiguous => Problem::new(
            StatusCode::CONFLICT,
            "gateway_ambiguous",
            "several gateways have this name: say the instance or the link address",
        ),
    }
}

/// The problem for a question without an answer.
pub(super) fn no_answer(why: Unanswered) -> Problem {
    unanswered(why, Kind::Question)
}

/// The problem for a change without an answer.
pub(super) fn no_change(why: Unanswered) -> Problem {
    unanswered(why, Kind::Change)
}

/// A change that nobody of those it is for could take: they are in as many rooms as they may be, or their gateways
/// have as many.
pub(super) fn too_many_rooms(refused: u64) -> Problem {
    let detail = format!(
        "{refused} clients are in as many rooms as one may be (--rooms-per-client), or their gateway has as many as it \
         may (--max-rooms)"
    );
    Problem::new(StatusCode::CONFLICT, "too_many_rooms", detail)
}

/// Places for cursors.
pub(super) use list::{client_place, name_place};
