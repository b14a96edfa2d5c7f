//! Which gateways there are: announced, looked up, named twice.

use std::time::Duration;

use common::link::secret::Secret;
use logic::Settings;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::fake::{Fake, Manner, Order};
use crate::rig::{self, logic, quick};

const PATH: &str = "/v1/link/announce";

#[tokio::test]
async fn an_announced_gateway_is_linked_until_it_leaves() {
    let mut gateway = Fake::start(Manner::default()).await;
    let logic = logic(&[]).await;
    let port = gateway.address.rsplit(':').next().unwrap();
    let said = format!(r#"{{"name":"gw","ingress":"0.0.0.0:{port}"}}"#);
    let answer = logic.post(PATH, "", &said).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"leaseMs": 10_000})));
    gateway.linked().await;
    let linked = logic.gateway_is("linked").await;
    assert_eq!((&linked["gateway"], &linked["address"]), (&json!("gw"), &json!(gateway.address)));
    let leaving = format!(r#"{{"name":"gw","ingress":"{}","leaving":true}}"#, gateway.address);
    assert_eq!(logic.post(PATH, "", &leaving).await.status, 200);
    let stays = logic.gateway_is("linked").await;
    assert_eq!(stays["gateway"], "gw", "its clients still want what is pushed");
    gateway.order(Order::HangUp).await;
    logic.until("/v1/gateways", |list| list.as_array()?.is_empty().then_some(())).await;
    logic.push(r#"{"to":{"all":true},"data":1}"#).await.expect(503, "no_gateway");
}

#[tokio::test]
async fn a_gateway_of_a_later_release_may_say_more_of_itself() {
    let mut gateway = Fake::start(Manner::default()).await;
    let logic = logic(&[]).await;
    let said = format!(r#"{{"name":"gw","ingress":"{}","zone":{{"name":"b"}}}}"#, gateway.address);
    assert_eq!(logic.post(PATH, "", &said).await.status, 200);
    gateway.linked().await;
}

#[tokio::test]
async fn a_gateway_that_said_that_it_goes_is_never_missed() {
    for says_leaving in [true, false] {
        let mut gateway = Fake::start(Manner { holds: Some(Vec::new()), ..Manner::default() }).await;
        let logic = logic(&[]).await;
        let said = |more: &str| format!(r#"{{"name":"gw","ingress":"{}"{more}}}"#, gateway.address);
        let (here, leaving) = (said(""), said(r#","leaving":true"#));
        assert_eq!(logic.post(PATH, "", &here).await.status, 200);
        gateway.linked().await;
        if says_leaving {
            assert_eq!(logic.post(PATH, "", &leaving).await.status, 200);
        } else {
            gateway.order(Order::Drain).await;
            logic
                .until("/v1/gateways", |list| list[0]["draining"].as_bool().filter(|draining| *draining))
                .await;
        }
        gateway.order(Order::HangUp).await;
        let gone = async {
            loop {
                let answer = logic.push(r#"{"to":{"room":"r"},"data":1}"#).await;
                if answer.code() == "no_gateway" {
                    return;
                }
                assert!(answer.status == 202 && answer.body.contains(r#""failed":[]"#), "{answer:?}");
            }
        };
        timeout(Duration::from_secs(10), gone).await.expect("forgotten");
    }
}

#[tokio::test]
async fn only_who_knows_the_secret_may_announce() {
    let secret = Some(Secret::parse("0123456789abcdef").unwrap());
    let logic = rig::with(Settings { link_secret: secret, ..quick() }).await;
    let said = r#"{"name":"gw","ingress":"127.0.0.1:9"}"#;
    for wrong in ["", "authorization: Bearer 0123456789abcdeX\r\n"] {
        let answer = logic.post(PATH, wrong, said).await;
        answer.expect(401, "unauthorized");
        assert!(answer.head.contains("www-authenticate: bearer"), "{answer:?}");
    }
    let right = "authorization: Bearer 0123456789abcdef\r\n";
    assert_eq!(logic.post(PATH, right, said).await.status, 200);
    for bad in [
        r#"{"name":"","ingress":"127.0.0.1:9"}"#,
        r#"{"name":"gw","ingress":"127.0.0.1"}"#,
        r#"{"name":"gw"}"#,
        "nonsense",
    ] {
        logic.post(PATH, right, bad).await.expect(400, "invalid_request");
    }
}

#[tokio::test]
async fn a_name_is_looked_up() {
    let mut gateway = Fake::start(Manner::default()).await;
    let port = gateway.address.rsplit(':').next().unwrap();
    let logic = rig::with(Settings { gateway_dns: vec![format!("localhost:{port}")], ..quick() }).await;
    gateway.linked().await;
    logic.gateway_is("linked").await;
}

#[tokio::test]
async fn one_gateway_under_two_addresses_has_one_link() {
    let mut gateway = Fake::start(Manner::default()).await;
    let port = gateway.address.rsplit(':').next().unwrap();
    let logic = logic(&[&gateway.address, &format!("localhost:{port}")]).await;
    gateway.linked().await;
    let duplicate = logic.gateway_is("duplicate").await;
    assert!(duplicate["reason"].as_str().unwrap().contains("same gateway"), "{duplicate}");
    let answer = logic.push(r#"{"to":{"all":true},"data":1}"#).await;
    let gateways: &Value = &answer.json()["gateways"];
    assert_eq!((answer.status, gateways), (202, &json!({"known": 1, "accepted": 1, "failed": []})));
}

#[tokio::test]
async fn what_is_no_address_is_refused_at_the_start() {
    for bad in ["gw", "gw:0", ":1", "http://gw:1"] {
        let settings = Settings { gateways: vec![bad.to_owned()], ..quick() };
        assert!(logic::Node::bind(settings).await.is_err(), "{bad}");
    }
}
