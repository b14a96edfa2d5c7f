//! Which path is whose: the one table that calls are found in and the description of the API is made from.

use std::borrow::Cow;

use common::http1::{method_not_allowed, not_found};
use common::problem::Problem;
use http::{Method, StatusCode};

/// What a caller may want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Push,
    PushBatch,
    PushCounts,
    Clients,
    Client,
    CloseClient,
    Bind,
    Unbind,
    JoinClient,
    LeaveClient,
    Users,
    User,
    CloseUser,
    JoinUser,
    LeaveUser,
    Rooms,
    Room,
    Dissolve,
    RoomClients,
    RoomHistory,
    UserHistory,
    Apps,
    Stats,
    Gateways,
    Drain,
    Announce,
    OpenApi,
    AsyncApi,
    Docs,
}

/// One path and what is done there.
pub(super) struct Route {
    /// As in OpenAPI: what stands in braces is one segment.
    pub(super) path: &'static str,
    /// Methods, as a 405 says them.
    pub(super) allow: &'static str,
    /// `GET` is `HEAD` too.
    pub(super) calls: &'static [(Method, Call)],
}

const fn route(path: &'static str, allow: &'static str, calls: &'static [(Method, Call)]) -> Route {
    Route { path, allow, calls }
}

const READ: &str = "GET, HEAD";

/// Every path but those of the page. The most called come first.
pub(super) static ROUTES: &[Route] = &[
    route("/v1/push", "POST", &[(Method::POST, Call::Push)]),
    route("/v1/push/batch", "POST", &[(Method::POST, Call::PushBatch)]),
    route("/v1/pushes/{pushId}", READ, &[(Method::GET, Call::PushCounts)]),
    route("/v1/clients", READ, &[(Method::GET, Call::Clients)]),
    route(
        "/v1/clients/{clientId}",
        "GET, HEAD, DELETE",
        &[(Method::GET, Call::Client), (Method::DELETE, Call::CloseClient)],
    ),
    route(
        "/v1/clients/{clientId}/user",
        "PUT, DELETE",
        &[(Method::PUT, Call::Bind), (Method::DELETE, Call::Unbind)],
    ),
    route(
        "/v1/clients/{clientId}/rooms/{room}",
        "PUT, DELETE",
        &[(Method::PUT, Call::JoinClient), (Method::DELETE, Call::LeaveClient)],
    ),
    route("/v1/users", READ, &[(Method::GET, Call::Users)]),
    route(
        "/v1/users/{userId}",
        "GET, HEAD, DELETE",
        &[(Method::GET, Call::User), (Method::DELETE, Call::CloseUser)],
    ),
    route(
        "/v1/users/{userId}/rooms/{room}",
        "PUT, DELETE",
        &[(Method::PUT, Call::JoinUser), (Method::DELETE, Call::LeaveUser)],
    ),
    route("/v1/rooms", READ, &[(Method::GET, Call::Rooms)]),
    route(
        "/v1/rooms/{room}",
        "GET, HEAD, DELETE",
        &[(Method::GET, Call::Room), (Method::DELETE, Call::Dissolve)],
    ),
    route("/v1/rooms/{room}/clients", READ, &[(Method::GET, Call::RoomClients)]),
    route("/v1/rooms/{room}/history", READ, &[(Method::GET, Call::RoomHistory)]),
    route("/v1/users/{userId}/history", READ, &[(Method::GET, Call::UserHistory)]),
    route("/v1/apps", READ, &[(Method::GET, Call::Apps)]),
    route("/v1/stats", READ, &[(Method::GET, Call::Stats)]),
    route("/v1/gateways", READ, &[(Method::GET, Call::Gateways)]),
    route("/v1/gateways/{gateway}/drain", "POST", &[(Method::POST, Call::Drain)]),
    route(common::link::announce::PATH, "POST", &[(Method::POST, Call::Announce)]),
    route("/openapi.json", READ, &[(Method::GET, Call::OpenApi)]),
    route("/asyncapi.json", READ, &[(Method::GET, Call::AsyncApi)]),
    route("/docs", READ, &[(Method::GET, Call::Docs)]),
];

/// The segments of a path that stand for those in braces, as they were written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Segments<'a>([&'a str; 2]);

/// Finds the call.
///
/// # Errors
/// 404 for a path that is not there, 405 for a method that it does not take.
pub(super) fn find<'a>(method: &Method, path: &'a str) -> Result<(Call, Segments<'a>), Problem> {
    for route in ROUTES {
        let Some(segments) = matches(route.path, path) else { continue };
        let wanted = if *method == Method::HEAD { &Method::GET } else { method };
        let call = route.calls.iter().find(|(method, _)| method == wanted);
        return call.map(|(_, call)| (*call, segments)).ok_or_else(|| method_not_allowed(route.allow));
    }
    Err(not_found(path))
}

fn matches<'a>(template: &str, path: &'a str) -> Option<Segments<'a>> {
    let mut segments = Segments::default();
    if !template.contains('{') {
        return (template == path).then_some(segments);
    }
    let (mut wanted, mut given, mut found) = (template.split('/'), path.split('/'), 0);
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(segments),
            (Some(wanted), Some(given)) if wanted.starts_with('{') && !given.is_empty() => {
                segments.0[found] = given;
                found += 1;
            }
            (Some(wanted), Some(given)) if wanted == given => {}
            _ => return None,
        }
    }
}

impl<'a> Segments<'a> {
    /// The first, as it was written.
    pub(super) fn raw(&self) -> &'a str {
        self.0[0]
    }

    /// The first.
    ///
    /// # Errors
    /// 400 for what is no name.
    pub(super) fn first(&self) -> Result<Cow<'a, str>, Problem> {
        name(self.0[0])
    }

    /// The second.
    ///
    /// # Errors
    /// 400 for what is no name.
    pub(super) fn second(&self) -> Result<Cow<'a, str>, Problem> {
        name(self.0[1])
    }
}

/// A name in a path: percent-encoded UTF-8 (RFC 3986 §2.1), checked as names are everywhere.
fn name(segment: &str) -> Result<Cow<'_, str>, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "invalid_name", detail);
    let name = if segment.contains('%') {
        let bytes = unescaped(segment).ok_or_else(|| {
            bad(format!("{segment:?} has a % without two hexadecimal digits; a % itself is written %25"))
        })?;
        Cow::Owned(String::from_utf8(bytes).map_err(|_| bad(format!("{segment:?} is not UTF-8")))?)
    } else {
        Cow::Borrowed(segment)
    };
    common::names::check(&name).map_err(|error| bad(format!("the name in the path {error}")))?;
    Ok(name)
}

fn unescaped(segment: &str) -> Option<Vec<u8>> {
    let mut bytes = segment.bytes();
    let mut plain = Vec::with_capacity(segment.len());
    while let Some(byte) = bytes.next() {
        plain.push(if byte == b'%' {
            let mut digit =
                || char::from(bytes.next()?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            digit()? << 4 | digit()?
        } else {
            byte
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_405_says_is_what_is_there() {
        for route in ROUTES {
            let said: Vec<_> = route.allow.split(", ").filter(|method| *method != "HEAD").collect();
            let there: Vec<_> = route.calls.iter().map(|(method, _)| method.as_str()).collect();
            assert_eq!(said, there, "{}", route.path);
            assert_eq!(route.allow.contains("HEAD"), route.allow.contains("GET"), "{}", route.path);
        }
    }

    #[test]
    fn a_path_is_found_by_its_segments() {
        let found = |method: Method, path| find(&method, path).map(|(call, segments)| (call, segments.0));
        assert_eq!(found(Method::GET, "/v1/clients"), Ok((Call::Clients, ["", ""])));
        assert_eq!(found(Method::HEAD, "/v1/clients/x"), Ok((Call::Client, ["x", ""])));
        assert_eq!(found(Method::PUT, "/v1/users/u/rooms/a%2fb"), Ok((Call::JoinUser, ["u", "a%2fb"])));
        for path in ["/v1/clients/", "/v1/clients//user", "/v1/users/u/rooms/a/b", "/v1", "/", "/v1/push/"] {
            assert_eq!(find(&Method::GET, path).unwrap_err().status, 404, "{path}");
        }
        assert_eq!(find(&Method::OPTIONS, "/v1/rooms/r").unwrap_err().allow, Some("GET, HEAD, DELETE"));
    }

    #[test]
    fn names_in_paths_are_decoded_and_checked() {
        for (segment, wanted) in
            [("r", "r"), ("a%2Fb", "a/b"), ("%d0%ba", "к"), ("a+b", "a+b"), ("%25", "%"), ("a%20b", "a b")]
        {
            assert_eq!(name(segment).unwrap(), wanted);
        }
        for bad in ["%", "%1", "%zz", "%+1", "%ff", "%00", "a%0ab", &"x".repeat(257), &"%d0%ba".repeat(129)] {
            assert_eq!(name(bad).unwrap_err().code, "invalid_name", "{bad}");
        }
    }
}
