//! How logic nodes find gateways, and what happens when a gateway goes.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::cluster::{Discovery, cluster};
use crate::process::{Running, http};

#[test]
fn a_static_list_a_dns_name_and_announcements_all_make_a_cluster() {
    for (discovery, gateways) in [(Discovery::List, 3), (Discovery::Dns, 1), (Discovery::Announce, 3)] {
        let cluster = cluster().logics(2).gateways(gateways).found_by(discovery).start();
        for logic in &cluster.logics {
            let (status, answer) = logic.push(r#"{"to":{"all":true},"data":1}"#);
            let expected = json!({"known": gateways, "accepted": gateways, "failed": []});
            assert_eq!((status, &answer["gateways"]), (202, &expected), "{discovery:?}: {answer}");
        }
    }
}

#[test]
fn a_cluster_with_a_link_secret_works_and_one_with_another_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "a secret of the tests'\n".replace(' ', "-")).unwrap();
    let cluster = cluster().secret(file.to_str().unwrap()).found_by(Discovery::Announce).start();
    assert_eq!(cluster.logics[0].push(r#"{"to":{"all":true},"data":1}"#).0, 202);
    let body = r#"{"name":"stranger","ingress":"127.0.0.1:1"}"#;
    let answer = http(&cluster.logics[0].main, "POST /v1/link/announce", body);
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[test]
fn a_dead_gateway_is_noticed_within_three_seconds_and_holds_up_nobody() {
    let mut cluster = cluster().gateways(3).start();
    let url = cluster.gateways[0].ws();
    let mut tail = Running::start(&["tail", "--url", &url, "--room", "r"]);
    tail.line("connected to");
    // Stopped, not killed: its sockets stay open, only silence tells.
    cluster.gateways[2].signal("STOP");
    let stopped = Instant::now();
    while cluster.states(0).iter().any(|state| state == "linked") {
        let began = Instant::now();
        let (status, answer) = cluster.logics[0].push(r#"{"to":{"room":"r"},"urgent":true,"data":1}"#);
        assert_eq!((status, &answer["matched"]), (202, &1.into()), "{answer}");
        assert!(began.elapsed() < Duration::from_millis(900), "a push to others took {:?}", began.elapsed());
        if cluster.states(0).iter().filter(|state| *state == "linked").count() == 2 {
            break;
        }
        assert!(stopped.elapsed() < Duration::from_secs(3), "{:?}", cluster.states(0));
    }
    let (status, answer) = cluster.logics[0].push(r#"{"to":{"all":true},"data":2}"#);
    assert_eq!(status, 202);
    assert_eq!(answer["gateways"]["accepted"], 2, "{answer}");
    assert_eq!(answer["gateways"]["failed"][0]["gateway"], "gw-2", "{answer}");
    cluster.gateways[2].signal("CONT");
    cluster.wait_for_linked(0, 3);
    cluster.gateways[2].kill();
    cluster.wait_for_linked(0, 2);
    cluster.gateways[2].start();
    cluster.wait_for_linked(0, 3);
}

#[test]
fn a_lease_that_is_not_renewed_ends() {
    let mut cluster = cluster().gateways(2).found_by(Discovery::Announce).start();
    cluster.gateways[1].kill();
    // Ten seconds of lease; the link is lost at once, the gateway forgotten when the lease ends.
    let killed = Instant::now();
    while cluster.states(0).len() > 1 {
        assert!(killed.elapsed() < Duration::from_secs(15), "{:?}", cluster.states(0));
        std::thread::yield_now();
    }
    assert!(killed.elapsed() > Duration::from_secs(5), "a lease outlives a crash for a while");
}

#[test]
fn a_gateway_that_leaves_takes_its_announcement_back() {
    let mut cluster = cluster().gateways(2).found_by(Discovery::Announce).start();
    cluster.gateways[1].signal("TERM");
    assert_eq!(cluster.gateways[1].ended(), Some(0));
    // Its lease would have lived for seven seconds more at least.
    let ended = Instant::now();
    while cluster.states(0) != ["linked"] {
        assert!(ended.elapsed() < Duration::from_secs(3), "{:?}", cluster.states(0));
        std::thread::yield_now();
    }
    let (_, answer) = cluster.logics[0].push(r#"{"to":{"all":true},"data":1}"#);
    assert_eq!(answer["gateways"], json!({"known": 1, "accepted": 1, "failed": []}), "{answer}");
}

#[test]
fn an_address_that_is_something_else_is_named_and_harms_nobody() {
    let page = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = page.local_addr().unwrap().to_string();
    let healthy = cluster().start();
    let any = "127.0.0.1:0";
    let mut logic = Running::start(&[
        "logic",
        "--insecure",
        "--listen",
        any,
        "--ops",
        any,
        "--gateway",
        &healthy.logics[0].main,
        "--gateway",
        &other,
    ]);
    logic.line("READY");
    let api = logic.after("API          http://");
    let api = api.trim_end_matches('/');
    let answer = http(api, "POST /v1/push", r#"{"to":{"all":true},"data":1}"#);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.to_lowercase().contains("retry-after"), "{answer}");
}

#[test]
fn a_push_to_a_user_goes_only_to_the_gateway_that_holds_the_user() {
    let cluster = cluster().gateways(3).window("0").start();
    let url = cluster.gateways[1].ws();
    let mut tail = Running::start(&["tail", "--url", &url, "--user", "u1", "--count", "1"]);
    tail.line("connected to");
    let (_, answer) = cluster.logics[0].push(r#"{"to":{"user":"u1"},"data":1,"wait":"written"}"#);
    assert_eq!((&answer["matched"], &answer["gateways"]["accepted"]), (&1.into(), &1.into()), "{answer}");
    assert!(tail.ended().success());
    let deliveries = |gateway: usize| {
        let metrics = http(&cluster.gateways[gateway].ops, "GET /metrics", "");
        let line =
            metrics.lines().find(|line| line.starts_with("tidegate_gateway_deliveries_total ")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!([deliveries(0), deliveries(1), deliveries(2)], [0, 1, 0]);
}
