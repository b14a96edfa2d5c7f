#![no_main]
//! See `fuzz::TARGETS`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::edge(data));
