//! Several logic nodes at one gateway: what they deliver comes in order, what is lost is fetched, and of two runs or two
//! stores one is refused.

use std::time::{Duration, Instant};

use common::ids::Epoch;
use common::link::history::Fetch;
use common::link::message::{Delivery, Mark, Position};
use gateway::Settings;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::clients::{Client, PATIENCE, connect};
use crate::logic::{Fate, Logic, hello_of, link_of, to_room};
use crate::node::{Gateway, settings, start};

async fn quick() -> Gateway {
    start(Settings { window: Duration::ZERO, ..settings() }).await
}

fn at(epoch: u64, offset: u64) -> Delivery {
    Delivery { positions: vec![Position { epoch, offset }], ..to_room("r") }
}

/// Connects to the room, which stands at this place.
async fn first_of_room(gateway: &Gateway, logic: &mut Logic, head: (u64, u64)) -> Client {
    let told = async {
        let asked = logic.fetch().await;
        logic.fetched(&asked, head, &[]).await;
    };
    tokio::join!(connect(gateway.clients, "room=r"), told).0
}

/// The offsets of the next push.
async fn offsets(client: &mut Client) -> Vec<u64> {
    let push = client.next().await;
    let items = push["items"].as_array().unwrap_or_else(|| panic!("{push}"));
    items.iter().map(|item| item["offset"].as_u64().unwrap()).collect()
}

async fn refused(logic: &mut Logic) -> String {
    let said = logic.refused.wait_for(|words| !words.is_empty());
    tokio::time::timeout(PATIENCE, said).await.expect("words in time").unwrap().clone()
}

fn reset(epoch: u64, offset: u64) -> Value {
    json!({"cmd": "reset", "room": "r", "epoch": Epoch(epoch).to_string(), "offset": offset})
}

#[tokio::test]
async fn what_two_nodes_deliver_in_any_order_is_seen_in_order_and_what_is_lost_is_fetched() {
    let gateway = quick().await;
    let mut one = link_of(gateway.ingress, "one", 7, 1).await;
    let mut client = first_of_room(&gateway, &mut one, (5, 0)).await;
    let mut other = link_of(gateway.ingress, "other", 7, 1).await;
    let began = Instant::now();
    let mut serials = Vec::new();
    // Each tenth forward and the others backward, by turns on either link; two are lost.
    let order = (1..=100).step_by(10).chain((1..=100).rev().filter(|offset| offset % 10 != 1));
    for (turn, offset) in order.filter(|offset| ![57, 100].contains(offset)).enumerate() {
        let logic = if turn % 2 == 0 { &mut one } else { &mut other };
        let serial = logic.push(at(5, offset), &offset.to_string()).await;
        serials.push((turn % 2, serial));
    }
    let mut seen = Vec::new();
    while seen.len() < 56 {
        seen.extend(offsets(&mut client).await);
    }
    let (asked, logic): (Fetch, _) = tokio::select! {
        asked = one.fetch() => (asked, &mut one),
        asked = other.fetch() => (asked, &mut other),
    };
    assert_eq!(asked.since, Some(Position { epoch: 5, offset: 56 }), "only what is missing");
    let items: Vec<_> = (57..=99).map(|offset| (offset, "0")).collect();
    logic.fetched(&asked, (5, 99), &items).await;
    while seen.len() < 99 {
        seen.extend(offsets(&mut client).await);
    }
    // The last is lost, and nothing comes after it.
    one.heads(Some(("r", 5, 100))).await;
    let (asked, logic): (Fetch, _) = tokio::select! {
        asked = one.fetch() => (asked, &mut one),
        asked = other.fetch() => (asked, &mut other),
    };
    logic.fetched(&asked, (5, 100), &[(100, "100")]).await;
    seen.extend(offsets(&mut client).await);
    assert_eq!(seen, (1..=100).collect::<Vec<u64>>());
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    for (turn, serial) in serials {
        let logic = if turn == 0 { &mut one } else { &mut other };
        assert_eq!(logic.fate(serial).await, Fate { matched: 1, written: 1, ..Fate::default() });
    }
    // What was fetched comes after all.
    let serial = other.push(at(5, 57), "57").await;
    assert_eq!(other.fate(serial).await, Fate { matched: 1, written: 1, ..Fate::default() });
    other.push(at(5, 101), "101").await;
    assert_eq!(offsets(&mut client).await, [101], "and is not written again");
    assert_eq!(gateway.status("/history/repaired").await, 2);
}

#[tokio::test]
async fn when_logic_starts_anew_members_are_reset_at_once_and_the_old_run_is_ended() {
    let gateway = quick().await;
    let mut old = link_of(gateway.ingress, "one", 7, 1).await;
    let mut client = first_of_room(&gateway, &mut old, (5, 3)).await;
    let mut new = link_of(gateway.ingress, "one", 8, 2).await;
    assert!(refused(&mut old).await.contains("newer run"));
    let asked = new.fetch().await;
    assert_eq!(asked.since, Some(Position { epoch: 5, offset: 3 }));
    new.fetched(&asked, (9, 0), &[]).await;
    assert_eq!(client.next().await, reset(9, 0));
    new.push(at(9, 1), "1").await;
    assert_eq!(offsets(&mut client).await, [1]);
    // The old run wakes and tries again.
    let (mut stranger, _connection) = crate::logic::open(gateway.ingress).await;
    let (_, mut control, mut up) = crate::logic::post(&mut stranger, common::link::CONTROL_PATH, None).await;
    crate::logic::say(&mut control, &hello_of("one", 7, 1)).await;
    let mut said = Vec::new();
    while let Some(Ok(chunk)) = up.data().await {
        said.extend_from_slice(&chunk);
    }
    assert!(String::from_utf8_lossy(&said).contains("this process was replaced"));
    assert_eq!(gateway.status("/linksReplaced").await, 1);
}

#[tokio::test]
async fn an_item_of_a_life_that_is_over_is_dropped_and_nobody_is_reset() {
    let gateway = quick().await;
    let mut logic = link_of(gateway.ingress, "one", 7, 1).await;
    let mut client = first_of_room(&gateway, &mut logic, (5, 3)).await;
    let serial = logic.push(at(4, 9), "9").await;
    let asked = logic.fetch().await;
    assert_eq!(asked.since, Some(Position { epoch: 5, offset: 3 }));
    logic.fetched(&asked, (5, 3), &[]).await;
    assert_eq!(logic.fate(serial).await, Fate::default(), "it is for nobody");
    logic.push(at(5, 4), "4").await;
    assert_eq!(offsets(&mut client).await, [4]);
    assert_eq!(gateway.status("/history/stale").await, 1);
}

#[tokio::test]
async fn who_cannot_say_what_was_appended_lately_makes_the_gateway_ask_for_all() {
    let gateway = quick().await;
    let mut logic = link_of(gateway.ingress, "one", 7, 1).await;
    let mut client = first_of_room(&gateway, &mut logic, (5, 3)).await;
    logic.heads(Some(("r", 5, 3))).await;
    logic.heads(None).await;
    let asked = logic.fetch().await;
    logic.fetched(&asked, (5, 5), &[(4, "4"), (5, "5")]).await;
    let mut seen = offsets(&mut client).await;
    while seen.len() < 2 {
        seen.extend(offsets(&mut client).await);
    }
    assert_eq!(seen, [4, 5]);
    assert!(!logic.has_fetch(), "it is where it should be");
}

#[tokio::test]
async fn marks_of_deliveries_are_said_to_all_logic_nodes() {
    let gateway = quick().await;
    let mut one = link_of(gateway.ingress, "one", 7, 1).await;
    let mut other = link_of(gateway.ingress, "other", 7, 1).await;
    let mark = |seq| Mark { shard: 3, term: 9, seq };
    for seq in [5, 4] {
        one.push(Delivery { marks: vec![mark(seq)], ..to_room("r") }, "1").await;
    }
    let said = other.marks.wait_for(|marks| *marks == [mark(5)]);
    tokio::time::timeout(PATIENCE, said).await.expect("said each second").unwrap();
}

#[tokio::test]
async fn strangers_who_take_all_places_do_not_keep_a_logic_node_out() {
    let gateway = quick().await;
    let mut first = link_of(gateway.ingress, "one", 7, 1).await;
    let mut strangers = Vec::new();
    for _ in 0..300 {
        strangers.push(TcpStream::connect(gateway.ingress).await.unwrap());
    }
    let began = Instant::now();
    let _second = link_of(gateway.ingress, "other", 7, 1).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(gateway.status("/linksEvicted").await >= 45);
    let mut client = first_of_room(&gateway, &mut first, (5, 0)).await;
    first.push(at(5, 1), "1").await;
    assert_eq!(offsets(&mut client).await, [1], "the first link is as it was");
}

#[tokio::test]
async fn many_who_come_back_at_once_are_one_question() {
    let gateway = quick().await;
    let mut logic = link_of(gateway.ingress, "one", 7, 1).await;
    let mut clients = Vec::new();
    for _ in 0..500 {
        clients.push(connect(gateway.clients, "").await);
    }
    let join =
        format!(r#"{{"seq":"1","cmd":"join","data":{{"room":"r","epoch":"{}","offset":1}}}}"#, Epoch(5));
    for client in &mut clients {
        client.say(join.clone()).await;
    }
    let answer = async {
        let mut questions = 0;
        loop {
            let asked = logic.fetch().await;
            questions += 1;
            assert!(questions <= 3, "one for each second that it takes");
            logic.fetched(&asked, (5, 2), &[(2, "2")]).await;
        }
    };
    let heard = async {
        for client in &mut clients {
            assert_eq!(offsets(client).await, [2]);
            assert_eq!(client.next().await["response"]["data"]["offset"], 2);
        }
    };
    tokio::select! { () = answer => {}, () = heard => {} }
}
