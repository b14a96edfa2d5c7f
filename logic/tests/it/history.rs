//! Histories: what a push to a room with a rule is answered, what goes down the link, and what is read again.

use std::time::Duration;

use common::link::history::{Fetch, Heads};
use common::link::message::{Delivery, Position, To};
use common::names::Kind;
use common::patterns::Pattern;
use logic::{HistoryRule, HistoryRules, Settings};
use serde_json::{Value, json};

use crate::fake::{Fake, Manner, Order};
use crate::rig::{Rig, quick, with};

fn rule(matches: &str, items: usize) -> HistoryRule {
    HistoryRule { matches: Pattern::parse(matches).unwrap(), items, age: Duration::from_secs(60) }
}

fn settings(gateways: &[&str]) -> Settings {
    let history = HistoryRules { rooms: vec![rule("chat.*", 5)], users: vec![rule("*", 5)] };
    let gateways = gateways.iter().map(|address| (*address).to_owned()).collect();
    Settings { gateways, history, ..quick() }
}

async fn push(logic: &Rig, to: &str, more: &str) -> Value {
    let answer = logic.push(&format!(r#"{{"to":{to},"data":1{more}}}"#)).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()
}

fn places(delivery: &Delivery) -> Vec<(&str, u64)> {
    delivery.names.iter().map(String::as_str).zip(delivery.positions.iter().map(|at| at.offset)).collect()
}

#[tokio::test]
async fn a_push_to_a_room_with_a_rule_has_its_place_in_the_answer_on_the_link_and_in_the_history() {
    let held = vec![(Kind::Room, "chat.1"), (Kind::Room, "chat.2"), (Kind::Room, "news"), (Kind::User, "u")];
    let mut gateway = Fake::start(Manner { holds: Some(held), ..Manner::default() }).await;
    let logic = with(settings(&[&gateway.address])).await;
    gateway.linked().await;

    let said = push(&logic, r#"{"room":"chat.1"}"#, "").await;
    let epoch = said["rooms"][0]["epoch"].as_str().unwrap().to_owned();
    assert_eq!(said["rooms"], json!([{"room": "chat.1", "epoch": epoch, "offset": 1}]));
    assert_eq!(said.get("users"), None);
    let delivery = gateway.delivery().await;
    assert_eq!(places(&delivery), [("chat.1", 1)]);

    // Of several rooms one keeps nothing, and one is held by nobody.
    let several = r#"{"rooms":["news","chat.1","chat.nobody","chat.2"]}"#;
    let said = push(&logic, several, r#","event":"e""#).await;
    let offsets: Vec<_> = said["rooms"].as_array().unwrap().iter().map(|at| at["offset"].as_u64()).collect();
    assert_eq!(offsets, [Some(2), Some(1), Some(1)]);
    let delivery = gateway.delivery().await;
    assert_eq!(places(&delivery), [("news", 0), ("chat.1", 2), ("chat.2", 1)]);
    assert_eq!(delivery.positions[0], Position::default());

    let said = push(&logic, r#"{"user":"u"}"#, "").await;
    assert_eq!(
        (said["users"][0]["user"].as_str(), said["users"][0]["offset"].as_u64()),
        (Some("u"), Some(1))
    );
    let delivery = gateway.delivery().await;
    assert_eq!((delivery.to, places(&delivery)), (To::Users as i32, vec![("u", 1)]));

    let said = push(&logic, r#"{"room":"news"}"#, "").await;
    assert_eq!((said.get("rooms"), said.get("users")), (None, None));
    assert!(gateway.delivery().await.positions.is_empty(), "what keeps no history costs nothing on the link");

    let kept = logic.get("/v1/rooms/chat.1/history").await.json();
    assert_eq!((&kept["epoch"], &kept["offset"], &kept["more"]), (&json!(epoch), &json!(2), &json!(false)));
    let items = kept["items"].as_array().unwrap();
    assert_eq!((&items[0]["offset"], &items[0]["data"]), (&json!(1), &json!(1)));
    assert_eq!((&items[1]["event"], items[1]["at"].is_u64()), (&json!("e"), true));
}

#[tokio::test]
async fn what_is_stored_is_taken_even_if_nobody_is_there() {
    let logic = with(settings(&[])).await;
    let said = push(&logic, r#"{"room":"chat.1"}"#, "").await;
    assert_eq!((&said["matched"], &said["rooms"][0]["offset"]), (&json!(0), &json!(1)));
    logic.push(r#"{"to":{"room":"news"},"data":1}"#).await.expect(503, "no_gateway");
    let batch = r#"[{"to":{"room":"chat.1"},"data":1},{"to":{"room":"news"},"data":1}]"#;
    logic.post("/v1/push/batch", "", batch).await.expect(503, "no_gateway");
    let kept = logic.get("/v1/rooms/chat.1/history").await.json();
    assert_eq!(kept["offset"], 1, "all of a batch, or nothing");

    let away = with(settings(&["127.0.0.1:1"])).await;
    let said = push(&away, r#"{"room":"chat.1"}"#, "").await;
    assert_eq!(said["gateways"]["failed"][0]["code"], "link_lost");
}

#[tokio::test]
async fn a_history_is_read_in_pages_and_says_when_it_does_not_continue() {
    let logic = with(settings(&[])).await;
    let mut epoch = String::new();
    for number in 1..=8 {
        let said = logic.push(&format!(r#"{{"to":{{"room":"chat.a b"}},"data":{number}}}"#)).await.json();
        epoch = said["rooms"][0]["epoch"].as_str().unwrap().to_owned();
    }
    let read = async |query: &str| logic.get(&format!("/v1/rooms/chat.a%20b/history?{query}")).await;
    let offsets = |page: &Value| {
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["data"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    let page = read("limit=2").await.json();
    assert_eq!((offsets(&page), &page["more"], &page["reset"]), (vec![4, 5], &json!(true), &json!(false)));
    let page = read(&format!("since=5&epoch={epoch}")).await.json();
    assert_eq!((offsets(&page), &page["more"]), (vec![6, 7, 8], &json!(false)));
    for missed in ["since=2", "since=9", "since=18446744073709551615", "since=8&epoch=0000000000002"] {
        let page = read(missed).await.json();
        assert_eq!((offsets(&page), &page["reset"]), (vec![4, 5, 6, 7, 8], &json!(true)), "{missed}");
    }
    for bad in
        ["since=-1", "since=", "since=x", "epoch=e", "since=1&epoch=e", "limit=0", "limit=1001", "sins=1"]
    {
        read(bad).await.expect(400, "invalid_query");
    }
    logic.get("/v1/rooms/news/history").await.expect(404, "no_history");
    let blank = logic.get("/v1/users/nobody/history").await.json();
    assert_eq!((&blank["offset"], &blank["items"]), (&json!(0), &json!([])));
}

#[tokio::test]
async fn offsets_go_down_the_link_in_order_however_many_push_at_once() {
    let manner = Manner { holds: Some(vec![(Kind::Room, "chat.1")]), ..Manner::default() };
    let mut gateway = Fake::start(manner).await;
    let logic = with(settings(&[&gateway.address])).await;
    gateway.linked().await;
    let (logic, each) = (&logic, 20);
    let pushes = (0..10).map(|_| async move {
        for _ in 0..each {
            push(logic, r#"{"room":"chat.1"}"#, "").await;
        }
    });
    let received = async {
        for offset in 1..=10 * each {
            let delivery = gateway.delivery().await;
            assert_eq!((delivery.positions[0].offset, delivery.serial), (offset, offset));
        }
    };
    tokio::join!(join_all(pushes), received);
}

async fn join_all(futures: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        futures.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if futures.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[tokio::test]
async fn what_finds_no_room_is_neither_sent_nor_stored() {
    let manner = Manner {
        holds: Some(vec![(Kind::Room, "chat.1")]),
        reads_deliveries: false,
        takes: None,
        ..Manner::default()
    };
    let mut gateway = Fake::start(manner).await;
    let logic = with(Settings { link_queue_bytes_max: 1, ..settings(&[&gateway.address]) }).await;
    gateway.linked().await;
    let data = "x".repeat(60_000);
    let stored = std::cell::Cell::new(0);
    // As much as fits into the link's window, and more, before the first deadline has passed.
    let pushes = (0..60).map(|_| async {
        let answer = logic.push(&format!(r#"{{"to":{{"room":"chat.1"}},"data":"{data}"}}"#)).await;
        match answer.status {
            202 => stored.set(stored.get() + 1),
            _ => answer.expect(503, "overloaded"),
        }
    });
    join_all(pushes).await;
    let stored = stored.get();
    assert!((1..60).contains(&stored), "{stored}");
    let kept = logic.get("/v1/rooms/chat.1/history?limit=1").await.json();
    assert_eq!(kept["offset"], stored);

    let small = with(Settings { history_bytes_max: 1_000, ..settings(&[]) }).await;
    push(&small, r#"{"room":"chat.1"}"#, "").await;
    let full = small.push(&format!(r#"{{"to":{{"room":"chat.1"}},"data":"{data}"}}"#)).await;
    full.expect(503, "history_full");
    assert_eq!(full.json()["retryable"], true);
    assert_eq!(small.get("/v1/rooms/chat.1/history").await.json()["offset"], 1);
}

#[tokio::test]
async fn a_repeated_call_is_stored_once() {
    let logic = with(settings(&[])).await;
    for replayed in [false, true] {
        let body = r#"{"to":{"room":"chat.1"},"data":1}"#;
        let said = logic.post("/v1/push", "idempotency-key: k\r\n", body).await.json();
        assert_eq!((&said["replayed"], &said["rooms"][0]["offset"]), (&json!(replayed), &json!(1)));
    }
}

fn stands(heads: &Heads) -> Vec<(&str, u64)> {
    heads.heads.iter().map(|head| (&*head.name, head.at.unwrap().offset)).collect()
}

#[tokio::test]
async fn a_gateway_hears_where_its_histories_stand_with_each_link_and_when_they_grow() {
    let held = vec![(Kind::Room, "chat.1"), (Kind::User, "chat.2")];
    let mut gateway = Fake::start(Manner { holds: Some(held), ..Manner::default() }).await;
    let logic = with(settings(&[&gateway.address])).await;
    gateway.linked().await;
    for room in ["chat.1", "chat.2", "chat.3", "news"] {
        push(&logic, &format!(r#"{{"room":"{room}"}}"#), "").await;
    }
    let heads = gateway.heads().await;
    assert_eq!((stands(&heads), heads.missed), (vec![("chat.1", 1)], false), "only what it holds");
    push(&logic, r#"{"rooms":["chat.1","chat.2"]}"#, "").await;
    assert_eq!(stands(&gateway.heads().await), [("chat.1", 2)]);
    gateway.order(Order::HangUp).await;
    gateway.ended().await;
    let heads = gateway.heads().await;
    assert_eq!((stands(&heads), heads.missed), (vec![("chat.1", 2)], false), "all that is known, again");
}

#[tokio::test]
async fn more_questions_about_histories_than_are_answered_at_a_time_are_answered_with_nothing() {
    let mut gateway = Fake::start(Manner { holds: Some(Vec::new()), ..Manner::default() }).await;
    let logic = with(settings(&[&gateway.address])).await;
    push(&logic, r#"{"room":"chat.1"}"#, "").await;
    gateway.linked().await;
    for id in 1..=200 {
        let fetch = Fetch { id, kind: Kind::Room as i32, name: "chat.1".into(), since: None };
        gateway.order(Order::Fetch(fetch)).await;
    }
    let mut answered = Vec::new();
    for _ in 0..200 {
        let fetched = gateway.fetched().await;
        assert!(fetched.head.is_none_or(|head| head.offset == 1), "{fetched:?}");
        answered.push(fetched.id);
    }
    answered.sort_unstable();
    assert_eq!(answered, (1..=200).collect::<Vec<_>>(), "each once");
}
