//! Who may call what: API keys as `Authorization: Bearer` (RFC 6750).

use common::problem::Problem;
use http::request::Parts as Head;
use http::{Method, StatusCode, header};

use crate::keys::{Found, Key, Keys, Scope};

/// What a call needs; `None`: anyone may make it. The page and the documents are public; an announcement proves
/// itself with the secret of the link.
fn needs(method: &Method, path: &str) -> Option<Scope> {
    let is_public =
        !path.starts_with("/v1/") || path == common::link::announce::PATH || method == Method::OPTIONS;
    if is_public {
        return None;
    }
    Some(match (method, path) {
        (_, "/v1/push" | "/v1/push/batch") => Scope::Push,
        (&Method::GET | &Method::HEAD, _) => Scope::Read,
        _ => Scope::Manage,
    })
}

/// Why a call is not made, and the key that was shown if it is known.
pub(super) type Refused<'a> = (Option<&'a Key>, Problem);

/// Checks a call before anything of it is looked at. Gives the key with which it is made, if it needs one.
///
/// # Errors
/// 401 without a key that is known, 403 with one that may not.
pub(super) fn check<'a>(keys: Option<&'a Keys>, head: &Head) -> Result<Option<&'a Key>, Refused<'a>> {
    let (Some(keys), Some(wanted)) = (keys, needs(&head.method, head.uri.path())) else { return Ok(None) };
    let Some(value) = head.headers.get(header::AUTHORIZATION) else {
        return Err(unauthorized("this call needs an API key: `Authorization: Bearer KEY`"));
    };
    let shown = value.to_str().ok().and_then(|value| value.split_once(' '));
    let Some((_, shown)) = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) else {
        return Err(unauthorized("the Authorization header is not `Bearer KEY`"));
    };
    match keys.find(shown, wanted) {
        Found::May(key) => Ok(Some(key)),
        Found::MayNot(key) => {
            let name = &key.name;
            let detail = format!("the key {name:?} has not the scope {wanted:?}, which this call needs");
            let mut problem =
                Problem::new(StatusCode::FORBIDDEN, "insufficient_scope", detail.to_lowercase());
            problem.header = Some(("www-authenticate", "Bearer error=\"insufficient_scope\""));
            Err((Some(key), problem))
        }
        Found::Wrapped => Err(unauthorized(
            "the key has quotes or spaces around it that are not part of it: send it without them",
        )),
        Found::Unknown => Err(unauthorized("the API key is not known here")),
    }
}

fn unauthorized(detail: &str) -> Refused<'static> {
    let mut problem = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail);
    problem.header = Some(("www-authenticate", "Bearer realm=\"tidegate\""));
    (None, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_needs_its_scope() {
        for (method, path, scope) in [
            (Method::POST, "/v1/push", Some(Scope::Push)),
            (Method::POST, "/v1/push/batch", Some(Scope::Push)),
            (Method::GET, "/v1/push", Some(Scope::Push)),
            (Method::GET, "/v1/pushes/x", Some(Scope::Read)),
            (Method::HEAD, "/v1/clients", Some(Scope::Read)),
            (Method::DELETE, "/v1/clients/x", Some(Scope::Manage)),
            (Method::PUT, "/v1/users/u/rooms/r", Some(Scope::Manage)),
            (Method::POST, "/v1/gateways/g/drain", Some(Scope::Manage)),
            (Method::GET, "/v1/nothing", Some(Scope::Read)),
            (Method::POST, common::link::announce::PATH, None),
            (Method::GET, "/", None),
            (Method::GET, "/openapi.json", None),
        ] {
            assert_eq!(needs(&method, path), scope, "{method} {path}");
        }
    }
}
