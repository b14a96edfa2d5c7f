//! Who may come, as whom, and into which rooms: tokens, origins, room patterns.
//!
//! Without keys a gateway that was told to (`--insecure`) believes what clients say of themselves. With keys each
//! client needs a token, and what it says of itself beside that must agree with it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use common::client::CloseCode;
use common::fresh::Fresh;
use common::patterns::{Pattern, Who};
use common::token::{LEEWAY, Verifier};
use http::{HeaderMap, HeaderValue, header};

use crate::registry::Identity;
use crate::settings::Settings;

/// The subprotocol of a gateway, for clients that send their token as another one.
pub(crate) const PROTOCOL: &str = "tidegate.v1";

/// What a subprotocol that carries a token begins with: browsers can set no other header of a handshake.
const PROTOCOL_TOKEN: &str = "tidegate.token.";

/// What decides about clients. Clones share the keys.
#[derive(Debug, Clone, Default)]
pub struct Admission {
    /// Keys that tokens are checked with; `None`: there are none.
    pub tokens: Option<Arc<Fresh<Verifier>>>,
    /// Whether clients are believed without a token, where there are no keys.
    pub open: bool,
    /// Origins of pages that may connect, with `*` for any text; none: all may. Programs send none and may.
    pub origins: Vec<Pattern>,
    /// Rooms that every client may join, beside those that its token names.
    pub rooms: Vec<Pattern>,
}

/// What a token allows a client: kept while it is connected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rights {
    rooms: Vec<Pattern>,
    /// When the token ends, whole seconds since 1970; `u64::MAX`: never.
    expires: u64,
}

impl Rights {
    /// Whether the token has ended.
    pub(crate) fn are_over(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        now.as_secs() > self.expires.saturating_add(LEEWAY.as_secs())
    }
}

/// Why a client is refused, for the close frame or the reply.
pub(crate) type Refusal = (CloseCode, String);

/// What a client says of itself.
#[derive(Debug, Default)]
pub(crate) struct Claimed {
    pub(crate) token: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) app: Option<u32>,
}

/// Who a client is, and what it may.
pub(crate) type Admitted = (Identity, Option<Arc<Rights>>);

impl Admission {
    /// Decides who a client is.
    pub(crate) fn admit(&self, claimed: Claimed, now: SystemTime) -> Result<Admitted, Refusal> {
        let refuse = |words: String| Err((CloseCode::BadToken, words));
        let Claimed { token, user, app } = claimed;
        let Some(tokens) = &self.tokens else {
            return match token {
                // Passed over, it would look as if it had been checked.
                Some(_) => refuse("this gateway takes no tokens: it has no key to check them".into()),
                None if self.open => Ok((Identity { user, app }, None)),
                None => refuse("a token is needed here, and this gateway has no key to check one".into()),
            };
        };
        let Some(token) = token else {
            return refuse(format!(
                "a token is needed: ?token=…, Authorization: Bearer …, or the subprotocols {PROTOCOL} and {PROTOCOL_TOKEN}…"
            ));
        };
        let verifier = tokens.now();
        if !verifier.has_keys() {
            return Err((CloseCode::Leaving, "keys for tokens have not been fetched yet: reconnect".into()));
        }
        let claims = match verifier.check(&token, now) {
            Ok(claims) => claims,
            Err(bad) => return refuse(bad.to_string()),
        };
        if user.is_some() && user != claims.user {
            return refuse("userId is not the token's sub: leave it out, the token says who you are".into());
        }
        if app.is_some() && app != claims.app {
            return refuse("appId is not the token's: leave it out, the token says it".into());
        }
        let since = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let rights = Rights { rooms: claims.rooms, expires: claims.expires.map_or(u64::MAX, since) };
        Ok((Identity { user: claims.user, app: claims.app }, Some(Arc::new(rights))))
    }

    /// Whether a client may join a room.
    pub(crate) fn may_join(
        &self,
        room: &str,
        identity: &Identity,
        rights: Option<&Rights>,
    ) -> Result<(), String> {
        if self.tokens.is_none() {
            return Ok(());
        }
        let who = Who { user: identity.user.as_deref(), app: identity.app };
        let named = rights.map_or(&[][..], |rights| &rights.rooms);
        if named.iter().chain(&self.rooms).any(|pattern| pattern.matches(room, who)) {
            return Ok(());
        }
        Err(format!(
            "room {room:?} is not among those that your token (rooms) or this gateway (--open-room) allows"
        ))
    }

    /// Whether a page of this origin may connect.
    pub(crate) fn check_origin(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.origins.is_empty() {
            return Ok(());
        }
        let mut said =
            headers.get_all(header::ORIGIN).iter().map(|origin| origin.to_str().unwrap_or_default());
        let is_known = |origin: &str| self.origins.iter().any(|known| known.matches(origin, Who::default()));
        match said.find(|origin| !is_known(origin)) {
            Some(origin) => {
                let origin: String = origin.chars().take(64).collect();
                Err((CloseCode::BadToken, format!("pages of {origin:?} may not connect here (--origin)")))
            }
            None => Ok(()),
        }
    }
}

impl Settings {
    /// Whether each client needs a token.
    pub(crate) fn wants_tokens(&self) -> bool {
        self.admission.tokens.is_some()
    }
}

/// The token in the headers of a handshake: `Authorization: Bearer`, or a subprotocol.
pub(crate) fn token_of(headers: &HeaderMap) -> Option<String> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
    });
    bearer.or_else(|| {
        protocols(headers).find_map(|offer| offer.strip_prefix(PROTOCOL_TOKEN).map(str::to_owned))
    })
}

/// Which of the subprotocols that a client offers is answered: ours, or else the one with the token, since a browser
/// breaks off when none is. Those of others are not spoken here, and left without an answer (RFC 6455 §4.2.2).
pub(crate) fn subprotocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let ours = protocols(headers).find(|offer| *offer == PROTOCOL);
    let chosen = ours.or_else(|| protocols(headers).find(|offer| offer.starts_with(PROTOCOL_TOKEN)))?;
    HeaderValue::from_str(chosen).ok()
}

fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use common::token::{Claims, Key, SigningKey, sign};

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| Pattern::parse(text).unwrap()).collect()
    }

    fn guarded() -> Admission {
        let verifier = Verifier { keys: Key::read(SECRET).unwrap(), ..Verifier::default() };
        let tokens = Some(Fresh::fixed("keys", verifier));
        Admission { tokens, rooms: patterns(&["lobby", "u.{userId}.*"]), ..Admission::default() }
    }

    fn token(user: &str, rooms: &[&str], expires: SystemTime) -> Option<String> {
        let claims =
            Claims { user: Some(user.into()), app: Some(7), rooms: patterns(rooms), expires: Some(expires) };
        Some(sign(&claims, None, &SigningKey::read(SECRET, None).unwrap()).unwrap())
    }

    #[test]
    fn a_token_says_who_comes_and_what_it_may_join() {
        let (admission, now) = (guarded(), SystemTime::now());
        let token = token("alice", &["r1", "news.*"], now + Duration::from_secs(60));
        let claimed = Claimed { token, user: Some("alice".into()), app: None };
        let (identity, rights) = admission.admit(claimed, now).unwrap();
        assert_eq!(identity, Identity { user: Some("alice".into()), app: Some(7) });
        for (room, may) in [
            ("r1", true),
            ("news.x", true),
            ("lobby", true),
            ("u.alice.x", true),
            ("u.bob.x", false),
            ("r2", false),
        ] {
            assert_eq!(admission.may_join(room, &identity, rights.as_deref()).is_ok(), may, "{room}");
        }
        let rights = rights.unwrap();
        assert!(!rights.are_over(now + Duration::from_secs(60)));
        assert!(rights.are_over(now + Duration::from_secs(60) + LEEWAY + Duration::from_secs(1)));
    }

    #[test]
    fn who_may_not_come_hears_why() {
        let (admission, now) = (guarded(), SystemTime::now());
        let whole = || token("alice", &[], now + Duration::from_secs(60));
        let old = token("alice", &[], now.checked_sub(Duration::from_secs(3600)).unwrap());
        for (claimed, words) in [
            (Claimed::default(), "a token is needed"),
            (Claimed { token: Some("x".into()), ..Claimed::default() }, "not a signed JWT"),
            (Claimed { token: old, ..Claimed::default() }, "expired 36"),
            (Claimed { token: whole(), user: Some("bob".into()), app: None }, "userId is not"),
            (Claimed { token: whole(), user: None, app: Some(8) }, "appId is not"),
        ] {
            let (code, said) = admission.admit(claimed, now).unwrap_err();
            assert_eq!(code, CloseCode::BadToken);
            assert!(said.contains(words), "{said}");
            assert!(said.len() <= 123, "{} bytes do not fit a close frame: {said}", said.len());
        }
        let shut = Admission::default();
        assert!(shut.admit(Claimed::default(), now).is_err());
        let open = Admission { open: true, ..Admission::default() };
        assert!(open.admit(Claimed { token: whole(), ..Claimed::default() }, now).is_err(), "not checked");
        assert!(open.admit(Claimed { user: Some("u".into()), ..Claimed::default() }, now).is_ok());
    }

    #[test]
    fn origins_are_matched_and_programs_have_none() {
        let admission =
            Admission { origins: patterns(&["https://*.example.com", "http://localhost:*"]), ..guarded() };
        let with = |origin: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ORIGIN, origin.parse().unwrap());
            admission.check_origin(&headers).is_ok()
        };
        assert!(with("https://app.example.com") && with("http://localhost:3000"));
        assert!(!with("https://example.com.evil.org") && !with("null") && !with("http://app.example.com"));
        assert!(admission.check_origin(&HeaderMap::new()).is_ok());
    }

    #[test]
    fn a_token_is_found_in_headers_and_its_protocol_answered() {
        let headers = |pairs: &[(header::HeaderName, &'static str)]| {
            let pairs = pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
            pairs.collect::<HeaderMap>()
        };
        let bearer = headers(&[(header::AUTHORIZATION, "bearer a.b.c")]);
        assert_eq!(token_of(&bearer).as_deref(), Some("a.b.c"));
        let both = headers(&[(header::SEC_WEBSOCKET_PROTOCOL, "x, tidegate.token.a.b.c, tidegate.v1")]);
        assert_eq!(token_of(&both).as_deref(), Some("a.b.c"));
        assert_eq!(subprotocol(&both).unwrap(), PROTOCOL);
        let alone = headers(&[(header::SEC_WEBSOCKET_PROTOCOL, "tidegate.token.a.b.c")]);
        assert_eq!(subprotocol(&alone).unwrap(), "tidegate.token.a.b.c");
        let foreign = headers(&[(header::SEC_WEBSOCKET_PROTOCOL, "graphql-ws")]);
        assert_eq!((token_of(&foreign), subprotocol(&foreign)), (None, None));
    }
}
