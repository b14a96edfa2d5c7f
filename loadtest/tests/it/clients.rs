//! Clients of all kinds: of several runs on one cluster, slow ones, ones that take compression, all at once.

use std::time::Duration;

use loadtest::{Counts, Mix, Order, Plan};

use super::fake::{Fake, Fault};
use super::{plan, report};

const ROOMS_AND_USERS: Mix = Mix { all: 0, room: 60, user: 30, client: 10, rooms: 0 };

#[tokio::test(flavor = "multi_thread")]
async fn runs_with_prefixes_share_a_cluster_and_do_not_meet() {
    for (prefixes, meet) in [(["p0-", "p1-"], false), (["p0-", "p0-"], true)] {
        let fake = Fake::start(2, Fault::None).await;
        let runs = prefixes.map(|prefix| {
            let plan = Plan { prefix: prefix.into(), mix: ROOMS_AND_USERS, ..plan(&fake) };
            loadtest::run(plan)
        });
        let [one, other] = runs;
        let (one, other) = tokio::join!(Box::pin(one), Box::pin(other));
        for report in [one.unwrap(), other.unwrap()] {
            assert!(report.totals.expected > 200, "{report}");
            assert_eq!(report.verdict.ok, !meet, "{report}");
            assert_eq!(report.totals.corrupted > 0, meet, "{report}");
        }
    }
}

/// 4 KiB to all, a hundred times a second.
fn much(plan: &mut Plan) {
    plan.mix = Mix { all: 1, room: 0, user: 0, client: 0, rooms: 0 };
    (plan.size, plan.rate, plan.urgent_share) = (4_096, 100.0, 0.0);
    plan.duration = Duration::from_secs(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_read_are_shed_and_counted_apart() {
    let report = report(Fault::Shed, |plan| {
        much(plan);
        (plan.stalled_share, plan.slow_share, plan.slow_read) = (0.1, 0.1, 8 * 1024);
    })
    .await;
    assert!(report.verdict.ok, "{report}");
    let (totals, slow) = (report.totals, &report.slow);
    assert!(slow.stalled > 0 && slow.slow > 0, "{report}");
    let prompt = 60 - slow.stalled - slow.slow;
    let expected = prompt * report.pushes.accepted;
    assert_eq!(totals, Counts { expected, received: expected, ..Counts::default() }, "{report}");
    assert_eq!(report.latency.total.count, expected, "a slow client has no latency: {report}");
    assert_eq!(slow.expected, (slow.stalled + slow.slow) * report.pushes.accepted, "{report}");
    assert_eq!(slow.received + slow.missed, slow.expected, "{report}");
    assert!(slow.missed > 0 && slow.closed > 0 && slow.gapped >= slow.closed, "{report}");
    assert!(slow.close_codes[&4002] >= slow.closed, "{report}");
    assert!(report.gateways.iter().all(|gateway| gateway.disconnects + gateway.gaps == 0), "{report}");
    assert!(report.to_string().contains("closed with 4002"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_that_a_cluster_waits_for_miss_nothing() {
    let report = report(Fault::None, |plan| (plan.stalled_share, plan.slow_share) = (0.2, 0.2)).await;
    assert!(report.verdict.ok, "{report}");
    assert!(report.slow.expected > 100 && report.slow.missed == 0, "all is read at the end: {report}");
    assert_eq!((report.slow.received, report.slow.disconnects), (report.slow.expected, 0), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_messages_are_inflated_and_verified() {
    let plain = report(Fault::None, |_| {}).await;
    assert_eq!((plain.frames.deflated, plain.frames.wire_bytes), (0, plain.frames.text_bytes), "{plain}");
    assert_eq!(plain.frames.messages, plain.totals.received, "the fake merges nothing: {plain}");
    let all = report(Fault::None, |plan| plan.deflate_share = 1.0).await;
    assert!(all.verdict.ok, "{all}");
    assert_eq!(
        (all.frames.deflated, all.frames.messages),
        (all.totals.received, all.totals.received),
        "{all}"
    );
    assert_eq!(all.frames.text_bytes, plain.frames.text_bytes, "{all}");
    assert!(all.frames.wire_bytes < all.frames.text_bytes, "{all}");
    let half = report(Fault::None, |plan| plan.deflate_share = 0.5).await;
    assert!(half.verdict.ok && half.frames.deflated > 0, "{half}");
    assert!(half.frames.deflated < half.frames.messages, "{half}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_keeps_its_context_is_found() {
    let report = report(Fault::Takeover, |plan| {
        much(plan);
        (plan.duration, plan.deflate_share) = (Duration::from_millis(200), 1.0);
    })
    .await;
    assert!(!report.verdict.ok && report.totals.corrupted > 0, "{report}");
    assert!(report.examples.iter().any(|example| example.contains("cannot be inflated")), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupted_item_is_found_under_its_compression() {
    let report = report(Fault::Corrupt, |plan| plan.deflate_share = 1.0).await;
    assert!(!report.verdict.ok, "{report}");
    assert_eq!((report.totals.corrupted, report.totals.lost), (1, 1), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_connects_as_fast_as_it_can_and_is_timed() {
    let report = report(Fault::None, |plan| {
        (plan.clients, plan.connect_rate, plan.connects_in_flight) = (300, 0, 20);
        plan.rate = 0.0;
    })
    .await;
    assert!(report.verdict.ok && report.ramp.connected == 300, "{report}");
    assert_eq!(report.ramp.handshake.count, 300, "{report}");
    assert!(report.ramp.secs > 0.0 && report.ramp.handshake.p99_ms > 0.0, "{report}");
    let rate = report.ramp.connected as f64 / report.ramp.secs;
    assert!((rate / report.ramp.connects_per_sec - 1.0).abs() < 1e-6, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_in_turn_each_get_exactly_their_share() {
    let report = report(Fault::None, |plan| {
        (plan.rooms, plan.rooms_per_client, plan.order) = (20, 1, Order::Turn);
        (plan.mix, plan.rate) = (Mix { room: 1, all: 0, user: 0, client: 0, rooms: 0 }, 400.0);
    })
    .await;
    assert!(report.verdict.ok, "{report}");
    // 200 items are ten to each room, and each client is in one.
    assert_eq!(report.totals.expected, 60 * 10, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_come_and_go_and_what_they_miss_is_excused() {
    let report = report(Fault::None, |plan| {
        (plan.churn, plan.moves, plan.processes) = (0.3, 0.5, 1);
        // On busy cores the server knows of a client that has come back some time after its hello.
        plan.settle = Duration::from_millis(300);
        (plan.duration, plan.drain) = (Duration::from_secs(2), Duration::from_secs(3));
    })
    .await;
    assert!(report.verdict.ok, "{report}");
    let sum = |count: fn(&loadtest::GatewayReport) -> u64| report.gateways.iter().map(count).sum::<u64>();
    assert!(sum(|gateway| gateway.churned) > 15 && sum(|gateway| gateway.moves) > 20, "{report}");
    assert!(sum(|gateway| gateway.reconnects) > 10 && sum(|gateway| gateway.disconnects) == 0, "{report}");
    let totals = report.totals;
    assert!(totals.excused > 0 && totals.received > 2_000, "{report}");
    assert_eq!(totals.received + totals.excused, totals.expected, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_of_all_sizes_are_verified() {
    let report = report(Fault::None, |plan| {
        (plan.zipf, plan.clients) = (1.0, 300);
        plan.mix = Mix { room: 3, rooms: 1, all: 0, user: 0, client: 0 };
    })
    .await;
    assert!(report.verdict.ok && report.totals.expected > 1_000, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_whose_gateway_is_away_find_another_one() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let fake = Fake::start(2, Fault::None).await;
    let mut plan = Plan { clients: 30, failover: true, mix: ROOMS_AND_USERS, ..plan(&fake) };
    plan.gateways.push(format!("ws://{}", gone.local_addr().unwrap()));
    // The probe finds a gateway there; then it is gone.
    let serve = async {
        let (stream, _) = gone.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        let hello = r#"{"cmd":"hello","data":{"clientId":"x","heartbeatMs":25000,"windowMs":0,"version":1}}"#;
        futures_util::SinkExt::send(&mut socket, hello.into()).await.unwrap();
        drop(gone);
        std::future::pending::<()>().await;
    };
    let run = Box::pin(loadtest::run(plan));
    let report = tokio::select! { report = run => report.unwrap(), () = serve => panic!("it waits") };
    assert!(report.verdict.ok && report.ramp.connected == 30, "{report}");
    assert!(report.gateways[2].failed_attempts >= 10 && report.gateways[2].counts.received > 0, "{report}");
}
