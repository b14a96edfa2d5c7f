//! Messages that are begun and never ended.

use std::io::Write;
use std::time::{Duration, Instant};

use super::stranger::{End, PATIENCE, assert_ends, ends, frame, upgrade};
use super::withstands;

/// Of each kind.
const EACH: usize = 30;

/// For so long a stranger sends as fast as it can.
const FLOOD: Duration = Duration::from_secs(4);

#[test]
fn slow_fragments_without_end_are_closed() {
    withstands("fragments", &["--heartbeat", "1s", "--message-time", "2s"], |cluster| {
        let gateway = &cluster.gateways[0].main;
        for (payload, block, code) in [(&b""[..], 2_000, 4004), (b"x", 2_000, 1009)] {
            // As fast as they come, they may also be too many bytes a second.
            let next = frame(0x00, payload).repeat(block);
            let flood = |_| {
                let mut stream = upgrade(gateway, "", "");
                stream.write_all(&frame(0x01, payload)).unwrap();
                let began = Instant::now();
                while began.elapsed() < FLOOD && stream.write_all(&next).is_ok() {}
                stream
            };
            let strangers = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..EACH).map(|n| scope.spawn(move || flood(n))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_ends(&ends(strangers, b"", PATIENCE), &[End::Code(code), End::Code(4005)]);
        }
        // A byte of payload now and then: no buffer is ever full.
        let begun = (0..EACH).map(|_| {
            let mut stream = upgrade(gateway, "", "");
            stream.write_all(&frame(0x01, b"x")).unwrap();
            stream
        });
        let dripping = ends(begun.collect(), &frame(0x00, b"x"), PATIENCE);
        assert_ends(&dripping, &[End::Code(4004)]);
    });
}
