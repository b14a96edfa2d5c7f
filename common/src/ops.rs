//! The operator's port of every node: `/healthz`, `/readyz`, `/metrics`, `/statusz`.
//!
//! Alive and ready are different questions: a node that drains or has lost its links is alive, must not be
//! restarted, and must not be sent anything.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use tokio::net::TcpListener;

use crate::http1::{self, Answer, Handler};
use crate::metrics::{self, Metrics};
use crate::problem::Problem;
use crate::shutdown::Shutdown;
use crate::tasks::Tasks;

/// Connections to an ops port at a time.
const CONNECTIONS_MAX: usize = 64;

/// What a node says of itself.
pub trait Status: Send + Sync + 'static {
    /// Why the node does not take work now; empty: it does.
    fn unready(&self) -> Vec<String>;

    /// Everything that an operator may want to see, as JSON.
    fn status(&self) -> serde_json::Value;

    /// Brings gauges up to date before they are read.
    fn refresh(&self) {}
}

/// Serves the ops port until the node stops; it answers while the node drains.
pub async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    status: Arc<dyn Status>,
    tasks: Tasks,
    shutdown: Shutdown,
) {
    let ops = Ops { metrics, status };
    // A switch of its own: this port closes last.
    let until = Shutdown::new();
    let served = http1::serve(listener, ops, tasks, until.clone(), CONNECTIONS_MAX);
    shutdown.or_stopped(served).await;
    until.stop();
}

#[derive(Clone)]
struct Ops {
    metrics: Metrics,
    status: Arc<dyn Status>,
}

impl Handler for Ops {
    async fn handle(&self, request: Request<Incoming>, _peer: SocketAddr, request_id: &str) -> Answer {
        let path = request.uri().path();
        if !matches!(path, "/healthz" | "/readyz" | "/metrics" | "/statusz") {
            let known = "here are /healthz, /readyz, /metrics, /statusz";
            return Problem::new(StatusCode::NOT_FOUND, "not_found", known).response(request_id);
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return http1::method_not_allowed("GET, HEAD").response(request_id);
        }
        match path {
            "/healthz" => http1::ok("text/plain; charset=utf-8", "alive\n"),
            "/readyz" => {
                let reasons = self.status.unready();
                if reasons.is_empty() {
                    return http1::ok("text/plain; charset=utf-8", "ready\n");
                }
                Problem::unavailable("not_ready", reasons.join("; "), 1).response(request_id)
            }
            "/metrics" => {
                self.status.refresh();
                http1::ok(metrics::MEDIA_TYPE, self.metrics.text())
            }
            _ => http1::ok("application/json", self.status.status().to_string()),
        }
    }
}
