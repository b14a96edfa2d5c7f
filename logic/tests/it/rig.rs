//! A logic node under test, and a caller that writes its requests byte by byte.

use std::net::SocketAddr;
use std::time::Duration;

use common::shutdown::Shutdown;
use logic::{Ended, Fallen, Node, Settings};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

pub(crate) struct Rig {
    pub(crate) api: SocketAddr,
    pub(crate) ops: SocketAddr,
    pub(crate) shutdown: Shutdown,
    node: JoinSet<Result<Ended, Fallen>>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Checks status and code, and that an error is a problem.
    pub(crate) fn expect(&self, status: u16, code: &str) {
        assert_eq!((self.status, &*self.code()), (status, code), "{self:?}");
        assert!(self.head.contains("application/problem+json"), "{self:?}");
    }
}

/// A node with these gateways and quick limits.
pub(crate) async fn logic(gateways: &[&str]) -> Rig {
    with(Settings { gateways: gateways.iter().map(|address| (*address).to_owned()).collect(), ..quick() })
        .await
}

pub(crate) fn quick() -> Settings {
    Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        ops: "127.0.0.1:0".parse().unwrap(),
        drain: Duration::from_secs(5),
        ack_time_max: Duration::from_millis(300),
        answer_time_max: Duration::from_millis(300),
        link_silence_max: Duration::from_secs(2),
        ..Settings::default()
    }
}

pub(crate) async fn with(settings: Settings) -> Rig {
    let node = Node::bind(settings).await.unwrap();
    let (api, ops, shutdown) = (node.api_addr(), node.ops_addr(), Shutdown::new());
    let mut set = JoinSet::new();
    set.spawn(node.run(shutdown.clone()));
    Rig { api, ops, shutdown, node: set }
}

impl Rig {
    pub(crate) async fn push(&self, body: &str) -> Answer {
        self.post("/v1/push", "", body).await
    }

    /// `more`: further header lines, each with its line end.
    pub(crate) async fn post(&self, path: &str, more: &str, body: &str) -> Answer {
        let media_type = if more.to_lowercase().contains("content-type") {
            ""
        } else {
            "content-type: application/json\r\n"
        };
        let length = body.len();
        let raw = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{media_type}{more}content-length: {length}\r\n\r\n{body}"
        );
        call(self.api, raw.as_bytes()).await
    }

    /// A call with a body in JSON, or without one.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        let media_type = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
        let length = body.len();
        let raw = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{media_type}content-length: {length}\r\n\r\n{body}"
        );
        call(self.api, raw.as_bytes()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        get(self.api, path).await
    }

    /// `more`: further header lines, each with its line end.
    pub(crate) async fn get_with(&self, path: &str, more: &str) -> Answer {
        call(
            self.api,
            format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}\r\n").as_bytes(),
        )
        .await
    }

    /// Asks until the one gateway of the node is in this state.
    pub(crate) async fn gateway_is(&self, state: &str) -> Value {
        self.until("/v1/gateways", |list| {
            list.as_array().into_iter().flatten().find(|gateway| gateway["state"] == state).cloned()
        })
        .await
    }

    /// Asks until the answer is what is wanted.
    pub(crate) async fn until<T>(&self, path: &str, wanted: impl Fn(&Value) -> Option<T>) -> T {
        let mut every = interval(Duration::from_millis(10));
        let asking = async {
            loop {
                every.tick().await;
                if let Some(found) = wanted(&self.get(path).await.json()) {
                    return found;
                }
            }
        };
        match timeout(Duration::from_secs(10), asking).await {
            Ok(found) => found,
            Err(_) => panic!("not in time: {:?}", self.get(path).await),
        }
    }

    /// Waits for the node's end.
    pub(crate) async fn ended(&mut self) -> Result<Ended, Fallen> {
        timeout(Duration::from_secs(10), self.node.join_next())
            .await
            .expect("an end in time")
            .unwrap()
            .unwrap()
    }
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    call(address, format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await
}

/// Writes a request as it is, and reads until the connection is closed.
pub(crate) async fn call(address: SocketAddr, raw: &[u8]) -> Answer {
    let stream = begin(address, raw).await;
    finish(stream).await
}

pub(crate) async fn begin(address: SocketAddr, raw: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server that answers before it has read all may close under our hands.
    let _ = stream.write_all(raw).await;
    stream
}

pub(crate) async fn finish(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let read = timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes)).await;
    read.expect("an answer in time").unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}
