//! Lengths that nobody has memory for.

use std::io::Write;

use super::stranger::{DEFLATE, End, PATIENCE, answer, assert_ends, claim, ends, upgrade};
use super::withstands;

/// Of each kind.
const EACH: usize = 50;

#[test]
fn slow_a_length_of_2_to_the_63_is_refused_before_it_is_believed() {
    withstands("lengths", &[], |cluster| {
        let (gateway, logic) = (&cluster.gateways[0].main, &cluster.logics[0].main);
        for length in [65_537, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, u64::MAX] {
            for (first, code) in [(0x81, 1009), (0x82, 1009), (0x01, 1009), (0xc1, 1009), (0x89, 1002)] {
                // A compressed message may be a little longer, since it may shrink.
                let length = if first == 0xc1 { length.max(1 << 17) } else { length };
                let strangers = (0..EACH).map(|_| {
                    let mut stream = upgrade(gateway, "", DEFLATE);
                    stream.write_all(&claim(first, length)).unwrap();
                    stream.write_all(&[b'x'; 1024]).unwrap();
                    stream
                });
                assert_ends(&ends(strangers.collect(), b"", PATIENCE), &[End::Code(code)]);
            }
        }
        for (length, status) in [
            ("1048577", "413"),
            ("9223372036854775808", "413"),
            // Too long for the library itself, which calls it a header that is too large.
            ("18446744073709551614", "431"),
            ("18446744073709551616", "400"),
            ("99999999999999999999999999", "400"),
            ("-1", "400"),
            ("1e9", "400"),
        ] {
            let call = format!(
                "POST /v1/push HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
                 Content-Length: {length}\r\n\r\n{{"
            );
            for _ in 0..EACH {
                let answer = answer(logic, call.as_bytes());
                assert_eq!(answer.get(9..12), Some(status), "{length}: {answer}");
            }
        }
    });
}
