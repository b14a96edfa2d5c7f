//! Makes this gateway known to a logic node: a lease, renewed until the gateway goes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::backoff::Backoff;
use common::http1::call::call;
use common::link::announce::{Announcement, PATH, RENEW_EVERY};
use common::tls::{self, Origin};
use http::{Request, StatusCode, header};
use http_body_util::Full;

use crate::node::Parts;

/// One announcement, connection included, may take this long.
const CALL_TIME_MAX: Duration = Duration::from_secs(2);

/// Longest answer that is read: a lease, or a problem.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Announces until the drain is over, then says that the gateway leaves.
pub(crate) async fn run(url: String, ingress: SocketAddr, parts: Arc<Parts>) {
    let mut random = fastrand::Rng::new();
    let mut backoff = Backoff::new(Duration::from_millis(100), RENEW_EVERY);
    let mut was_well = None;
    let mut announcement =
        Announcement { name: parts.name.clone(), ingress: ingress.to_string(), leaving: false };
    loop {
        let answered = announce(&url, &announcement, &parts).await;
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
                tracing::warn!(logic = %url, %error, "cannot announce; trying again. Logic finds this gateway once --announce names the API of a logic node, and both have one link secret");
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
    let _ = announce(&url, &announcement, &parts).await;
}

async fn announce(url: &str, announcement: &Announcement, parts: &Parts) -> Result<(), String> {
    match tokio::time::timeout(CALL_TIME_MAX, post(url, announcement, parts)).await {
        Err(_) => Err(format!("no answer within {} s", CALL_TIME_MAX.as_secs())),
        Ok(Err(error)) => Err(error),
        Ok(Ok(status)) if status.is_success() => Ok(()),
        Ok(Ok(StatusCode::UNAUTHORIZED)) => Err("the logic node knows another link secret".into()),
        Ok(Ok(status)) => Err(format!("the logic node answered {status}")),
    }
}

async fn post(url: &str, announcement: &Announcement, parts: &Parts) -> Result<StatusCode, String> {
    let (_, logic) = Origin::parse(url, "http")?;
    let tls = parts.settings.outgoing_tls.as_ref();
    let stream = logic.dial(tls).await.map_err(|error| tls::explain(&error))?;
    let body = serde_json::to_vec(announcement).expect("a struct of strings is JSON");
    let mut request = Request::post(PATH)
        .header(header::HOST, logic.address())
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(secret) = &parts.settings.link_secret {
        request = request.header(header::AUTHORIZATION, secret.authorization());
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(|error| error.to_string())?;
    let (status, _) = call(stream, request, ANSWER_BYTES_MAX).await.map_err(|none| none.to_string())?;
    Ok(status)
}
