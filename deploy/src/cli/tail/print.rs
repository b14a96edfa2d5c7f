//! How arriving items look: a line each, for people on a terminal, JSON otherwise.

use std::io::IsTerminal;
use std::num::NonZeroU64;
use std::time::{Duration, SystemTime};

use common::client::Item;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::failure::Failure;
use crate::output;

/// Prints items, and counts them.
#[derive(Debug)]
pub(super) struct Printer {
    human: bool,
    frames: bool,
    left: Option<u64>,
}

/// The items of a frame, as they came.
#[derive(Debug, Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

impl Printer {
    /// A printer for standard output; `count` items are enough.
    pub(super) fn new(frames: bool, count: Option<NonZeroU64>) -> Self {
        Self { human: std::io::stdout().is_terminal(), frames, left: count.map(NonZeroU64::get) }
    }

    /// Prints the items of one frame; whether it is enough now.
    ///
    /// # Errors
    /// Standard output that cannot be written to.
    pub(super) fn frame(&mut self, text: &str, items: &[Item<'_>]) -> Result<bool, Failure> {
        if self.frames {
            output::line(&self.frame_line(items.len(), text.len()))?;
        }
        let raw: Raw<'_> = serde_json::from_str(text).unwrap_or(Raw { items: Vec::new() });
        for (item, raw) in items.iter().zip(raw.items) {
            output::line(&if self.human { human(item) } else { one_line(raw.get()) })?;
            if let Some(left) = &mut self.left {
                *left -= 1;
                if *left == 0 {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn frame_line(&self, items: usize, bytes: usize) -> String {
        if self.human {
            format!("{} frame of {items} items, {bytes} bytes", clock())
        } else {
            format!(r#"{{"frame":{{"items":{items},"bytes":{bytes}}}}}"#)
        }
    }
}

/// When to come again, as a `reconnect` says.
pub(super) fn reconnect_after(data: Option<&RawValue>) -> Duration {
    let said: serde_json::Value =
        data.and_then(|data| serde_json::from_str(data.get()).ok()).unwrap_or_default();
    // Bounded: a clock that has gone wrong elsewhere must not silence us for a day.
    Duration::from_millis(said["afterMs"].as_u64().unwrap_or(0).min(120_000))
}

fn human(item: &Item<'_>) -> String {
    let mut line = clock();
    for part in [item.room.as_deref(), item.event.as_deref()].into_iter().flatten() {
        line.push(' ');
        line.push_str(part);
    }
    if let Some(offset) = item.offset {
        line.push_str(&format!(" #{offset}"));
    }
    line.push(' ');
    line.push_str(&one_line(item.data.get()));
    line
}

/// The same JSON in one line: outside of strings a line break is white space, and inside there is none.
fn one_line(json: &str) -> String {
    json.replace(['\n', '\r'], " ")
}

/// The time of day, UTC.
fn clock() -> String {
    let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    now.get(11..).unwrap_or(&now).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_one_line_whatever_its_data_looks_like() {
        let item: Item<'_> =
            serde_json::from_str("{\"room\":\"r1\",\"event\":\"e\",\"data\":{\n  \"a\": \"\\n\"\r\n}}")
                .unwrap();
        let line = human(&item);
        assert!(line.ends_with("Z r1 e {   \"a\": \"\\n\"  }"), "{line}");
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn a_reconnect_says_when_within_reason() {
        let raw = |text: &str| serde_json::value::RawValue::from_string(text.to_owned()).unwrap();
        assert_eq!(reconnect_after(Some(&raw(r#"{"afterMs":5312}"#))), Duration::from_millis(5312));
        assert_eq!(reconnect_after(Some(&raw(r#"{"afterMs":99999999}"#))), Duration::from_secs(120));
        assert_eq!(reconnect_after(None), Duration::ZERO);
    }
}
