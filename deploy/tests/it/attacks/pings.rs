//! Pings as fast as they can be written, each of which asks for an answer.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::stranger::{End, PATIENCE, assert_ends, ends, frame, upgrade};
use super::withstands;

/// Of those who read the answers, and of those who do not.
const EACH: usize = 20;

const FLOOD: Duration = Duration::from_secs(4);

#[test]
fn slow_pings_whose_answers_nobody_reads_are_not_answered_for_ever() {
    withstands("pings", &[], |cluster| {
        let gateway = &cluster.gateways[0].main;
        let flood = |reads: bool| {
            let mut stream = upgrade(gateway, "", "");
            let (block, began) = (frame(0x89, &[b'p'; 125]).repeat(100), Instant::now());
            let mut reader = stream.try_clone().unwrap();
            std::thread::scope(|scope| {
                if reads {
                    scope.spawn(move || {
                        let mut scrap = vec![0; 64 * 1024];
                        while began.elapsed() < FLOOD && reader.read(&mut scrap).is_ok_and(|read| read > 0) {}
                    });
                }
                while began.elapsed() < FLOOD && stream.write_all(&block).is_ok() {}
                if reads {
                    stream.shutdown(std::net::Shutdown::Both).unwrap_or(());
                }
            });
            stream
        };
        let strangers = std::thread::scope(|scope| {
            let deaf: Vec<_> = (0..EACH).map(|_| scope.spawn(|| flood(false))).collect();
            let heard: Vec<_> = (0..EACH).map(|_| scope.spawn(|| flood(true))).collect();
            heard.into_iter().for_each(|thread| drop(thread.join().unwrap()));
            deaf.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_ends(&ends(strangers, b"", PATIENCE), &[End::Code(4002), End::Code(4005)]);
    });
}
