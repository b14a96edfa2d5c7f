//! How large the head of a request may be and how long it may take, and who it comes from.

use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use tokio::io::AsyncRead;

use super::Handler;
use crate::ids::Instance;
use crate::limits::{HEAD_BYTES_MAX, HEAD_TIME_MAX, HEADERS_MAX};
use crate::problem::Problem;

/// Bounds of a request's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes, from 8 KiB, which hyper needs, to twice [`HEAD_BYTES_MAX`], which is what we look at.
    pub head_bytes_max: usize,
    /// Header fields.
    pub headers_max: usize,
    /// It must be complete in this time, counted from its first byte or the connection's start.
    pub head_time_max: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { head_bytes_max: HEAD_BYTES_MAX, headers_max: HEADERS_MAX, head_time_max: HEAD_TIME_MAX }
    }
}

/// What a request, or what comes before it, was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// Bytes of the head; answered 431.
    HeadBytes,
    /// Header fields; answered 431.
    Headers,
    /// Time for the head; answered 408.
    HeadTime,
    /// What a trusted proxy must say before the first byte was not said, or not so; closed without an answer, since
    /// nobody knows for whom it would be.
    ProxyHeader,
}

/// Who connected. `None`: a proxy did not say so as it must.
pub(super) async fn origin<S: AsyncRead + Unpin>(
    stream: &mut S,
    peer: SocketAddr,
    handler: &impl Handler,
) -> Option<SocketAddr> {
    let Some(edge) = handler.edge() else { return Some(peer) };
    match edge.origin(stream, peer, handler.bounds().head_time_max).await {
        Ok(origin) => Some(origin),
        Err(error) => {
            tracing::debug!(%peer, %error, "a connection of a proxy was closed");
            handler.refused(Over::ProxyHeader);
            None
        }
    }
}

/// The answer to a head that took too long. hyper has nothing to say then, so it is written by hand.
pub(super) fn late_head(time_max: Duration) -> Vec<u8> {
    let detail = format!("the head of the request was not complete after {time_max:?}");
    let problem = Problem::new(StatusCode::REQUEST_TIMEOUT, "head_timeout", detail);
    let request_id = Instance::random().to_string();
    let body = problem.body(&request_id);
    let head = format!(
        "HTTP/1.1 408 Request Timeout\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
         connection: close\r\nx-request-id: {request_id}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), &body].concat()
}
