//! Histories at a gateway: the places of items, and what clients that come and go are told and brought.

use std::time::Duration;

use common::ids::Epoch;
use common::link::message::{Delivery, Position};
use gateway::Settings;
use serde_json::{Value, json};

use crate::clients::{Client, connect};
use crate::logic::{Fate, Logic, link, link_with_history, to_room, to_user};
use crate::node::{Gateway, settings, start};

/// A push that stands at a place in the history of the one that it is for.
fn at(delivery: Delivery, epoch: u64, offset: u64) -> Delivery {
    Delivery { positions: vec![Position { epoch, offset }], ..delivery }
}

fn text(epoch: u64) -> String {
    Epoch(epoch).to_string()
}

/// The items of the next push: offset and data of each.
async fn places(client: &mut Client) -> Vec<(u64, Value)> {
    let push = client.next().await;
    let items = push["items"].as_array().unwrap_or_else(|| panic!("{push}"));
    items.iter().map(|item| (item["offset"].as_u64().unwrap_or(0), item["data"].clone())).collect()
}

#[tokio::test]
async fn items_of_a_history_come_with_their_places_and_others_as_ever() {
    let gateway = start(Settings { window: Duration::ZERO, ..settings() }).await;
    let mut logic = link(gateway.ingress).await;
    let mut client = connect(gateway.clients, "room=r&userId=u").await;
    let epoch = text(5);
    for (delivery, expected) in [
        (at(to_room("r"), 5, 7), json!({"room": "r", "epoch": epoch, "offset": 7, "data": 1})),
        (at(to_user("u"), 5, 9), json!({"user": true, "epoch": epoch, "offset": 9, "data": 1})),
        (to_room("r"), json!({"room": "r", "data": 1})),
        (to_user("u"), json!({"data": 1})),
    ] {
        let serial = logic.push(delivery, "1").await;
        assert_eq!(client.next().await, json!({"cmd": "push", "items": [expected]}));
        logic.fate(serial).await;
    }
}

#[tokio::test]
async fn an_urgent_item_of_a_history_hurries_what_waits_before_it() {
    let gateway = start(Settings { window: Duration::from_secs(60), ..settings() }).await;
    let mut logic = link(gateway.ingress).await;
    let mut client = connect(gateway.clients, "room=r&room=plain").await;
    logic.push(at(to_room("r"), 5, 1), "1").await;
    logic.push(to_room("plain"), "0").await;
    let urgent = |delivery| Delivery { urgent: true, ..delivery };
    logic.push(urgent(at(to_room("r"), 5, 2)), "2").await;
    assert_eq!(places(&mut client).await, [(1, json!(1)), (2, json!(2))]);
    logic.push(urgent(to_room("plain")), "3").await;
    assert_eq!(places(&mut client).await, [(0, json!(3))], "a plain one overtakes");
}

/// The first client of the room `r`, which is told that it begins at this place.
async fn first_of_room(gateway: &Gateway, logic: &mut Logic, head: (u64, u64)) -> Client {
    let told = async {
        let asked = logic.fetch().await;
        assert_eq!((&*asked.name, asked.since), ("r", None));
        logic.fetched(&asked, head, &[]).await;
    };
    // The answer to the handshake comes with the hello, and that when it is known where the client begins.
    let (client, ()) = tokio::join!(connect(gateway.clients, "room=r"), told);
    let begins = json!([{"room": "r", "epoch": text(head.0), "offset": head.1}]);
    assert_eq!(client.hello["data"]["positions"], begins);
    client
}

fn resume(room: &str, epoch: &str, offset: u64) -> String {
    format!(r#"{{"seq":"1","cmd":"join","data":{{"room":"{room}","epoch":"{epoch}","offset":{offset}}}}}"#)
}

fn said(reply: &Value) -> (&Value, &Value) {
    (&reply["response"]["code"], &reply["response"]["data"])
}

#[tokio::test]
async fn who_comes_is_told_where_it_begins_and_one_question_serves_all() {
    let gateway = start(settings()).await;
    let mut logic = link_with_history(gateway.ingress).await;
    let told = async {
        for _ in 0..2 {
            let asked = logic.fetch().await;
            let head = if asked.name == "r" { (5, 41) } else { (6, 0) };
            logic.fetched(&asked, head, &[]).await;
        }
    };
    let (first, ()) = tokio::join!(connect(gateway.clients, "room=r&userId=u"), told);
    let positions =
        json!([{"room": "r", "epoch": text(5), "offset": 41}, {"user": true, "epoch": text(6), "offset": 0}]);
    assert_eq!(first.hello["data"]["positions"], positions);
    let second = connect(gateway.clients, "room=r").await;
    assert_eq!(second.hello["data"]["positions"][0]["offset"], 41);
    let mut third = connect(gateway.clients, "").await;
    assert_eq!(third.hello["data"].get("positions"), None);
    let reply = third.ask(r#"{"seq":"1","cmd":"join","data":{"room":"r"}}"#).await;
    assert_eq!(said(&reply), (&json!(200), &json!({"epoch": text(5), "offset": 41})));
    assert!(!logic.has_fetch(), "the gateway knows where the room stands");
}

#[tokio::test]
async fn who_was_away_gets_what_it_missed_and_then_what_is_live_each_once() {
    let gateway = start(Settings { window: Duration::ZERO, ..settings() }).await;
    let mut logic = link_with_history(gateway.ingress).await;
    let mut other = first_of_room(&gateway, &mut logic, (5, 3)).await;
    let mut client = connect(gateway.clients, "").await;
    client.say(resume("r", &text(5), 1)).await;
    let asked = logic.fetch().await;
    assert_eq!(asked.since, Some(Position { epoch: 5, offset: 1 }));
    // While the answer is on its way, an item comes that is not in it.
    let serial = logic.push(at(to_room("r"), 5, 4), "4").await;
    assert_eq!(places(&mut other).await, [(4, json!(4))]);
    logic.fate(serial).await;
    logic.fetched(&asked, (5, 3), &[(2, "2"), (3, "3")]).await;
    assert_eq!(places(&mut client).await, [(2, json!(2)), (3, json!(3))]);
    let asked = logic.fetch().await;
    assert_eq!(asked.since, Some(Position { epoch: 5, offset: 3 }), "it is behind what was swept");
    logic.fetched(&asked, (5, 5), &[(4, "4"), (5, "5")]).await;
    assert_eq!(places(&mut client).await, [(4, json!(4)), (5, json!(5))]);
    let reply = client.next().await;
    let expected = json!({"recovered": true, "epoch": text(5), "offset": 5});
    assert_eq!(said(&reply), (&json!(200), &expected));
    // What it was brought is still on its way to others.
    let serial = logic.push(at(to_room("r"), 5, 5), "5").await;
    assert_eq!(logic.fate(serial).await, Fate { matched: 1, written: 1, ..Fate::default() });
    assert_eq!(places(&mut other).await, [(5, json!(5))]);
    let serial = logic.push(at(to_room("r"), 5, 6), "6").await;
    assert_eq!(places(&mut client).await, [(6, json!(6))]);
    assert_eq!(places(&mut other).await, [(6, json!(6))]);
    assert_eq!(logic.fate(serial).await, Fate { matched: 2, written: 2, ..Fate::default() });
}

#[tokio::test]
async fn a_frame_that_contains_the_place_of_a_member_is_cut_there() {
    let gateway = start(settings()).await;
    let mut logic = link_with_history(gateway.ingress).await;
    let mut other = first_of_room(&gateway, &mut logic, (5, 0)).await;
    let items = (1..=3).map(|offset| (at(to_room("r"), 5, offset), offset.to_string())).collect();
    let serial = logic.push_all(items).await;
    let mut client = connect(gateway.clients, "").await;
    client.say(resume("r", &text(5), 0)).await;
    let asked = logic.fetch().await;
    logic.fetched(&asked, (5, 2), &[(1, "1"), (2, "2")]).await;
    assert_eq!(places(&mut client).await, [(1, json!(1)), (2, json!(2))]);
    let reply = client.next().await;
    let brought = reply["response"]["data"]["offset"].as_u64().unwrap();
    // If the window ended before the answer came, it was asked for the rest, and this is it.
    if brought == 2 {
        assert_eq!(places(&mut client).await, [(3, json!(3))]);
    }
    assert_eq!(places(&mut other).await.len(), 3);
    assert!(logic.fate(serial).await.written >= 1);
}

#[tokio::test]
async fn where_a_history_does_not_continue_a_client_is_reset() {
    let gateway = start(Settings { window: Duration::ZERO, ..settings() }).await;
    let mut logic = link_with_history(gateway.ingress).await;
    let mut client = connect(gateway.clients, "").await;
    for (seen, since) in [("nonsense", 0), (&*text(4), 4)] {
        client.say(resume("r", seen, 3)).await;
        let asked = logic.fetch().await;
        assert_eq!(asked.since, Some(Position { epoch: since, offset: 3 }));
        logic.fetched(&asked, (5, 9), &[]).await;
        let reset = json!({"cmd": "reset", "room": "r", "epoch": text(5), "offset": 9});
        assert_eq!(client.next().await, reset);
        let expected = json!({"recovered": false, "epoch": text(5), "offset": 9});
        assert_eq!(said(&client.next().await), (&json!(200), &expected));
    }
    // A gap that history cannot fill, and another life of it: told before what follows.
    logic.push(at(to_room("r"), 5, 12), "12").await;
    let asked = logic.fetch().await;
    assert_eq!(asked.since, Some(Position { epoch: 5, offset: 9 }));
    logic.forgotten(&asked, (5, 12)).await;
    assert_eq!(client.next().await["offset"], 11);
    assert_eq!(places(&mut client).await, [(12, json!(12))]);
    logic.push(at(to_room("r"), 8, 1), "1").await;
    let asked = logic.fetch().await;
    assert_eq!(asked.since, Some(Position { epoch: 5, offset: 12 }), "a stranger is not believed at once");
    logic.fetched(&asked, (8, 1), &[]).await;
    assert_eq!(client.next().await, json!({"cmd": "reset", "room": "r", "epoch": text(8), "offset": 0}));
    assert_eq!(places(&mut client).await, [(1, json!(1))]);
}

#[tokio::test]
async fn a_user_is_resumed_by_its_login() {
    let gateway = start(Settings { window: Duration::ZERO, ..settings() }).await;
    let mut logic = link_with_history(gateway.ingress).await;
    let mut client = connect(gateway.clients, "").await;
    let login =
        format!(r#"{{"seq":"1","cmd":"login","data":{{"userId":"u","epoch":"{}","offset":7}}}}"#, text(5));
    client.say(login).await;
    let asked = logic.fetch().await;
    assert_eq!((&*asked.name, asked.kind, asked.since), ("u", 1, Some(Position { epoch: 5, offset: 7 })));
    logic.fetched(&asked, (5, 8), &[(8, "8")]).await;
    let push = client.next().await;
    assert_eq!(push["items"][0], json!({"user": true, "epoch": text(5), "offset": 8, "data": 8}));
    let data = client.next().await["response"]["data"].clone();
    assert_eq!(
        (&data["recovered"], &data["offset"], &data["userId"]),
        (&json!(true), &json!(8), &json!("u"))
    );
    logic.push(at(to_user("u"), 5, 9), "9").await;
    assert_eq!(places(&mut client).await, [(9, json!(9))]);
}

#[tokio::test]
async fn without_an_answer_nobody_is_in_the_room_and_is_told_so() {
    let gateway = start(Settings { window: Duration::ZERO, ..settings() }).await;
    let mut early = connect(gateway.clients, "").await;
    let reply = early.ask(&resume("r", &text(5), 1)).await;
    assert_eq!(reply["response"]["code"], 503, "nobody knows yet whether the room has a history");
    let mut logic = link_with_history(gateway.ingress).await;
    let mut client = connect(gateway.clients, "").await;
    client.say(resume("r", &text(5), 1)).await;
    logic.fetch().await;
    let reply = client.next().await;
    assert_eq!(reply["response"]["code"], 503, "{reply}");
    let serial = logic.push(at(to_room("r"), 5, 2), "2").await;
    assert_eq!(logic.fate(serial).await, Fate::default(), "it is not a member");
    drop(logic);
    gateway.wait_for("/links", 0).await;
    let reply = client.ask(&resume("r", &text(5), 1)).await;
    assert_eq!(reply["response"]["code"], 503, "{reply}");
}

#[tokio::test]
async fn what_was_lost_with_a_link_is_fetched_by_the_next() {
    let gateway = start(Settings { window: Duration::ZERO, ..settings() }).await;
    let mut logic = link_with_history(gateway.ingress).await;
    let mut client = first_of_room(&gateway, &mut logic, (5, 3)).await;
    drop(logic);
    gateway.wait_for("/links", 0).await;
    let mut logic = link_with_history(gateway.ingress).await;
    logic.heads(Some(("r", 5, 5))).await;
    let asked = logic.fetch().await;
    assert_eq!(asked.since, Some(Position { epoch: 5, offset: 3 }));
    logic.fetched(&asked, (5, 5), &[(4, "4"), (5, "5")]).await;
    assert_eq!(places(&mut client).await.len(), 2);
    logic.push(at(to_room("r"), 5, 6), "6").await;
    assert_eq!(places(&mut client).await, [(6, json!(6))], "and there was no gap");
}

#[tokio::test]
async fn a_second_embedded_engine_is_refused() {
    let gateway = start(settings()).await;
    let _logic = link_with_history(gateway.ingress).await;
    let refused = gateway.status("/links").await;
    assert_eq!(refused, 1);
    let (mut client, _connection) = crate::logic::open(gateway.ingress).await;
    let (_, mut control, mut up) = crate::logic::post(&mut client, common::link::CONTROL_PATH, None).await;
    let hello = common::link::message::LogicHello {
        version: common::link::VERSION,
        name: "other".into(),
        instance: 8,
        history_rooms: vec!["*".into()],
        engine: 8,
        ..Default::default()
    };
    let body = Some(common::link::message::control_down::Body::Hello(hello));
    crate::logic::say(&mut control, &common::link::message::ControlDown { body }).await;
    let mut said = Vec::new();
    while let Some(Ok(chunk)) = up.data().await {
        said.extend_from_slice(&chunk);
    }
    assert!(String::from_utf8_lossy(&said).contains("their histories would contradict each other"));
}
