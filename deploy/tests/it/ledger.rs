//! The ledger over a cluster in which a gateway dies: of every push and of every node everything adds up, and an answer
//! names who did not take it.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::{Cluster, Node, cluster};
use crate::history::{Client, metric};

const PATIENCE: Duration = Duration::from_secs(20);

/// The outcomes of items in the metrics of a node.
fn law(node: &Node, prefix: &str, dropped: &[&str]) -> (u64, u64, u64) {
    let of = |name: &str| metric(&node.ops, &format!("{prefix}_{name}"));
    let done = ["items_written_total", "items_conflated_total", "items_expired_total"].map(of);
    let dropped: u64 = dropped.iter().map(|name| of(name)).sum();
    (of("items_matched "), done.iter().sum::<u64>() + dropped, of("items_pending "))
}

fn logic_law(node: &Node) -> (u64, u64, u64) {
    let dropped =
        ["slow", "gone", "gateway_lost"].map(|reason| format!("items_dropped_total{{reason=\"{reason}\"}}"));
    law(node, "tidegate_logic", &dropped.each_ref().map(String::as_str))
}

fn gateway_law(node: &Node) -> (u64, u64, u64) {
    law(node, "tidegate_gateway", &["items_dropped_slow_total", "items_dropped_gone_total"])
}

fn count(counts: &Value, name: &str) -> u64 {
    counts[name].as_u64().unwrap_or_else(|| panic!("{name} in {counts}"))
}

/// What is said of a push now; what it says adds up.
fn counts(cluster: &Cluster, id: &str) -> (u64, u64, u64) {
    let (status, counts) = cluster.logics[0].get(&format!("/v1/pushes/{id}"));
    assert_eq!(status, 200, "{counts}");
    let dropped: u64 =
        ["slow", "gone", "gateway_lost"].iter().map(|why| count(&counts["dropped"], why)).sum();
    let done: u64 = ["written", "conflated", "expired"].iter().map(|name| count(&counts, name)).sum();
    assert_eq!(count(&counts, "matched"), done + dropped + count(&counts, "pending"), "{counts}");
    (count(&counts, "matched"), count(&counts, "pending"), count(&counts["dropped"], "gateway_lost"))
}

#[test]
fn a_gateway_that_dies_in_the_middle_is_named_and_everything_adds_up() {
    let rules = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(rules.path(), "[[rooms]]\nmatch = \"chat.*\"\nhistory = 100\nttl = \"1h\"\n").unwrap();
    let flags = ["--config", rules.path().to_str().unwrap()];
    let mut cluster = cluster().gateways(2).window("1s").logic_flags(&flags).start();
    let rooms = ["chat.1", "plain"];
    let _clients: Vec<Client> = (0..2)
        .flat_map(|gateway| rooms.map(|room| (gateway, room)))
        .map(|(gateway, room)| Client::connect(&cluster.gateways[gateway].main, &format!("room={room}")))
        .collect();
    let push = |cluster: &Cluster, room: &str, wait: &str| {
        let body = format!(r#"{{"to":{{"room":"{room}"}},"data":1,"wait":"{wait}"}}"#);
        let (status, answer) = cluster.logics[0].push(&body);
        assert_eq!(status, 202, "{answer}");
        answer
    };
    let id = |answer: &Value| answer["id"].as_str().unwrap().to_owned();
    let mut ids = Vec::new();
    for _ in 0..20 {
        for room in rooms {
            let answer = push(&cluster, room, "accepted");
            assert_eq!(answer["matched"], 2, "{answer}");
            ids.push(id(&answer));
            counts(&cluster, ids.last().unwrap());
        }
    }
    cluster.gateways[0].kill();
    for room in rooms {
        let answer = push(&cluster, room, "written");
        let failed = &answer["gateways"]["failed"];
        assert_eq!(
            (&failed[0]["gateway"], &failed[0]["code"]),
            (&"gw-0".into(), &"link_lost".into()),
            "{answer}"
        );
        assert_eq!((&answer["gateways"]["accepted"], &answer["written"]), (&1.into(), &1.into()), "{answer}");
        ids.push(id(&answer));
    }
    let until = Instant::now() + PATIENCE;
    while ids.iter().any(|id| counts(&cluster, id).1 > 0) {
        assert!(Instant::now() < until, "something is pending for ever");
    }
    let lost: u64 = ids.iter().map(|id| counts(&cluster, id).2).sum();
    assert!((1..=40).contains(&lost), "{lost} of what waited for its window at the gateway that died");
    let matched: u64 = ids.iter().map(|id| counts(&cluster, id).0).sum();
    assert_eq!(logic_law(&cluster.logics[0]), (matched, matched, 0));
    let (matched, done, pending) = gateway_law(&cluster.gateways[1]);
    assert_eq!((matched, pending), (done, 0));
}
