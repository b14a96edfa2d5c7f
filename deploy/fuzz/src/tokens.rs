//! Any bytes as a client's token, signed well, signed wrong and not at all, and as a file of keys.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::names;
use common::patterns::PATTERNS_MAX;
use common::token::{Claims, Key, LEEWAY, Verifier};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256};
use serde_json::Value;

/// What tokens are signed with here. The corpora know it.
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// When tokens are checked: 2026, in seconds since 1970.
const NOW: Duration = Duration::from_secs(1_795_000_000);

struct Keys {
    verifier: Verifier,
    /// The public keys as texts: to be taken for secrets.
    public: Vec<String>,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let pair = |kind| KeyPair::generate_for(kind).map(|pair| pair.public_key_pem());
    let public = [&PKCS_RSA_SHA256, &PKCS_ECDSA_P256_SHA256, &PKCS_ED25519].map(pair);
    let public: Vec<_> = public.into_iter().map(|pem| pem.expect("a key can be made")).collect();
    let texts = public.iter().map(String::as_str).chain([SECRET]);
    let keys = texts.flat_map(|text| Key::read(text).expect("a key of ours")).collect();
    Keys { verifier: Verifier { keys, ..Verifier::default() }, public }
});

/// Any bytes as a token or as keys. The first byte says what of it is any bytes.
///
/// # Panics
/// If a token is taken that no key here has signed, or claims that should not be.
pub fn tokens(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 5 {
        0 => check(&String::from_utf8_lossy(rest)),
        1 => check(&signed(br#"{"alg":"HS256"}"#, rest, SECRET)),
        2 => {
            let (header, claims) = parts(rest);
            check(&signed(header, claims, SECRET));
        }
        3 => {
            let (header, claims) = parts(rest);
            let key = &KEYS.public[usize::from(kind / 5) % KEYS.public.len()];
            let forged = signed(header, claims, key);
            assert!(verify(&forged).is_none(), "a public key is no secret: {forged}");
        }
        _ => match Key::read(&String::from_utf8_lossy(rest)) {
            Ok(keys) => assert!(!keys.is_empty()),
            Err(words) => assert!(!words.is_empty()),
        },
    }
}

fn parts(rest: &[u8]) -> (&[u8], &[u8]) {
    let at = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    (&rest[..at], rest.get(at + 1..).unwrap_or_default())
}

fn verify(token: &str) -> Option<Claims> {
    KEYS.verifier.check(token, UNIX_EPOCH + NOW).ok()
}

fn hs256(message: &str, secret: &str) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("any secret signs")
}

fn signed(header: &[u8], claims: &[u8], secret: &str) -> String {
    let message = [header, claims].map(|part| BASE64URL_NOPAD.encode(part)).join(".");
    let signature = hs256(&message, secret);
    format!("{message}.{signature}")
}

/// Only what has our signature is taken, and its claims are what they should be.
fn check(token: &str) {
    let Some(Claims { user, app, rooms, expires }) = verify(token) else { return };
    let (message, signature) = token.rsplit_once('.').expect("three parts");
    assert_eq!(signature, hs256(message, SECRET), "forged: {token}");
    let header = message.split('.').next().and_then(|part| BASE64URL_NOPAD.decode(part.as_bytes()).ok());
    let header: Value = header.and_then(|json| serde_json::from_slice(&json).ok()).expect("it was read");
    assert!(header["alg"] == "HS256" && header["crit"].is_null(), "{header}");
    assert!(user.iter().all(|user| names::check(user).is_ok()) && app != Some(0));
    assert!(rooms.len() <= PATTERNS_MAX);
    let over = |end: SystemTime| end + LEEWAY < UNIX_EPOCH + NOW;
    assert!(!expires.is_some_and(over), "it is over: {expires:?}");
}
