//! permessage-deflate (RFC 7692): what is agreed, what is sent, what is read.
//!
//! A frame is compressed once and its bytes go to everyone who may have them, so nothing of one message helps to
//! compress the next: `server_no_context_takeover`, always. What clients send is read without the past either
//! (`client_no_context_takeover`), so an idle client has no window here. Neither costs an idle connection a byte.

pub mod bench;
mod compress;
pub(crate) mod fuzz;
mod inflate;
mod negotiate;

pub(crate) use compress::Compressor;
pub(crate) use inflate::{Fault, compressed_bytes_max, inflate};
pub(crate) use negotiate::negotiate;

/// How far back what a client is sent may refer.
///
/// A stream made with a smaller window is one that a larger one reads, so two kinds serve everybody: 4 KiB whoever
/// allows that much, browsers among them, and 512 bytes the few who allow less. Pushes gain nothing beyond, since
/// what repeats is in the items just before: 100 similar items of 200 bytes shrink to 0.101 with 4 KiB, and to 0.103
/// with 32 KiB in a third more time (`cargo bench -p gateway --bench deflate`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Window {
    Half,
    Four,
}

impl Window {
    /// How many kinds there are; each is at most one compression of a frame.
    pub(crate) const KINDS: usize = 2;

    /// Base-2 logarithm of the window in bytes.
    fn bits(self) -> u8 {
        match self {
            Self::Half => 9,
            Self::Four => 12,
        }
    }

    /// The widest that one who allows so many bits can read.
    fn within(bits: u8) -> Option<Self> {
        [Self::Four, Self::Half].into_iter().find(|window| window.bits() <= bits)
    }
}
