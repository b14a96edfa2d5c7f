//! Logic nodes on one Redis: what callers are answered while it is there and while it is not.

use std::time::{Duration, Instant};

use common::names::Kind;
use common::patterns::Pattern;
use logic::{EngineChoice, HistoryRule, HistoryRules, RedisBeside, RedisSettings, Settings};

use crate::fake::{Fake, Manner};
use crate::rig::{Rig, get, quick, with};

#[allow(dead_code, reason = "shared with the tests of the engine")]
#[path = "../support/redis.rs"]
mod server;

use server::Server;

async fn node(name: &str, redis: &Server, gateways: &[&str]) -> Rig {
    let beside = RedisBeside { prefix: "tidegate".to_owned(), ..RedisBeside::default() };
    let rule =
        HistoryRule { matches: Pattern::parse("chat.*").unwrap(), items: 5, age: Duration::from_secs(60) };
    let node = with(Settings {
        name: name.to_owned(),
        engine: EngineChoice::Redis(RedisSettings::parse(&redis.url(), beside).unwrap()),
        history: HistoryRules { rooms: vec![rule], users: Vec::new() },
        gateways: gateways.iter().map(|address| (*address).to_owned()).collect(),
        ..quick()
    })
    .await;
    ready(&node, true).await;
    node
}

/// Waits until readiness is this; how long that took.
async fn ready(node: &Rig, is_ready: bool) -> Duration {
    let began = Instant::now();
    loop {
        let answer = get(node.ops, "/readyz").await;
        // Without gateways a node is never ready, and says so beside.
        let is_engine_well = !answer.body.contains("engine:");
        if is_engine_well == is_ready {
            return began.elapsed();
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{answer:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn while_redis_hangs_histories_are_answered_503_and_plain_rooms_flow_on() {
    let redis = Server::start(&["--appendonly", "yes"]).await;
    let held = vec![(Kind::Room, "chat.1"), (Kind::Room, "news")];
    let mut gateway = Fake::start(Manner { holds: Some(held), ..Manner::default() }).await;
    let logic = node("a", &redis, &[&gateway.address]).await;
    gateway.linked().await;
    let kept = r#"{"to":{"room":"chat.1"},"data":1}"#;
    assert_eq!(logic.push(kept).await.status, 202);
    gateway.delivery().await;
    redis.stop();
    for _ in 0..3 {
        let began = Instant::now();
        logic.push(kept).await.expect(503, "engine_unavailable");
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!(logic.push(r#"{"to":{"room":"news"},"data":2}"#).await.status, 202);
        assert_eq!(gateway.delivery().await.names, ["news"]);
    }
    assert!(ready(&logic, false).await < Duration::from_secs(2));
    redis.go_on();
    assert!(ready(&logic, true).await < Duration::from_secs(2));
    assert_eq!(logic.push(kept).await.status, 202);
}

#[tokio::test]
async fn two_nodes_share_histories_keys_and_the_gateways_that_announced_themselves() {
    let redis = Server::start(&[]).await;
    let (a, b) = (node("a", &redis, &[]).await, node("b", &redis, &[]).await);
    // Without a gateway plain pushes are refused, and what is kept is kept.
    let kept = r#"{"to":{"room":"chat.1"},"data":1}"#;
    let key = "idempotency-key: k1\r\n";
    let (one, other) = tokio::join!(a.post("/v1/push", key, kept), b.post("/v1/push", key, kept));
    for copy in [one, other, a.post("/v1/push", key, kept).await] {
        assert_eq!(copy.status, 202, "{copy:?}");
        assert_eq!(copy.json()["rooms"][0]["offset"], 1, "{copy:?}");
    }
    let read = b.get("/v1/rooms/chat.1/history").await;
    assert_eq!(read.json()["items"].as_array().unwrap().len(), 1, "{read:?}");
    let gateway = Fake::start(Manner::default()).await;
    let said = format!(r#"{{"name":"g","ingress":"{}"}}"#, gateway.address);
    assert_eq!(a.post("/v1/link/announce", "", &said).await.status, 200);
    b.gateway_is("linked").await;
}
