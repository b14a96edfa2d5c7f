//! One who forges tokens, has everything that is public, and has watched others.

use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::{BASE64URL, BASE64URL_NOPAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData};
use serde_json::{Value, json};

/// The secret of those whose tokens are forged.
pub(super) const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A pair of keys, and what signs with it.
struct Pair {
    name: &'static str,
    algorithm: Algorithm,
    pair: KeyPair,
    signs: EncodingKey,
}

impl Pair {
    /// One of each kind: RSA, P-256, Ed25519.
    fn all() -> [Self; 3] {
        let make = |name, algorithm, kind, read: fn(&[u8]) -> jsonwebtoken::errors::Result<EncodingKey>| {
            let pair = KeyPair::generate_for(kind).unwrap();
            let signs = read(pair.serialize_pem().as_bytes()).unwrap();
            Self { name, algorithm, pair, signs }
        };
        [
            make("RS256", Algorithm::RS256, &PKCS_RSA_SHA256, EncodingKey::from_rsa_pem),
            make("ES256", Algorithm::ES256, &PKCS_ECDSA_P256_SHA256, EncodingKey::from_ec_pem),
            make("EdDSA", Algorithm::EdDSA, &PKCS_ED25519, EncodingKey::from_ed_pem),
        ]
    }
}

/// The keys that count, and those of the forger.
pub(super) struct Forger {
    theirs: [Pair; 3],
    own: [Pair; 3],
}

type Forgeries = Vec<(String, String)>;

fn encode(part: &[u8]) -> String {
    BASE64URL_NOPAD.encode(part)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Claims of which nothing is wrong.
fn claims() -> Value {
    json!({"sub": "alice", "aud": "push", "iss": "me", "exp": now() + 600, "rooms": ["*"]})
}

fn message(header: &Value, claims: &[u8]) -> String {
    format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims))
}

fn sign(header: &Value, claims: &Value, key: &EncodingKey, algorithm: Algorithm) -> String {
    let message = message(header, claims.to_string().as_bytes());
    let signature = crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

fn hs256(header: &Value, claims: &Value, secret: &[u8]) -> String {
    sign(header, claims, &EncodingKey::from_secret(secret), Algorithm::HS256)
}

/// A token with a signature that was not made by signing.
fn with_signature(alg: &str, signature: &[u8]) -> String {
    format!("{}.{}", message(&json!({"alg": alg}), claims().to_string().as_bytes()), encode(signature))
}

impl Forger {
    pub(super) fn new() -> Self {
        Self { theirs: Pair::all(), own: Pair::all() }
    }

    pub(super) fn public_keys(&self) -> Vec<String> {
        self.theirs.iter().map(|pair| pair.pair.public_key_pem()).collect()
    }

    /// Tokens that are what they should be, one of each key.
    pub(super) fn good(&self) -> Forgeries {
        let secret = ("HS256".to_owned(), hs256(&json!({"alg": "HS256"}), &claims(), SECRET.as_bytes()));
        let signed = |pair: &Pair| {
            let token = sign(&json!({"alg": pair.name}), &claims(), &pair.signs, pair.algorithm);
            (pair.name.to_owned(), token)
        };
        self.theirs.iter().map(signed).chain([secret]).collect()
    }

    pub(super) fn forgeries(&self) -> Forgeries {
        let mut all = unsigned();
        all.extend(self.confused());
        all.extend(self.signed_by_others());
        all.extend(signatures_of_nobody());
        all.extend(self.altered());
        all.extend(self.headers_that_bring_their_key());
        all.extend(shapes());
        all.extend(wrong_claims());
        all
    }

    /// What is public, taken for a secret; other algorithms with the right keys.
    fn confused(&self) -> Forgeries {
        let mut all = Forgeries::new();
        let header = json!({"alg": "HS256"});
        for pair in &self.theirs {
            let pem = pair.pair.public_key_pem();
            for (form, secret) in [
                ("its PEM", pem.as_bytes()),
                ("its PEM without the end of line", pem.trim().as_bytes()),
                ("its bytes", pair.pair.der_bytes()),
            ] {
                all.push((
                    format!("{form} of {} as the secret", pair.name),
                    hs256(&header, &claims(), secret),
                ));
            }
        }
        let secret = EncodingKey::from_secret(SECRET.as_bytes());
        for (name, algorithm) in [("HS384", Algorithm::HS384), ("HS512", Algorithm::HS512)] {
            all.push((name.to_owned(), sign(&json!({"alg": name}), &claims(), &secret, algorithm)));
        }
        for (name, algorithm) in
            [("RS384", Algorithm::RS384), ("RS512", Algorithm::RS512), ("PS256", Algorithm::PS256)]
        {
            let token = sign(&json!({"alg": name}), &claims(), &self.theirs[0].signs, algorithm);
            all.push((name.to_owned(), token));
        }
        all
    }

    /// Keys of the forger's own, and secrets that are nearly the right one.
    fn signed_by_others(&self) -> Forgeries {
        let mut all = Forgeries::new();
        for pair in &self.own {
            let token = sign(&json!({"alg": pair.name}), &claims(), &pair.signs, pair.algorithm);
            all.push((format!("{} by another", pair.name), token));
        }
        for (at, pair) in self.theirs.iter().enumerate() {
            let said = self.theirs[(at + 1) % 3].name;
            let token = sign(&json!({"alg": said}), &claims(), &pair.signs, pair.algorithm);
            all.push((format!("{} that says it is {said}", pair.name), token));
        }
        for secret in ["", "secret", &SECRET[1..], &format!("{SECRET}\n"), &SECRET.to_uppercase()] {
            let token = hs256(&json!({"alg": "HS256"}), &claims(), secret.as_bytes());
            all.push((format!("the secret {secret:?}"), token));
        }
        all
    }

    /// Parts of good tokens, put together otherwise.
    fn altered(&self) -> Forgeries {
        let mut all = Forgeries::new();
        let root = encode(br#"{"sub":"root","aud":"push","iss":"me"}"#);
        for (name, token) in self.good() {
            let parts: Vec<_> = token.split('.').collect();
            let (head, body, signature) = (parts[0], parts[1], parts[2]);
            let kid = encode(format!(r#"{{"alg":"{name}","kid":"k"}}"#).as_bytes());
            all.push((format!("{name} of other claims"), format!("{head}.{root}.{signature}")));
            all.push((format!("{name} of another header"), format!("{kid}.{body}.{signature}")));
            all.push((format!("{name} without its end"), token[..token.len() - 1].to_owned()));
            all.push((format!("{name} without signature"), format!("{head}.{body}.")));
            let padded = BASE64URL.encode(&BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap());
            all.push((format!("{name} twice"), format!("{head}.{body}.{signature}{signature}")));
            if padded != signature {
                all.push((format!("{name} padded"), format!("{head}.{body}.{padded}")));
            }
        }
        // The last character of 43 has two bits that stand for nothing: only one of four is right.
        let good = hs256(&json!({"alg": "HS256"}), &claims(), SECRET.as_bytes());
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let place = alphabet.iter().position(|letter| good.ends_with(char::from(*letter))).unwrap();
        let other = char::from(alphabet[place ^ 1]);
        all.push(("bits that stand for nothing".into(), format!("{}{other}", &good[..good.len() - 1])));
        all
    }

    /// Headers that say which key is to be believed.
    fn headers_that_bring_their_key(&self) -> Forgeries {
        let key = &self.own[1];
        let point = key.pair.public_key_raw();
        let jwk =
            json!({"kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..65])});
        let by_own = |header: Value| sign(&header, &claims(), &key.signs, key.algorithm);
        let mut all: Forgeries = [
            ("jwk", json!({"alg": "ES256", "jwk": jwk})),
            ("jku", json!({"alg": "ES256", "jku": "http://127.0.0.1:1/keys"})),
            ("x5u", json!({"alg": "ES256", "x5u": "http://127.0.0.1:1/chain"})),
            ("x5c", json!({"alg": "ES256", "x5c": ["MIIB"]})),
            ("kid of nobody", json!({"alg": "ES256", "kid": "k1"})),
        ]
        .into_iter()
        .map(|(name, header)| (name.to_owned(), by_own(header)))
        .collect();
        for kid in ["../../../../dev/null", "' UNION SELECT '", "file:///dev/null", "\0", ""] {
            let token = hs256(&json!({"alg": "HS256", "kid": kid}), &claims(), b"");
            all.push((format!("kid {kid:?}"), token));
        }
        // Signed by the right key, and not as it says it must be understood.
        for header in [
            json!({"alg": "HS256", "crit": ["exp"], "exp": 1}),
            json!({"alg": "HS256", "crit": ["b64"], "b64": false}),
            json!({"alg": "HS256", "crit": []}),
        ] {
            let token = hs256(&header, &claims(), SECRET.as_bytes());
            all.push((format!("{header}"), token));
        }
        all
    }
}

/// Tokens that say that they need no signature.
fn unsigned() -> Forgeries {
    let mut all = Forgeries::new();
    for alg in [json!("none"), json!("None"), json!("NONE"), json!("nOnE"), json!(""), json!(null), json!(1)]
    {
        let message = message(&json!({"alg": alg}), claims().to_string().as_bytes());
        all.push((format!("alg {alg}"), format!("{message}.")));
    }
    let signed = hs256(&json!({"alg": "none"}), &claims(), SECRET.as_bytes());
    all.push(("alg none, and signed".into(), signed));
    all.push(("no alg".into(), hs256(&json!({"typ": "JWT"}), &claims(), SECRET.as_bytes())));
    all.push(("two algs".into(), hs256(&json!({"alg": ["none", "HS256"]}), &claims(), SECRET.as_bytes())));
    all
}

/// Signatures that fit any message where points and zeros are not checked (CVE-2022-21449 and its kin).
fn signatures_of_nobody() -> Forgeries {
    // The order of P-256 (SEC 2 §2.4.2): as good as zero.
    let order = data_encoding::HEXUPPER
        .decode(b"FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551")
        .unwrap();
    let number = |value: u8| [&[0; 31][..], &[value]].concat();
    let mut all = Forgeries::new();
    for (name, r, s) in [
        ("zeros", number(0), number(0)),
        ("r is zero", number(0), number(1)),
        ("s is zero", number(1), number(0)),
        ("ones", number(1), number(1)),
        ("r is the order", order.clone(), number(1)),
        ("both are the order", order.clone(), order),
    ] {
        all.push((format!("ES256: {name}"), with_signature("ES256", &[r, s].concat())));
    }
    all.push(("ES256: DER".into(), with_signature("ES256", &[0x30, 6, 2, 1, 0, 2, 1, 0])));
    let neutral = [&[1][..], &[0; 63]].concat();
    all.push(("EdDSA: zeros".into(), with_signature("EdDSA", &[0; 64])));
    all.push(("EdDSA: the neutral point".into(), with_signature("EdDSA", &neutral)));
    all.push(("RS256: zeros".into(), with_signature("RS256", &[0; 256])));
    all.push(("RS256: one".into(), with_signature("RS256", &[&[0; 255][..], &[1]].concat())));
    all.push(("HS256: zeros".into(), with_signature("HS256", &[0; 32])));
    all
}

/// What is no compact JWS.
fn shapes() -> Forgeries {
    let good = hs256(&json!({"alg": "HS256"}), &claims(), SECRET.as_bytes());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (head, body) = message.split_once('.').unwrap();
    let json = json!({"protected": head, "payload": body, "signature": signature});
    [
        ("two parts", message.to_owned()),
        ("four parts", format!("{good}.{signature}")),
        ("five parts", format!("{head}..{body}.{signature}.{signature}")),
        ("points", "..".to_owned()),
        ("JSON", json.to_string()),
        ("a space before", format!(" {good}")),
        ("a line behind", format!("{good}\n")),
        ("a NUL", format!("{head}\0.{body}.{signature}")),
        ("a scheme", format!("Bearer {good}")),
        ("letters of others", format!("{head}.{body}.ä{signature}")),
        ("too long", format!("{good}{}", "A".repeat(9_000))),
    ]
    .into_iter()
    .map(|(name, token)| (name.to_owned(), token))
    .collect()
}

/// Signed by the right key, and not for here, now, or at all.
fn wrong_claims() -> Forgeries {
    let mut all = Forgeries::new();
    for (name, value) in [
        ("exp", json!(now() - 600)),
        ("exp", json!("never")),
        ("exp", json!(-1)),
        ("exp", json!((now() + 600) * 1000)),
        ("nbf", json!(now() + 600)),
        ("aud", json!("others")),
        ("aud", json!([])),
        ("aud", json!({"push": true})),
        ("aud", Value::Null),
        ("iss", json!("you")),
        ("iss", json!(["me"])),
        ("iss", Value::Null),
        ("sub", json!("")),
        ("sub", json!("a\nb")),
        ("sub", json!("x".repeat(257))),
        ("sub", json!(["alice"])),
        ("appId", json!(0)),
        ("appId", json!(-1)),
        ("appId", json!(1_u64 << 32)),
        ("rooms", json!("*")),
        ("rooms", json!([""])),
        ("rooms", json!(vec!["r"; 257])),
    ] {
        let mut claims = claims();
        claims[name] = value.clone();
        let text = format!("{name} {value:.40}");
        all.push((text, hs256(&json!({"alg": "HS256"}), &claims, SECRET.as_bytes())));
    }
    let deep =
        format!("{{\"aud\":\"push\",\"iss\":\"me\",\"x\":{}{}}}", "[".repeat(2_000), "]".repeat(2_000));
    for raw in ["[]", "7", "", "{", "\"alice\"", &deep] {
        let message = message(&json!({"alg": "HS256"}), raw.as_bytes());
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
        all.push((format!("claims {raw:.20}"), format!("{message}.{signature}")));
    }
    all
}
