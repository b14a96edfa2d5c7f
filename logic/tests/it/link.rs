//! Links: lost, refused, stalled, silent, opened again; and what answers at an address that is no gateway.

use std::time::{Duration, Instant};

use common::link::message::{Delivery, Receipts, Taken};
use common::link::secret::Secret;
use logic::Settings;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::fake::{Fake, Manner, Order};
use crate::rig::{self, begin, finish, logic, quick};

const ALL: &str = r#"{"to":{"all":true},"data":1}"#;

#[tokio::test]
async fn a_link_that_is_lost_fails_its_flights_at_once_and_is_opened_again() {
    let mut gateway = Fake::start(Manner { takes: Some(5), ..Manner::default() }).await;
    let settings = Settings {
        gateways: vec![gateway.address.clone()],
        ack_time_max: Duration::from_secs(60),
        ..quick()
    };
    let logic = rig::with(settings).await;
    gateway.linked().await;
    let id = logic.push(ALL).await.json()["id"].as_str().unwrap().to_owned();
    gateway.delivery().await;
    let body = r#"{"to":{"all":true},"data":1,"wait":"written"}"#;
    let (answer, ()) = tokio::join!(logic.push(body), async {
        gateway.delivery().await;
        gateway.order(Order::HangUp).await;
    });
    answer.expect(503, "gateways_failed");
    assert!(answer.body.contains("link_lost"), "{answer:?}");
    let kept = logic.get(&format!("/v1/pushes/{id}")).await.json();
    assert_eq!((&kept["dropped"]["gateway_lost"], &kept["pending"]), (&json!(5), &json!(0)), "the sum holds");
    gateway.linked().await;
    assert_eq!(logic.push(ALL).await.status, 202);
}

#[tokio::test]
async fn a_gateway_that_starts_later_is_linked() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let logic = logic(&[&address]).await;
    let lost = logic.gateway_is("lost").await;
    assert!(lost["reason"].as_str().unwrap().contains("cannot connect"), "{lost}");
    let answer = logic.push(ALL).await;
    answer.expect(503, "gateways_failed");
    assert_eq!(answer.json()["retryable"], true, "nothing was sent");
    let mut gateway = Fake::start_at(&address, Manner::default()).await;
    gateway.linked().await;
    assert_eq!(logic.push(ALL).await.status, 202);
}

#[tokio::test]
async fn a_silent_gateway_is_dead() {
    let mut gateway = Fake::start(Manner { says_it_lives: false, ..Manner::default() }).await;
    let settings = Settings {
        gateways: vec![gateway.address.clone()],
        link_silence_max: Duration::from_millis(300),
        ..quick()
    };
    let logic = rig::with(settings).await;
    gateway.linked().await;
    let lost = logic.gateway_is("lost").await;
    assert!(lost["reason"].as_str().unwrap().contains("nothing was heard"), "{lost}");
}

#[tokio::test]
async fn who_refuses_is_shown_with_the_reason_and_named_in_answers() {
    let cases = [
        (Manner { version: 99, ..Manner::default() }, "version 99"),
        (Manner { refuses: Some("too old"), ..Manner::default() }, "too old"),
        (Manner { authorization: Some("Bearer 0123456789abcdeX"), ..Manner::default() }, "link secret"),
        (Manner { name: "bad\nname", ..Manner::default() }, "control character"),
    ];
    for (manner, words) in cases {
        let gateway = Fake::start(manner).await;
        let secret = Some(Secret::parse("0123456789abcdef").unwrap());
        let settings = Settings { gateways: vec![gateway.address.clone()], link_secret: secret, ..quick() };
        let logic = rig::with(settings).await;
        let refused = logic.gateway_is("refused").await;
        assert!(refused["reason"].as_str().unwrap().contains(words), "{refused}");
        let answer = logic.push(ALL).await;
        answer.expect(503, "gateways_failed");
        assert!(answer.body.contains("(refused)"), "{answer:?}");
        let ready = rig::get(logic.ops, "/readyz").await;
        assert!(ready.status == 503 && ready.body.contains("no gateway linked"), "{ready:?}");
    }
}

#[tokio::test]
async fn what_a_later_release_says_is_passed_over() {
    let mut gateway = Fake::start(Manner::default()).await;
    let logic = logic(&[&gateway.address]).await;
    gateway.linked().await;
    gateway.order(Order::Unknown).await;
    // The receipt and what is asked of the gateway come behind it, on the same streams.
    let serial = |delivery: Delivery| delivery.serial;
    assert_eq!(logic.push(ALL).await.status, 202);
    assert_eq!(serial(gateway.delivery().await), 1);
    gateway.order(Order::Unknown).await;
    gateway.order(Order::Drain).await;
    logic.until("/v1/gateways", |list| list[0]["draining"].as_bool().filter(|draining| *draining)).await;
    assert_eq!(logic.gateway_is("linked").await["reason"], Value::Null);
    assert_eq!(logic.push(ALL).await.status, 202);
}

#[tokio::test]
async fn the_right_secret_is_taken() {
    let manner = Manner { authorization: Some("Bearer 0123456789abcdef"), ..Manner::default() };
    let mut gateway = Fake::start(manner).await;
    let secret = Some(Secret::parse("0123456789abcdef").unwrap());
    let settings = Settings { gateways: vec![gateway.address.clone()], link_secret: secret, ..quick() };
    let logic = rig::with(settings).await;
    gateway.linked().await;
    assert_eq!(logic.push(ALL).await.status, 202);
}

/// Answers every connection with this, and then closes it or keeps it.
async fn stranger(says: &'static [u8], closes: bool, tasks: &mut JoinSet<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tasks.spawn(async move {
        let mut kept = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(says).await;
            if !closes {
                kept.push(stream);
            }
        }
    });
    address
}

#[tokio::test]
async fn strangers_at_an_address_are_named_and_harm_nobody() {
    let mut tasks = JoinSet::new();
    let strangers = [
        stranger(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", false, &mut tasks).await,
        stranger(b"\x00\x01\x02 garbage that is no frame of anything \xff\xff\xff\xff", false, &mut tasks)
            .await,
        stranger(b"", true, &mut tasks).await,
        stranger(b"", false, &mut tasks).await,
    ];
    let mut gateway = Fake::start(Manner::default()).await;
    let mut addresses: Vec<&str> = strangers.iter().map(String::as_str).collect();
    addresses.push(&gateway.address);
    let logic = logic(&addresses).await;
    gateway.linked().await;
    let answer = logic.push(ALL).await;
    assert_eq!((answer.status, &answer.json()["gateways"]["accepted"]), (202, &json!(1)), "{answer:?}");
    for address in &strangers {
        let is_it = |list: &serde_json::Value| {
            let lost =
                |gateway: &&serde_json::Value| gateway["address"] == **address && gateway["state"] == "lost";
            list.as_array()?.iter().find(lost)?["reason"].as_str().map(str::to_owned)
        };
        let reason = logic.until("/v1/gateways", is_it).await;
        assert!(!reason.is_empty(), "{address}");
    }
    let connects = rig::get(logic.ops, "/metrics").await.body;
    let attempts: u64 = connects
        .lines()
        .filter(|line| line.starts_with("tidegate_logic_link_connects_total"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert!((5..100).contains(&attempts), "retries are bounded: {attempts}");
}

#[tokio::test]
async fn a_full_link_is_back_pressure_and_a_stalled_one_is_not() {
    let mut stalled =
        Fake::start(Manner { name: "stalled", reads_deliveries: false, ..Manner::default() }).await;
    let settings = Settings {
        gateways: vec![stalled.address.clone()],
        link_queue_bytes_max: 100_000,
        ack_time_max: Duration::from_secs(1),
        ..quick()
    };
    let logic = rig::with(settings).await;
    stalled.linked().await;
    let body = format!(r#"{{"to":{{"all":true}},"data":"{}"}}"#, "x".repeat(60_000));
    let head = "POST /v1/push HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n";
    let raw = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    let mut callers = Vec::new();
    for _ in 0..8 {
        callers.push(begin(logic.api, raw.as_bytes()).await);
    }
    let mut codes = Vec::new();
    for caller in callers {
        let answer = finish(caller).await;
        assert!(answer.status == 503 && answer.head.contains("retry-after: 1"), "{answer:?}");
        codes.push(answer.code());
    }
    assert!(codes.iter().any(|code| code == "overloaded"), "{codes:?}");
    assert!(codes.iter().any(|code| code == "gateways_failed"), "some were sent and not taken: {codes:?}");
    let answer = logic.push(&body).await;
    answer.expect(503, "gateways_failed");
    assert!(answer.body.contains("stalled (unresponsive)"), "{answer:?}");
}

#[tokio::test]
async fn a_frozen_gateway_is_waited_for_once_and_again_only_when_it_acknowledges() {
    let mut well = Fake::start(Manner::default()).await;
    let mut frozen =
        Fake::start(Manner { name: "frozen", instance: 8, takes: None, ..Manner::default() }).await;
    let ack_time_max = Duration::from_millis(500);
    let gateways = vec![well.address.clone(), frozen.address.clone()];
    let logic = rig::with(Settings { gateways, ack_time_max, ..quick() }).await;
    well.linked().await;
    frozen.linked().await;
    let failed = |code: &str| json!([{"gateway": "frozen", "code": code}]);
    let answer = logic.push(ALL).await;
    assert_eq!((answer.status, &answer.json()["gateways"]["failed"]), (202, &failed("timeout")));
    let start = Instant::now();
    for _ in 0..20 {
        let answer = logic.push(ALL).await;
        assert_eq!((answer.status, &answer.json()["gateways"]["failed"]), (202, &failed("unresponsive")));
        assert_eq!(answer.json()["gateways"]["accepted"], 1);
    }
    assert!(start.elapsed() < 10 * ack_time_max, "nobody waited: {:?}", start.elapsed());
    let id = logic.push(ALL).await.json()["id"].as_str().unwrap().to_owned();
    let mut last = 0;
    for _ in 0..22 {
        last = frozen.delivery().await.serial;
    }
    let taken = vec![Taken { serial: last, matched: 4 }];
    frozen.order(Order::Say(Receipts { taken, counts: Vec::new() })).await;
    logic.until(&format!("/v1/pushes/{id}"), |tally| (tally["matched"] == 5).then_some(())).await;
    let answer = logic.push(ALL).await;
    assert_eq!(answer.json()["gateways"]["failed"], failed("timeout"), "it was waited for again");
}
