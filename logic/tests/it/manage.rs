//! The management calls, with gateways that only pretend: what is asked of whom, and what is said when one of them
//! is away, silent, old or full of itself.

use common::ids::{ClientId, Instance};
use common::link::ask::answer::Body as Said;
use common::link::ask::ask::Body as Asked;
use common::link::ask::{Changed, Client, Clients, Failed, Name, NamePlace, Names};
use common::names::Kind;
use logic::Settings;
use serde_json::{Value, json};

use crate::fake::{Fake, Manner, Order};
use crate::rig::{Rig, logic, quick, with};

fn manner(instance: u64, answers: fn(&Asked) -> Option<Said>) -> Manner {
    let name = if instance == 1 { "one" } else { "two" };
    Manner {
        name,
        instance,
        answers,
        holds: Some(vec![(Kind::User, "u"), (Kind::Room, "r")]),
        ..Manner::default()
    }
}

/// Two gateways with links.
async fn two(first: Manner, second: Manner) -> (Rig, Fake, Fake) {
    let (mut first, mut second) = (Fake::start(first).await, Fake::start(second).await);
    let logic = logic(&[&first.address, &second.address]).await;
    first.linked().await;
    second.linked().await;
    (logic, first, second)
}

fn id(gateway: u64, local: u64) -> String {
    ClientId { gateway: Instance(gateway), local }.to_string()
}

/// Answers with two connections of three, the place of the next being 1 and then none; and counts three.
#[allow(clippy::unnecessary_wraps, reason = "what a fake gateway takes")]
fn three(asked: &Asked) -> Option<Said> {
    Some(match asked {
        Asked::Count(_) => Said::Count(3),
        Asked::Clients(asked) => {
            let client =
                |local| Client { local, user: Some("u".into()), since_ms: 1_000, ..Client::default() };
            let all = [client(0), client(1), client(2)];
            let (from, limit) = (asked.from as usize, asked.limit as usize);
            let end = all.len().min(from + limit);
            let next = (end < all.len()).then_some(end as u64);
            Said::Clients(Clients { clients: all[from.min(end)..end].to_vec(), next })
        }
        Asked::Names(asked) => names(asked, &["a", "b", "c", "u"]),
        Asked::Change(_) | Asked::Drain(_) => Said::Changed(Changed { matched: 3, changed: 2, refused: 1 }),
    })
}

/// A page of these names, in their order.
fn names(asked: &common::link::ask::ListNames, all: &[&str]) -> Said {
    let mut all: Vec<NamePlace> = all.iter().map(|name| NamePlace::of(name)).collect();
    all.sort();
    all.retain(|place| asked.after.as_ref().is_none_or(|after| place > after));
    let upto = (all.len() > asked.limit as usize).then(|| all[asked.limit as usize - 1].clone());
    all.truncate(asked.limit as usize);
    let names = all.into_iter().map(|place| Name { name: place.name, clients: 1 }).collect();
    Said::Names(Names { names, upto })
}

#[tokio::test]
async fn lists_go_over_all_gateways_page_by_page() {
    let (logic, _one, _two) = two(manner(1, three), manner(2, three)).await;
    let first = logic.get("/v1/clients?limit=2").await.json();
    assert_eq!((&first["total"], &first["partial"]), (&json!(6), &json!(false)));
    let expected = json!({
        "clientId": id(1, 0), "userId": "u", "appId": null, "gateway": "one", "since": "1970-01-01T00:00:01Z"
    });
    assert_eq!(first["clients"][0], expected);
    for limit in 1..=7 {
        let (mut seen, mut path) = (Vec::new(), format!("/v1/clients?limit={limit}"));
        loop {
            let page = logic.get(&path).await.json();
            let ids = page["clients"].as_array().unwrap().iter();
            seen.extend(ids.map(|client| client["clientId"].as_str().unwrap().to_owned()));
            let Some(cursor) = page["cursor"].as_str() else { break };
            path = format!("/v1/clients?limit={limit}&cursor={cursor}");
        }
        assert_eq!(seen, [id(1, 0), id(1, 1), id(1, 2), id(2, 0), id(2, 1), id(2, 2)], "by {limit}");
    }
}

#[tokio::test]
async fn a_name_that_two_gateways_hold_is_listed_once_with_both_counts() {
    let second = |asked: &Asked| match asked {
        Asked::Names(asked) => Some(names(asked, &["c", "d", "u", "v", "w"])),
        other => three(other),
    };
    let (logic, _one, _two) = two(manner(1, three), manner(2, second)).await;
    for limit in [1, 2, 3, 1000] {
        let (mut seen, mut path) = (Vec::new(), format!("/v1/rooms?limit={limit}"));
        loop {
            let page = logic.get(&path).await.json();
            let rooms = page["rooms"].as_array().unwrap();
            assert!(rooms.len() <= limit);
            seen.extend(
                rooms.iter().map(|room| (room["room"].as_str().unwrap().to_owned(), room["clients"].clone())),
            );
            let Some(cursor) = page["cursor"].as_str() else { break };
            path = format!("/v1/rooms?limit={limit}&cursor={cursor}");
        }
        assert!(seen.is_sorted_by_key(|(name, _)| NamePlace::of(name)));
        seen.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let wanted = [("a", 1), ("b", 1), ("c", 2), ("d", 1), ("u", 2), ("v", 1), ("w", 1)];
        assert_eq!(seen, wanted.map(|(name, clients)| (name.to_owned(), json!(clients))), "by {limit}");
    }
    let page = logic.get("/v1/users?limit=1").await.json();
    assert_eq!(page["total"], 1, "the routing table knows that both hold the same user");
    let stats = logic.get("/v1/stats").await.json();
    assert_eq!((&stats["clients"], &stats["users"], &stats["rooms"]), (&json!(6), &json!(1), &json!(1)));
    let of_app = logic.get("/v1/stats?appId=7").await;
    assert_eq!(of_app.status, 200, "{of_app:?}");
}

#[tokio::test]
async fn a_gateway_that_does_not_answer_is_named() {
    let (logic, _one, _two) = two(manner(1, three), manner(2, |_| None)).await;
    for (method, path) in
        [("GET", "/v1/clients"), ("GET", "/v1/users"), ("GET", "/v1/stats"), ("GET", "/v1/rooms/r")]
    {
        let answer = logic.call(method, path, "").await;
        answer.expect(504, "gateway_timeout");
        assert!(answer.json()["detail"].as_str().unwrap().contains("gateway two"), "{answer:?}");
        assert!(answer.json()["retryable"] == true && answer.head.contains("retry-after: 1"), "{answer:?}");
    }
    let late = logic.call("DELETE", "/v1/users/u", "").await;
    late.expect(504, "gateway_timeout");
    assert_eq!(late.json()["retryable"], false, "something may have been done");
    let path = format!("/v1/clients/{}", id(1, 2));
    assert_eq!(logic.get(&path).await.status, 200, "a client's own gateway is asked, and no other");
}

#[tokio::test]
async fn a_gateway_without_a_link_makes_an_answer_partial_and_says_so() {
    let (logic, first, second) = two(manner(1, three), manner(2, three)).await;
    drop(second);
    logic
        .until("/v1/clients", |page| {
            (page["partial"] == true).then(|| {
                assert_eq!(page["failed"][0]["gateway"], "two");
                assert_eq!(page["clients"].as_array().unwrap().len(), 3);
            })
        })
        .await;
    let closed = logic.call("DELETE", "/v1/users/u", "").await.json();
    assert_eq!((&closed["closed"], &closed["partial"]), (&json!(2), &json!(true)));
    logic.get(&format!("/v1/clients/{}", id(2, 0))).await.expect(503, "gateways_failed");
    drop(first);
    let failed = |answer: &Value| (answer["code"] == "gateways_failed").then_some(());
    logic.until("/v1/clients", failed).await;
    logic.until("/v1/rooms/r", failed).await;
    let stats = logic.get("/v1/stats").await;
    stats.expect(503, "gateways_failed");
}

#[tokio::test]
async fn a_gateway_that_left_is_not_missed() {
    let (logic, _first, second) = two(manner(1, three), manner(2, three)).await;
    second.order(Order::Drain).await;
    logic.until("/v1/stats", |stats| (stats["gateways"]["draining"] == 1).then_some(())).await;
    drop(second);
    logic
        .until("/v1/clients", |page| {
            assert!(page["partial"] == false || page["code"] == "gateway_timeout", "{page}");
            (page["total"] == 3).then_some(())
        })
        .await;
}

#[tokio::test]
async fn busy_and_old_gateways_are_said_to_be_so() {
    let busy: fn(&Asked) -> Option<Said> = |_| Some(Said::Failed(Failed { code: "busy".into() }));
    let old: fn(&Asked) -> Option<Said> = |_| Some(Said::Failed(Failed { code: "unsupported".into() }));
    for (answers, status, code) in [(busy, 503, "overloaded"), (old, 501, "gateway_outdated")] {
        let (logic, _one, _two) = two(manner(1, answers), manner(2, answers)).await;
        logic.get("/v1/clients").await.expect(status, code);
        logic.get("/v1/users").await.expect(status, code);
        logic.call("DELETE", &format!("/v1/clients/{}", id(1, 1)), "").await.expect(status, code);
    }
}

#[tokio::test]
async fn nothing_is_known_without_gateways() {
    let logic = with(Settings { ..quick() }).await;
    for path in ["/v1/clients", "/v1/users", "/v1/rooms", "/v1/stats", "/v1/users/u", "/v1/rooms/r/clients"] {
        let answer = logic.get(path).await;
        answer.expect(503, "no_gateway");
        assert!(answer.head.contains("retry-after"), "{answer:?}");
    }
    logic.call("POST", "/v1/gateways/gw/drain", "").await.expect(503, "no_gateway");
}

#[tokio::test]
async fn bad_calls_are_answered_with_what_to_change() {
    let (logic, _one, _two) = two(manner(1, three), manner(2, three)).await;
    let client = id(1, 1);
    let elsewhere = id(9, 1);
    let long = "x".repeat(257);
    for (method, path, body, status, code) in [
        ("GET", "/v1/clients?limit=0".to_owned(), "", 400, "invalid_query"),
        ("GET", "/v1/clients?limit=1001".into(), "", 400, "invalid_query"),
        ("GET", "/v1/clients?limit=+1".into(), "", 400, "invalid_query"),
        ("GET", "/v1/clients?appId=0".into(), "", 400, "invalid_query"),
        ("GET", "/v1/clients?appId=4294967296".into(), "", 400, "invalid_query"),
        ("GET", "/v1/clients?app=1".into(), "", 400, "invalid_query"),
        ("GET", "/v1/clients?cursor=x".into(), "", 400, "invalid_cursor"),
        ("GET", "/v1/users?cursor=".into(), "", 400, "invalid_cursor"),
        ("GET", "/v1/clients/x".into(), "", 404, "client_not_found"),
        ("GET", format!("/v1/clients/{elsewhere}"), "", 404, "client_not_found"),
        ("DELETE", format!("/v1/clients/{elsewhere}"), "", 404, "client_not_found"),
        ("PUT", format!("/v1/clients/{elsewhere}/rooms/r"), "", 404, "client_not_found"),
        ("PUT", format!("/v1/clients/{client}/user"), "", 415, "unsupported_media_type"),
        ("PUT", format!("/v1/clients/{client}/user"), "{}", 400, "invalid_request"),
        ("PUT", format!("/v1/clients/{client}/user"), "{", 400, "invalid_json"),
        ("PUT", format!("/v1/clients/{client}/rooms/{long}"), "", 400, "invalid_name"),
        ("PUT", format!("/v1/clients/{client}/rooms/%00"), "", 400, "invalid_name"),
        ("PUT", format!("/v1/clients/{client}/rooms/%f"), "", 400, "invalid_name"),
        ("PUT", format!("/v1/clients/{client}/rooms/r"), "", 409, "too_many_rooms"),
        ("PUT", format!("/v1/clients/{client}/rooms/r?x=1"), "", 400, "invalid_query"),
        ("POST", "/v1/clients".into(), "", 405, "method_not_allowed"),
        ("OPTIONS", "/v1/rooms/r".into(), "", 405, "method_not_allowed"),
        ("GET", "/v1/rooms/".into(), "", 404, "not_found"),
        ("GET", "/v1/gateways/one/drain".into(), "", 405, "method_not_allowed"),
        ("POST", "/v1/gateways/three/drain".into(), "", 404, "gateway_not_found"),
    ] {
        let answer = logic.call(method, &path, body).await;
        answer.expect(status, code);
        assert_eq!(answer.head.contains("allow: "), status == 405, "{answer:?}");
    }
    let body = format!(r#"{{"userId":"{}"}}"#, "u".repeat(5000));
    logic.call("PUT", &format!("/v1/clients/{client}/user"), &body).await.expect(413, "body_too_large");
    let drained = logic.call("POST", "/v1/gateways/two/drain", "").await;
    assert_eq!((drained.status, drained.json()["gateway"].clone()), (202, json!("two")));
    let head = logic.call("HEAD", &format!("/v1/clients/{client}"), "").await;
    assert_eq!((head.status, &*head.body), (200, ""));
    assert_eq!(logic.call("HEAD", &format!("/v1/clients/{elsewhere}"), "").await.status, 404);
}
