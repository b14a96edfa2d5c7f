//! The framing of a chunked body, byte by byte (RFC 9112 §7.1). Pure.
//!
//! hyper finds where chunks end, but takes anything for an extension and blanks behind a size; what one server skips
//! there another may take for data, which is how requests are smuggled. Here only what the grammar has is taken.

/// How far a body has come. What follows the last chunk, trailers and the next request, is not looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunks {
    at: At,
    /// Of the chunk's size while it is read, then bytes of its data that have not come.
    left: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// A size begins.
    Start,
    Size,
    /// Blanks, after which an extension must follow.
    Blank,
    /// The name of an extension begins.
    Name,
    InName,
    /// Blanks after a name: its value or another extension must follow.
    AfterName,
    /// A value begins.
    Value,
    InValue,
    Quoted,
    Escaped,
    Unquoted,
    /// The line ended with CR.
    Lf,
    Data,
    DataCr,
    DataLf,
    End,
    Broken,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { at: At::Start, left: 0 }
    }
}

impl Chunks {
    /// Whether the body is good up to the end of these bytes, which follow those before.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) -> bool {
        while let Some((byte, rest)) = bytes.split_first() {
            match self.at {
                At::End => return true,
                At::Broken => return false,
                At::Data => {
                    let some = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                    self.left -= some as u64;
                    bytes = &bytes[some..];
                    if self.left == 0 {
                        self.at = At::DataCr;
                    }
                }
                at => {
                    self.at = self.step(at, *byte);
                    bytes = rest;
                }
            }
        }
        self.at != At::Broken
    }

    fn step(&mut self, at: At, byte: u8) -> At {
        match (at, byte) {
            (At::Start | At::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.digit(byte),
            (At::Size | At::InName | At::InValue | At::Unquoted, b'\r') => At::Lf,
            (At::Size | At::Blank | At::InName | At::AfterName | At::InValue | At::Unquoted, b';') => {
                At::Name
            }
            (At::Size | At::Blank | At::InValue | At::Unquoted, b' ' | b'\t') => At::Blank,
            (At::Name, b' ' | b'\t') => At::Name,
            (At::Name | At::InName, _) if is_token(byte) => At::InName,
            (At::InName | At::AfterName, b' ' | b'\t') => At::AfterName,
            (At::InName | At::AfterName, b'=') => At::Value,
            (At::Value, b' ' | b'\t') => At::Value,
            (At::Value, b'"') => At::Quoted,
            (At::Value | At::InValue, _) if is_token(byte) => At::InValue,
            (At::Quoted, b'"') => At::Unquoted,
            (At::Quoted, b'\\') => At::Escaped,
            (At::Quoted | At::Escaped, b'\t' | b' '..=b'~' | 0x80..) => At::Quoted,
            (At::Lf, b'\n') if self.left == 0 => At::End,
            (At::Lf, b'\n') => At::Data,
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Start,
            _ => At::Broken,
        }
    }

    fn digit(&mut self, byte: u8) -> At {
        let digit = char::from(byte).to_digit(16).map(u64::from);
        let grown = self.left.checked_mul(16).zip(digit).and_then(|(size, digit)| size.checked_add(digit));
        match grown {
            Some(size) => {
                self.left = size;
                At::Size
            }
            None => At::Broken,
        }
    }
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a body is good, the same whole and byte by byte.
    fn is_good(body: &[u8]) -> bool {
        let whole = Chunks::default().follow(body);
        let mut chunks = Chunks::default();
        let in_pieces = body.iter().all(|byte| chunks.follow(&[*byte]));
        assert_eq!(whole, in_pieces, "{:?}", String::from_utf8_lossy(body));
        whole
    }

    #[test]
    fn what_the_grammar_has_is_taken() {
        for body in [
            &b"0\r\n\r\n"[..],
            b"000\r\n\r\n",
            b"5\r\nhello\r\n0\r\n\r\n",
            b"A\r\nhelloworld\r\n0\r\nX-Sum: 1\r\n\r\n",
            b"5\r\nhello\r\n6\r\n\r\n\0;=\"\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            b"5;a\r\nhello\r\n0;b=c;d\r\n\r\n",
            b"5 ; a = b\t;c=\"q \\\" ;\" ; d\r\nhello\r\n0\r\n\r\n",
            b"0;a=\"\xc3\xa9\"\r\n\r\n",
            b"5\r\nhel",
        ] {
            assert!(is_good(body), "{:?}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn what_it_has_not_is_refused() {
        for body in [
            &b"\r\n\r\n"[..],
            b"0x5\r\nhello\r\n",
            b"+5\r\nhello\r\n",
            b"-1\r\n",
            b"1_0\r\n",
            b" 5\r\nhello\r\n",
            b"5 \r\nhello\r\n",
            b"5\nhello\r\n",
            b"5\rhello\r\n",
            b"5;\r\nhello\r\n",
            b"5;;a\r\nhello\r\n",
            b"5;a \r\nhello\r\n",
            b"5;a=\r\nhello\r\n",
            b"5;a=b \r\nhello\r\n",
            b"5;a=\"b\r\nhello\r\n",
            b"5;a=\"b\"c\r\nhello\r\n",
            b"5;bad[=x\r\nhello\r\n",
            b"5;\0a\r\nhello\r\n",
            b"5;a\rX\r\nhello\r\n",
            b"5;a\nhello\r\n",
            b"5\r\nhello0\r\n\r\n",
            b"5\r\nhello!!\r\n0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"fffffffffffffffff\r\n",
            b"10000000000000000\r\n",
        ] {
            assert!(!is_good(body), "{:?}", String::from_utf8_lossy(body));
        }
    }
}
