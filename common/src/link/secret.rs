//! The link's shared secret: nobody but logic may drive a gateway.

use std::fmt;
use std::path::Path;

use subtle::ConstantTimeEq;

/// Fewest bytes that a secret may have.
pub const BYTES_MIN: usize = 16;

/// A secret that both ends of the link know. Never printed.
#[derive(Clone)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// Takes a secret from text: visible ASCII, at least [`BYTES_MIN`] bytes; a final newline is not part of it.
    ///
    /// # Errors
    /// What is wrong with it, in words that do not contain it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim_end_matches(['\r', '\n']);
        if text.len() < BYTES_MIN {
            return Err(format!("the link secret has {} bytes; at least {BYTES_MIN} are needed", text.len()));
        }
        if let Some(at) = text.bytes().position(|byte| !byte.is_ascii_graphic()) {
            return Err(format!(
                "the link secret has a space or a character beyond visible ASCII at byte {at}"
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// Reads a secret from a file.
    ///
    /// # Errors
    /// What is wrong, with the file's name.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The value of the `authorization` header that proves it.
    #[must_use]
    pub fn authorization(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Whether a header's value proves this secret, compared in constant time.
    #[must_use]
    pub fn is_proved_by(&self, authorization: Option<&[u8]>) -> bool {
        authorization.is_some_and(|value| value.ct_eq(self.authorization().as_bytes()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_proved_by_itself_only() {
        let secret = Secret::parse("0123456789abcdef\n").unwrap();
        assert!(secret.is_proved_by(Some(b"Bearer 0123456789abcdef")));
        for wrong in [None, Some(&b""[..]), Some(b"Bearer 0123456789abcdeF"), Some(b"0123456789abcdef")] {
            assert!(!secret.is_proved_by(wrong));
        }
        assert!(Secret::parse("short").is_err());
        assert!(Secret::parse("has a space in the middle").is_err());
    }
}
