//! What compressing brings and costs, for `cargo bench -p gateway --bench deflate`; the running gateway does not
//! call this.

use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::Compression;

use super::compress::State;
use crate::frame;

/// Measured for so long at the least, after as much to warm up.
const LONG_ENOUGH: Duration = Duration::from_millis(20);

/// One frame, compressed again and again.
#[derive(Debug, Clone, Copy)]
pub struct Shrunk {
    /// Bytes of the frame, plain.
    pub plain: usize,
    /// Bytes of the frame as it is sent: plain if that is not more.
    pub packed: usize,
    /// One compression.
    pub took: Duration,
}

/// A push frame of items as a feed of prices sends them in one window, `data` of about 200 bytes each.
#[must_use]
pub fn similar(items: u64) -> Bytes {
    let mut seed = fastrand::Rng::with_seed(1);
    let mut below = |most: u64| seed.u64(0..most);
    let bodies: Vec<Bytes> = (0..items)
        .map(|n| {
            let data = format!(
                r#"{{"symbol":"BTC-USD","bid":"94213.{:02}","ask":"94218.{:02}","bidSize":"0.{:04}","askSize":"0.{:04}","volume":"18120{:04}","high":"95120.00","low":"93010.50","time":"2026-11-21T15:52:{:06.3}Z","venue":"main"}}"#,
                below(100),
                below(100),
                below(10_000),
                below(10_000),
                below(10_000),
                n as f64 * 0.097 % 60.0,
            );
            Bytes::from(format!(r#""event":"price","data":{data}}}"#))
        })
        .collect();
    frame::push(Some("prices"), bodies.iter())
}

/// Compresses a frame of ours with a level (1 to 9) and a window of so many bits (9 to 15).
#[must_use]
pub fn shrink(plain: &Bytes, level: u32, window_bits: u8) -> Shrunk {
    let mut state = State::new(Compression::new(level), window_bits);
    let payload = frame::payload(plain);
    let packed = state.deflate(payload).map_or(plain.len(), |packed| frame::deflated(plain, packed).len());
    let mut took = Duration::MAX;
    let began = Instant::now();
    // The best of several rounds: what else the machine did is not ours.
    while began.elapsed() < 2 * LONG_ENOUGH {
        let round = Instant::now();
        let rounds = 20;
        for _ in 0..rounds {
            std::hint::black_box(state.deflate(std::hint::black_box(payload)));
        }
        took = took.min(round.elapsed() / rounds);
    }
    Shrunk { plain: plain.len(), packed, took }
}
