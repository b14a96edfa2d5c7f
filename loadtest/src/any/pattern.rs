//! Where in a message an item is.
//!
//! Items are JSON objects that begin unmistakably, with a number drawn for the run. A server that passes them on
//! as they are needs no more than that (`anywhere`); one that puts them into strings, or of which more is to be
//! checked than that the item is somewhere, is read as JSON (`json:/items/*/data`) or behind a marker (`after:…`).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::payload::{Format, Reading};

/// Where in a message an item is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Pattern {
    /// Wherever it begins.
    #[default]
    Anywhere,
    /// Right behind this text.
    After(String),
    /// Where a JSON pointer (RFC 6901) leads, in which `*` is every member or element: an object, or a string that
    /// holds it.
    Pointer(Vec<String>),
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "anywhere" => Ok(Self::Anywhere),
            Some(("after", marker)) if !marker.is_empty() => Ok(Self::After(super::unescape(marker))),
            Some(("json", "")) => Ok(Self::Pointer(Vec::new())),
            Some(("json", pointer)) if pointer.starts_with('/') => {
                let steps = pointer[1..].split('/').map(|step| step.replace("~1", "/").replace("~0", "~"));
                Ok(Self::Pointer(steps.collect()))
            }
            _ => Err("an item's place is written anywhere, after:TEXT, or json:/pointer/*/to".into()),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anywhere => f.write_str("anywhere"),
            Self::After(marker) => write!(f, "after:{marker}"),
            Self::Pointer(steps) => {
                f.write_str("json:")?;
                steps.iter().try_for_each(|step| write!(f, "/{}", step.replace('~', "~0").replace('/', "~1")))
            }
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.to_string()
    }
}

impl Pattern {
    /// Gives every item of a message. What is not complete at its end begins where the number says: with `streamed`
    /// it may go on in the next message, otherwise it is broken.
    pub(super) fn find(
        &self,
        message: &[u8],
        format: &Format,
        streamed: bool,
        found: &mut dyn FnMut(Reading),
    ) -> usize {
        match self {
            Self::Anywhere => search(b"", message, format, streamed, found),
            Self::After(marker) => search(marker.as_bytes(), message, format, streamed, found),
            Self::Pointer(steps) => {
                if let Ok(value) = serde_json::from_slice::<&RawValue>(message) {
                    walk(value, steps, &mut |item| found(format.read(item)));
                }
                message.len()
            }
        }
    }
}

fn search(
    marker: &[u8],
    message: &[u8],
    format: &Format,
    streamed: bool,
    found: &mut dyn FnMut(Reading),
) -> usize {
    let needle = [marker, format.start()].concat();
    let mut at = 0;
    while let Some(begin) = position(&message[at..], &needle).map(|offset| at + offset) {
        let item = begin + marker.len();
        let Some(text) = message.get(item..item + format.bytes()) else {
            if streamed {
                return begin;
            }
            found(Reading::Broken);
            return message.len();
        };
        let reading = format.read(text);
        // A broken one may be shorter than it should be, and have another right behind it.
        at = if matches!(reading, Reading::Whole(_)) { item + format.bytes() } else { begin + needle.len() };
        found(reading);
    }
    // The end of the message may be the beginning of a needle.
    let most = (needle.len() - 1).min(message.len() - at);
    let kept = (1..=most).rev().find(|kept| message.ends_with(&needle[..*kept])).unwrap_or(0);
    message.len() - kept
}

fn position(text: &[u8], needle: &[u8]) -> Option<usize> {
    let last = text.len().checked_sub(needle.len())?;
    (0..=last).find(|at| text[*at] == needle[0] && text[*at..].starts_with(needle))
}

/// Follows a pointer to all the places that it names.
fn walk(value: &RawValue, steps: &[String], found: &mut dyn FnMut(&[u8])) {
    let text = value.get();
    let Some((step, rest)) = steps.split_first() else {
        match serde_json::from_str::<String>(text) {
            Ok(inside) => found(inside.as_bytes()),
            Err(_) => found(text.as_bytes()),
        }
        return;
    };
    if let Ok(members) = serde_json::from_str::<BTreeMap<String, &RawValue>>(text) {
        let named = members.iter().filter(|(name, _)| step == "*" || *name == step);
        named.for_each(|(_, value)| walk(value, rest, found));
    } else if let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(text) {
        let index = step.parse::<usize>();
        let named = elements.iter().enumerate().filter(|(at, _)| step == "*" || index == Ok(*at));
        named.for_each(|(_, value)| walk(value, rest, found));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Label;

    fn item(seq: u32) -> (Format, String) {
        let format = Format::new(7, 200);
        let mut text = Vec::new();
        format.write(Label { item: seq, stream: 0, seq, at: 4 }, &mut text);
        (format, String::from_utf8(text).unwrap())
    }

    fn found(pattern: &str, message: &str, streamed: bool) -> (Vec<Option<u32>>, usize) {
        let (format, _) = item(0);
        let mut seen = Vec::new();
        let pattern: Pattern = pattern.parse().unwrap();
        let rest = pattern.find(message.as_bytes(), &format, streamed, &mut |reading| match reading {
            Reading::Whole(label) => seen.push(Some(label.seq)),
            Reading::Broken => seen.push(None),
            Reading::Foreign => {}
        });
        (seen, rest)
    }

    #[test]
    fn items_are_found_where_they_are_said_to_be() {
        let ((_, a), (_, b)) = (item(1), item(2));
        let both = format!("MSG t 1 200\r\n{a}\r\nMSG t 1 200\r\n{b}\r\n");
        assert_eq!(found("anywhere", &both, false).0, [Some(1), Some(2)]);
        assert_eq!(found(r"after:200\r\n", &both, false).0, [Some(1), Some(2)]);
        assert_eq!(found("after:201", &both, false).0, []);
        let json = format!(r#"{{"items":[{{"data":{a},"x":1}},{{"data":{b}}}],"y":{a}}}"#);
        assert_eq!(found("json:/items/*/data", &json, false).0, [Some(1), Some(2)]);
        assert_eq!(found("json:/items/1/data", &json, false).0, [Some(2)]);
        let string = serde_json::json!({ "c": a }).to_string();
        assert_eq!(
            (found("json:/c", &string, false).0, found("anywhere", &string, false).0),
            (vec![Some(1)], vec![])
        );
        assert_eq!(found("json:", &a, false).0, [Some(1)]);
        assert_eq!(found("json:/c", "PING", false).0, []);
    }

    #[test]
    fn what_is_changed_or_cut_is_broken_and_what_is_behind_it_is_found() {
        let ((_, a), (_, b)) = (item(1), item(2));
        let changed = a.replacen("AB", "BA", 1).replacen("BC", "CB", 1);
        assert_eq!(found("anywhere", &format!("{changed}{b}"), false).0, [None, Some(2)]);
        assert_eq!(found("anywhere", &format!("{}{b}", &a[..100]), false).0, [None, Some(2)]);
        assert_eq!(found("anywhere", &a[..100], false).0, [None]);
    }

    #[test]
    fn a_stream_may_be_cut_anywhere() {
        let ((_, a), (_, b)) = (item(1), item(2));
        let whole = format!("MSG {a}\r\nMSG {b}\r\n");
        for cut in 0..whole.len() {
            let (mut seen, rest) = found("anywhere", &whole[..cut], true);
            seen.extend(found("anywhere", &whole[rest..], true).0);
            assert_eq!(seen, [Some(1), Some(2)], "cut at {cut}");
        }
    }

    #[test]
    fn places_are_written_as_they_are_read() {
        for text in ["anywhere", "after:42[", "json:/items/*/data", "json:", "json:/a~1b/~0"] {
            assert_eq!(text.parse::<Pattern>().unwrap().to_string(), text);
        }
        for bad in ["", "somewhere", "after:", "json:items", "x:/y"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad:?}");
        }
    }
}
