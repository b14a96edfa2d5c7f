//! One HTTP/1.1 call to a node, for the shell tools and for `dev`'s wait until it is ready.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use common::http1::call::{self, NoAnswer};
use common::tls::{Connector, Origin, Stream, explain};
use http::{Request, StatusCode, Uri, header};
use http_body_util::Full;
use tokio::time::timeout;

use crate::cli::tls::connector;
use crate::failure::Failure;

/// A connection that is not there after this long will not come; the TLS handshake is a part of it.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// Longest answer that is read: a batch of 10,000 pushes at 1 KB each.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Who is called.
#[derive(Debug)]
pub(crate) struct Node {
    /// The URL.
    pub(crate) uri: Uri,
    /// Where it leads.
    pub(crate) origin: Origin,
    tls: Option<Connector>,
}

impl Node {
    /// Takes a URL apart whose scheme is `plain` (`http`, `ws`) or the same with an `s`. `ca`: the authority to trust
    /// instead of those that this machine trusts.
    ///
    /// # Errors
    /// What is wrong with the URL (2), or with the file (78).
    pub(crate) fn parse(url: &str, plain: &str, ca: Option<&Path>) -> Result<Self, Failure> {
        let (uri, origin) =
            Origin::parse(url, plain).map_err(|why| Failure::usage(format!("--url {why}")))?;
        let tls = origin.is_tls.then(|| connector(ca)).transpose()?;
        Ok(Self { uri, origin, tls })
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// Whom it could not reach, and why.
    pub(crate) async fn connect(&self) -> Result<Stream, NoAnswer> {
        let no = |why: &str| NoAnswer(format!("cannot reach {}: {why}", self.origin));
        match timeout(CONNECT_TIME_MAX, self.origin.dial(self.tls.as_ref())).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(no(&explain(&error))),
            Err(_) => Err(no(&format!("no connection after {} s", CONNECT_TIME_MAX.as_secs()))),
        }
    }

    /// Makes one call over a connection of its own. `request` has a path for a URI; the rest is added here.
    ///
    /// # Errors
    /// Nobody there, or no whole answer within `time_max`.
    pub(crate) async fn call(
        &self,
        mut request: Request<Full<Bytes>>,
        time_max: Duration,
    ) -> Result<(StatusCode, Bytes), NoAnswer> {
        let stream = self.connect().await?;
        let address = &self.origin;
        let host = address.address().parse().map_err(|_| NoAnswer(format!("{address} is no host name")))?;
        request.headers_mut().insert(header::HOST, host);
        match timeout(time_max, Box::pin(call::call(stream, request, ANSWER_BYTES_MAX))).await {
            Ok(answered) => answered.map_err(|none| NoAnswer(format!("{address}: {none}"))),
            Err(_) => Err(NoAnswer(format!("{address} did not answer within {} s", time_max.as_secs()))),
        }
    }
}

/// `GET` of a path of a node without TLS.
///
/// # Errors
/// As for [`Node::call`].
pub(crate) async fn get(
    address: &str,
    path: &'static str,
    time_max: Duration,
) -> Result<(StatusCode, Bytes), NoAnswer> {
    let (uri, origin) = Origin::parse(&format!("http://{address}"), "http").map_err(NoAnswer)?;
    let mut request = Request::new(Full::default());
    *request.uri_mut() = Uri::from_static(path);
    Node { uri, origin, tls: None }.call(request, time_max).await
}

/// A problem (RFC 9457) in words, or the body as it is when it is none.
pub(crate) fn problem_in_words(status: StatusCode, body: &[u8]) -> String {
    let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let Some(code) = problem["code"].as_str() else {
        let shown: String = String::from_utf8_lossy(body).chars().take(500).collect();
        return format!("{status}: {shown}");
    };
    let mut words = format!("{} {code}: {}", status.as_u16(), problem["detail"].as_str().unwrap_or(""));
    for fault in problem["errors"].as_array().into_iter().flatten() {
        let of = |name: &str| fault[name].as_str().unwrap_or("").to_owned();
        words.push_str(&format!("\n  {} {}", of("pointer"), of("detail")));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_said_with_their_places() {
        let body =
            br#"{"code":"invalid","detail":"2 faults","errors":[{"pointer":"/to","detail":"is missing"}]}"#;
        assert_eq!(
            problem_in_words(StatusCode::BAD_REQUEST, body),
            "400 invalid: 2 faults\n  /to is missing"
        );
        assert_eq!(problem_in_words(StatusCode::BAD_GATEWAY, b"no"), "502 Bad Gateway: no");
    }
}
