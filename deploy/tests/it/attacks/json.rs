//! JSON that nests without end, to clients' parser and to the API's.

use std::io::Write;

use super::stranger::{End, PATIENCE, answer, assert_ends, ends, frame, upgrade};
use super::withstands;

/// Of each kind.
const EACH: usize = 100;

#[test]
fn slow_json_that_nests_without_end_is_refused_before_it_is_parsed() {
    withstands("depth", &[], |cluster| {
        let (gateway, logic) = (&cluster.gateways[0].main, &cluster.logics[0].main);
        for open in ["[", r#"{"a":"#, r#"[{"cmd":["#, "[\"["] {
            let deep = open.repeat(65_000 / open.len());
            let message = frame(0x81, deep.as_bytes());
            let strangers = (0..EACH).map(|_| {
                let mut stream = upgrade(gateway, "", "");
                // The connection lives through some of them, each of which has an answer.
                let _ = stream.write_all(&message.repeat(20));
                stream
            });
            // Twenty at once may also be too many bytes a second.
            assert_ends(&ends(strangers.collect(), b"", PATIENCE), &[End::Code(4500), End::Code(4005)]);
        }
        for path in ["/v1/push", "/v1/push/batch"] {
            let deep = "[".repeat(1_000_000);
            let call = format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{deep}",
                deep.len()
            );
            for _ in 0..EACH {
                let answer = answer(logic, call.as_bytes());
                assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("json_too_deep"), "{answer}");
            }
        }
    });
}
