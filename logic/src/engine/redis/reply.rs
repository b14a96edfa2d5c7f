//! What scripts answer, taken apart.

use bytes::Bytes;
use redis::Value;

use super::fault::Fault;

/// The parts of an answer, from the first on.
#[derive(Debug)]
pub(super) struct Reply(std::vec::IntoIter<Value>);

/// A store that answers something else holds what this release did not write.
fn strange() -> Fault {
    Fault::Away("other", "Redis answered what no script of this release answers".to_owned())
}

impl Reply {
    /// An answer that is a list.
    pub(super) fn new(value: Value) -> Result<Self, Fault> {
        match value {
            Value::Array(parts) => Ok(Self(parts.into_iter())),
            _ => Err(strange()),
        }
    }

    /// How many parts are left.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn next(&mut self) -> Result<Value, Fault> {
        self.0.next().ok_or_else(strange)
    }

    /// The next part, bytes.
    pub(super) fn bytes(&mut self) -> Result<Bytes, Fault> {
        match self.next()? {
            Value::BulkString(bytes) => Ok(bytes.into()),
            Value::SimpleString(text) => Ok(text.into()),
            _ => Err(strange()),
        }
    }

    /// The next part, a text.
    pub(super) fn text(&mut self) -> Result<String, Fault> {
        String::from_utf8(self.bytes()?.into()).map_err(|_| strange())
    }

    /// The next part, a number.
    pub(super) fn number(&mut self) -> Result<u64, Fault> {
        match self.next()? {
            Value::Int(number) => u64::try_from(number).map_err(|_| strange()),
            Value::BulkString(text) => {
                std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).ok_or_else(strange)
            }
            _ => Err(strange()),
        }
    }

    /// The next part, a number of 64 bits in hex; 0 for an empty text.
    pub(super) fn hex(&mut self) -> Result<u64, Fault> {
        let text = self.text()?;
        if text.is_empty() { Ok(0) } else { u64::from_str_radix(&text, 16).map_err(|_| strange()) }
    }

    /// The next part, a list.
    pub(super) fn list(&mut self) -> Result<Self, Fault> {
        self.next().and_then(Self::new)
    }
}

/// A number of 64 bits as scripts take it.
pub(super) fn hex(number: u64) -> String {
    format!("{number:016x}")
}
