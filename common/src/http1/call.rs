//! One HTTP/1.1 call over a connection of its own: announcing, keys from a URL, the shell tools. Redirects are not
//! followed, and nothing is sent again.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// Why there was no answer, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoAnswer(pub String);

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoAnswer {}

/// Sends a request, whose head is complete, and reads an answer with a body of at most `bytes_max`. Takes as long as
/// the peer does: whoever calls has a deadline.
///
/// # Errors
/// [`NoAnswer`].
pub async fn call(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    bytes_max: usize,
) -> Result<(StatusCode, Bytes), NoAnswer> {
    let none = |error: hyper::Error| NoAnswer(format!("no HTTP answer: {error}"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(none)?;
    let answered = async {
        let answer = sender.send_request(request).await.map_err(none)?;
        let status = answer.status();
        match Limited::new(answer.into_body(), bytes_max).collect().await {
            Ok(body) => Ok((status, body.to_bytes())),
            Err(error) => Err(NoAnswer(format!("the answer broke off or is too long: {error}"))),
        }
    };
    // The connection moves the bytes, so it is polled beside the call; only the call's end counts.
    let mut answered = std::pin::pin!(answered);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        done = &mut answered => done,
        _ = &mut connection => answered.await,
    }
}
