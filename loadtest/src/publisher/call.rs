//! One kept HTTP/1 connection to a logic node, and what its answers mean.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use common::tasks::Tasks;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

use crate::target::Endpoint;

/// A connect that takes longer has failed.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);

/// An answer that takes longer never comes.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// What an answer to a push says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answered {
    /// 202; these gateways did not take it, and why.
    Accepted {
        /// Names and codes.
        failed: Vec<(String, String)>,
    },
    /// Nothing was done.
    Refused(String),
    /// It may have been done, or not.
    Unknown(String),
}

/// Makes calls, one at a time, on a connection that is opened again when it is lost.
#[derive(Debug)]
pub(crate) struct Caller {
    endpoint: Endpoint,
    address: SocketAddr,
    authorization: Option<String>,
    sender: Option<SendRequest<Full<Bytes>>>,
    tasks: Tasks,
}

/// Why there is no answer.
enum Lost {
    /// The request never left.
    Unsent(String),
    /// It may have arrived.
    Sent(String),
}

#[derive(Deserialize)]
struct Accepted {
    gateways: Gateways,
}

impl Accepted {
    fn answered(self) -> Answered {
        let failed = self.gateways.failed.into_iter();
        Answered::Accepted { failed: failed.map(|failed| (failed.gateway, failed.code)).collect() }
    }
}

#[derive(Deserialize)]
struct Batch {
    pushes: Vec<Accepted>,
}

#[derive(Deserialize)]
struct Gateways {
    #[serde(default)]
    failed: Vec<Failed>,
}

#[derive(Deserialize)]
struct Failed {
    gateway: String,
    code: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Problem {
    code: String,
}

impl Caller {
    pub(crate) fn new(endpoint: Endpoint, address: SocketAddr, api_key: Option<&str>, tasks: Tasks) -> Self {
        let authorization = api_key.map(|key| format!("Bearer {key}"));
        Self { endpoint, address, authorization, sender: None, tasks }
    }

    /// `POST /v1/push` for one push, `POST /v1/push/batch` for several, a line each; an answer for each of them.
    pub(crate) async fn push(&mut self, body: Bytes, count: usize) -> Vec<Answered> {
        let path = if count == 1 { "/v1/push" } else { "/v1/push/batch" };
        match self.call(Method::POST, path, body).await {
            Ok((status, body)) => read_answers(status, &body, count),
            Err(Lost::Unsent(why)) => vec![Answered::Refused(why); count],
            Err(Lost::Sent(why)) => vec![Answered::Unknown(why); count],
        }
    }

    /// `GET` of a path: the body of a 200.
    pub(crate) async fn read(&mut self, path: &str) -> Result<Bytes, String> {
        match self.call(Method::GET, path, Bytes::new()).await {
            Ok((StatusCode::OK, body)) => Ok(body),
            Ok((status, body)) => {
                let body = String::from_utf8_lossy(&body);
                let body: String = body.chars().filter(|c| !c.is_control()).take(300).collect();
                Err(format!("GET {path} was answered {status} {body}").trim_end().to_owned())
            }
            Err(Lost::Unsent(why) | Lost::Sent(why)) => Err(why),
        }
    }

    async fn call(&mut self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes), Lost> {
        // A kept connection may have been closed while it was idle: then the request never left, and a new
        // connection gets it once more.
        let kept = self.sender.is_some();
        match self.try_call(&method, path, body.clone()).await {
            Err(Lost::Unsent(_)) if kept => self.try_call(&method, path, body).await,
            answered => answered,
        }
    }

    async fn try_call(
        &mut self,
        method: &Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Lost> {
        let mut sender = match self.sender.take() {
            Some(sender) => sender,
            None => self.connect().await.map_err(Lost::Unsent)?,
        };
        if let Err(error) = sender.ready().await {
            return Err(Lost::Unsent(format!("the connection is lost: {error}")));
        }
        let request = self.request(method, path, body);
        let answer = async {
            let response = sender.send_request(request).await.map_err(|error| match error.is_canceled() {
                true => Lost::Unsent(format!("the connection is lost: {error}")),
                false => Lost::Sent(format!("no answer: {}", with_source(&error))),
            })?;
            read_body(response).await
        };
        let answered = tokio::time::timeout(ANSWER_TIME_MAX, answer).await;
        let answered = answered.unwrap_or_else(|_| Err(Lost::Sent("no answer within 10 s".into())))?;
        self.sender = Some(sender);
        Ok(answered)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let opened = async {
            let stream = TcpStream::connect(self.address).await?;
            stream.set_nodelay(true)?;
            Ok::<_, std::io::Error>(stream)
        };
        let stream = match tokio::time::timeout(CONNECT_TIME_MAX, opened).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(format!("cannot connect: {error}")),
            Err(_) => return Err("cannot connect within 3 s".into()),
        };
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| format!("no HTTP: {error}"))?;
        self.tasks.spawn(async move {
            // Its error comes to whoever waits for an answer on it.
            _ = connection.await;
        });
        Ok(sender)
    }

    fn request(&self, method: &Method, path: &str, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(header::HOST, &self.endpoint.authority);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if method == Method::POST {
            let media_type =
                if path.ends_with("/batch") { "application/x-ndjson" } else { "application/json" };
            request = request.header(header::CONTENT_TYPE, media_type);
        }
        request.body(Full::new(body)).expect("host and key were checked when they were given")
    }
}

async fn read_body(response: Response<Incoming>) -> Result<(StatusCode, Bytes), Lost> {
    let (head, body) = response.into_parts();
    match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
        Ok(body) => Ok((head.status, body.to_bytes())),
        Err(error) => Err(Lost::Sent(format!("an answer that breaks off: {error}"))),
    }
}

/// What an answer says of each push of a call: a batch is taken whole or not at all.
fn read_answers(status: StatusCode, body: &[u8], count: usize) -> Vec<Answered> {
    if status != StatusCode::ACCEPTED {
        return vec![read_refusal(status, body); count];
    }
    let pushes = match count {
        1 => serde_json::from_slice(body).map(|one| vec![one]),
        _ => serde_json::from_slice::<Batch>(body).map(|batch| batch.pushes),
    };
    match pushes {
        Ok(pushes) if pushes.len() == count => pushes.into_iter().map(Accepted::answered).collect(),
        Ok(pushes) => {
            let why = format!("202 for {count} pushes that speaks of {}", pushes.len());
            vec![Answered::Unknown(why); count]
        }
        Err(error) => vec![Answered::Unknown(format!("202 that cannot be read: {error}")); count],
    }
}

fn read_refusal(status: StatusCode, body: &[u8]) -> Answered {
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let why = format!("{} {}", status.as_u16(), problem.code).trim_end().to_owned();
    // 503 says that nothing was done; other errors of the server, or one about time, leave it open.
    let nothing_done = status.is_client_error() || status == StatusCode::SERVICE_UNAVAILABLE;
    if nothing_done && !problem.code.contains("timeout") {
        Answered::Refused(why)
    } else {
        Answered::Unknown(why)
    }
}

fn with_source(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_mean_what_the_contract_says() {
        let accepted = br#"{"id":"x","matched":3,"gateways":{"known":2,"accepted":1,"failed":[{"gateway":"gw-7","code":"timeout"}]}}"#;
        let failed = vec![("gw-7".to_owned(), "timeout".to_owned())];
        assert_eq!(read_answers(StatusCode::ACCEPTED, accepted, 1), [Answered::Accepted { failed }]);
        assert!(matches!(read_answers(StatusCode::ACCEPTED, b"{}", 1)[..], [Answered::Unknown(_)]));
        for (status, body, refused) in [
            (400, "{\"code\":\"invalid_request\"}", true),
            (503, "{\"code\":\"overloaded\"}", true),
            (503, "not JSON", true),
            (503, "{\"code\":\"gateway_timeout\"}", false),
            (500, "", false),
            (200, "", false),
            (301, "", false),
        ] {
            for answered in read_answers(StatusCode::from_u16(status).unwrap(), body.as_bytes(), 2) {
                assert_eq!(matches!(answered, Answered::Refused(_)), refused, "{status} {body}");
            }
        }
    }

    #[test]
    fn a_batch_is_answered_push_by_push() {
        let body = br#"{"replayed":false,"pushes":[{"gateways":{"failed":[]}},
            {"gateways":{"failed":[{"gateway":"g","code":"lost"}]}}]}"#;
        let answers = read_answers(StatusCode::ACCEPTED, body, 2);
        let failed = |failed: &[(&str, &str)]| Answered::Accepted {
            failed: failed.iter().map(|(name, code)| ((*name).to_owned(), (*code).to_owned())).collect(),
        };
        assert_eq!(answers, [failed(&[]), failed(&[("g", "lost")])]);
        let short = read_answers(StatusCode::ACCEPTED, body, 3);
        assert!(
            short.len() == 3 && short.iter().all(|each| matches!(each, Answered::Unknown(_))),
            "{short:?}"
        );
    }
}
