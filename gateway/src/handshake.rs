//! The HTTP side of the client port: the WebSocket handshake (RFC 6455 §4.2) and the browser library.
//!
//! A request that is not a handshake gets an HTTP answer that says what is missing. A handshake that asks for
//! what it may not have (a bad name, no token) is completed and then closed with a code and words: a browser
//! shows its script nothing of an HTTP error.

pub(crate) mod fuzz;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use common::client::CloseCode;
use common::http1::{self, Answer, Bounds, Handler, Over};
use common::names;
use common::problem::Problem;
use data_encoding::BASE64;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::admission::{self, Admission, Claimed, Rights};
use crate::deflate::{Window, negotiate};
use crate::door::{Entry, Place, Shut};
use crate::limits::Limit;
use crate::node::Parts;
use crate::registry::Identity;

/// The browser library, served as it is.
const LIBRARY: &str = include_str!("../client/tidegate.js");

/// What a completed handshake asked for.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) identity: Identity,
    /// What its token allows, if it has one.
    pub(crate) rights: Option<Arc<Rights>>,
    pub(crate) rooms: Vec<String>,
    /// How it may be sent compressed frames, and may send them; `None`: not at all.
    pub(crate) deflate: Option<Window>,
    /// The connection is to be closed at once, with this code and these words.
    pub(crate) refused: Option<(CloseCode, String)>,
    /// What it says is to be sent back.
    pub(crate) is_echo: bool,
}

/// Answers the requests of one connection on the client port.
#[derive(Clone)]
pub(crate) struct Handshake {
    parts: Arc<Parts>,
    /// Why every request is refused, if it is.
    shut: Option<Shut>,
    held: Arc<Mutex<Held>>,
}

/// What a connection has before it is a session.
struct Held {
    ticket: Option<Ticket>,
    /// `None`: it was refused one.
    place: Option<Place>,
    /// Others wait to be told that they are refused.
    _refusal: Option<OwnedSemaphorePermit>,
}

impl Handshake {
    /// For a connection that has entered, or is refused whatever it asks for.
    pub(crate) fn new(parts: Arc<Parts>, entry: Entry) -> Self {
        let (shut, place, refusal) = match entry {
            Entry::Place(place) => (None, Some(place), None),
            Entry::Refused(shut, permit) => (Some(shut), None, Some(permit)),
        };
        let held = Held { ticket: None, place, _refusal: refusal };
        Self { parts, shut, held: Arc::new(Mutex::new(held)) }
    }

    /// What the handshake asked for and the connection's place, if one was completed.
    pub(crate) fn take_ticket(&self) -> Option<(Ticket, Place)> {
        let mut held = self.held.lock();
        held.ticket.take().zip(held.place.take())
    }

    fn answer(&self, request: &Request<Incoming>, peer: SocketAddr) -> Result<Answer, Answered> {
        if let Some(shut) = self.shut {
            return Err(shut.problem().into());
        }
        match request.uri().path() {
            "/ws" => self.upgrade(request, peer),
            "/echo" if self.parts.settings.echo => self.upgrade(request, peer),
            "/client/tidegate.js" => library(request),
            path => Err(http1::not_found(path).into()),
        }
    }

    /// Counts a client behind a trusted proxy for the address that its request names: the socket's is the proxy's.
    fn count_for_address(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<(), Shut> {
        let edge = self.parts.tune.now().edge.clone();
        let client = edge.client(peer.ip(), headers);
        if client == peer.ip().to_canonical() || edge.trusts(client) {
            return Ok(());
        }
        self.held.lock().place.as_mut().map_or(Ok(()), |place| place.count_for(client))
    }

    fn upgrade(&self, request: &Request<Incoming>, peer: SocketAddr) -> Result<Answer, Answered> {
        let key = check(request)?;
        let (headers, tune) = (request.headers(), self.parts.tune.keep());
        self.count_for_address(peer, headers).map_err(|shut| {
            self.parts.counters.refuse(shut.limit());
            shut.problem()
        })?;
        let rooms_max = tune.limits.rooms_per_client;
        let mut ticket = ticket(request.uri().query().unwrap_or(""), headers, &tune.admission, rooms_max);
        let protocol = admission::subprotocol(headers);
        let offers = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).iter();
        let agreed =
            negotiate(offers.map(HeaderValue::as_bytes).filter(|_| self.parts.settings.deflate_level > 0));
        ticket.deflate = agreed.map(|agreed| agreed.window);
        ticket.is_echo = request.uri().path() == "/echo";
        self.held.lock().ticket = Some(ticket);
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let accept = HeaderValue::from_str(&derive_accept_key(&key)).expect("base64 is a header value");
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        if let Some(protocol) = protocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        if let Some(agreed) = agreed {
            self.parts.counters.deflate.handshakes.inc();
            headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, agreed.answer());
        }
        Ok(answer)
    }
}

impl Handler for Handshake {
    fn bounds(&self) -> Bounds {
        Bounds { head_time_max: self.parts.tune.now().handshake_time_max, ..Bounds::default() }
    }

    fn refused(&self, over: Over) {
        self.parts.counters.refuse(match over {
            Over::HeadBytes => Limit::HeadBytes,
            Over::Headers => Limit::HeaderFields,
            Over::HeadTime => Limit::HandshakeTime,
            Over::ProxyHeader => Limit::ProxyHeader,
        });
    }

    async fn handle(&self, request: Request<Incoming>, peer: SocketAddr, request_id: &str) -> Answer {
        match self.answer(&request, peer) {
            Ok(answer) => answer,
            Err(refused) => {
                self.parts.counters.handshakes_refused.inc();
                let mut answer = refused.problem.response(request_id);
                if refused.problem.status == StatusCode::UPGRADE_REQUIRED {
                    answer.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                }
                let upgrade = refused.problem.status == StatusCode::UPGRADE_REQUIRED;
                // RFC 9110 §7.8: who sends Upgrade names it in Connection.
                let connection = if upgrade { "upgrade, close" } else { "close" };
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static(connection));
                answer
            }
        }
    }
}

/// A problem, on its way to become the answer.
struct Answered {
    problem: Problem,
}

impl From<Problem> for Answered {
    fn from(problem: Problem) -> Self {
        Self { problem }
    }
}

fn bad(code: &'static str, detail: &str) -> Answered {
    Problem::new(StatusCode::BAD_REQUEST, code, detail).into()
}

/// 426: another version or no upgrade at all; says which version is spoken (RFC 6455 §4.2.2).
fn upgrade_required(detail: &str) -> Answered {
    let mut problem = Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail);
    problem.header = Some(("sec-websocket-version", "13"));
    problem.into()
}

/// Checks a handshake and gives its key.
fn check<B: Body>(request: &Request<B>) -> Result<Vec<u8>, Answered> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err(http1::method_not_allowed("GET").into());
    }
    if request.version() != Version::HTTP_11 {
        return Err(upgrade_required("a WebSocket handshake is an HTTP/1.1 request"));
    }
    if !names_token(headers, &header::UPGRADE, "websocket") {
        return Err(upgrade_required("this is a WebSocket endpoint: send `Upgrade: websocket`"));
    }
    if !names_token(headers, &header::CONNECTION, "upgrade") {
        return Err(bad("connection_header", "a WebSocket handshake has `Connection: Upgrade`"));
    }
    let mut versions = headers.get_all(header::SEC_WEBSOCKET_VERSION).iter();
    match (versions.next().map(HeaderValue::as_bytes), versions.next()) {
        (Some(b"13"), None) => {}
        (Some(b"13"), Some(_)) => return Err(bad("version_header", "Sec-WebSocket-Version comes once")),
        _ => return Err(upgrade_required("Sec-WebSocket-Version 13 (RFC 6455) is spoken here")),
    }
    if request.body().size_hint().exact() != Some(0) {
        return Err(bad("handshake_body", "a WebSocket handshake has no body"));
    }
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return Err(bad("key_header", "a WebSocket handshake has one Sec-WebSocket-Key"));
    };
    if BASE64.decode(key.as_bytes()).is_ok_and(|nonce| nonce.len() == 16) {
        Ok(key.as_bytes().to_vec())
    } else {
        Err(bad("key_header", "Sec-WebSocket-Key is the base64 of 16 bytes"))
    }
}

/// Whether a comma-separated header names a token, whatever its case.
fn names_token(headers: &HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case(token))
}

/// Reads what a handshake asks for. What is wrong with it is said after the upgrade.
fn ticket(query: &str, headers: &HeaderMap, admission: &Admission, rooms_max: usize) -> Ticket {
    let mut claimed = Claimed::default();
    let mut rooms = Vec::new();
    let mut logs_in_later = false;
    let mut refused = None;
    let mut refuse = |code, words: String| _ = refused.get_or_insert((code, words));
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "room" | "userId" => match names::check(&value) {
                Err(error) => refuse(CloseCode::BadMessage, format!("{name} {error}")),
                Ok(()) if name == "room" => rooms.push(value.into_owned()),
                Ok(()) => claimed.user = Some(value.into_owned()),
            },
            "appId" => match value.parse() {
                Ok(app) if app > 0 => claimed.app = Some(app),
                _ => refuse(CloseCode::BadMessage, "appId is a number from 1 to 4294967295".into()),
            },
            "token" => claimed.token = Some(value.into_owned()),
            "login" => logs_in_later = value == "later",
            _ => {}
        }
    }
    rooms.sort_unstable();
    rooms.dedup();
    if rooms.len() > rooms_max {
        refuse(CloseCode::TooManyRooms, format!("{} rooms; at most {rooms_max}", rooms.len()));
        rooms.clear();
    }
    claimed.token = claimed.token.or_else(|| admission::token_of(headers));
    let admitted = admission.check_origin(headers).and_then(|()| admission.admit(claimed, SystemTime::now()));
    let (mut identity, rights) = admitted.unwrap_or_else(|(code, words)| {
        refuse(code, words);
        Default::default()
    });
    for room in &rooms {
        if let Err(words) = admission.may_join(room, &identity, rights.as_deref()) {
            refuse(CloseCode::BadToken, words);
        }
    }
    if logs_in_later {
        // It comes back to the user's history, and says where it was: nothing of it comes before that.
        identity.user = None;
    }
    Ticket { identity, rights, rooms, deflate: None, refused, is_echo: false }
}

fn library(request: &Request<Incoming>) -> Result<Answer, Answered> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(http1::method_not_allowed("GET, HEAD").into());
    }
    let mut answer = http1::ok("text/javascript; charset=utf-8", Bytes::from_static(LIBRARY.as_bytes()));
    // The library is public, and a page of another origin may import it.
    answer.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(query: &str, open: bool) -> Ticket {
        super::ticket(query, &HeaderMap::new(), &Admission { open, ..Admission::default() }, 64)
    }

    fn open_to_all() -> Admission {
        Admission { open: true, ..Admission::default() }
    }

    #[test]
    fn a_query_says_who_and_where() {
        let ticket = ticket("userId=u%201&appId=7&room=b&room=a&room=b&x=1", true);
        assert_eq!(ticket.identity, Identity { user: Some("u 1".into()), app: Some(7) });
        assert_eq!(ticket.rooms, ["a", "b"]);
        assert_eq!(ticket.refused, None);
        let later = super::ticket("userId=u&appId=7&login=later", &HeaderMap::new(), &open_to_all(), 64);
        assert_eq!(later.identity, Identity { user: None, app: Some(7) });
    }

    #[test]
    fn a_bad_query_is_refused_with_its_code() {
        let many: String = (0..65).map(|n| format!("room=r{n}&")).collect();
        for (query, open, code) in [
            ("userId=u", false, CloseCode::BadToken),
            ("token=x&userId=u", true, CloseCode::BadToken),
            ("room=", true, CloseCode::BadMessage),
            ("room=a%00b", true, CloseCode::BadMessage),
            ("appId=0", true, CloseCode::BadMessage),
            ("appId=4294967296", true, CloseCode::BadMessage),
            (&*many, true, CloseCode::TooManyRooms),
        ] {
            assert_eq!(ticket(query, open).refused.map(|(code, _)| code), Some(code), "{query}");
        }
    }
}
