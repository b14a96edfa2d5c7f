//! Makes this gateway known to a logic node: a lease, renewed until the gateway goes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::backoff::Backoff;
use common::link::announce::{Announcement, PATH, RENEW_EVERY};
use http::{Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::node::Parts;

/// One announcement, connection included, may take this long.
const CALL_TIME_MAX: Duration = Duration::from_secs(2);

/// Announces until the drain is over, then says that the gateway leaves.
pub(crate) async fn run(url: String, ingress: SocketAddr, parts: Arc<Parts>) {
    let mut random = fastrand::Rng::new();
    let mut backoff = Backoff::new(Duration::from_millis(100), RENEW_EVERY);
    let mut was_well = None;
    let mut announcement =
        Announcement { name: parts.name.clone(), ingress: ingress.to_string(), leaving: false };
    loop {
        let answered = call(&url, &announcement, &parts).await;
        let well = answered.is_ok();
        let wait = if well {
            backoff.reset();
            RENEW_EVERY
        } else {
            backoff.next(&mut random)
        };
        match answered {
            Ok(()) if was_well != Some(true) => tracing::info!(logic = %url, "announced"),
            Err(error) if was_well != Some(false) => {
                tracing::warn!(logic = %url, %error, "cannot announce; trying again");
            }
            _ => {}
        }
        was_well = Some(well);
        // A drain is longer than a lease: it is renewed until the last client has gone.
        if parts.shutdown.or_stopped(tokio::time::sleep(wait)).await.is_none() {
            break;
        }
    }
    announcement.leaving = true;
    let _ = call(&url, &announcement, &parts).await;
}

async fn call(url: &str, announcement: &Announcement, parts: &Parts) -> Result<(), String> {
    match tokio::time::timeout(CALL_TIME_MAX, post(url, announcement, parts)).await {
        Err(_) => Err(format!("no answer within {} s", CALL_TIME_MAX.as_secs())),
        Ok(Err(error)) => Err(error),
        Ok(Ok(status)) if status.is_success() => Ok(()),
        Ok(Ok(StatusCode::UNAUTHORIZED)) => Err("the logic node knows another link secret".into()),
        Ok(Ok(status)) => Err(format!("the logic node answered {status}")),
    }
}

async fn post(url: &str, announcement: &Announcement, parts: &Parts) -> Result<StatusCode, String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let uri: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
    let host = uri.host().ok_or_else(|| format!("{url} names no host"))?;
    // The host of a URL has brackets around an IPv6 address (RFC 3986 §3.2.2), that of a socket has not.
    let host = host.trim_matches(['[', ']']);
    let port = uri.port_u16().unwrap_or(80);
    let stream = TcpStream::connect((host, port)).await.map_err(|error| said(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| said(&error))?;
    let body = serde_json::to_vec(announcement).expect("a struct of strings is JSON");
    let mut request = Request::post(PATH)
        .header(header::HOST, uri.authority().map_or("", |authority| authority.as_str()))
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(secret) = &parts.settings.link_secret {
        request = request.header(header::AUTHORIZATION, secret.authorization());
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(|error| said(&error))?;
    tokio::select! {
        answer = sender.send_request(request) => Ok(answer.map_err(|error| said(&error))?.status()),
        ended = connection => Err(ended.err().map_or("the connection closed".into(), |error| error.to_string())),
    }
}
