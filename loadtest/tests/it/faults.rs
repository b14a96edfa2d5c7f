//! Each fault of a cluster is found in the whole tool, and a good cluster passes.

use std::time::Duration;

use loadtest::{Counts, Mix, Plan, Report};

use super::fake::Fault;
use super::report;

fn only_to_all(plan: &mut Plan) {
    plan.mix = Mix { all: 1, room: 0, user: 0, client: 0, rooms: 0 };
    plan.urgent_share = 0.0;
}

fn failed(report: &Report) -> Counts {
    assert!(!report.verdict.ok && report.exit_code() == 1, "{report}");
    assert!(!report.examples.is_empty(), "{report}");
    Counts { expected: 0, received: 0, ..report.totals }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_cluster_passes() {
    let report = report(Fault::None, |_| {}).await;
    assert!(report.verdict.ok && report.complete, "{report}");
    let totals = report.totals;
    assert_eq!(totals, Counts { expected: totals.expected, received: totals.expected, ..Counts::default() });
    assert_eq!((report.pushes.scheduled, report.pushes.accepted), (200, 200));
    assert!(totals.expected > 1_000);
    assert_eq!(report.gateways.iter().map(|gateway| gateway.clients).sum::<u64>(), 60);
    assert_eq!(report.gateways[1].name.as_deref(), Some("gw-1"));
    let latency = &report.latency;
    assert_eq!(latency.total.count + latency.urgent_total.count, totals.received);
    assert!(latency.wait.p50_ms <= latency.total.p99_ms && latency.push.count == 200);
    let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(json["totals"]["received"], totals.received);
    assert!(
        report.to_string().contains("\nPASS: 0 lost, 0 duplicated, 0 reordered, 0 corrupted"),
        "{report}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_item_fails_the_run() {
    let report = report(Fault::Lose, |_| {}).await;
    assert_eq!(failed(&report), Counts { lost: 1, ..Counts::default() }, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicated_item_fails_the_run() {
    let report = report(Fault::Duplicate, |_| {}).await;
    assert_eq!(failed(&report), Counts { duplicated: 1, ..Counts::default() }, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reordered_item_fails_the_run() {
    // One logic node, so that the next item is of the same stream.
    let report = report(Fault::Reorder, |plan| {
        only_to_all(plan);
        plan.logics.truncate(1);
    })
    .await;
    assert_eq!(failed(&report), Counts { reordered: 1, ..Counts::default() }, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupted_item_fails_the_run() {
    let report = report(Fault::Corrupt, |_| {}).await;
    assert_eq!(failed(&report), Counts { corrupted: 1, lost: 1, ..Counts::default() }, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_item_fails_the_run_that_asked_for_it() {
    for (bound, late) in [(Some(Duration::from_secs(1)), 1), (Some(Duration::from_secs(60)), 0), (None, 0)] {
        let report = report(Fault::Late, |plan| {
            only_to_all(plan);
            plan.late = bound;
        })
        .await;
        let totals = report.totals;
        let clean = Counts { expected: 12_000, received: 12_000, late, ..Counts::default() };
        assert_eq!((totals, report.verdict.ok), (clean, late == 0), "{report}");
        assert!(report.latency.total.max_ms > 1_400.0, "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_for_somebody_else_fails_the_run() {
    let to_clients = Mix { all: 0, room: 0, user: 0, client: 1, rooms: 0 };
    let report = report(Fault::Misdeliver, |plan| plan.mix = to_clients).await;
    assert_eq!(failed(&report), Counts { unexpected: 1, ..Counts::default() }, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_push_is_not_lost() {
    let report = report(Fault::Refuse, |_| {}).await;
    assert!(report.verdict.ok, "{report}");
    assert_eq!((report.pushes.refused, report.pushes.accepted), (66, 134));
    assert!(report.to_string().contains("503 overloaded"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_was_refused_and_came_fails_the_run() {
    let report = report(Fault::Lie, only_to_all).await;
    assert_eq!(failed(&report), Counts { unexpected: 60, ..Counts::default() }, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_named_as_failed_is_excused() {
    let report = report(Fault::Fail, |_| {}).await;
    assert!(report.verdict.ok, "{report}");
    assert!(report.gateways[1].counts.excused > 0 && report.gateways[1].counts.received == 0);
    assert_eq!((report.gateways[0].counts.excused, report.pushes.partial), (0, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_are_cut_off_come_back_and_concern_nobody_else() {
    for expected in [true, false] {
        let report = report(Fault::Cut, |plan| {
            only_to_all(plan);
            plan.duration *= 4;
            if expected {
                plan.expect_churn = vec![plan.gateways[1].clone()];
            }
        })
        .await;
        assert_eq!(report.verdict.ok, expected, "{report}");
        let [stable, cut] = &report.gateways[..] else { panic!("two gateways") };
        assert_eq!((stable.counts.lost, stable.counts.excused, stable.disconnects), (0, 0, 0), "{report}");
        assert_eq!((cut.disconnects, cut.reconnects), (30, 30), "{report}");
        assert_eq!(cut.close_codes.values().sum::<u64>(), 30);
        assert_eq!(cut.counts.excused > 0, expected, "{report}");
        assert_eq!(cut.counts.lost > 0, !expected, "{report}");
    }
}
