//! A gateway for a test: on free ports, ended with the test.

use std::net::SocketAddr;

use common::shutdown::Shutdown;
use gateway::{Ended, Fallen, Node, Settings};
use tokio::task::JoinHandle;

pub(crate) struct Gateway {
    pub(crate) clients: SocketAddr,
    pub(crate) ingress: SocketAddr,
    pub(crate) ops: SocketAddr,
    pub(crate) shutdown: Shutdown,
    running: Option<JoinHandle<Result<Ended, Fallen>>>,
}

/// Settings for a test: free ports, open, two workers, no drain time.
pub(crate) fn settings() -> Settings {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    Settings {
        name: "gw-test".into(),
        listen: free,
        ingress: free,
        ops: free,
        admission: gateway::Admission { open: true, ..Default::default() },
        workers: 2,
        window: std::time::Duration::from_millis(200),
        drain: std::time::Duration::ZERO,
        ..Settings::default()
    }
}

pub(crate) async fn start(settings: Settings) -> Gateway {
    let node = Node::bind(settings).await.unwrap();
    let shutdown = Shutdown::new();
    Gateway {
        clients: node.clients_addr(),
        ingress: node.ingress_addr(),
        ops: node.ops_addr(),
        shutdown: shutdown.clone(),
        // The test owns the handle, and the gateway ends with it.
        #[allow(clippy::disallowed_methods)]
        running: Some(tokio::spawn(node.run(shutdown))),
    }
}

impl Gateway {
    /// Drains, and says how it went.
    pub(crate) async fn end(mut self) -> Ended {
        self.shutdown.start_drain();
        self.running.take().unwrap().await.unwrap().unwrap()
    }

    /// The answer of the ops port.
    pub(crate) async fn ops(&self, path: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        let answer = crate::clients::raw(self.ops, request.as_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    /// A field of `/statusz` by its JSON pointer.
    pub(crate) async fn status(&self, pointer: &str) -> u64 {
        let (_, body) = self.ops("/statusz").await;
        let status: serde_json::Value = serde_json::from_str(&body).unwrap();
        status
            .pointer(pointer)
            .and_then(serde_json::Value::as_u64)
            .unwrap_or_else(|| panic!("{pointer}: {body}"))
    }

    /// How a limit stands: the most, its use, and how often it was refused, in `/statusz` and in `/metrics`.
    pub(crate) async fn limit(&self, name: &str) -> [Option<u64>; 3] {
        let (_, body) = self.ops("/statusz").await;
        let status: serde_json::Value = serde_json::from_str(&body).unwrap();
        let rows = status["limits"].as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name}: {body}"));
        let (_, metrics) = self.ops("/metrics").await;
        let refused = row["refused"].as_u64().unwrap();
        let counter = format!("tidegate_gateway_refused_total{{limit=\"{name}\"}} {refused}\n");
        assert!(metrics.contains(&counter), "{counter}: {metrics}");
        [row["max"].as_u64(), row["used"].as_u64(), Some(refused)]
    }

    /// Waits until a limit has been refused so often.
    pub(crate) async fn wait_for_refusals(&self, name: &str, refused: u64) {
        let reached = async { while self.limit(name).await[2] != Some(refused) {} };
        let in_time = tokio::time::timeout(std::time::Duration::from_secs(10), reached).await;
        assert!(in_time.is_ok(), "{name}: {:?}, not {refused}", self.limit(name).await);
    }

    /// Waits until something waits for its window.
    pub(crate) async fn wait_for_merger(&self) {
        while self.status("/mergerBytes").await == 0 {}
    }

    /// Waits until a field of `/statusz` has a value.
    pub(crate) async fn wait_for(&self, pointer: &str, value: u64) {
        let reached = async { while self.status(pointer).await != value {} };
        let in_time = tokio::time::timeout(std::time::Duration::from_secs(10), reached).await;
        assert!(in_time.is_ok(), "{pointer} is {}, not {value}", self.status(pointer).await);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shutdown.stop();
    }
}
