//! What clients ask for and what they get: commands, routes, heartbeats, limits, drain.

use std::time::Duration;

use futures_util::StreamExt;
use gateway::Settings;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::bad_frames::frame;
use crate::clients::{connect, handshake, raw, raw_bytes};
use crate::logic::{link, to_room, to_user};
use crate::node::{settings, start};

#[tokio::test]
async fn the_hello_says_who_and_how() {
    let gateway = start(settings()).await;
    let client = connect(gateway.clients, "userId=u&appId=7").await;
    let data = &client.hello["data"];
    assert_eq!(data["userId"], "u");
    assert_eq!(data["appId"], 7);
    assert_eq!(data["windowMs"], 200);
    assert_eq!(data["heartbeatMs"], 25_000);
    assert_eq!(data["version"], 1);
}

#[tokio::test]
async fn commands_are_answered_by_their_number() {
    let gateway = start(settings()).await;
    let mut client = connect(gateway.clients, "").await;
    for (command, code) in [
        (r#"{"seq":"1","cmd":"join","data":{"room":"r"}}"#, 200),
        (r#"{"seq":"1","cmd":"join","data":{"room":"r"}}"#, 200),
        (r#"{"seq":"1","cmd":"leave","data":{"room":"r"}}"#, 200),
        (r#"{"seq":"1","cmd":"leave","data":{"room":"r"}}"#, 404),
        (r#"{"seq":"1","cmd":"heartbeat","data":{}}"#, 200),
        (r#"{"seq":"1","cmd":"login","data":{"userId":"u","appId":1}}"#, 200),
        (r#"{"seq":"1","cmd":"login","data":{"appId":1}}"#, 400),
        (r#"{"seq":"1","cmd":"login","data":{"token":"x"}}"#, 401),
        (r#"{"seq":"1","cmd":"join","data":{"room":""}}"#, 400),
        (r#"{"seq":"1","cmd":"join","data":{"room":"a\u0000b"}}"#, 400),
        (r#"{"seq":"1","cmd":"dance"}"#, 400),
        // No logic node is linked: nobody knows whether the room has a history, and it may be asked again.
        (r#"{"seq":"1","cmd":"join","data":{"room":"r","epoch":"e","offset":3}}"#, 503),
    ] {
        let reply = client.ask(command).await;
        assert_eq!(
            (&reply["seq"], &reply["response"]["code"]),
            (&json!("1"), &json!(code)),
            "{command}: {reply}"
        );
        assert_eq!(reply["response"]["codeMsg"] == "Success", code == 200, "{reply}");
    }
    client.say("ping").await;
    assert_eq!(client.next_text().await, "pong");
}

#[tokio::test]
async fn a_reply_to_join_means_that_logic_knows_the_room() {
    let gateway = start(Settings { window: Duration::ZERO, ..settings() }).await;
    let mut logic = link(gateway.ingress).await;
    let mut client = connect(gateway.clients, "").await;
    client.ask(r#"{"seq":"1","cmd":"join","data":{"room":"r"}}"#).await;
    let (begun, _) = logic.routes().await;
    assert_eq!(begun.iter().map(|route| &*route.name).collect::<Vec<_>>(), ["r"]);
    logic.push(to_room("r"), "1").await;
    assert_eq!(client.items().await, [1]);
    client.ask(r#"{"seq":"2","cmd":"leave","data":{"room":"r"}}"#).await;
    let (_, ceased) = logic.routes().await;
    assert_eq!(ceased.iter().map(|route| &*route.name).collect::<Vec<_>>(), ["r"]);
}

#[tokio::test]
async fn a_login_moves_a_connection_to_its_new_user() {
    let gateway = start(Settings { window: Duration::ZERO, ..settings() }).await;
    let mut logic = link(gateway.ingress).await;
    let mut client = connect(gateway.clients, "userId=old&room=r").await;
    client.ask(r#"{"seq":"1","cmd":"login","data":{"userId":"new","appId":9}}"#).await;
    for (delivery, written) in [(to_user("old"), 0), (to_user("new"), 1), (to_room("r"), 1)] {
        let serial = logic.push(delivery, "1").await;
        assert_eq!(logic.fate(serial).await.written, written);
    }
    assert_eq!(gateway.status("/users").await, 1);
}

#[tokio::test]
async fn a_sixty_fifth_room_is_refused_and_the_connection_lives() {
    let gateway = start(settings()).await;
    let mut client = connect(gateway.clients, "").await;
    for n in 0..64 {
        let reply = client.ask(&format!(r#"{{"seq":"s","cmd":"join","data":{{"room":"r{n}"}}}}"#)).await;
        assert_eq!(reply["response"]["code"], 200);
    }
    let reply = client.ask(r#"{"seq":"s","cmd":"join","data":{"room":"one more"}}"#).await;
    assert_eq!(reply["response"]["code"], 409);
    client.say("ping").await;
    assert_eq!(client.next_text().await, "pong");
}

#[tokio::test]
async fn rubbish_is_answered_and_then_closed() {
    let gateway = start(settings()).await;
    let mut client = connect(gateway.clients, "").await;
    for _ in 0..16 {
        assert_eq!(client.ask("rubbish").await["response"]["code"], 400);
    }
    client.say("rubbish").await;
    assert_eq!(client.closed().await.0, 4500);
}

#[tokio::test]
async fn the_silent_are_closed_and_those_who_answer_pings_are_not() {
    let heartbeat = Duration::from_millis(100);
    let silence_max = Duration::from_secs(1);
    let gateway = start(Settings { heartbeat, silence_max, ..settings() }).await;
    let mut answers = connect(gateway.clients, "").await;
    let silent = async { raw_bytes(gateway.clients, handshake("").as_bytes()).await };
    let busy = async {
        let mut pings = 0;
        while pings < 40 {
            let message = answers.socket.next().await.expect("still open").unwrap();
            pings += usize::from(matches!(message, Message::Ping(_)));
        }
    };
    let both = async { tokio::join!(busy, silent) };
    let ((), heard) = tokio::time::timeout(crate::clients::PATIENCE, both).await.expect("pings keep coming");
    let good_bye = [&[0x88][..], &4003_u16.to_be_bytes()].concat();
    let said = heard.windows(4).any(|frame| [&frame[..1], &frame[2..]].concat() == good_bye);
    assert!(said, "{:?}", String::from_utf8_lossy(&heard));
    answers.say("ping").await;
    assert_eq!(answers.next_text().await, "pong");
}

#[tokio::test]
async fn who_begins_a_message_and_does_not_end_it_is_closed_whatever_else_is_said() {
    let (heartbeat, message_time_max) = (Duration::from_millis(100), Duration::from_secs(1));
    let gateway = start(Settings { heartbeat, message_time_max, ..settings() }).await;
    let mut whole = connect(gateway.clients, "").await;
    let parts = [
        // A header that says more than comes; a fragment with pings behind it; half a header.
        frame(0x81, b"ping")[..8].to_vec(),
        [frame(0x01, b"pi"), frame(0x89, b"mark")].concat(),
        frame(0x81, b"ping")[..1].to_vec(),
        // One that ended, and then one that does not.
        [frame(0x81, b"ping"), frame(0x81, b"ping")[..7].to_vec()].concat(),
    ];
    let late = parts.map(|part| {
        let all = [handshake("").into_bytes(), part].concat();
        async move { raw_bytes(gateway.clients, &all).await }
    });
    // Whole messages, all the time: at each ping of the gateway one.
    let asks = async {
        loop {
            if let Message::Ping(_) = whole.socket.next().await.expect("still open").unwrap() {
                whole.say("ping").await;
            }
        }
    };
    let all = async {
        tokio::select! { heard = futures_util::future::join_all(late) => heard, () = asks => unreachable!() }
    };
    let heard = tokio::time::timeout(crate::clients::PATIENCE, all).await.expect("closes in time");
    for (number, heard) in heard.iter().enumerate() {
        let good_bye = heard.windows(4).any(|four| four[0] == 0x88 && four[2..] == 4004_u16.to_be_bytes());
        assert!(good_bye, "{number}: {:?}", String::from_utf8_lossy(heard));
    }
    gateway.wait_for("/clients", 1).await;
    let (_, metrics) = gateway.ops("/metrics").await;
    assert!(metrics.contains("tidegate_gateway_closed_late_total 4"), "{metrics}");
}

#[tokio::test]
async fn who_was_here_for_long_enough_is_told_and_then_sent_on() {
    let heartbeat = Duration::from_secs(4);
    let connection_age_max = Some(Duration::from_secs(1));
    let gateway = start(Settings { heartbeat, connection_age_max, ..settings() }).await;
    let mut client = connect(gateway.clients, "").await;
    let asked: serde_json::Value = serde_json::from_str(&client.next_text().await).unwrap();
    assert_eq!(asked["cmd"], "reconnect");
    assert!(asked["data"]["afterMs"].as_u64().is_some_and(|ms| ms <= 1000), "{asked}");
    let (code, reason) = client.closed().await;
    assert!(code == 1012 && reason.contains("long enough"), "{code} {reason}");
    gateway.wait_for("/clients", 0).await;
    let (_, metrics) = gateway.ops("/metrics").await;
    assert!(metrics.contains("tidegate_gateway_closed_aged_total 1"), "{metrics}");
}

#[tokio::test]
async fn a_full_gateway_says_so_and_recovers() {
    let gateway = start(Settings { max_connections: 2, ..settings() }).await;
    let _first = connect(gateway.clients, "").await;
    let second = connect(gateway.clients, "").await;
    let answer = raw(gateway.clients, handshake("").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.to_lowercase().contains("retry-after:"), "{answer}");
    assert_eq!(gateway.ops("/readyz").await.0, 503);
    drop(second);
    gateway.wait_for("/clients", 1).await;
    connect(gateway.clients, "").await;
}

#[tokio::test]
async fn a_drain_is_paced_and_ends_with_everyone_told() {
    let gateway = start(Settings { drain: Duration::from_secs(1), ..settings() }).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(connect(gateway.clients, "room=r").await);
    }
    let began = std::time::Instant::now();
    gateway.shutdown.start_drain();
    let closes = clients.into_iter().map(|mut client| async move {
        let told = client.next().await;
        assert_eq!(told["cmd"], "reconnect", "{told}");
        let after = Duration::from_millis(told["data"]["afterMs"].as_u64().unwrap());
        let (code, _) = client.closed().await;
        assert_eq!(code, 1012);
        let (waited, early) = (began.elapsed(), Duration::from_millis(50));
        assert!(waited + early > after, "closed after {waited:?}, told {after:?}");
        waited
    });
    let mut times: Vec<_> = futures_util::future::join_all(closes).await;
    times.sort_unstable();
    assert!(times[19] - times[0] > Duration::from_millis(500), "spread over the drain: {times:?}");
    assert_eq!(gateway.end().await.cut, 0);
}

#[tokio::test]
async fn readiness_needs_a_link() {
    let gateway = start(settings()).await;
    let (status, body) = gateway.ops("/readyz").await;
    assert_eq!((status, body.contains("no link")), (503, true));
    assert_eq!(gateway.ops("/healthz").await.0, 200);
    let logic = link(gateway.ingress).await;
    assert_eq!(gateway.ops("/readyz").await.0, 200);
    drop(logic);
    gateway.wait_for("/links", 0).await;
    assert_eq!(gateway.ops("/readyz").await.0, 503);
    let (_, body) = gateway.ops("/statusz").await;
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["name"], "gw-test");
    assert_eq!(gateway.ops("/elsewhere").await.0, 404);
}

#[tokio::test]
async fn a_login_as_the_same_user_loses_nothing_on_its_way() {
    let gateway = start(settings()).await;
    let mut logic = link(gateway.ingress).await;
    let mut client = connect(gateway.clients, "userId=u&appId=1").await;
    logic.push(to_user("u"), "1").await;
    gateway.wait_for_merger().await;
    client.ask(r#"{"seq":"1","cmd":"login","data":{"userId":"u","appId":1}}"#).await;
    assert_eq!(client.items().await, [1]);
}
