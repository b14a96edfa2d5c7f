//! Tokens of every algorithm against every key, times, claims, and what is not whole.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256};
use serde_json::json;

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn at(secs: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(secs)
}

fn claims() -> Claims {
    let rooms = vec![Pattern::parse("r1").unwrap(), Pattern::parse("news.*").unwrap()];
    Claims { user: Some("alice".into()), app: Some(7), rooms, expires: Some(at(1_000)) }
}

fn verifier(key: &str) -> Verifier {
    Verifier { keys: Key::read(key).unwrap(), ..Verifier::default() }
}

/// A token with any claims, signed by the secret.
fn token(claims: &serde_json::Value) -> String {
    SigningKey::read(SECRET, None).unwrap().sign(claims).unwrap()
}

#[test]
fn tokens_of_all_four_algorithms_are_read_with_their_own_key_only() {
    let pairs: Vec<(String, String)> = [&PKCS_RSA_SHA256, &PKCS_ECDSA_P256_SHA256, &PKCS_ED25519]
        .into_iter()
        .map(|algorithm| KeyPair::generate_for(algorithm).unwrap())
        .map(|pair| (pair.serialize_pem(), pair.public_key_pem()))
        .chain([(SECRET.to_owned(), SECRET.to_owned())])
        .collect();
    for (own, (private, _)) in pairs.iter().enumerate() {
        let token = sign(&claims(), None, &SigningKey::read(private, None).unwrap()).unwrap();
        for (other, (_, public)) in pairs.iter().enumerate() {
            let checked = verifier(public).check(&token, at(500));
            if own == other {
                assert_eq!(checked, Ok(claims()));
            } else {
                assert!(matches!(checked, Err(BadToken::Algorithm(_))), "{checked:?}");
            }
        }
        let all = Verifier {
            keys: pairs.iter().flat_map(|(_, public)| Key::read(public).unwrap()).collect(),
            ..Verifier::default()
        };
        assert_eq!(all.check(&token, at(500)), Ok(claims()));
    }
}

#[test]
fn a_public_key_is_no_secret() {
    // The classic confusion: a token signed by HS256 with the text of the public key as the secret.
    let public = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap().public_key_pem();
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    let key = jsonwebtoken::EncodingKey::from_secret(public.as_bytes());
    let forged = jsonwebtoken::encode(&header, &json!({"sub": "root"}), &key).unwrap();
    assert_eq!(verifier(&public).check(&forged, at(1)), Err(BadToken::Algorithm("HS256".into())));
}

#[test]
fn what_is_not_signed_or_not_whole_is_refused() {
    let good = token(&json!({"sub": "alice"}));
    let verifier = verifier(SECRET);
    let parts: Vec<_> = good.split('.').collect();
    let encode = |json: &str| data_encoding::BASE64URL_NOPAD.encode(json.as_bytes());
    let none = encode(r#"{"alg":"none","typ":"JWT"}"#);
    for (bad, why) in [
        (String::new(), BadToken::Malformed),
        ("a.b.c".into(), BadToken::Malformed),
        (format!("{}.{}", parts[0], parts[1]), BadToken::Malformed),
        (format!("{}.{}.", parts[0], parts[1]), BadToken::Signature),
        (format!("{none}.{}.", parts[1]), BadToken::Algorithm("none".into())),
        (format!("{}.{}.{}", parts[0], encode(r#"{"sub":"root"}"#), parts[2]), BadToken::Signature),
        ("x".repeat(TOKEN_BYTES_MAX + 1), BadToken::TooLong),
    ] {
        assert_eq!(verifier.check(&bad, at(1)), Err(why), "{bad:.80}");
    }
    assert!(verifier.check(&good, at(1)).is_ok());
    assert_eq!(Verifier::default().check(&good, at(1)), Err(BadToken::Signature), "no keys");
}

#[test]
fn times_count_with_leeway() {
    let verifier = verifier(SECRET);
    let timed = token(&json!({"nbf": 1_000, "exp": 2_000.5}));
    for (now, fits) in [(969, false), (970, true), (1_000, true), (2_030, true), (2_031, false)] {
        assert_eq!(verifier.check(&timed, at(now)).is_ok(), fits, "{now}");
    }
    assert!(matches!(verifier.check(&timed, at(0)), Err(BadToken::Early(_))));
    assert!(matches!(verifier.check(&timed, at(9_000)), Err(BadToken::Expired(_))));
    assert_eq!(verifier.check(&token(&json!({})), at(1)), Ok(Claims::default()), "no time, no end");
}

#[test]
fn claims_are_checked() {
    let verifier =
        Verifier { audience: vec!["push".into(), "b".into()], issuer: vec!["me".into()], ..verifier(SECRET) };
    let good = json!({"aud": ["a", "push"], "iss": "me"});
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = good.clone();
        claims[name] = value;
        verifier.check(&token(&claims), at(1))
    };
    assert!(with("x", json!(1)).is_ok());
    assert!(with("aud", json!("b")).is_ok());
    assert_eq!(with("aud", json!("c")), Err(BadToken::Audience));
    assert_eq!(with("iss", json!("you")), Err(BadToken::Issuer));
    assert_eq!(verifier.check(&token(&json!({"iss": "me"})), at(1)), Err(BadToken::Audience));
    for (name, value) in [
        ("sub", json!("")),
        ("sub", json!(7)),
        ("sub", json!("a\nb")),
        ("appId", json!(0)),
        ("appId", json!("7")),
        ("rooms", json!("r1")),
        ("rooms", json!([""])),
        ("rooms", json!(vec!["r"; PATTERNS_MAX + 1])),
        ("exp", json!(1_700_000_000_000_u64)),
        ("exp", json!(-1)),
        ("nbf", json!("soon")),
    ] {
        let said = with(name, value.clone());
        assert!(matches!(said, Err(BadToken::Claim(..))), "{name} {value:.40}: {said:?}");
    }
}

#[test]
fn keys_in_a_set_answer_for_their_kid() {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let point = pair.public_key_raw();
    let encode = |bytes: &[u8]| data_encoding::BASE64URL_NOPAD.encode(bytes);
    let jwk = |kid: &str, purpose: &str| json!({"kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..65]), "kid": kid, "use": purpose});
    let token = |kid: Option<&str>| {
        let key = SigningKey::read(&pair.serialize_pem(), kid.map(str::to_owned)).unwrap();
        sign(&claims(), None, &key).unwrap()
    };
    let set = json!({"keys": [jwk("k1", "sig"), {"kty": "RSA", "n": "!", "e": "AQAB"}, jwk("k9", "enc")]})
        .to_string();
    let verifier = verifier(&set);
    assert!(verifier.check(&token(Some("k1")), at(1)).is_ok());
    assert!(verifier.check(&token(None), at(1)).is_ok());
    assert_eq!(verifier.check(&token(Some("k9")), at(1)), Err(BadToken::UnknownKey("k9".into())));
    assert!(Key::read(&json!({"keys": [jwk("k9", "enc")]}).to_string()).is_err());
    assert!(Key::read(&jwk("k1", "sig").to_string()).is_ok(), "one key alone");
}

#[test]
fn keys_that_cannot_be_are_refused_with_words_that_do_not_hold_them() {
    let private = KeyPair::generate_for(&PKCS_ED25519).unwrap().serialize_pem();
    let long_curve = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap().public_key_pem();
    for (text, words) in [
        (&*long_curve, "no public key of RSA, P-256"),
        ("", "0 bytes"),
        ("short", "5 bytes"),
        ("a secret with spaces in it that is long enough", "space"),
        ("\"0123456789abcdef0123456789abcdef\"", "quotes"),
        ("{\"kty\":\"x\"}", "none of the keys"),
        ("{\"keys\":7}", "none of the keys"),
        ("{\"kty\"", "JSON Web Key"),
        ("{\"keys\":[]}", "none of the keys"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "no public key"),
        (&private, "private key"),
    ] {
        let said = Key::read(text).unwrap_err();
        assert!(said.contains(words), "{said}");
    }
    let signing = SigningKey::read(&KeyPair::generate().unwrap().public_key_pem(), None).unwrap_err();
    assert!(signing.contains("public key"), "{signing}");
}
