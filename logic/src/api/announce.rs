//! `POST /v1/link/announce`: a gateway makes itself known. Guarded by the link secret.

use std::net::SocketAddr;

use common::http1::{self, Answer};
use common::link::announce::{Announcement, LEASE, Lease};
use common::problem::Problem;
use http::request::Parts as Head;
use http::{StatusCode, header};
use hyper::body::Incoming;

use super::{Parts, json, media_type, query};
use crate::fleet::NotTaken;

/// Longest announcement: a name of 256 bytes and an address, escaped.
const BODY_BYTES_MAX: usize = 4 * 1024;

pub(super) async fn announce(
    parts: &Parts,
    head: &Head,
    body: Incoming,
    peer: SocketAddr,
) -> Result<Answer, Problem> {
    query::read(head.uri.query(), &[])?;
    if let Some(secret) = &parts.secret {
        let proof = head.headers.get(header::AUTHORIZATION).map(http::HeaderValue::as_bytes);
        if !secret.is_proved_by(proof) {
            let detail =
                "announcing needs the link secret as a bearer token: do both nodes have the same one?";
            let mut problem = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail);
            problem.header = Some(("www-authenticate", "Bearer"));
            return Err(problem);
        }
    }
    if parts.secret.is_none() && parts.is_proved_by_certificate {
        let detail = "announcing needs a link secret, and this node has none: its links are proved by certificates; \
                      give both nodes --link-secret-file, or name the gateway with --gateway or --gateway-dns";
        return Err(Problem::new(StatusCode::FORBIDDEN, "no_link_secret", detail));
    }
    media_type(head, &["application/json"])?;
    let time_max = parts.tune.now().limits.body_time_max;
    let body = http1::body_within(body, BODY_BYTES_MAX, time_max).await?;
    let said: Announcement = serde_json::from_slice(&body)
        .map_err(|error| Problem::fault("", format!("not an announcement: {error}")))?;
    parts.fleet.announce(&said, peer).map_err(|not_taken| match not_taken {
        NotTaken::Bad(pointer, detail) => Problem::fault(pointer, detail),
        NotTaken::Full => Problem::unavailable("fleet_full", "there are too many gateways", 10),
    })?;
    let lease_ms = u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX);
    json(StatusCode::OK, &Lease { lease_ms })
}
