//! Keys of tokens from a URL (JSON Web Key Sets, RFC 7517 §5): fetched by the clock and on SIGHUP, never because a token
//! asks for a key that is not here, or whoever can make up tokens could make us call somebody as often as he likes.
//!
//! What was fetched last and was good stays in force, however long the place is away: its age is shown, and the trouble.
//! A set that holds no key is trouble too. Keys that are secrets are passed over: what anyone may fetch is none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use parking_lot::RwLock;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

use super::Key;
use crate::backoff::Backoff;
use crate::http1::call::call;
use crate::shutdown::Shutdown;
use crate::tls::{Connector, Origin, explain};

/// Longest set that is read: 256 keys of 1 KiB, RSA of 4,096 bits among them.
const SET_BYTES_MAX: usize = 256 * 1024;

/// From the look-up of the name to the last byte.
const FETCH_TIME_MAX: Duration = Duration::from_secs(5);

/// The wait after the first failure; it doubles up to the usual time between two.
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// The keys at one URL.
#[derive(Debug)]
pub struct Jwks {
    url: String,
    path: String,
    origin: Origin,
    tls: Option<Connector>,
    every: Duration,
    known: RwLock<Known>,
}

/// What is known of them.
#[derive(Debug, Default)]
struct Known {
    keys: Arc<Vec<Key>>,
    /// As it came, to see whether it has changed.
    text: Bytes,
    fetched: Option<Instant>,
    trouble: Option<String>,
}

/// How it stands with the keys at one URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Where they are.
    pub url: String,
    /// How many count.
    pub keys: usize,
    /// How long ago they were fetched; `None`: never yet.
    pub age: Option<Duration>,
    /// Why they could not be fetched since.
    pub trouble: Option<String>,
}

impl Jwks {
    /// Keys that are yet to be fetched. `tls` is needed for `https://`.
    ///
    /// # Errors
    /// What is wrong with the URL.
    pub fn new(url: &str, tls: Option<Connector>, every: Duration) -> Result<Arc<Self>, String> {
        let (uri, origin) = Origin::parse(url, "http")?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let known = RwLock::default();
        Ok(Arc::new(Self { url: url.to_owned(), path, origin, tls, every, known }))
    }

    /// The keys that count now.
    #[must_use]
    pub fn now(&self) -> Arc<Vec<Key>> {
        self.known.read().keys.clone()
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self) -> State {
        let known = self.known.read();
        State {
            url: self.url.clone(),
            keys: known.keys.len(),
            age: known.fetched.map(|fetched| fetched.elapsed()),
            trouble: known.trouble.clone(),
        }
    }

    /// Fetches them again and again until the node stops.
    pub async fn follow(self: Arc<Self>, shutdown: Shutdown) {
        let mut hangup = signal(SignalKind::hangup()).ok();
        let mut random = fastrand::Rng::new();
        let mut backoff = Backoff::new(RETRY_FIRST, self.every);
        while let Some(went_well) = shutdown.or_stopped(Box::pin(self.refresh())).await {
            let wait = if went_well {
                backoff.reset();
                // Not all gateways in the same moment.
                self.every.mul_f64(0.9 + 0.2 * random.f64())
            } else {
                backoff.next(&mut random)
            };
            let asked = async {
                match &mut hangup {
                    Some(hangup) => _ = hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shutdown.stopped() => return,
                () = sleep(wait) => {}
                () = asked => {}
            }
        }
    }

    /// Fetches them once; whether that went well. What changes stands in the log, and the same trouble only once.
    pub async fn refresh(&self) -> bool {
        let fetched = match timeout(FETCH_TIME_MAX, self.fetch()).await {
            Ok(fetched) => fetched,
            Err(_) => Err(format!("no answer within {} s", FETCH_TIME_MAX.as_secs())),
        };
        let mut known = self.known.write();
        match fetched.and_then(|text| Ok((read(&text)?, text))) {
            Ok((keys, text)) => {
                if known.text != text || known.trouble.is_some() {
                    tracing::info!(url = %self.url, keys = keys.len(), "token keys fetched");
                }
                *known = Known { keys: Arc::new(keys), text, fetched: Some(Instant::now()), trouble: None };
                true
            }
            Err(why) => {
                if known.trouble.as_ref() != Some(&why) {
                    let stays = known.keys.len();
                    tracing::error!(url = %self.url, %why, stays, "token keys cannot be fetched: those fetched before stay in force, and it is tried again. Is --token-jwks-url right, and reachable from here?");
                }
                known.trouble = Some(why);
                false
            }
        }
    }

    async fn fetch(&self) -> Result<Bytes, String> {
        let stream = self.origin.dial(self.tls.as_ref()).await.map_err(|error| explain(&error))?;
        let request = Request::get(&self.path)
            .header(header::HOST, self.origin.address())
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .body(Full::default())
            .map_err(|error| error.to_string())?;
        let (status, body) = call(stream, request, SET_BYTES_MAX).await.map_err(|none| none.to_string())?;
        match status {
            StatusCode::OK => Ok(body),
            other if other.is_redirection() => {
                Err(format!("it answered {other}, and redirects are not followed"))
            }
            other => Err(format!("it answered {other}")),
        }
    }
}

/// The keys of a set that are public.
fn read(text: &[u8]) -> Result<Vec<Key>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8".to_owned())?;
    let mut keys = Key::set(text)?;
    keys.retain(Key::is_public);
    if keys.is_empty() { Err("its keys are secrets, which nobody may fetch".into()) } else { Ok(keys) }
}

#[cfg(test)]
mod tests;
