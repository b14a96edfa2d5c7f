//! What a push does: merging, order, filters, one write, slow clients, the law of the counts.

use std::time::Duration;

use common::link::message::Delivery;
use gateway::{Settings, Slow};
use serde_json::{Value, json};

use crate::clients::{Client, connect, connect_unheard};
use crate::logic::{Fate, link, to_all, to_client, to_room, to_user};
use crate::node::{settings, start};

fn numbers(range: std::ops::Range<u64>) -> Vec<Value> {
    range.map(Value::from).collect()
}

#[tokio::test]
async fn ten_items_of_one_window_are_one_frame() {
    let gateway = start(settings()).await;
    let mut logic = link(gateway.ingress).await;
    let mut client = connect(gateway.clients, "room=r").await;
    let mut last = 0;
    for n in 0..10 {
        last = logic.push(to_room("r"), &n.to_string()).await;
    }
    assert_eq!(client.items().await, numbers(0..10));
    assert_eq!(logic.fate(last).await, Fate { matched: 1, written: 1, ..Fate::default() });
    assert_eq!(gateway.status("/items/written").await, 10);
}

#[tokio::test]
async fn a_client_in_five_rooms_gets_one_write_a_tick() {
    let gateway = start(settings()).await;
    let mut logic = link(gateway.ingress).await;
    let mut client = connect(gateway.clients, "room=a&room=b&room=c&room=d&room=e&userId=u").await;
    let pushes = ["a", "b", "c", "d", "e"].map(|room| (to_room(room), format!("{room:?}")));
    let last = logic.push_all(pushes.into_iter().chain([(to_user("u"), "1".into())]).collect()).await;
    for _ in 0..6 {
        assert_eq!(client.items().await.len(), 1);
    }
    logic.fate(last).await;
    let (_, metrics) = gateway.ops("/metrics").await;
    assert!(metrics.contains("tidegate_gateway_writes_total 1\n"), "{metrics}");
    assert!(metrics.contains("tidegate_gateway_frames_written_total 6\n"), "{metrics}");
}

#[tokio::test]
async fn data_arrives_byte_for_byte() {
    let gateway = start(Settings { window: Duration::ZERO, ..settings() }).await;
    let mut logic = link(gateway.ingress).await;
    let mut client = connect(gateway.clients, "room=r").await;
    let data = r#"{"b":1e400,"a":18446744073709551616,"a":[ ],"é":"\u00e9"}"#;
    logic.push(to_room("r"), data).await;
    let expected = format!(r#"{{"cmd":"push","items":[{{"room":"r","data":{data}}}]}}"#);
    assert_eq!(client.next_text().await, expected);
}

#[tokio::test]
async fn each_target_reaches_its_own_and_nobody_else() {
    let gateway = start(Settings { window: Duration::ZERO, ..settings() }).await;
    let mut logic = link(gateway.ingress).await;
    let mut phone = connect(gateway.clients, "userId=u&appId=1&room=r").await;
    let mut desk = connect(gateway.clients, "userId=u&appId=2&room=r").await;
    let mut other = connect(gateway.clients, "userId=v&appId=1").await;
    let app = |delivery: Delivery, app| Delivery { app: Some(app), ..delivery };
    let phone_local = phone.id().local;
    for (delivery, matched) in [
        (to_user("u"), 2),
        (app(to_user("u"), 1), 1),
        (app(to_all(), 1), 2),
        (to_client(phone_local), 1),
        (app(to_client(phone_local), 2), 0),
        (app(to_room("r"), 2), 1),
        (Delivery { except: vec![phone_local], ..to_room("r") }, 1),
        (Delivery { except: vec![phone_local], ..to_all() }, 2),
        (to_room("nobody"), 0),
        (to_client(12345), 0),
        (to_all(), 3),
    ] {
        let serial = logic.push(delivery.clone(), "0").await;
        let fate = logic.fate(serial).await;
        assert_eq!((fate.matched, fate.written), (matched, matched as u64), "{delivery:?}");
    }
    let mut counts = Vec::new();
    for client in [&mut phone, &mut desk, &mut other] {
        let last = logic.push(to_client(client.id().local), "\"end\"").await;
        logic.fate(last).await;
        let mut items = Vec::new();
        while items.last() != Some(&json!("end")) {
            items.extend(client.items().await);
        }
        counts.push(items.len() - 1);
    }
    assert_eq!(counts, [5, 5, 3]);
}

#[tokio::test]
async fn order_holds_across_filters_and_early_flushes() {
    let gateway = start(settings()).await;
    let mut logic = link(gateway.ingress).await;
    let mut client = connect(gateway.clients, "room=r&appId=1").await;
    let mut pushes = Vec::new();
    for n in 0..3000 {
        let app = (n % 7 == 0).then_some(1);
        pushes.push((Delivery { app, ..to_room("r") }, n.to_string()));
    }
    for chunk in pushes.chunks(500) {
        logic.push_all(chunk.to_vec()).await;
    }
    let mut seen = Vec::new();
    while seen.len() < 3000 {
        seen.extend(client.items().await);
    }
    assert_eq!(seen, numbers(0..3000));
}

#[tokio::test]
async fn keys_conflate_and_the_old_expire_and_both_are_counted() {
    let gateway = start(settings()).await;
    let mut logic = link(gateway.ingress).await;
    let mut client = connect(gateway.clients, "room=r").await;
    let keyed = |key: &str| Delivery { key: key.into(), ..to_room("r") };
    let first = logic.push_all(vec![(keyed("BTC"), "1".into())]).await;
    let old = Delivery { ttl_ms: 1, ..to_room("r") };
    logic.push_all(vec![(keyed("ETH"), "2".into()), (keyed("BTC"), "3".into()), (old, "4".into())]).await;
    assert_eq!(logic.fate(first).await, Fate { matched: 1, conflated: 1, ..Fate::default() });
    assert_eq!(logic.fate(4).await, Fate { matched: 1, expired: 1, ..Fate::default() });
    assert_eq!(client.items().await, [2, 3]);
}

#[tokio::test]
async fn urgent_items_do_not_wait() {
    let gateway = start(Settings { window: Duration::from_secs(60), ..settings() }).await;
    let mut logic = link(gateway.ingress).await;
    let mut client = connect(gateway.clients, "room=r").await;
    logic.push(to_room("r"), "1").await;
    logic.push(Delivery { urgent: true, ..to_room("r") }, "2").await;
    assert_eq!(client.items().await, [2]);
    // What waited in the window is sent before the client is told good-bye.
    gateway.shutdown.start_drain();
    assert_eq!(client.items().await, [1]);
    assert_eq!(client.closed().await.0, 1012);
    gateway.end().await;
}

/// Pushes to a client that does not read until something is dropped for it.
async fn drown(slow: Slow) -> (Client, Client, crate::node::Gateway) {
    let one = settings();
    let gateway = start(Settings { slow, window: Duration::ZERO, outbox_bytes_max: 200_000, ..one }).await;
    let mut logic = link(gateway.ingress).await;
    let mut healthy = connect(gateway.clients, "room=fast").await;
    let client = connect(gateway.clients, "room=r").await;
    let big = format!("\"{}\"", "x".repeat(60_000));
    let mut last = 0;
    while gateway.status("/items/dropped/slow").await == 0 {
        assert!(last < 1000, "a socket's buffers end somewhere");
        for _ in 0..10 {
            last = logic.push(to_room("r"), &big).await;
        }
    }
    // 2.7 MB of send buffer and the client's receive buffer. Without a bound of ours the kernel takes 4.5 MB.
    assert!(gateway.status("/items/written").await < 45, "the kernel holds little for one who does not read");
    logic.push(to_room("fast"), "1").await;
    assert_eq!(healthy.items().await, [1]);
    (healthy, client, gateway)
}

#[tokio::test]
async fn a_slow_reader_is_closed_and_counted() {
    let (_healthy, mut client, gateway) = drown(Slow::Close).await;
    assert_eq!(client.closed().await.0, 4002);
    drop(client);
    gateway.wait_for("/clients", 1).await;
    gateway.wait_for("/outboxes", 0).await;
}

#[tokio::test]
async fn a_slow_reader_may_lose_items_and_is_told_so() {
    let (_healthy, mut client, _gateway) = drown(Slow::Drop).await;
    loop {
        let message = client.next().await;
        if message["cmd"] == "gap" {
            assert_eq!(message, json!({"cmd": "gap", "room": "r", "reason": "slow"}));
            return;
        }
        assert_eq!(message["cmd"], "push");
    }
}

#[tokio::test]
async fn what_waits_for_a_client_that_goes_is_counted_as_gone() {
    let gateway =
        start(Settings { window: Duration::ZERO, outbox_bytes_max: 64_000_000, ..settings() }).await;
    let mut logic = link(gateway.ingress).await;
    let client = connect_unheard(gateway.clients, "room=r").await;
    logic.routes().await;
    let big = format!("\"{}\"", "x".repeat(60_000));
    let mut last = 0;
    while gateway.status("/outboxes").await == 0 {
        last = logic.push(to_room("r"), &big).await;
    }
    drop(client);
    gateway.wait_for("/clients", 0).await;
    let mut gone = 0;
    for serial in 1..=last {
        gone += logic.fate(serial).await.gone;
    }
    assert!(gone > 0, "of {last} pushes at least one waited");
    assert_eq!(gateway.status("/items/dropped/gone").await, gone);
}
