//! Clients who connect and then say nothing, not even the answer to a ping.

use super::stranger::{End, PATIENCE, assert_ends, at_most, ends, upgrade};
use super::withstands;

/// As many as one process may have.
const IDLE: usize = 19_000;

#[test]
fn slow_nineteen_thousand_who_say_nothing_are_closed() {
    withstands("idle", &["--heartbeat", "1s", "--silence", "3s"], |cluster| {
        let gateway = &cluster.gateways[0].main;
        let idle = (0..at_most(IDLE)).map(|_| upgrade(gateway, "room=idle", "")).collect();
        assert_ends(&ends(idle, b"", PATIENCE), &[End::Code(4003)]);
    });
}
