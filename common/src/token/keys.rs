//! Keys of tokens: secrets, PEM files, JSON Web Keys (RFC 7517), each for one algorithm.

use std::fmt;

use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde::Serialize;

use super::BadToken;

/// Fewest bytes of a secret for HS256: as many as the hash has (RFC 7518 §3.2).
const SECRET_BYTES_MIN: usize = 32;

/// Keys that one file may hold.
const KEYS_MAX: usize = 256;

/// Reads one kind of key.
type FromPem<K> = fn(&[u8]) -> Result<K, Error>;

/// A key that tokens are checked with. Never printed.
#[derive(Clone)]
pub struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?}, {:?})", self.algorithm, self.id)
    }
}

impl Key {
    /// Reads what a file of keys holds: a public key in PEM (RSA, P-256, Ed25519), a JSON Web Key or a set of
    /// them, or a secret of visible ASCII for HS256; a final newline is not part of it.
    ///
    /// # Errors
    /// What is wrong with it, in words that do not contain it.
    pub fn read(text: &str) -> Result<Vec<Self>, String> {
        let trimmed = text.trim();
        if trimmed.starts_with("-----BEGIN") {
            return Self::pem(trimmed).map(|key| vec![key]);
        }
        if trimmed.starts_with('{') {
            return Self::set(trimmed);
        }
        Self::secret(text).map(|key| vec![key])
    }

    fn secret(text: &str) -> Result<Self, String> {
        let text = text.trim_end_matches(['\r', '\n']);
        check_secret(text)?;
        Ok(Self { id: None, algorithm: Algorithm::HS256, key: DecodingKey::from_secret(text.as_bytes()) })
    }

    fn pem(text: &str) -> Result<Self, String> {
        if text.contains("PRIVATE KEY") {
            return Err(
                "this is a private key: a gateway needs the public one (openssl pkey -in FILE -pubout)"
                    .into(),
            );
        }
        let bytes = text.as_bytes();
        let kinds: [(_, FromPem<DecodingKey>); 3] = [
            (Algorithm::RS256, DecodingKey::from_rsa_pem),
            (Algorithm::ES256, DecodingKey::from_ec_pem),
            (Algorithm::EdDSA, DecodingKey::from_ed_pem),
        ];
        kinds
            .into_iter()
            .find_map(|(algorithm, read)| read(bytes).ok().map(|key| Self { id: None, algorithm, key }))
            .filter(Self::is_of_its_curve)
            .ok_or_else(|| "this PEM holds no public key of RSA, P-256 or Ed25519".into())
    }

    /// Longer curves are read too, but ES256 is P-256: a point of 2 × 32 B behind a byte that says its form.
    fn is_of_its_curve(&self) -> bool {
        self.algorithm != Algorithm::ES256 || self.key.try_get_as_bytes().is_ok_and(|point| point.len() == 65)
    }

    /// Reads a set of JSON Web Keys, or one alone.
    pub(super) fn set(text: &str) -> Result<Vec<Self>, String> {
        let set = match serde_json::from_str::<JwkSet>(text) {
            Ok(set) => set.keys,
            Err(_) => {
                vec![serde_json::from_str::<Jwk>(text).map_err(|error| format!("no JSON Web Key: {error}"))?]
            }
        };
        if set.len() > KEYS_MAX {
            return Err(format!("{} keys; at most {KEYS_MAX}", set.len()));
        }
        // Sets are shared with others: keys for encryption, or for algorithms that are not used here, are passed over.
        let keys: Vec<_> = set.iter().filter_map(Self::of_jwk).collect();
        if keys.is_empty() {
            return Err("none of the keys is for HS256, RS256, ES256 or EdDSA".into());
        }
        Ok(keys)
    }

    fn of_jwk(jwk: &Jwk) -> Option<Self> {
        if jwk.common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
            return None;
        }
        let (algorithm, named) = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
            AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
                (Algorithm::ES256, KeyAlgorithm::ES256)
            }
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
            }
            AlgorithmParameters::OctetKey(_) => (Algorithm::HS256, KeyAlgorithm::HS256),
            _ => return None,
        };
        if jwk.common.key_algorithm.is_some_and(|said| said != named) {
            return None;
        }
        let key = DecodingKey::from_jwk(jwk).ok()?;
        Some(Self { id: jwk.common.key_id.clone(), algorithm, key })
    }

    /// Whether tokens with this `kid` are this key's to check.
    pub(super) fn answers(&self, kid: Option<&str>) -> bool {
        match (&self.id, kid) {
            (Some(id), Some(kid)) => id == kid,
            _ => true,
        }
    }

    /// Whether anyone may know it.
    pub(super) fn is_public(&self) -> bool {
        self.algorithm != Algorithm::HS256
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.key
    }
}

fn check_secret(text: &str) -> Result<(), String> {
    if text.len() < SECRET_BYTES_MIN {
        let have = text.len();
        return Err(format!(
            "the secret has {have} bytes; HS256 needs {SECRET_BYTES_MIN} (openssl rand -hex 32)"
        ));
    }
    if let Some(at) = text.bytes().position(|byte| !byte.is_ascii_graphic()) {
        return Err(format!("the secret has a space or a character beyond visible ASCII at byte {at}"));
    }
    if text.starts_with(['"', '\'']) && text.ends_with(['"', '\'']) {
        return Err("the secret is in quotes, which would be part of it: take them away".into());
    }
    Ok(())
}

/// A key that signs tokens.
pub struct SigningKey {
    id: Option<String>,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?})", self.algorithm)
    }
}

impl SigningKey {
    /// Reads a secret, or a private key in PEM (RSA, P-256, Ed25519).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str, id: Option<String>) -> Result<Self, String> {
        let trimmed = text.trim();
        if !trimmed.starts_with("-----BEGIN") {
            let text = text.trim_end_matches(['\r', '\n']);
            check_secret(text)?;
            return Ok(Self {
                id,
                algorithm: Algorithm::HS256,
                key: EncodingKey::from_secret(text.as_bytes()),
            });
        }
        if trimmed.contains("PUBLIC KEY") {
            return Err("this is a public key: tokens are signed with the private one".into());
        }
        let bytes = trimmed.as_bytes();
        let kinds: [(_, FromPem<EncodingKey>); 3] = [
            (Algorithm::RS256, EncodingKey::from_rsa_pem),
            (Algorithm::ES256, EncodingKey::from_ec_pem),
            (Algorithm::EdDSA, EncodingKey::from_ed_pem),
        ];
        let found = kinds.into_iter().find_map(|(algorithm, read)| Some((algorithm, read(bytes).ok()?)));
        let (algorithm, key) =
            found.ok_or("this PEM holds no private key (PKCS #8) of RSA, P-256 or Ed25519")?;
        Ok(Self { id, algorithm, key })
    }

    pub(super) fn sign(&self, claims: &impl Serialize) -> Result<String, String> {
        let header = Header { kid: self.id.clone(), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &self.key).map_err(|error| format!("cannot sign: {error}"))
    }
}

pub(super) fn is_signature(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidSignature)
}

/// Why a token could not be read at all.
pub(super) fn unreadable(error: &Error, token: &str) -> BadToken {
    // A header that says `none` or an algorithm nobody knows cannot be read by the library.
    let head =
        token.split('.').next().and_then(|head| data_encoding::BASE64URL_NOPAD.decode(head.as_bytes()).ok());
    let head = head.and_then(|head| serde_json::from_slice::<serde_json::Value>(&head).ok());
    let said = head.as_ref().and_then(|head| head["alg"].as_str());
    match (said, error.kind()) {
        (_, ErrorKind::InvalidAlgorithm)
        | (Some(_), ErrorKind::Json(_) | ErrorKind::InvalidAlgorithmName)
            if token.split('.').count() == 3 =>
        {
            BadToken::Algorithm(said.unwrap_or_default().chars().take(32).collect())
        }
        _ => BadToken::Malformed,
    }
}
