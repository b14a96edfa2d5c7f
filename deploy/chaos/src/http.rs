//! Calls of one node's HTTP port, over connections that are kept, each within a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::tasks::Tasks;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::RETRY_AFTER;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpStream;

/// Connections that are kept for the next call; more are closed after their own.
const IDLE_MAX: usize = 64;

/// What a question may take that no figure depends on.
const QUESTION_TIME_MAX: Duration = Duration::from_secs(5);

/// One node's port. Clones share their connections.
#[derive(Debug, Clone)]
pub(crate) struct Caller(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    address: SocketAddr,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
    tasks: Tasks,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    /// When to come again, if it says so (RFC 9110 §10.2.3, in seconds).
    pub(crate) retry_after: Option<Duration>,
}

impl Answer {
    /// Its body; null if that is no JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// Nobody was there: nothing was sent.
    NotThere,
    /// It was sent, and nothing came.
    Lost(String),
}

impl Caller {
    pub(crate) fn new(address: SocketAddr, tasks: &Tasks) -> Self {
        Self(Arc::new(Inner { address, idle: Mutex::default(), tasks: tasks.clone() }))
    }

    /// A GET.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, NoAnswer> {
        self.call(Method::GET, path, None, Bytes::new(), QUESTION_TIME_MAX).await
    }

    /// A POST of JSON, perhaps with an `Idempotency-Key`.
    pub(crate) async fn post(
        &self,
        path: &str,
        key: Option<&str>,
        body: Bytes,
        most: Duration,
    ) -> Result<Answer, NoAnswer> {
        self.call(Method::POST, path, key, body, most).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Bytes,
        most: Duration,
    ) -> Result<Answer, NoAnswer> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.0.address.to_string())
            .header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Full::new(body)).map_err(|why| NoAnswer::Lost(why.to_string()))?;
        match tokio::time::timeout(most, Box::pin(self.exchange(request))).await {
            Ok(answer) => answer,
            Err(_) => Err(NoAnswer::Lost(format!("no answer within {most:?}"))),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, NoAnswer> {
        let mut sender = self.connection().await?;
        let lost = |why: hyper::Error| NoAnswer::Lost(why.to_string());
        let response = sender.send_request(request).await.map_err(lost)?;
        let status = response.status().as_u16();
        let told = response.headers().get(RETRY_AFTER).and_then(|secs| secs.to_str().ok()?.parse().ok());
        let retry_after = told.map(Duration::from_secs);
        let body = response.into_body().collect().await.map_err(lost)?.to_bytes();
        let mut idle = self.0.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push(sender);
        }
        Ok(Answer { status, body, retry_after })
    }

    /// A connection that takes a request now: one that is kept, or a new one.
    async fn connection(&self) -> Result<SendRequest<Full<Bytes>>, NoAnswer> {
        loop {
            let Some(mut kept) = self.0.idle.lock().pop() else { return self.connect().await };
            if kept.ready().await.is_ok() {
                return Ok(kept);
            }
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, NoAnswer> {
        let stream = TcpStream::connect(self.0.address).await.map_err(|_| NoAnswer::NotThere)?;
        // It matters to nobody but the times.
        _ = stream.set_nodelay(true);
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|why| NoAnswer::Lost(why.to_string()))?;
        // How it ends, whoever waits for its answer hears.
        self.0.tasks.spawn(async move { _ = connection.await });
        Ok(sender)
    }
}
