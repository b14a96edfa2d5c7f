//! How far back a stream refers, by the letter of RFC 1951: a reader for tests. zlib-rs cannot tell, since it reads
//! every stream with a window of 32 KiB, whatever it was asked for.

/// In which order the lengths of the code's own codes come (RFC 1951 §3.2.7).
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Bits of a stream, lowest first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn left(&self) -> usize {
        self.bytes.len() * 8 - self.at
    }

    fn take(&mut self, count: usize) -> usize {
        let bit = |at: usize| usize::from(self.bytes[at / 8] >> (at % 8) & 1);
        let value = (0..count).map(|n| bit(self.at + n) << n).sum();
        self.at += count;
        value
    }
}

/// A canonical code: how many codes of each length, and their symbols in order (RFC 1951 §3.2.2).
struct Code {
    counts: [usize; 16],
    symbols: Vec<usize>,
}

impl Code {
    fn new(lengths: &[usize]) -> Self {
        let mut counts = [0; 16];
        let mut symbols: Vec<usize> = (0..lengths.len()).filter(|symbol| lengths[*symbol] > 0).collect();
        symbols.iter().for_each(|symbol| counts[lengths[*symbol]] += 1);
        symbols.sort_by_key(|symbol| lengths[*symbol]);
        Self { counts, symbols }
    }

    fn read(&self, bits: &mut Bits<'_>) -> usize {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for count in &self.counts[1..] {
            code |= bits.take(1);
            if code < first + count {
                return self.symbols[index + code - first];
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        panic!("no such code");
    }
}

/// The codes of a block: of literals and lengths, and of distances.
fn codes(bits: &mut Bits<'_>, is_fixed: bool) -> (Code, Code) {
    if is_fixed {
        let length = |symbol| match symbol {
            0..=143 | 280..=287 => 8,
            144..=255 => 9,
            _ => 7,
        };
        return (Code::new(&(0..288).map(length).collect::<Vec<usize>>()), Code::new(&[5; 30]));
    }
    let (literals, distances, own) = (bits.take(5) + 257, bits.take(5) + 1, bits.take(4) + 4);
    let mut lengths = [0; 19];
    ORDER[..own].iter().for_each(|symbol| lengths[*symbol] = bits.take(3));
    let code = Code::new(&lengths);
    let mut lengths = Vec::new();
    while lengths.len() < literals + distances {
        let (value, times) = match code.read(bits) {
            16 => (lengths[lengths.len() - 1], 3 + bits.take(2)),
            17 => (0, 3 + bits.take(3)),
            18 => (0, 11 + bits.take(7)),
            value => (value, 1),
        };
        lengths.extend(std::iter::repeat_n(value, times));
    }
    (Code::new(&lengths[..literals]), Code::new(&lengths[literals..]))
}

/// The longest distance in a whole stream of blocks.
pub(super) fn farthest(stream: &[u8]) -> usize {
    let mut bits = Bits { bytes: stream, at: 0 };
    let mut most = 0;
    while bits.left() >= 3 {
        bits.take(1);
        let kind = bits.take(2);
        if kind == 0 {
            bits.at = bits.at.next_multiple_of(8);
            let length = bits.take(16);
            bits.at += 16 + length * 8;
            continue;
        }
        let (literals, distances) = codes(&mut bits, kind == 1);
        loop {
            match literals.read(&mut bits) {
                0..=255 => continue,
                256 => break,
                symbol @ (265..=284) => _ = bits.take((symbol - 261) / 4),
                _ => {}
            }
            let symbol = distances.read(&mut bits);
            let extra = (symbol / 2).saturating_sub(1);
            let base = if symbol < 4 { symbol } else { (2 + symbol % 2) << extra };
            most = most.max(base + 1 + bits.take(extra));
        }
    }
    most
}
