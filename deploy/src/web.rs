//! One HTTP/1.1 call to a node, for the shell tools and for `dev`'s wait until it is ready.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A connection that is not there after this long will not come.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// Longest answer that is read: a batch of 10,000 pushes at 1 KB each.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why there was no answer.
#[derive(Debug)]
pub(crate) struct NoAnswer(String);

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A host and port out of a URL whose scheme is `scheme`; `port` where it names none.
///
/// # Errors
/// What is wrong with the URL.
pub(crate) fn authority(url: &str, scheme: &str, port: u16) -> Result<(Uri, String), String> {
    let uri: Uri = url.parse().map_err(|error| format!("{url:?} is not a URL: {error}"))?;
    let Some(host) = uri.host().filter(|host| !host.is_empty()) else {
        return Err(format!("{url:?} has no host; it looks like {scheme}://127.0.0.1:{port}"));
    };
    match uri.scheme_str() {
        Some(said) if said == scheme => {}
        Some(said @ ("https" | "wss")) => {
            return Err(format!("{url:?}: this tool has no TLS, so {said} is not possible; use {scheme}://"));
        }
        _ => return Err(format!("{url:?} must begin with {scheme}://")),
    }
    let address = format!("{host}:{}", uri.port_u16().unwrap_or(port));
    Ok((uri, address))
}

/// Opens a connection.
///
/// # Errors
/// Whom it could not reach, and why.
pub(crate) async fn connect(address: &str) -> Result<TcpStream, NoAnswer> {
    let no = |why: &dyn fmt::Display| NoAnswer(format!("cannot reach {address}: {why}"));
    let stream = match timeout(CONNECT_TIME_MAX, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(no(&error)),
        Err(_) => return Err(no(&format!("no connection after {} s", CONNECT_TIME_MAX.as_secs()))),
    };
    stream.set_nodelay(true).map_err(|error| no(&error))?;
    Ok(stream)
}

/// Makes one call over a connection of its own. `request` has a path for a URI; the rest is added here.
///
/// # Errors
/// Nobody there, or no whole answer within `time_max`.
pub(crate) async fn call(
    address: &str,
    mut request: Request<Full<Bytes>>,
    time_max: Duration,
) -> Result<(StatusCode, Bytes), NoAnswer> {
    let stream = connect(address).await?;
    let host = address.parse().map_err(|_| NoAnswer(format!("{address:?} is no host name")))?;
    request.headers_mut().insert(header::HOST, host);
    let exchange = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let answered = async {
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            Ok::<_, hyper::Error>((
                status,
                Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await,
            ))
        };
        // The connection moves the bytes, so it is polled beside the call; only the call's end counts.
        let mut answered = std::pin::pin!(answered);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            biased;
            done = &mut answered => done,
            _ = &mut connection => answered.await,
        }
    };
    match timeout(time_max, Box::pin(exchange)).await {
        Ok(Ok((status, Ok(body)))) => Ok((status, body.to_bytes())),
        Ok(Ok((_, Err(error)))) => Err(NoAnswer(format!("{address} broke off its answer: {error}"))),
        Ok(Err(error)) => Err(NoAnswer(format!("{address} gave no HTTP answer: {error}"))),
        Err(_) => Err(NoAnswer(format!("{address} did not answer within {} s", time_max.as_secs()))),
    }
}

/// `GET` of a path.
///
/// # Errors
/// As for [`call`].
pub(crate) async fn get(
    address: &str,
    path: &'static str,
    time_max: Duration,
) -> Result<(StatusCode, Bytes), NoAnswer> {
    let mut request = Request::new(Full::default());
    *request.uri_mut() = Uri::from_static(path);
    call(address, request, time_max).await
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
    fn urls_are_taken_apart_or_refused_with_a_reason() {
        let address = |url| authority(url, "http", 80).map(|(_, address)| address);
        assert_eq!(address("http://127.0.0.1:7100").as_deref(), Ok("127.0.0.1:7100"));
        assert_eq!(address("http://[::1]/x").as_deref(), Ok("[::1]:80"));
        for (url, reason) in [
            ("https://a:1", "no TLS"),
            ("ws://a:1", "must begin with http://"),
            ("a:1", "must begin with http://"),
            ("/x", "has no host"),
            ("http://a b", "is not a URL"),
        ] {
            let why = address(url).unwrap_err();
            assert!(why.contains(reason), "{url}: {why}");
        }
    }

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
