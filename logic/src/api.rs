//! The HTTP/1 API: which path is whose. Every error is a problem (RFC 9457).

mod announce;
mod asyncapi;
mod auth;
mod clients;
mod describe;
mod docs;
pub(crate) mod fuzz;
pub(crate) mod gateways;
mod history;
mod ledger;
mod manage;
mod openapi;
mod pace;
mod page;
mod push;
mod query;
mod rooms;
mod routes;
mod stats;
mod users;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use common::edge::Edge;
use common::fresh::Fresh;
use common::http1::{Answer, Bounds, Handler, Over, method_not_allowed, not_found, ok};
use common::link::secret::Secret;
use common::live::Live;
use common::names::Kind;
use common::problem::Problem;
use common::slow::Slow;
use common::tasks::Tasks;
use common::tls::Reason;
use http::request::Parts as Head;
use http::{Method, Request, StatusCode, header};
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde::Serialize;

use crate::counters::Counters;
use crate::fleet::Fleet;
use crate::idempotency::Answers;
use crate::keys::Keys;
use crate::limits::Limit;
use crate::publish::Publisher;
use crate::query::Inquirer;
use crate::settings::Settings;
use crate::tune::{Tune, Tuner};
use pace::Pace;
pub(crate) use push::{PUSHES_MAX, STAGES};
use routes::{Call, Segments};

/// Answers calls. Clones share everything.
#[derive(Clone)]
pub(crate) struct Api(Arc<Parts>);

struct Parts {
    publisher: Arc<Publisher>,
    fleet: Arc<Fleet>,
    inquirer: Inquirer,
    counters: Counters,
    secret: Option<Secret>,
    /// Links show a certificate; without a secret as well, nobody may announce itself.
    is_proved_by_certificate: bool,
    keys: Option<Arc<Fresh<Keys>>>,
    tune: Arc<Live<Tune>>,
    slow: Slow,
    pace: Pace,
    answers: Mutex<Answers<push::keyed::Kept>>,
    tasks: Tasks,
}

impl Parts {
    /// Whose call it is: the peer's, or that of whom trusted proxies name.
    fn client(&self, peer: IpAddr, head: &Head) -> IpAddr {
        self.tune.now().edge.client(peer, &head.headers)
    }
}

impl Api {
    /// An API over these parts; `tasks` owns calls that must end even if their caller goes.
    pub(crate) fn new(
        publisher: Arc<Publisher>,
        fleet: Arc<Fleet>,
        counters: Counters,
        (settings, tuner): (&Settings, Tuner),
        tasks: Tasks,
    ) -> Self {
        let inquirer = Inquirer::new(publisher.clone(), fleet.clone(), settings.answer_time_max);
        Self(Arc::new(Parts {
            publisher,
            fleet,
            inquirer,
            counters,
            secret: settings.link_secret.clone(),
            is_proved_by_certificate: settings.link_tls.as_ref().is_some_and(|tls| tls.shows_certificate),
            keys: settings.api_keys.clone(),
            tune: tuner.tune,
            slow: tuner.slow,
            pace: Pace::default(),
            answers: Mutex::default(),
            tasks,
        }))
    }

    /// The head is borrowed by all that follows: it is large, and each future that takes it holds it twice.
    async fn route(&self, head: &Head, body: Incoming, peer: SocketAddr) -> Result<Answer, Problem> {
        let path = head.uri.path();
        if let Some(file) = page::find(path) {
            let reads = head.method == Method::GET || head.method == Method::HEAD;
            return if reads { Ok(file) } else { Err(method_not_allowed("GET, HEAD")) };
        }
        let (call, at) = routes::find(&head.method, path)?;
        match call {
            Call::Push => push::one(self, head, body).await,
            Call::PushBatch => push::batch(self, head, body).await,
            Call::Announce => {
                let peer = SocketAddr::new(self.0.client(peer.ip(), head), peer.port());
                announce::announce(&self.0, head, body, peer).await
            }
            // Boxed apart: pushes are many, and their futures stay as small as they are.
            _ => Box::pin(self.manage(call, at, head, body)).await,
        }
    }

    async fn manage(
        &self,
        call: Call,
        at: Segments<'_>,
        head: &Head,
        body: Incoming,
    ) -> Result<Answer, Problem> {
        let parts = &*self.0;
        match call {
            Call::Push | Call::PushBatch | Call::Announce => Err(not_found(head.uri.path())),
            Call::PushCounts => {
                query::read(head.uri.query(), &[])?;
                ledger::tally(&parts.publisher, at.raw())
            }
            Call::Clients => clients::list(parts, head).await,
            Call::Client => clients::one(parts, head, at).await,
            Call::CloseClient => clients::close(parts, head, at).await,
            Call::Bind => clients::bind(parts, head, body, at).await,
            Call::Unbind => clients::unbind(parts, head, at).await,
            Call::JoinClient => clients::enter(parts, head, at, true).await,
            Call::LeaveClient => clients::enter(parts, head, at, false).await,
            Call::Users => users::list(parts, head).await,
            Call::User => users::one(parts, head, at).await,
            Call::CloseUser => users::close(parts, head, at).await,
            Call::JoinUser => users::join(parts, head, at).await,
            Call::LeaveUser => users::leave(parts, head, at).await,
            Call::Rooms => rooms::list(parts, head).await,
            Call::Room => rooms::one(parts, head, at).await,
            Call::RoomClients => rooms::members(parts, head, at).await,
            Call::RoomHistory => history::read(parts, head, Kind::Room, at).await,
            Call::UserHistory => history::read(parts, head, Kind::User, at).await,
            Call::Dissolve => rooms::dissolve(parts, head, at).await,
            Call::Apps => stats::apps(parts, head).await,
            Call::Stats => stats::totals(parts, head).await,
            Call::Gateways => {
                query::read(head.uri.query(), &[])?;
                json(StatusCode::OK, &gateways::list(&parts.fleet))
            }
            Call::Drain => stats::drain(parts, head, at).await,
            Call::OpenApi => openapi::document(head),
            Call::AsyncApi => asyncapi::document(head),
            Call::Docs => docs::page(head),
        }
    }
}

impl Handler for Api {
    fn bounds(&self) -> Bounds {
        self.0.tune.now().limits.head
    }

    fn refused(&self, over: Over) {
        self.0.counters.refuse(match over {
            Over::HeadBytes => Limit::HeadBytes,
            Over::Headers => Limit::HeaderFields,
            Over::HeadTime => Limit::HeadTime,
            Over::ProxyHeader => Limit::ProxyHeader,
        });
    }

    fn refused_tls(&self, why: Reason) {
        self.0.counters.tls_refused.count(why);
    }

    fn edge(&self) -> Option<Arc<Edge>> {
        Some(self.0.tune.now().edge.clone())
    }

    fn handle(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        request_id: &str,
    ) -> impl Future<Output = Answer> + Send {
        let (head, body) = request.into_parts();
        async move {
            let keys = self.0.keys.as_ref().map(|keys| keys.now());
            let answered = match pace::admit(&self.0, keys.as_deref(), &head, peer.ip()) {
                // Boxed apart: glibc takes what is over 1,032 B out of its slow path, and that was 5 % of a push.
                Ok(()) => Box::pin(self.route(&head, body, peer)).await,
                Err(refused) => Err(refused),
            };
            match answered {
                Ok(answer) => answer,
                Err(problem) => {
                    if let Some(limit) = Limit::of(problem.code) {
                        self.0.counters.refuse(limit);
                    }
                    problem.response(request_id)
                }
            }
        }
    }
}

/// An answer in JSON.
fn json(status: StatusCode, body: &impl Serialize) -> Result<Answer, Problem> {
    let mut answer = ok("application/json", text(body)?);
    *answer.status_mut() = status;
    Ok(answer)
}

/// The text of an answer in JSON.
fn text(body: &impl Serialize) -> Result<Vec<u8>, Problem> {
    // The answer to one push fits: one allocation.
    let mut text = Vec::with_capacity(256);
    match serde_json::to_writer(&mut text, body) {
        Ok(()) => Ok(text),
        Err(error) => {
            let detail = format!("cannot write the answer: {error}");
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail))
        }
    }
}

/// Which of the media types that a path takes a body has.
///
/// None given is none of them: a browser sends such bodies for pages of strangers without asking anyone.
fn media_type(head: &Head, takes: &'static [&'static str]) -> Result<&'static str, Problem> {
    let headers = &head.headers;
    let refuse = |what: &str| {
        let flags: Vec<_> = takes.iter().map(|known| format!("-H 'content-type: {known}'")).collect();
        let (takes, flags) = (takes.join(" or "), flags.join(" or "));
        let detail = format!("{what}; this path takes {takes} in UTF-8 (curl: {flags})");
        Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail))
    };
    if headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return refuse("the body has a content-encoding");
    }
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return refuse("the body has no content-type");
    };
    let value = value.to_str().unwrap_or_default();
    if let Some(known) = takes.iter().find(|known| **known == value) {
        return Ok(known);
    }
    let (essence, parameters) = value.split_once(';').unwrap_or((value, ""));
    let is_utf8 = parameters.split(';').map(str::trim).filter(|text| !text.is_empty()).all(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        !name.trim().eq_ignore_ascii_case("charset")
            || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
    });
    match takes.iter().find(|known| essence.trim().eq_ignore_ascii_case(known)) {
        Some(known) if is_utf8 => Ok(known),
        _ => refuse(&format!("the body has content-type {value:?}")),
    }
}
