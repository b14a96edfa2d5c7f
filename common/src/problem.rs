//! What an HTTP error looks like: RFC 9457 problem details, the same shape everywhere.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;

/// One thing that is wrong with a request, at one place of its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// A JSON pointer (RFC 6901) to the member that is wrong; empty for the whole body.
    pub pointer: String,
    /// What is wrong there and what to change.
    pub detail: String,
}

/// An error answer. Build it with [`Problem::new`], turn it into a response with [`Problem::response`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// A short word for programs: stable, `snake_case`.
    pub code: &'static str,
    /// What happened and what to change, for people.
    pub detail: String,
    /// Whether the same call may succeed later, unchanged; nothing of it was done now.
    pub retryable: bool,
    /// What is wrong at which place.
    pub errors: Vec<Fault>,
    /// Value of `Retry-After`, in seconds.
    pub retry_after_secs: Option<u32>,
    /// Value of `Allow`.
    pub allow: Option<&'static str>,
    /// A further header that the status asks for, such as `Sec-WebSocket-Version` with 426.
    pub header: Option<(&'static str, &'static str)>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    request_id: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    errors: &'a [Fault],
}

impl Problem {
    /// An error that will not go away by itself.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            retryable: false,
            errors: Vec::new(),
            retry_after_secs: None,
            allow: None,
            header: None,
        }
    }

    /// 503: not now. Nothing was done; the same call may be made again after `secs`.
    #[must_use]
    pub fn unavailable(code: &'static str, detail: impl Into<String>, secs: u32) -> Self {
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail);
        problem.retryable = true;
        problem.retry_after_secs = Some(secs);
        problem
    }

    /// 429: more often, or more at once, than this caller may. Nothing was done.
    #[must_use]
    pub fn too_many(code: &'static str, detail: impl Into<String>, secs: u32) -> Self {
        let mut problem = Self::unavailable(code, detail, secs);
        problem.status = StatusCode::TOO_MANY_REQUESTS;
        problem
    }

    /// 400 with the place in the body.
    #[must_use]
    pub fn fault(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let fault = Fault { pointer: pointer.into(), detail: detail.into() };
        let at = if fault.pointer.is_empty() { "the body" } else { &fault.pointer };
        let mut problem =
            Self::new(StatusCode::BAD_REQUEST, "invalid_request", format!("{at}: {}", fault.detail));
        problem.errors.push(fault);
        problem
    }

    /// The response: `application/problem+json` and the headers that the status asks for.
    ///
    /// # Panics
    /// Never: all header values are checked here or are constants.
    #[must_use]
    pub fn response(&self, request_id: &str) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body(request_id)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(secs) = self.retry_after_secs {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if let Some((name, value)) = self.header {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }

    /// The body alone.
    ///
    /// # Panics
    /// Never: a struct of texts is JSON.
    #[must_use]
    pub fn body(&self, request_id: &str) -> Bytes {
        let body = Body {
            r#type: format!("urn:tidegate:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            request_id,
            retryable: self.retryable,
            errors: &self.errors,
        };
        Bytes::from(serde_json::to_vec(&body).expect("a struct of strings is JSON"))
    }
}
