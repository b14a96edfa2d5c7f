//! Thousands who stay, listed and counted at three gateways, while others come and go.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{Three, three, wait_until};

/// Those who stay at each gateway; 6,000 descriptors here and 2,000 at each.
const STAYING: usize = 2_000;

/// Those who come and go, at a time.
const GUESTS: usize = 300;

fn connect(address: &str, query: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "GET /ws?{query} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

fn churn(gateways: &[String], ended: &AtomicBool, turns: &AtomicU64) {
    let mut guests: Vec<TcpStream> = Vec::new();
    while !ended.load(Ordering::Relaxed) {
        let number = turns.fetch_add(1, Ordering::Relaxed) as usize;
        let query = format!("userId=guest{}&room=hall{}&appId=2", number % 97, number % 31);
        let guest = connect(&gateways[number % 3], &query);
        if guests.len() < GUESTS {
            guests.push(guest);
        } else {
            guests[number % GUESTS] = guest;
        }
    }
}

/// How often each name stands in a list, over all pages.
fn times(three: &Three, path: &str, list: &str, member: &str) -> BTreeMap<String, u32> {
    let (mut times, mut cursor) = (BTreeMap::new(), String::new());
    loop {
        let page = three.get(&format!("{path}?limit=250{cursor}"));
        for entry in page[list].as_array().unwrap() {
            *times.entry(entry[member].as_str().unwrap().to_owned()).or_default() += 1;
        }
        let Some(next) = page["cursor"].as_str() else { return times };
        cursor = format!("&cursor={next}");
    }
}

#[test]
fn slow_thousands_who_stay_are_listed_once_and_counted_right_while_others_churn() {
    let three = three();
    let gateways: Vec<_> = three.0.gateways.iter().map(|gateway| gateway.main.clone()).collect();
    let (ended, turns) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let churning = scope.spawn(|| churn(&gateways, &ended, &turns));
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| judge(&three, &turns)));
        ended.store(true, Ordering::Relaxed);
        churning.join().unwrap();
        judged.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

fn judge(three: &Three, turns: &AtomicU64) {
    let all = 3 * STAYING;
    let staying: Vec<_> = (0..all)
        .map(|n| connect(&three.0.gateways[n % 3].main, &format!("userId=s{n}&room=r{}&appId=1", n % 500)))
        .collect();
    wait_until("all are there", || three.get("/v1/stats?appId=1")["clients"] == all);
    let began = turns.load(Ordering::Relaxed);
    for _ in 0..3 {
        let clients = times(three, "/v1/clients", "clients", "userId");
        let users = times(three, "/v1/users", "users", "userId");
        for n in 0..all {
            let name = format!("s{n}");
            assert_eq!((clients.get(&name), users.get(&name)), (Some(&1), Some(&1)), "{name}");
        }
        assert!(users.values().all(|times| *times == 1), "no user is listed twice");
        let rooms = times(three, "/v1/rooms", "rooms", "room");
        assert!((0..500).all(|n| rooms.get(&format!("r{n}")) == Some(&1)));
        let stats = three.get("/v1/stats?appId=1");
        assert_eq!(
            (&stats["clients"], &stats["users"], &stats["rooms"]),
            (&all.into(), &all.into(), &500.into())
        );
        assert_eq!(three.get("/v1/rooms/r7")["clients"], 12);
        assert_eq!(three.get("/v1/clients?appId=1&limit=1")["total"], all);
    }
    assert!(turns.load(Ordering::Relaxed) > began + 100, "others came and went");
    assert_eq!(three.done("DELETE /v1/rooms/r7", "")["left"], 12);
    drop(staying);
}
