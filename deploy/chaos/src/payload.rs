//! The `data` of a push: which run, which history or room, which producer, which of its pushes, and a checksum.
//!
//! A payload is a function of its [`Label`]: whoever reads one writes it again and compares the bytes.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// The number of a push: its producer, and how many that one made before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct PushId(pub(crate) u32, pub(crate) u64);

/// What a payload says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    /// The run that made it.
    pub(crate) run: u64,
    /// The room that it was pushed to, or `@` and the user.
    pub(crate) to: String,
    pub(crate) push: PushId,
}

/// What a text turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Ours, byte for byte.
    Whole(Label),
    /// Not what any producer writes.
    Broken,
}

#[derive(Deserialize)]
struct Members {
    run: String,
    to: String,
    producer: u32,
    seq: u64,
}

/// Longest filler, so that frames differ in size.
const FILLER_BYTES_MAX: u64 = 120;

impl Label {
    /// The payload.
    pub(crate) fn write(&self) -> String {
        let Self { run, to, push: PushId(producer, seq) } = self;
        let mut text = format!(
            "{{\"run\":\"{run:016x}\",\"to\":\"{to}\",\"producer\":{producer},\"seq\":{seq},\"fill\":\""
        );
        let filler = (seq.wrapping_mul(31) ^ u64::from(*producer)) % FILLER_BYTES_MAX;
        text.extend((0..filler).map(|at| char::from(b'a' + ((seq + at) % 26) as u8)));
        text.push_str("\",\"sum\":\"");
        let sum = checksum(text.as_bytes());
        write!(text, "{sum:016x}\"}}").expect("a String takes all");
        text
    }

    /// Reads a text that should be a payload.
    pub(crate) fn read(text: &str) -> Reading {
        let Ok(Members { run, to, producer, seq }) = serde_json::from_str(text) else {
            return Reading::Broken;
        };
        let Ok(run) = u64::from_str_radix(&run, 16) else { return Reading::Broken };
        let label = Self { run, to, push: PushId(producer, seq) };
        if label.write() == text { Reading::Whole(label) } else { Reading::Broken }
    }
}

/// FNV-1a, 64 bits: it guards against accidents, not against people.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_read_again_and_every_changed_byte_is_found() {
        let label = Label { run: 7, to: "h.1".into(), push: PushId(3, 1234) };
        let text = label.write();
        assert_eq!(Label::read(&text), Reading::Whole(label));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(Label::read(&changed), Reading::Broken, "{changed}");
        }
        assert_eq!(Label::read(&text[..text.len() - 1]), Reading::Broken);
    }
}
