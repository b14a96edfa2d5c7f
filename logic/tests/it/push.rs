//! Pushes, from the call to the link and back.

use common::ids::ClientId;
use common::ids::Instance;
use common::link::message::{Counts, Receipts, Route, Routes, To};
use common::names::Kind;
use serde_json::json;

use crate::fake::{Fake, Manner, Order};
use crate::rig::{self, begin, finish, logic, quick};

const ALL: &str = r#"{"to":{"all":true},"data":1}"#;

fn counts(counts: Counts) -> Order {
    Order::Say(Receipts { taken: Vec::new(), counts: vec![counts] })
}

#[tokio::test]
async fn a_push_arrives_byte_for_byte_and_is_answered_when_taken() {
    let mut gateway = Fake::start(Manner { takes: Some(42), ..Manner::default() }).await;
    let logic = logic(&[&gateway.address]).await;
    gateway.linked().await;
    let data = "{ \"z\": 1e400,\n \"a\": 18446744073709551616, \"a\": 0 }";
    let answer = logic
        .push(&format!(
            r#"{{"to":{{"room":"r1"}},"event":"price","key":"BTC","urgent":true,"ttlMs":9,"appId":3,"data":{data}}}"#
        ))
        .await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let said = answer.json();
    assert_eq!((&said["matched"], &said["replayed"]), (&json!(42), &json!(false)));
    assert_eq!(said["gateways"], json!({"known": 1, "accepted": 1, "failed": []}));
    let delivery = gateway.delivery().await;
    assert_eq!(delivery.body, format!(r#""event":"price","data":{data}}}"#));
    assert_eq!((delivery.to, &delivery.names[..]), (To::Rooms as i32, &["r1".to_owned()][..]));
    assert_eq!((&*delivery.key, delivery.urgent, delivery.ttl_ms, delivery.app), ("BTC", true, 9, Some(3)));
}

#[tokio::test]
async fn written_is_answered_when_settled_and_the_ledger_adds_up() {
    let mut gateway = Fake::start(Manner { takes: Some(10), ..Manner::default() }).await;
    let logic = logic(&[&gateway.address]).await;
    gateway.linked().await;
    let body = r#"{"to":{"all":true},"data":1,"wait":"written"}"#;
    let (answer, ()) = tokio::join!(logic.push(body), async {
        let serial = gateway.delivery().await.serial;
        gateway.order(counts(Counts { serial, written: 4, ..Counts::default() })).await;
        let last = Counts {
            serial,
            written: 1,
            matched_delta: -1,
            conflated: 2,
            dropped_slow: 2,
            settled: true,
            ..Counts::default()
        };
        gateway.order(counts(last)).await;
    });
    let said = answer.json();
    assert_eq!((answer.status, &said["matched"], &said["written"]), (202, &json!(9), &json!(5)));
    let kept = logic.get(&format!("/v1/pushes/{}", said["id"].as_str().unwrap())).await.json();
    assert_eq!(
        kept,
        json!({"id": said["id"], "matched": 9, "written": 5, "conflated": 2, "expired": 0,
               "dropped": {"slow": 2, "gone": 0, "gateway_lost": 0}, "pending": 0})
    );
    let elsewhere = format!("/v1/pushes/{}{}", Instance(5), Instance(1));
    logic.get(&elsewhere).await.expect(404, "push_elsewhere");
    logic.get("/v1/pushes/nonsense").await.expect(404, "push_not_found");
}

#[tokio::test]
async fn a_gateway_that_does_not_take_it_in_time_is_named() {
    let mut quick = Fake::start(Manner { name: "quick", ..Manner::default() }).await;
    let mut slow = Fake::start(Manner { name: "slow", instance: 8, takes: None, ..Manner::default() }).await;
    let logic = logic(&[&quick.address, &slow.address]).await;
    quick.linked().await;
    slow.linked().await;
    let answer = logic.push(ALL).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let gateways = &answer.json()["gateways"];
    assert_eq!(
        *gateways,
        json!({"known": 2, "accepted": 1, "failed": [{"gateway": "slow", "code": "timeout"}]})
    );
}

#[tokio::test]
async fn no_success_without_a_gateway_that_took_it() {
    let logic = logic(&[]).await;
    let answer = logic.push(ALL).await;
    answer.expect(503, "no_gateway");
    assert!(answer.head.contains("retry-after: 1") && answer.json()["retryable"] == true, "{answer:?}");
    let mut mute = Fake::start(Manner { takes: None, ..Manner::default() }).await;
    let logic = rig::logic(&[&mute.address]).await;
    mute.linked().await;
    let answer = logic.push(ALL).await;
    answer.expect(503, "gateways_failed");
    assert_eq!(answer.json()["retryable"], false, "it was sent and may have arrived");
}

#[tokio::test]
async fn pushes_go_only_where_somebody_is() {
    let holds = |names: &[(Kind, &'static str)]| Some(names.to_vec());
    let mut one = Fake::start(Manner {
        name: "one",
        holds: holds(&[(Kind::User, "u1"), (Kind::Room, "r"), (Kind::App, "101")]),
        ..Manner::default()
    })
    .await;
    let mut two = Fake::start(Manner {
        name: "two",
        instance: 8,
        holds: holds(&[(Kind::Room, "r")]),
        ..Manner::default()
    })
    .await;
    let logic = logic(&[&one.address, &two.address]).await;
    one.linked().await;
    two.linked().await;
    let client = ClientId { gateway: Instance(8), local: 99 };
    let other = ClientId { gateway: Instance(7), local: 5 };
    let cases = [
        (r#"{"to":{"user":"u1"},"data":1}"#.to_owned(), 1, true, false),
        (r#"{"to":{"room":"r"},"data":1}"#.to_owned(), 2, true, true),
        (r#"{"to":{"room":"nobody"},"data":1}"#.to_owned(), 0, false, false),
        (r#"{"to":{"all":true},"appId":101,"data":1}"#.to_owned(), 1, true, false),
        (r#"{"to":{"users":["u1","u2"]},"data":1}"#.to_owned(), 1, true, false),
        (format!(r#"{{"to":{{"client":"{client}"}},"data":1}}"#), 1, false, true),
    ];
    for (body, accepted, at_one, at_two) in cases {
        let answer = logic.push(&body).await;
        assert_eq!(
            (answer.status, &answer.json()["gateways"]["accepted"]),
            (202, &json!(accepted)),
            "{body}"
        );
        assert_eq!((one.has_delivery(), two.has_delivery()), (at_one, at_two), "{body}");
    }
    let body = format!(r#"{{"to":{{"rooms":["r","x"]}},"exceptClients":["{client}","{other}"],"data":1}}"#);
    assert_eq!(logic.push(&body).await.status, 202);
    assert_eq!((one.delivery().await.except, two.delivery().await.except), (vec![5], vec![99]));
    let moved = Route { kind: Kind::User as i32, name: "u1".into() };
    one.order(Order::Routes(Routes { serial: 2, ceased: vec![moved], ..Routes::default() })).await;
    one.linked().await;
    let answer = logic.push(r#"{"to":{"user":"u1"},"data":1}"#).await;
    assert_eq!((answer.status, &answer.json()["gateways"]["accepted"]), (202, &json!(0)));
    let dry = logic.post("/v1/push?dryRun=true", "", r#"{"to":{"room":"r"},"data":12}"#).await;
    assert_eq!((dry.status, &dry.json()["gateways"]["concerned"]), (200, &json!(["one", "two"])), "{dry:?}");
    assert!(!one.has_delivery() && !two.has_delivery());
}

#[tokio::test]
async fn a_batch_arrives_in_order_or_not_at_all() {
    let mut gateway = Fake::start(Manner::default()).await;
    let logic = logic(&[&gateway.address]).await;
    gateway.linked().await;
    let pushes: Vec<_> = (0..50).map(|n| format!(r#"{{"to":{{"room":"r"}},"data":{n}}}"#)).collect();
    let answer = logic.post("/v1/push/batch", "", &format!("[{}]", pushes.join(","))).await;
    assert_eq!((answer.status, answer.json()["pushes"].as_array().unwrap().len()), (202, 50));
    let lines = "content-type: application/x-ndjson\r\n";
    assert_eq!(logic.post("/v1/push/batch", lines, &pushes.join("\n")).await.status, 202);
    for n in (0..50).chain(0..50) {
        assert_eq!(gateway.delivery().await.body, format!("\"data\":{n}}}"));
    }
    let bad = format!("[{},{{\"to\":{{\"room\":\"\"}},\"data\":1}}]", pushes[0]);
    let answer = logic.post("/v1/push/batch", "", &bad).await;
    answer.expect(400, "invalid_request");
    assert_eq!(answer.json()["errors"][0]["pointer"], "/1/to/room");
    assert!(!gateway.has_delivery());
}

#[tokio::test]
async fn the_same_key_gives_the_same_answer() {
    let mut gateway = Fake::start(Manner::default()).await;
    let logic = logic(&[&gateway.address]).await;
    gateway.linked().await;
    let key = "idempotency-key: k1\r\n";
    let first = logic.post("/v1/push", key, ALL).await.json();
    let again = logic.post("/v1/push", key, ALL).await;
    assert_eq!(
        (again.status, &again.json()["id"], &again.json()["replayed"]),
        (202, &first["id"], &json!(true))
    );
    let other = logic.post("/v1/push", key, r#"{"to":{"all":true},"data":2}"#).await;
    other.expect(422, "idempotency_mismatch");
    assert!(other.body.contains("same bytes"), "{other:?}");
    let bad = "idempotency-key: \r\n";
    logic.post("/v1/push", bad, ALL).await.expect(400, "invalid_idempotency_key");
    gateway.delivery().await;
    assert!(!gateway.has_delivery(), "sent once");
}

#[tokio::test]
async fn a_call_in_progress_keeps_its_key_even_if_its_caller_goes() {
    let mut gateway = Fake::start(Manner { takes: Some(1), ..Manner::default() }).await;
    let logic = logic(&[&gateway.address]).await;
    gateway.linked().await;
    let body = r#"{"to":{"all":true},"data":1,"wait":"written"}"#;
    let head =
        "POST /v1/push HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nidempotency-key: k\r\n";
    let raw = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    let caller = begin(logic.api, raw.as_bytes()).await;
    let serial = gateway.delivery().await.serial;
    logic.post("/v1/push", "idempotency-key: k\r\n", body).await.expect(409, "idempotency_in_progress");
    drop(caller);
    gateway.order(counts(Counts { serial, written: 1, settled: true, ..Counts::default() })).await;
    let mut answer = logic.post("/v1/push", "idempotency-key: k\r\n", body).await;
    while answer.status == 409 {
        answer = logic.post("/v1/push", "idempotency-key: k\r\n", body).await;
    }
    assert_eq!(
        (answer.status, &answer.json()["replayed"], &answer.json()["written"]),
        (202, &json!(true), &json!(1))
    );
}

#[tokio::test]
async fn a_drain_finishes_what_was_begun() {
    let mut gateway = Fake::start(Manner { takes: Some(1), ..Manner::default() }).await;
    let mut logic = rig::with(logic::Settings { gateways: vec![gateway.address.clone()], ..quick() }).await;
    gateway.linked().await;
    assert_eq!(rig::get(logic.ops, "/readyz").await.status, 200);
    let body = r#"{"to":{"all":true},"data":1,"wait":"written"}"#;
    let head = "POST /v1/push HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let caller =
        begin(logic.api, format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await;
    let serial = gateway.delivery().await.serial;
    logic.shutdown.start_drain();
    let ready = rig::get(logic.ops, "/readyz").await;
    ready.expect(503, "not_ready");
    assert!(ready.body.contains("draining"), "{ready:?}");
    gateway.order(counts(Counts { serial, written: 1, settled: true, ..Counts::default() })).await;
    assert_eq!(finish(caller).await.status, 202);
    assert_eq!(logic.ended().await.unwrap().cut, 0);
    gateway.ended().await;
}
