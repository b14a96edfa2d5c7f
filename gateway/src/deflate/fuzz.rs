//! Any bytes as a compressed message, and any bytes as a message to compress.

use std::io::Read;

use common::limits::CLIENT_MESSAGE_BYTES_MAX;
use flate2::Compression;
use flate2::read::DeflateDecoder;

use super::compress::State;
use super::{Window, inflate};

/// What a sender leaves out, and a last block behind it: so any reader of DEFLATE comes to an end.
const END: &[u8] = &[0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff];

/// Any bytes as a compressed message, and as a message to compress.
///
/// # Panics
/// If what is read is longer than allowed or other than what zlib reads, or if what we compress is not read again.
pub fn deflate(data: &[u8]) {
    if let Ok(text) = inflate(data, CLIENT_MESSAGE_BYTES_MAX) {
        assert!(text.len() <= CLIENT_MESSAGE_BYTES_MAX, "{} bytes", text.len());
        let mut theirs = Vec::new();
        let whole = [data, END].concat();
        // It stops at the first block that is the last, and we may go on behind it: so ours begins with theirs.
        if DeflateDecoder::new(&whole[..]).take(text.len() as u64).read_to_end(&mut theirs).is_ok() {
            assert!(text.starts_with(&theirs), "another text");
        }
    }
    for window in [Window::Half, Window::Four] {
        let mut state = State::new(Compression::fast(), window.bits());
        if let Some(packed) = state.deflate(data) {
            assert!(packed.len() < data.len(), "compressed, and longer");
            assert_eq!(inflate(packed, data.len()).as_deref(), Ok(data), "our own");
        }
    }
}
