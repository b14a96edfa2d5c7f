//! Messages that are all but whole, of so many clients that the node has not the memory to keep them.

use std::io::Write;

use super::stranger::{End, PATIENCE, assert_ends, at_most, claim, ends, upgrade};
use super::withstands;

/// So many, with so much each, are more than half a gibibyte.
const STRANGERS: usize = 10_000;
const BYTES: usize = 60_000;

#[test]
fn slow_ten_thousand_messages_that_lack_their_last_byte_are_not_all_kept() {
    withstands("incomplete messages", &["--heartbeat", "1s", "--message-time", "3s"], |cluster| {
        let gateway = &cluster.gateways[0].main;
        let part = [&claim(0x81, BYTES as u64)[..], &[b'x'; BYTES - 1]].concat();
        let strangers = (0..at_most(STRANGERS)).map(|_| {
            let mut stream = upgrade(gateway, "", "");
            // Whoever is closed meanwhile is found closed below.
            let _ = stream.write_all(&part);
            stream
        });
        let strangers = strangers.collect();
        assert_ends(&ends(strangers, b"", PATIENCE), &[End::Code(4004)]);
    });
}
