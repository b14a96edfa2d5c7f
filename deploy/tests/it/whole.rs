//! The whole under load: real processes, thousands of clients, every item verified at every client.

use std::sync::Arc;
use std::time::Duration;

use common::shutdown::Shutdown;
use loadtest::{Mix, Phase, Plan, Progress, Report};

use crate::cluster::{Cluster, cluster};

fn plan(cluster: &Cluster) -> Plan {
    Plan {
        gateways: cluster.gateways.iter().map(crate::cluster::Node::ws).collect(),
        logics: cluster.logics.iter().map(crate::cluster::Node::http).collect(),
        ..Plan::default()
    }
}

fn load(plan: Plan) -> Report {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(loadtest::run(plan)).unwrap()
}

fn assert_nothing_is_wrong(report: &Report) {
    let json = || serde_json::to_string_pretty(report).unwrap();
    assert!(report.verdict.ok, "{:?}\n{}", report.verdict.reasons, json());
    let counts = &report.totals;
    assert_eq!(
        (counts.lost, counts.duplicated, counts.reordered, counts.corrupted),
        (0, 0, 0, 0),
        "{}",
        json()
    );
    assert!(counts.received > 0 && counts.received == counts.expected, "{}", json());
    let pushes = &report.pushes;
    assert_eq!(pushes.accepted, pushes.scheduled, "every push was taken: {}", json());
    assert_eq!((counts.excused, pushes.partial), (0, 0), "and by every gateway: {}", json());
}

#[test]
fn five_hundred_clients_get_everything_once_and_in_order() {
    let cluster = cluster().logics(2).gateways(3).start();
    let report = load(Plan {
        clients: 500,
        rate: 300.0,
        duration: Duration::from_secs(5),
        rooms: 50,
        ..plan(&cluster)
    });
    assert_nothing_is_wrong(&report);
    let written: u64 =
        cluster.gateways.iter().map(|node| node.statusz()["items"]["written"].as_u64().unwrap()).sum();
    assert_eq!(written, report.totals.received, "what gateways say they wrote is what clients got");
}

#[test]
#[allow(clippy::print_stdout, reason = "the latency of both modes, for whoever asks for the output")]
fn with_leading_windows_most_items_come_sooner_and_all_of_them_in_order() {
    let [trailing, leading] = ["trailing", "leading"].map(|mode| {
        let flags: &[&str] = if mode == "leading" { &["--window-mode", "leading"] } else { &[] };
        let cluster = cluster().logics(2).gateways(2).window("1s").flags(flags).start();
        // Most rooms and users are quiet for seconds; those of `all` are busy.
        let mix = Mix { all: 1, room: 40, user: 40, client: 19, rooms: 0 };
        let plan = Plan {
            clients: 400,
            rate: 100.0,
            rooms: 400,
            rooms_per_client: 2,
            mix,
            urgent_share: 0.0,
            ..plan(&cluster)
        };
        let report = load(Plan { duration: Duration::from_secs(5), ..plan });
        assert_nothing_is_wrong(&report);
        report.latency.total
    });
    println!("1 s windows, ms from push to receipt: trailing {trailing:?}, leading {leading:?}");
    assert!(leading.p50_ms < trailing.p50_ms / 2.0, "trailing {trailing:?}, leading {leading:?}");
}

#[test]
fn slow_ten_thousand_clients_a_thousand_pushes_a_second_for_a_minute() {
    let cluster = cluster().logics(2).gateways(3).window("1s").start();
    let report =
        load(Plan { clients: 10_000, rate: 1_000.0, duration: Duration::from_secs(60), ..plan(&cluster) });
    assert_nothing_is_wrong(&report);
}

#[test]
fn slow_a_gateway_that_is_killed_and_restarted_is_felt_by_its_own_clients_only() {
    let mut cluster = cluster().logics(2).gateways(3).window("1s").start();
    let victim = cluster.gateways[2].ws();
    let plan = Plan {
        clients: 10_000,
        rate: 1_000.0,
        duration: Duration::from_secs(60),
        expect_churn: vec![victim],
        ..plan(&cluster)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (shutdown, progress) = (Shutdown::new(), Arc::new(Progress::default()));
    let report = runtime.block_on(async {
        let faults = async {
            progress.reached(Phase::Publishing).await;
            tokio::time::sleep(Duration::from_secs(15)).await;
            cluster.gateways[2].kill();
            tokio::time::sleep(Duration::from_secs(10)).await;
            tokio::task::block_in_place(|| cluster.gateways[2].start());
        };
        let run = loadtest::run_with(plan, &shutdown, progress.clone());
        tokio::join!(run, faults).0.unwrap()
    });
    let json = || serde_json::to_string_pretty(&report).unwrap();
    assert!(report.verdict.ok, "{:?}\n{}", report.verdict.reasons, json());
    for gateway in &report.gateways[..2] {
        assert_eq!(
            (gateway.disconnects, gateway.counts.lost, gateway.counts.excused),
            (0, 0, 0),
            "{}",
            json()
        );
        assert_eq!(gateway.counts.received, gateway.counts.expected, "{}", json());
    }
    assert!(report.gateways[2].reconnects > 0, "its clients came back: {}", json());
    let totals = &report.totals;
    assert_eq!(
        (totals.lost, totals.duplicated, totals.reordered, totals.corrupted),
        (0, 0, 0, 0),
        "{}",
        json()
    );
}
