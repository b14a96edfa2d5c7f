//! A million names of rooms.

use std::time::{Duration, Instant};

use super::stranger::{End, PATIENCE, assert_ends, at_most, ends, upgrade};
use super::withstands;
use crate::cluster::Cluster;

/// Rooms of one client, and of all.
const ROOMS: usize = 64;
const NAMES: usize = 1_000_000;

/// What one handshake may name more.
const TOO_MANY: usize = 50;

/// Two thousand clients a second come and go, with 128,000 names: more handshakes than that are another attack.
const STEP: usize = 20;
const PAUSE: Duration = Duration::from_millis(10);

/// For so long all of them are there.
const HELD: Duration = Duration::from_secs(5);

fn rooms(cluster: &Cluster) -> u64 {
    cluster.gateways[0].statusz()["rooms"].as_u64().unwrap()
}

fn query(first: usize, rooms: usize) -> String {
    (first..first + rooms).map(|room| format!("room=a-room-{room}&")).collect()
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

#[test]
fn slow_a_million_names_of_rooms_fit_and_go_away_with_who_named_them() {
    withstands("names", &["--max-rooms", "1100000"], |cluster| {
        let gateway = &cluster.gateways[0].main;
        let before = rooms(cluster);
        let clients = at_most(NAMES.div_ceil(ROOMS));
        let mut strangers = Vec::new();
        for client in 0..clients {
            if client % STEP == 0 {
                std::thread::park_timeout(PAUSE);
            }
            strangers.push(upgrade(gateway, &query(client * ROOMS, ROOMS), ""));
        }
        wait_for("all rooms", || rooms(cluster) == before + (clients * ROOMS) as u64);
        // They stay for a while, and are felt by nobody.
        std::thread::park_timeout(HELD);
        let greedy = (0..TOO_MANY).map(|_| upgrade(gateway, &query(0, ROOMS + 1), ""));
        assert_ends(&ends(greedy.collect(), b"", PATIENCE), &[End::Code(4503)]);
        while !strangers.is_empty() {
            strangers.truncate(strangers.len().saturating_sub(STEP));
            std::thread::park_timeout(PAUSE);
        }
        wait_for("no rooms", || rooms(cluster) == before);
        wait_for("none at the logic node either", || {
            let (_, stats) = cluster.logics[0].get("/v1/stats");
            stats["rooms"].as_u64() == Some(before)
        });
    });
}
