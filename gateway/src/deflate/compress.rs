//! One frame as its compressed twin (RFC 7692 §7.2.1), made once for all who may have it.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress};
use parking_lot::Mutex;

use super::Window;
use crate::counters::Counters;
use crate::frame;
use crate::settings::Settings;

/// What every flushed message ends with, and leaves out.
const TAIL: &[u8] = &[0x00, 0x00, 0xff, 0xff];

/// With fewer readers than this, only frames of [`FEW_BYTES_MIN`] are compressed.
const FEW_READERS: u64 = 8;

/// Payloads that are worth a compression for one reader.
const FEW_BYTES_MIN: usize = 1024;

/// Compresses for one gateway, from any of its threads.
#[derive(Debug)]
pub(crate) struct Compressor {
    level: Compression,
    /// Payloads of fewer bytes go plain.
    bytes_min: usize,
    /// States at rest, for each window: at most as many as threads that write. One is about
    /// 200 KiB, most of it a hash table; making one costs twice what emptying it does.
    idle: [Mutex<Vec<State>>; Window::KINDS],
    counters: Arc<Counters>,
}

/// What is kept from one frame to the next: memory, no bytes of it.
#[derive(Debug)]
pub(super) struct State {
    deflate: Compress,
    out: Vec<u8>,
}

impl Compressor {
    pub(crate) fn new(settings: &Settings, counters: &Arc<Counters>) -> Self {
        Self {
            level: Compression::new(settings.deflate_level),
            bytes_min: settings.deflate_bytes_min,
            idle: [const { Mutex::new(Vec::new()) }; Window::KINDS],
            counters: counters.clone(),
        }
    }

    /// Whether a frame of ours to so many is worth trying. One compression costs as much as two or three writes, so
    /// a frame for few must save more to be worth it: a million small ones for one each would cost more than all else.
    pub(crate) fn wants(&self, plain: &Bytes, readers: u64) -> bool {
        let least = if readers < FEW_READERS { self.bytes_min.max(FEW_BYTES_MIN) } else { self.bytes_min };
        frame::payload(plain).len() >= least
    }

    /// The compressed twin of a frame of ours; `None` if it is not smaller.
    pub(crate) fn compress(&self, plain: &Bytes, window: Window) -> Option<Bytes> {
        let began = Instant::now();
        let idle = &self.idle[window as usize];
        let state = idle.lock().pop();
        let mut state = state.unwrap_or_else(|| State::new(self.level, window.bits()));
        let twin = state.deflate(frame::payload(plain)).map(|packed| frame::deflated(plain, packed));
        idle.lock().push(state);
        let counters = &self.counters.deflate;
        counters.frames.inc();
        counters.bytes_before.inc_by(plain.len() as u64);
        counters.bytes_after.inc_by(twin.as_ref().unwrap_or(plain).len() as u64);
        counters.seconds.inc_by(began.elapsed().as_secs_f64());
        twin
    }
}

impl State {
    /// `window_bits`: 9 to 15.
    pub(super) fn new(level: Compression, window_bits: u8) -> Self {
        Self { deflate: Compress::new_with_window_bits(level, false, window_bits), out: Vec::new() }
    }

    /// A message's compressed bytes; `None` if they are not fewer.
    pub(super) fn deflate(&mut self, payload: &[u8]) -> Option<&[u8]> {
        self.deflate.reset();
        // With room left over the flush is complete (zlib.h, deflate); without, it was not worth it.
        self.out.resize(payload.len(), 0);
        self.deflate.compress(payload, &mut self.out, FlushCompress::Sync).ok()?;
        let used = usize::try_from(self.deflate.total_out()).ok().filter(|used| *used < payload.len())?;
        self.out[..used].strip_suffix(TAIL)
    }
}

#[cfg(test)]
mod farthest;

#[cfg(test)]
pub(super) mod tests {
    use super::farthest::farthest;
    use super::*;
    use crate::deflate::bench::similar;
    use common::metrics::Metrics;
    use proptest::prelude::*;

    pub(in crate::deflate) fn deflate(level: u32, window: Window, payload: &[u8]) -> Option<Vec<u8>> {
        State::new(Compression::new(level), window.bits()).deflate(payload).map(<[u8]>::to_vec)
    }

    #[test]
    fn ten_similar_items_shrink_to_a_quarter() {
        let counters = Arc::new(Counters::new(&Metrics::new("test")));
        let compressor = Compressor::new(&Settings::default(), &counters);
        for window in [Window::Half, Window::Four] {
            let plain = similar(10);
            assert!(compressor.wants(&plain, FEW_READERS));
            let twin = compressor.compress(&plain, window).unwrap();
            let ratio = twin.len() as f64 / plain.len() as f64;
            assert!(ratio <= 0.25, "{window:?}: {ratio}");
        }
        assert_eq!(counters.deflate.frames.get(), 2);
        assert!(counters.deflate.bytes_after.get() * 4 <= counters.deflate.bytes_before.get());
        assert!(counters.deflate.seconds.get() > 0.0);
    }

    #[test]
    fn what_does_not_get_smaller_goes_plain() {
        let mut seed = fastrand::Rng::with_seed(7);
        let noise: Vec<u8> = std::iter::repeat_with(|| seed.u8(..)).take(300).collect();
        let counters = Arc::new(Counters::new(&Metrics::new("test")));
        let compressor = Compressor::new(&Settings::default(), &counters);
        assert_eq!(compressor.compress(&frame::text(&noise), Window::Four), None);
        assert_eq!(compressor.compress(&frame::text(b""), Window::Four), None);
        assert_eq!(counters.deflate.bytes_after.get(), counters.deflate.bytes_before.get());
        assert!(!compressor.wants(&frame::text(&[b'x'; 255]), u64::MAX));
        assert!(compressor.wants(&frame::text(&[b'x'; 256]), FEW_READERS));
        assert!(!compressor.wants(&frame::text(&[b'x'; 1023]), FEW_READERS - 1));
        assert!(compressor.wants(&frame::text(&[b'x'; 1024]), 1));
    }

    #[test]
    fn a_state_used_before_makes_the_same_bytes() {
        let plain = similar(10);
        let mut state = State::new(Compression::new(6), Window::Four.bits());
        let first = state.deflate(frame::payload(&plain)).unwrap().to_vec();
        assert!(state.deflate(b"something else, something else, something else").is_some());
        assert_eq!(state.deflate(frame::payload(&plain)).unwrap(), first);
    }

    #[test]
    fn no_stream_refers_further_back_than_its_window() {
        // The same text again and again, further apart than a half, but not than four.
        let mut seed = fastrand::Rng::with_seed(3);
        let noise: String = std::iter::repeat_with(|| seed.alphanumeric()).take(900).collect();
        let text = (noise + &"z".repeat(600)).repeat(20);
        for level in 1..=9 {
            let reach = |window| {
                let message = deflate(level, window, text.as_bytes()).unwrap();
                farthest(&[&message, TAIL].concat())
            };
            assert!((1..=512).contains(&reach(Window::Half)), "level {level}");
            assert!((1500..=4096).contains(&reach(Window::Four)), "level {level}");
        }
    }

    proptest! {
        #[test]
        fn what_is_compressed_is_read_again(
            words in proptest::collection::vec("[a-c]{1,8}|\\PC{0,8}", 0..400),
            level in 1_u32..=9, half: bool,
        ) {
            let text = words.concat();
            let window = if half { Window::Half } else { Window::Four };
            if let Some(compressed) = deflate(level, window, text.as_bytes()) {
                prop_assert!(compressed.len() < text.len());
                let read = crate::deflate::inflate(&compressed, text.len()).unwrap();
                let reach = farthest(&[&compressed, TAIL].concat());
                prop_assert!(reach <= 1 << window.bits(), "{reach} bytes back");
                prop_assert_eq!(read, text.as_bytes());
            }
        }
    }
}
