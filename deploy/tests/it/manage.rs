//! What an operator asks of a cluster of two logic nodes and three gateways, method by method. Changes are asked of one
//! logic node and seen through the other.

mod churn;
mod client;
mod clients;
mod gateways;
mod rooms;
mod shell;
mod users;

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::{Cluster, cluster};
use client::Client;

/// Far beyond what is needed.
const PATIENCE: Duration = Duration::from_secs(20);

struct Three(Cluster);

fn three() -> Three {
    Three(cluster().logics(2).gateways(3).window("0ms").start())
}

impl Three {
    fn client(&self, gateway: usize, query: &str) -> Client {
        Client::connect(&self.0.gateways[gateway].main, query)
    }

    /// Asks one logic node.
    fn get(&self, path: &str) -> Value {
        let (status, answer) = self.0.logics[1].get(path);
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// Asks the other to do something.
    fn done(&self, head: &str, body: &str) -> Value {
        let (status, answer) = self.0.logics[0].call(head, body);
        assert_eq!(status, 200, "{head}: {answer}");
        answer
    }

    /// The same for what is refused: status and code.
    fn refused(&self, head: &str, body: &str) -> (u16, String) {
        let (status, answer) = self.0.logics[0].call(head, body);
        (status, answer["code"].as_str().unwrap_or_default().to_owned())
    }

    /// Pushes, and says how many connections that matched.
    fn push(&self, to: &str, data: u32) -> u64 {
        let (status, answer) = self.0.logics[1].push(&format!(r#"{{"to":{to},"data":{data}}}"#));
        assert_eq!(status, 202, "{answer}");
        answer["matched"].as_u64().unwrap()
    }

    /// One member of all entries of a list, over all its pages, sorted.
    fn all(&self, path: &str, list: &str, member: &str) -> Vec<Value> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let separator = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{path}{separator}limit=2{cursor}"));
            assert_eq!(page["partial"], false, "{page}");
            all.extend(page[list].as_array().unwrap().iter().map(|entry| entry[member].clone()));
            let Some(next) = page["cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        all.sort_by_key(Value::to_string);
        all
    }
}

fn ids(clients: &[&Client]) -> Vec<Value> {
    let mut ids: Vec<_> = clients.iter().map(|client| Value::from(client.id.as_str())).collect();
    ids.sort_by_key(Value::to_string);
    ids
}

/// Waits for what a client that went by itself changes.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}: not in {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
