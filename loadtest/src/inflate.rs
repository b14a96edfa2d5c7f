//! Messages of permessage-deflate (RFC 7692 §7.2.2), each inflated by itself: one inflater for all clients of
//! an event loop, since gateways that keep no context need none.

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};

use crate::wire::FRAME_BYTES_MAX;

/// What a sender has cut off the end of each message.
const TAIL: &[u8] = &[0, 0, 0xff, 0xff];

/// Inflates one message at a time.
pub(crate) struct Inflater(Decompress);

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inflater")
    }
}

/// Bytes that are no compressed message, or one that is too long, or that leans on one before it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken;

impl Inflater {
    pub(crate) fn new() -> Self {
        Self(Decompress::new(false))
    }

    /// Puts the text of a message into `text`, in place of what was there.
    pub(crate) fn inflate(&mut self, message: &[u8], text: &mut Vec<u8>) -> Result<(), Broken> {
        self.0.reset(false);
        text.clear();
        self.feed(message, text)?;
        self.feed(TAIL, text)
    }

    fn feed(&mut self, mut bytes: &[u8], text: &mut Vec<u8>) -> Result<(), Broken> {
        loop {
            text.reserve((2 * bytes.len()).max(1_024));
            let before = self.0.total_in();
            let status = self.0.decompress_vec(bytes, text, FlushDecompress::Sync).map_err(|_| Broken)?;
            bytes = &bytes[(self.0.total_in() - before) as usize..];
            if text.len() > FRAME_BYTES_MAX {
                return Err(Broken);
            }
            let is_full = text.len() == text.capacity();
            match status {
                // A last block ends the stream: what follows it would be lost.
                Status::StreamEnd => return if bytes.is_empty() { Ok(()) } else { Err(Broken) },
                _ if bytes.is_empty() && !is_full => return Ok(()),
                // Neither could it go on for want of room: the bytes lead nowhere.
                Status::BufError if !is_full => return Err(Broken),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use flate2::{Compress, Compression, FlushCompress};

    use super::*;

    /// A message as a server writes it.
    pub(crate) fn deflate(deflater: &mut Compress, text: &[u8]) -> Vec<u8> {
        let mut message = Vec::with_capacity(text.len() + 64);
        deflater.compress_vec(text, &mut message, FlushCompress::Sync).unwrap();
        assert!(message.ends_with(TAIL));
        message.truncate(message.len() - TAIL.len());
        message
    }

    fn deflater() -> Compress {
        Compress::new(Compression::default(), false)
    }

    #[test]
    fn messages_are_inflated_each_by_itself() {
        let (mut inflater, mut deflater, mut text) = (Inflater::new(), deflater(), Vec::new());
        let long: Vec<u8> = (0..100_000_u32).flat_map(|number| (number * number).to_le_bytes()).collect();
        for message in [&b"hello hello hello"[..], b"", b"x", &long, &[b'a'; 1_000_000]] {
            deflater.reset();
            let bytes = deflate(&mut deflater, message);
            assert_eq!(inflater.inflate(&bytes, &mut text), Ok(()), "{} bytes", message.len());
            assert!(text == message, "{} bytes", message.len());
        }
        // RFC 7692 §7.2.3.1 and §7.2.3.3: one block, and one that is stored.
        for bytes in [&b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..], b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"] {
            assert_eq!(inflater.inflate(bytes, &mut text), Ok(()));
            assert_eq!(text, b"Hello");
        }
    }

    #[test]
    fn what_leans_on_a_message_before_it_is_broken() {
        let (mut inflater, mut deflater, mut text) = (Inflater::new(), deflater(), Vec::new());
        let message = b"the same words again and again";
        let first = deflate(&mut deflater, message);
        let second = deflate(&mut deflater, message);
        assert_eq!(inflater.inflate(&first, &mut text), Ok(()));
        assert_eq!(inflater.inflate(&second, &mut text), Err(Broken), "it refers to the first");
    }

    #[test]
    fn garbage_and_bombs_are_broken() {
        let (mut inflater, mut text) = (Inflater::new(), Vec::new());
        assert_eq!(inflater.inflate(b"\xff\xff\xff", &mut text), Err(Broken));
        let bomb = deflate(&mut deflater(), &vec![0; FRAME_BYTES_MAX + 1]);
        assert!(bomb.len() < 64 * 1024);
        assert_eq!(inflater.inflate(&bomb, &mut text), Err(Broken));
        assert!(text.capacity() < 3 * FRAME_BYTES_MAX);
    }
}
