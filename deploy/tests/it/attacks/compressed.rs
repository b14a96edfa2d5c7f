//! Few bytes that become many.

use std::io::Write;
use std::time::{Duration, Instant};

use flate2::{Compress, Compression, FlushCompress};

use super::stranger::{DEFLATE, End, PATIENCE, assert_ends, ends, frame, upgrade};
use super::withstands;

/// At a time, and how often.
const STRANGERS: usize = 100;
const ROUNDS: usize = 5;

/// Those who send what may be sent, as fast as they can, and for how long.
const BUSY: usize = 10;
const FLOOD: Duration = Duration::from_secs(3);

/// A message as a client compresses it (RFC 7692 §7.2.1).
fn deflated(text: &[u8]) -> Vec<u8> {
    let mut compress = Compress::new(Compression::best(), false);
    let mut out = Vec::with_capacity(text.len() / 2 + 1024);
    compress.compress_vec(text, &mut out, FlushCompress::Sync).unwrap();
    out.truncate(out.len() - 4);
    out
}

#[test]
fn slow_bombs_are_cut_off_where_a_message_ends_to_be_allowed() {
    // 70 MB in 68 KiB: as much as a compressed message may have.
    let bomb = frame(0xc1, &deflated(&vec![b' '; 70_000_000]));
    let blank = [&br#"{"cmd":"heartbeat"}"#[..], &[b' '; 65_000]].concat();
    let allowed = frame(0xc1, &deflated(&blank));
    assert!((60_000..73_000).contains(&bomb.len()) && allowed.len() < 200);
    withstands("bombs", &[], |cluster| {
        let gateway = &cluster.gateways[0].main;
        for _ in 0..ROUNDS {
            let bombs = (0..STRANGERS).map(|_| {
                let mut stream = upgrade(gateway, "", DEFLATE);
                stream.write_all(&bomb).unwrap();
                stream
            });
            assert_ends(&ends(bombs.collect(), b"", PATIENCE), &[End::Code(1009)]);
        }
        // What is within the limit is read, and costs its sender nothing: others have their turn all the same.
        std::thread::scope(|scope| {
            for _ in 0..BUSY {
                scope.spawn(|| {
                    let mut stream = upgrade(gateway, "", DEFLATE);
                    let (block, began) = (allowed.repeat(100), Instant::now());
                    while began.elapsed() < FLOOD && stream.write_all(&block).is_ok() {}
                });
            }
        });
    });
}
