//! Client tokens: JSON Web Tokens (RFC 7519) that say who a client is and which rooms it may join.
//!
//! Signed with HS256, RS256, ES256 or EdDSA (RFC 7518, RFC 8037). Which algorithm counts is the key's to say, not
//! the token's; what a token names as the place of its key (`jku`, `x5u`, `jwk`) is never looked at (RFC 8725
//! §3.1, §3.10). Signatures are the library's; the claims and their times are checked here, with time as an
//! argument.

pub mod jwks;
mod keys;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Validation, decode, decode_header};
use serde::{Deserialize, Serialize};

pub use jwks::Jwks;
pub use keys::{Key, SigningKey};

use crate::names;
use crate::patterns::{PATTERNS_MAX, Pattern};

/// Longest token that is looked at: a head of a request has 16 KiB for everything.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// How far the clocks of who signs and who checks may be apart.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// What a token says of its bearer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// `sub`: the user.
    pub user: Option<String>,
    /// `appId`: the application; never 0.
    pub app: Option<u32>,
    /// `rooms`: names and patterns of rooms that it may join.
    pub rooms: Vec<Pattern>,
    /// `exp`: when it ends.
    pub expires: Option<SystemTime>,
}

/// Why a token is refused. The words reach the client: they say what to change and nothing of the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadToken {
    /// It is longer than [`TOKEN_BYTES_MAX`].
    TooLong,
    /// It is not a signed JWT.
    Malformed,
    /// None of the keys has its `kid`.
    UnknownKey(String),
    /// None of the keys is for its algorithm.
    Algorithm(String),
    /// Its signature is not that of any key.
    Signature,
    /// It has expired, so long ago.
    Expired(Duration),
    /// It counts only later, in so long.
    Early(Duration),
    /// It is for somebody else.
    Audience,
    /// It was given by somebody else.
    Issuer,
    /// A claim is not what it should be.
    Claim(&'static str, String),
}

impl fmt::Display for BadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the token is longer than {TOKEN_BYTES_MAX} bytes"),
            Self::Malformed => f.write_str(
                "the token is not a signed JWT: three parts in base64url with points between them",
            ),
            Self::UnknownKey(kid) => write!(f, "no key here has the token's kid {kid:?}"),
            Self::Algorithm(alg) => write!(f, "no key here is for the token's alg {alg:?}"),
            Self::Signature => f.write_str("the token's signature is not that of a key known here"),
            Self::Expired(since) => write!(f, "the token expired {} s ago", since.as_secs()),
            Self::Early(until) => write!(f, "the token counts only in {} s (nbf)", until.as_secs()),
            Self::Audience => f.write_str("the token's aud does not name this service"),
            Self::Issuer => f.write_str("the token's iss is not one that is trusted here"),
            Self::Claim(name, what) => write!(f, "the token's {name} {what}"),
        }
    }
}

impl std::error::Error for BadToken {}

/// The claims as they stand in a token. Others are passed over (RFC 7519 §4).
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rooms: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<OneOrMany>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn names(&self, wanted: &[String]) -> bool {
        match self {
            Self::One(one) => wanted.contains(one),
            Self::Many(many) => many.iter().any(|one| wanted.contains(one)),
        }
    }
}

/// Checks tokens against keys.
#[derive(Debug, Clone, Default)]
pub struct Verifier {
    /// Keys that count.
    pub keys: Vec<Key>,
    /// And so do those that are at these places.
    pub fetched: Vec<Arc<Jwks>>,
    /// `aud` must name one of these; none: it is not looked at.
    pub audience: Vec<String>,
    /// `iss` must be one of these; none: it is not looked at.
    pub issuer: Vec<String>,
}

impl Verifier {
    /// Checks a token at a time.
    ///
    /// # Errors
    /// [`BadToken`], the first thing that is wrong: form, key, signature, then times, then claims.
    pub fn check(&self, token: &str, now: SystemTime) -> Result<Claims, BadToken> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(BadToken::TooLong);
        }
        let raw = self.verified(token)?;
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let expires = raw.exp.map(|exp| instant("exp", exp)).transpose()?;
        if let Some(expires) = expires
            && now > expires + LEEWAY
        {
            return Err(BadToken::Expired(now - expires));
        }
        if let Some(nbf) = raw.nbf.map(|nbf| instant("nbf", nbf)).transpose()?
            && now + LEEWAY < nbf
        {
            return Err(BadToken::Early(nbf - now));
        }
        if !self.audience.is_empty() && !raw.aud.is_some_and(|aud| aud.names(&self.audience)) {
            return Err(BadToken::Audience);
        }
        if !self.issuer.is_empty() && !raw.iss.is_some_and(|iss| self.issuer.contains(&iss)) {
            return Err(BadToken::Issuer);
        }
        if let Some(user) = &raw.sub {
            names::check(user).map_err(|bad| BadToken::Claim("sub", bad.to_string()))?;
        }
        if raw.app_id == Some(0) {
            return Err(BadToken::Claim("appId", "is 0; applications count from 1".into()));
        }
        Ok(Claims {
            user: raw.sub,
            app: raw.app_id,
            rooms: patterns(raw.rooms.unwrap_or_default())?,
            expires: expires.map(|expires| UNIX_EPOCH + expires),
        })
    }

    /// Whether there is any key; where they are fetched, there may be none yet.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty() || self.fetched.iter().any(|place| !place.now().is_empty())
    }

    /// The claims of a token that one of the keys has signed.
    fn verified(&self, token: &str) -> Result<Raw, BadToken> {
        let header = decode_header(token).map_err(|error| keys::unreadable(&error, token))?;
        // What must be understood, and is not (RFC 7515 §4.1.11): none of the extensions is.
        if header.crit.is_some() {
            return Err(BadToken::Claim("crit", "names extensions, and none is understood here".into()));
        }
        let fetched: Vec<_> = self.fetched.iter().map(|place| place.now()).collect();
        let all = self.keys.iter().chain(fetched.iter().flat_map(|keys| keys.iter()));
        // A key that has a name answers for tokens with that name or none; one without a name for all.
        let named: Vec<_> = all.filter(|key| key.answers(header.kid.as_deref())).collect();
        if named.is_empty() {
            return Err(match header.kid {
                Some(kid) => BadToken::UnknownKey(kid.chars().take(64).collect()),
                None => BadToken::Signature,
            });
        }
        let fitting: Vec<_> = named.into_iter().filter(|key| key.algorithm() == header.alg).collect();
        if fitting.is_empty() {
            return Err(BadToken::Algorithm(format!("{:?}", header.alg)));
        }
        for key in fitting {
            let mut validation = Validation::new(key.algorithm());
            validation.required_spec_claims.clear();
            validation.validate_exp = false;
            validation.validate_aud = false;
            match decode::<serde_json::Value>(token, key.decoding(), &validation) {
                Ok(data) => {
                    return serde_json::from_value(data.claims)
                        .map_err(|error| BadToken::Claim("claims", format!("cannot be read: {error}")));
                }
                Err(error) if keys::is_signature(&error) => {}
                Err(error) => return Err(keys::unreadable(&error, token)),
            }
        }
        Err(BadToken::Signature)
    }
}

/// A NumericDate (RFC 7519 §2) as time since the epoch.
fn instant(name: &'static str, seconds: f64) -> Result<Duration, BadToken> {
    Duration::try_from_secs_f64(seconds)
        // Beyond the year 10,000 nobody means a date: milliseconds were given.
        .ok()
        .filter(|time| time.as_secs() < 253_402_300_800)
        .ok_or_else(|| BadToken::Claim(name, "is no time: it counts seconds since 1970".into()))
}

fn patterns(rooms: Vec<String>) -> Result<Vec<Pattern>, BadToken> {
    if rooms.len() > PATTERNS_MAX {
        return Err(BadToken::Claim("rooms", format!("has more than {PATTERNS_MAX} entries")));
    }
    let parse =
        |room: &String| Pattern::parse(room).map_err(|bad| BadToken::Claim("rooms", format!("entry {bad}")));
    rooms.iter().map(parse).collect()
}

/// Signs a token, as a backend would.
///
/// # Errors
/// What the key cannot do.
pub fn sign(claims: &Claims, audience: Option<&str>, key: &SigningKey) -> Result<String, String> {
    let raw = Raw {
        sub: claims.user.clone(),
        app_id: claims.app,
        rooms: (!claims.rooms.is_empty()).then(|| claims.rooms.iter().map(ToString::to_string).collect()),
        exp: claims.expires.map(|at| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64().floor()),
        aud: audience.map(|audience| OneOrMany::One(audience.to_owned())),
        ..Raw::default()
    };
    key.sign(&raw)
}

#[cfg(test)]
#[path = "token/tests.rs"]
mod tests;
