//! When a push leaves: leading windows, windows that widen, the bound on what waits.

use std::time::{Duration, Instant};

use common::link::message::Delivery;
use gateway::{Settings, WindowMode};
use serde_json::Value;

use crate::clients::{Client, connect, connect_unheard};
use crate::logic::{link, to_all, to_room};
use crate::node::{Gateway, settings, start};

/// Items of the next frames until there are so many.
async fn items(client: &mut Client, many: usize) -> Vec<Value> {
    let mut items = Vec::new();
    while items.len() < many {
        items.extend(client.items().await);
    }
    items
}

/// A number of `/metrics`.
async fn metric(gateway: &Gateway, name: &str) -> f64 {
    let (_, metrics) = gateway.ops("/metrics").await;
    let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("tidegate_gateway_{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
}

#[tokio::test]
async fn in_leading_mode_the_first_item_goes_at_once_and_the_rest_together() {
    let window = Duration::from_secs(60);
    let gateway = start(Settings { window, window_mode: WindowMode::Leading, ..settings() }).await;
    let mut logic = link(gateway.ingress).await;
    let mut client = connect(gateway.clients, "room=a&room=b").await;
    let began = Instant::now();
    logic.push(to_room("a"), "1").await;
    assert_eq!(client.items().await, [1]);
    logic.push(to_room("a"), "2").await;
    logic.push(Delivery { key: "k".into(), ..to_room("a") }, "3").await;
    logic.push(Delivery { key: "k".into(), ..to_room("a") }, "4").await;
    // Another room is quiet: neither waits for the busy one nor makes it leave.
    logic.push(to_room("b"), "5").await;
    assert_eq!(client.items().await, [5]);
    assert!(began.elapsed() < window, "nothing waited for the window");
    assert_eq!(gateway.status("/early/leads").await, 2);
    gateway.shutdown.start_drain();
    assert_eq!(client.items().await, [2, 4]);
    gateway.end().await;
}

#[tokio::test]
async fn in_leading_mode_order_holds_across_leads_ticks_and_full_targets() {
    let window = Duration::from_millis(20);
    let gateway = start(Settings { window, window_mode: WindowMode::Leading, ..settings() }).await;
    let mut logic = link(gateway.ingress).await;
    let mut client = connect(gateway.clients, "room=r&appId=1").await;
    let mut pushed = 0_u64;
    let mut seen = Vec::new();
    for burst in 0..60_u64 {
        // Bursts of one to a few thousand, back to back and with quiet windows between them.
        let many = [1, 3, 50, 1, 5000][burst as usize % 5];
        let pushes = (pushed..pushed + many).map(|n| {
            let app = (n % 5 == 0).then_some(1);
            (Delivery { app, ..to_room("r") }, n.to_string())
        });
        logic.push_all(pushes.collect()).await;
        pushed += many;
        if burst % 3 == 0 {
            let left = pushed as usize - seen.len();
            seen.extend(items(&mut client, left).await);
            tokio::time::sleep(window * 2).await;
        }
    }
    let left = pushed as usize - seen.len();
    seen.extend(items(&mut client, left).await);
    assert_eq!(seen, (0..pushed).map(Value::from).collect::<Vec<_>>());
    assert!(gateway.status("/early/leads").await >= 10, "what came after quiet windows led");
    assert!(gateway.status("/early/items").await > 0, "what was full left early");
}

/// So many clients in the room `r` that read nothing, and need not: their sockets take all of it.
async fn crowd(gateway: &Gateway, many: u64) -> Vec<Client> {
    let mut crowd = Vec::new();
    for _ in 0..many {
        crowd.push(connect_unheard(gateway.clients, "room=r").await);
    }
    gateway.wait_for("/clients", many).await;
    crowd
}

#[tokio::test]
async fn when_sweeps_outlast_the_window_frames_get_fuller_and_nothing_is_lost() {
    // Each millisecond a sweep of many milliseconds: a gateway far behind.
    let window = Duration::from_millis(1);
    let one = Settings { outbox_bytes_max: 64 << 20, ..settings() };
    let gateway = start(Settings { window, workers: 1, ..one }).await;
    let mut logic = link(gateway.ingress).await;
    let _crowd = crowd(&gateway, 2_000).await;
    let mut client = connect(gateway.clients, "room=r").await;
    let mut was_behind = false;
    let mut last = 0;
    while !was_behind || last < 3_000 {
        assert!(last < 100_000, "it is never behind");
        let pushes = (last..last + 10).map(|n| (to_room("r"), n.to_string()));
        last = logic.push_all(pushes.collect()).await;
        if last % 100 == 0 {
            let (_, status) = gateway.ops("/statusz").await;
            let status: Value = serde_json::from_str(&status).unwrap();
            was_behind |= status["behind"] == true && status["windowMs"].as_u64() > Some(5);
        }
    }
    assert_eq!(items(&mut client, last as usize).await, (0..last).map(Value::from).collect::<Vec<_>>());
    let fate = logic.fate(last).await;
    assert_eq!((fate.matched, fate.written), (2_001, 2_001));
    let (windows, widened) =
        (gateway.status("/windows/ended").await, gateway.status("/windows/widened").await);
    assert!(widened > 0 && windows >= widened, "{widened} of {windows} windows widened");
    let (frames, filled) =
        (metric(&gateway, "frame_items_count").await, metric(&gateway, "frame_items_sum").await);
    assert_eq!(filled, last as f64);
    assert!(filled / frames > 5.0, "frames are fuller than one window's: {filled} items in {frames} frames");
    // The load is gone: so is the delay.
    let (_, status) = gateway.ops("/statusz").await;
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!((&status["behind"], &status["windowMs"]), (&false.into(), &1.into()), "{status}");
}

#[tokio::test]
async fn a_full_merger_sends_early_holds_its_links_and_loses_nothing() {
    let window = Duration::from_secs(60);
    // The client of the test does not read while it pushes.
    let one = Settings { outbox_bytes_max: 64 << 20, ..settings() };
    let gateway = start(Settings { window, merger_bytes_max: 64 * 1024, workers: 1, ..one }).await;
    let mut logic = link(gateway.ingress).await;
    let _crowd = crowd(&gateway, 500).await;
    let mut client = connect(gateway.clients, "room=r&room=big").await;
    // Each goes to everybody and is a sweep's work; what fills the merger is for one client.
    let filler = "x".repeat(20_000);
    let mut last = 0;
    for n in 0..400_u64 {
        last = logic.push_all(vec![(to_all(), n.to_string()), (to_room("big"), format!("{filler:?}"))]).await;
    }
    // Most leave though the window does not end; what is left over leaves with the drain.
    let mut seen = Vec::new();
    while metric(&gateway, "deliveries_total").await < 800.0 {}
    assert!(gateway.status("/linksHeld").await > 0, "links were held");
    assert!(gateway.status("/early/crowded").await > 0, "the bound made targets leave");
    assert_eq!(gateway.status("/windows/ended").await, 0, "no window has ended");
    gateway.shutdown.start_drain();
    while seen.len() < 800 {
        seen.extend(client.items().await);
    }
    let numbers: Vec<_> = seen.iter().filter_map(Value::as_u64).collect();
    assert_eq!(numbers, (0..400).collect::<Vec<_>>());
    assert_eq!(logic.fate(last).await.written, 1);
    gateway.end().await;
}
