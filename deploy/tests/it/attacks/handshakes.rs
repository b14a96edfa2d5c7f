//! Heads of requests that come a byte at a time.

use std::io::Write;
use std::time::Duration;

use super::stranger::{End, assert_ends, at_most, connect, ends};
use super::withstands;

/// Those on the client port, and on the API.
const HANDSHAKES: usize = 5_000;
const CALLS: usize = 500;

/// A head must be complete in five seconds; what is beyond is the time that it takes to notice.
const NOTICED: Duration = Duration::from_secs(8);

#[test]
fn slow_five_thousand_heads_that_never_end_are_ended() {
    withstands("slow heads", &[], |cluster| {
        let begin = |address: &str, head: &str| {
            let mut stream = connect(address);
            stream.write_all(head.as_bytes()).unwrap();
            stream
        };
        let (gateway, logic) = (&cluster.gateways[0].main, &cluster.logics[0].main);
        let handshakes = (0..at_most(HANDSHAKES))
            .map(|_| begin(gateway, "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nX-Slow: "));
        let calls = (0..CALLS).map(|_| begin(logic, "POST /v1/push HTTP/1.1\r\nHost: x\r\nX-Slow: "));
        let ends = ends(handshakes.chain(calls).collect(), b"s", 2 * NOTICED);
        assert_ends(&ends, &[End::Closed, End::Status(408)]);
        let latest = ends.iter().map(|(_, after)| *after).max();
        assert!(latest < Some(NOTICED), "the last after {latest:?}");
    });
}
