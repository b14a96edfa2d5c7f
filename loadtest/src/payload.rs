//! The `data` of our pushes: a JSON object that says which item it is, padded to its size, under a checksum.
//!
//! `{"r":"<run>","i":7,"s":12,"n":3,"t":61200,"f":"<filler>","c":"<checksum>"}`: run, item, stream, sequence
//! in the stream, intended time in µs on the run's clock. The checksum covers every byte before `"c"`, and
//! the length is known: what was cut, lengthened or changed is found. It guards against accidents, not
//! against people.

use std::io::Write;

use crate::world::mix;

/// Shortest size: the members with their longest numbers.
///
/// 6+16+1 (run) + 3 × 15 (numbers of 10 digits) + 5+13 (time) + 6+1 (filler) + 6+16+2 (checksum) = 117.
pub(crate) const BYTES_MIN: usize = 128;

/// `"c":"` + 16 + `"}`.
const TAIL_BYTES: usize = 5 + 16 + 2;

const FILLER: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Which item a payload says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) item: u32,
    pub(crate) stream: u32,
    pub(crate) seq: u32,
    /// Intended time, µs on the run's clock.
    pub(crate) at: u64,
}

/// Writes and reads the payloads of one run.
#[derive(Debug, Clone)]
pub(crate) struct Format {
    /// `{"r":"<run>","i":`
    start: [u8; 28],
    run: u64,
    bytes: usize,
}

/// What a text turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Ours, and whole.
    Whole(Label),
    /// Ours by its beginning, but not as it was sent.
    Broken,
    /// Not of this run.
    Foreign,
}

impl Format {
    /// Payloads of `bytes` bytes, at least [`BYTES_MIN`].
    pub(crate) fn new(run: u64, bytes: usize) -> Self {
        let mut start = [0; 28];
        write!(&mut start[..], "{{\"r\":\"{run:016x}\",\"i\":").expect("6 + 16 + 6 bytes");
        Self { start, run, bytes }
    }

    /// The run that it names.
    pub(crate) fn run(&self) -> u64 {
        self.run
    }

    /// Length of each payload.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What each payload of this run begins with.
    pub(crate) fn start(&self) -> &[u8] {
        &self.start
    }

    /// Whether a text begins like a payload of this run.
    pub(crate) fn starts(&self, text: &[u8]) -> bool {
        text.starts_with(&self.start)
    }

    /// Appends the payload of an item.
    pub(crate) fn write(&self, label: Label, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(&self.start);
        let Label { item, stream, seq, at } = label;
        write!(out, "{item},\"s\":{stream},\"n\":{seq},\"t\":{at},\"f\":\"").expect("a Vec takes all");
        let filler = self.bytes - TAIL_BYTES - 2 - (out.len() - begin);
        out.extend((0..filler).map(|at| FILLER[(item as usize + at) % FILLER.len()]));
        out.extend_from_slice(b"\",");
        let sum = checksum(&out[begin..]);
        write!(out, "\"c\":\"{sum:016x}\"}}").expect("a Vec takes all");
    }

    /// Reads a text that should be a payload.
    pub(crate) fn read(&self, text: &[u8]) -> Reading {
        if !self.starts(text) {
            return Reading::Foreign;
        }
        if text.len() != self.bytes {
            return Reading::Broken;
        }
        let (body, tail) = text.split_at(self.bytes - TAIL_BYTES);
        if !tail.starts_with(b"\"c\":\"") || !tail.ends_with(b"\"}") {
            return Reading::Broken;
        }
        if parse_hex(&tail[5..21]) != Some(checksum(body)) {
            return Reading::Broken;
        }
        let mut rest = &body[self.start.len()..];
        let label = (|| {
            let item = number(&mut rest, b",\"s\":")?;
            let stream = number(&mut rest, b",\"n\":")?;
            let seq = number(&mut rest, b",\"t\":")?;
            let at = number(&mut rest, b",\"f\":\"")?;
            let narrow = |wide: u64| u32::try_from(wide).ok();
            Some(Label { item: narrow(item)?, stream: narrow(stream)?, seq: narrow(seq)?, at })
        })();
        label.map_or(Reading::Broken, Reading::Whole)
    }
}

/// Takes a decimal number and what must follow it.
fn number(rest: &mut &[u8], then: &[u8]) -> Option<u64> {
    let digits = rest.iter().take(20).take_while(|byte| byte.is_ascii_digit()).count();
    let value = rest[..digits]
        .iter()
        .try_fold(0_u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')))?;
    *rest = rest[digits..].strip_prefix(then).filter(|_| digits > 0)?;
    Some(value)
}

fn parse_hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, digit| {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(nibble))
    })
}

/// 64 bits that depend on every byte and its place: eight bytes a multiplication, for it runs once an item
/// and client.
fn checksum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut sum = bytes.len() as u64;
    for word in words {
        sum = (sum ^ u64::from_le_bytes(*word)).wrapping_mul(0x9fb2_1c65_1e98_df25).rotate_left(29);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(sum ^ u64::from_le_bytes(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: Label = Label { item: 123, stream: u32::MAX, seq: 0, at: 9_999_999_999_999 };

    fn written(bytes: usize) -> (Format, Vec<u8>) {
        let format = Format::new(0xfeed, bytes);
        let mut text = Vec::new();
        format.write(LABEL, &mut text);
        (format, text)
    }

    #[test]
    fn a_payload_has_its_size_is_json_and_is_read_again() {
        for bytes in [BYTES_MIN, 200, 4096] {
            let (format, text) = written(bytes);
            assert_eq!(text.len(), bytes);
            assert!(serde_json::from_slice::<serde_json::Value>(&text).unwrap().is_object());
            assert_eq!(format.read(&text), Reading::Whole(LABEL));
        }
    }

    #[test]
    fn every_changed_byte_is_found() {
        let (format, text) = written(200);
        for at in 0..text.len() {
            for change in [1, 0x20, 0x80] {
                let mut changed = text.clone();
                changed[at] ^= change;
                assert!(!matches!(format.read(&changed), Reading::Whole(_)), "byte {at} ^ {change}");
            }
        }
    }

    #[test]
    fn what_is_cut_lengthened_swapped_or_foreign_is_found() {
        let (format, text) = written(200);
        assert_eq!(format.read(&text[..199]), Reading::Broken);
        assert_eq!(format.read(&[&text[..], b" "].concat()), Reading::Broken);
        let mut swapped = text.clone();
        swapped.swap(100, 110);
        assert_eq!(format.read(&swapped), Reading::Broken);
        assert_eq!(Format::new(0xbeef, 200).read(&text), Reading::Foreign);
        assert_eq!(format.read(b"{\"n\":1}"), Reading::Foreign);
        assert_eq!(format.read(b""), Reading::Foreign);
    }
}
