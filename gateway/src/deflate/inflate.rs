//! A compressed message of a client, read within a bound once it is whole (RFC 7692 §7.2.2).
//!
//! An inflater lives for one call: 0.4 µs to make, about 40 KiB meanwhile, nothing for one who is idle or has sent a
//! part. What it makes never exceeds the bound, however much the input could become.

use flate2::{Decompress, FlushDecompress, Status};

/// What a sender left out at the end of its message, and after it an empty block that is the last: a decoder
/// that comes to the end exactly here has read whole blocks, so the message was not cut off.
const END: &[u8] = &[0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff];

/// Output is made in pieces of so many bytes.
const PIECE_BYTES: usize = 2048;

/// Why a message cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It would be longer than a message may be.
    TooBig,
    /// It is not DEFLATE data, or not whole.
    Garbage,
}

/// How long the compressed form of a message of at most so many bytes may be: no sensible encoder makes more than
/// the nine bits that the fixed code takes for a byte.
pub(crate) fn compressed_bytes_max(inflated: usize) -> usize {
    inflated + inflated / 8
}

/// What a whole message says, which is at most so many bytes.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn inflate(message: &[u8], bytes_max: usize) -> Result<Vec<u8>, Fault> {
    let (mut inflater, mut text) = (Inflater::new(bytes_max), Vec::new());
    inflater.feed(message, &mut text)?;
    inflater.finish(&mut text)?;
    Ok(text)
}

/// Reads one message, in as many pieces as one likes.
#[derive(Debug)]
struct Inflater {
    inflate: Decompress,
    bytes_max: usize,
    /// The last block was marked as the last of a stream.
    ended: bool,
}

impl Inflater {
    /// For a message of at most so many bytes, inflated.
    fn new(bytes_max: usize) -> Self {
        // Any window is read: what the client may use was not bounded.
        Self { inflate: Decompress::new(false), bytes_max, ended: false }
    }

    /// Reads the next piece of the message, and adds to `text` what it says.
    ///
    /// # Errors
    /// Why it cannot be read; nothing more of it can.
    fn feed(&mut self, mut piece: &[u8], text: &mut Vec<u8>) -> Result<(), Fault> {
        let mut out = [0_u8; PIECE_BYTES];
        loop {
            // A block marked as the last may have others after it (RFC 7692 §7.2.3.4 and .5).
            if self.ended && !piece.is_empty() {
                self.inflate.reset(false);
                self.ended = false;
            }
            let (read, made) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(piece, &mut out, FlushDecompress::Sync);
            let status = status.map_err(|_| Fault::Garbage)?;
            let read = (self.inflate.total_in() - read) as usize;
            let made = (self.inflate.total_out() - made) as usize;
            if text.len() + made > self.bytes_max {
                return Err(Fault::TooBig);
            }
            text.extend_from_slice(&out[..made]);
            piece = &piece[read..];
            self.ended = status == Status::StreamEnd;
            // With room left over, there is no more to be had from what was read.
            if piece.is_empty() && made < out.len() {
                return Ok(());
            }
            if read == 0 && made == 0 && !self.ended {
                return Err(Fault::Garbage);
            }
        }
    }

    /// Adds to `text` what is left of a message, all pieces of which have been fed.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn finish(mut self, text: &mut Vec<u8>) -> Result<(), Fault> {
        // A sender that ended its stream and added nothing left nothing out.
        if !self.ended {
            self.feed(END, text)?;
        }
        if self.ended { Ok(()) } else { Err(Fault::Garbage) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deflate::Window;
    use crate::deflate::compress::tests::deflate;
    use proptest::prelude::*;

    fn read(pieces: &[&[u8]], bytes_max: usize) -> Result<String, Fault> {
        let (mut inflater, mut text) = (Inflater::new(bytes_max), Vec::new());
        for piece in pieces {
            inflater.feed(piece, &mut text)?;
            assert!(text.capacity() <= bytes_max.next_power_of_two().max(PIECE_BYTES));
        }
        inflater.finish(&mut text)?;
        Ok(String::from_utf8(text).unwrap())
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        // RFC 7692 §7.2.3.1 to §7.2.3.6.
        for (message, text) in [
            (&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..], "Hello"),
            (&[0xf2, 0x00, 0x11, 0x00, 0x00], "Hello"),
            (&[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00], "Hello"),
            (&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], "Hello"),
            (&[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00], "Hello"),
            (&[0x00], ""),
            // Ended, with nothing after it; and twice.
            (&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], "Hello"),
            (
                &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
                "HelloHello",
            ),
        ] {
            // The second example refers to the message before it, which we never allow.
            let expected =
                if message.starts_with(&[0xf2, 0x00]) { Err(Fault::Garbage) } else { Ok(text.to_owned()) };
            assert_eq!(read(&[message], 100), expected, "{message:02x?}");
            let bytes: Vec<&[u8]> = message.chunks(1).collect();
            assert_eq!(read(&bytes, 100), expected, "{message:02x?} byte by byte");
        }
    }

    #[test]
    fn a_message_that_was_cut_off_is_garbage() {
        let whole = deflate(6, Window::Four, "text that repeats itself, ".repeat(40).as_bytes()).unwrap();
        for end in 1..whole.len() - 1 {
            assert_eq!(read(&[&whole[..end]], 10_000), Err(Fault::Garbage), "{end} of {}", whole.len());
        }
        assert_eq!(read(&[&whole], 10_000).unwrap().len(), 26 * 40);
        assert_eq!(read(&[b"{\"cmd\":\"join\"}"], 10_000), Err(Fault::Garbage));
    }

    #[test]
    fn a_bomb_stops_at_the_bound() {
        let bound = 64 * 1024;
        let bomb = deflate(9, Window::Four, &vec![b'x'; 100 * bound]).unwrap();
        assert_eq!(read(&[&bomb], bound), Err(Fault::TooBig));
        // In fragments it stops at the first that is too much, not at the end.
        let (mut inflater, mut text) = (Inflater::new(bound), Vec::new());
        let fed = bomb.chunks(10).take_while(|piece| inflater.feed(piece, &mut text).is_ok()).count();
        assert!(fed * 10 < bomb.len() / 50, "{fed} of {}", bomb.len().div_ceil(10));
        assert!(text.len() <= bound);
    }

    #[test]
    fn the_bound_itself_is_not_too_much() {
        for bound in [1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 64 * 1024] {
            let text = "x".repeat(bound);
            let message = [&[0x00][..], &stored(text.as_bytes()), &[0x00]].concat();
            assert_eq!(read(&[&message[1..]], bound).as_deref(), Ok(&*text), "{bound}");
            assert_eq!(read(&[&message[1..]], bound - 1), Err(Fault::TooBig), "{bound}");
        }
    }

    /// Blocks without compression.
    fn stored(text: &[u8]) -> Vec<u8> {
        let block = |part: &[u8]| {
            let length = part.len() as u16;
            [&[0x00][..], &length.to_le_bytes(), &(!length).to_le_bytes(), part].concat()
        };
        text.chunks(60_000).flat_map(block).collect()
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_within_the_bound_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 1_usize..300, bound in 0_usize..5000,
        ) {
            let (mut inflater, mut text) = (Inflater::new(bound), Vec::new());
            let fed = bytes.chunks(cut).try_for_each(|piece| inflater.feed(piece, &mut text));
            prop_assert!(text.len() <= bound);
            if fed.is_ok() {
                let _ = inflater.finish(&mut text);
                prop_assert!(text.len() <= bound);
            }
        }

        #[test]
        fn pieces_make_no_difference(
            bytes in proptest::collection::vec(any::<u8>(), 0..60), flip in 0_usize..1000, cut in 1_usize..60,
        ) {
            // Good messages with one bit flipped come further than noise.
            let mut message = deflate(6, Window::Four, &bytes.repeat(20)).unwrap_or(bytes);
            let at = flip % message.len().max(1);
            if let Some(byte) = message.get_mut(at) {
                *byte ^= 1 << (flip % 8);
            }
            let in_pieces = |cut: usize| {
                let (mut inflater, mut text) = (Inflater::new(3000), Vec::new());
                message.chunks(cut).try_for_each(|piece| inflater.feed(piece, &mut text))?;
                inflater.finish(&mut text).map(|()| text)
            };
            prop_assert_eq!(in_pieces(cut), in_pieces(1000));
        }
    }
}
