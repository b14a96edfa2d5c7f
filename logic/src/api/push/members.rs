//! JSON at the edge: the members of an object as raw text, and single values out of it, each with words for
//! what is wrong.
//!
//! serde_json's `RawValue` and not simd-json: the data of a push goes to clients byte for byte, and simd-json
//! has no raw values and refuses numbers that JSON allows, such as `1e400` and `18446744073709551616`.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Members that an object of ours may have, known or not: an object of a million members costs nothing.
const MEMBERS_MAX: usize = 64;

/// Longest number that is said again to who gave it: more than any of 64 bits.
const SHOWN_BYTES_MAX: usize = 24;

/// The members of an object, in their order; none twice.
#[derive(Debug)]
pub(in crate::api) struct Members<'a>(pub(in crate::api) Vec<(Cow<'a, str>, &'a RawValue)>);

/// A string, borrowed where it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Gather;
        impl<'de> Visitor<'de> for Gather {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Self::Value = Vec::with_capacity(8);
                while let Some(Text(name)) = map.next_key()? {
                    if members.iter().any(|(other, _)| *other == name) {
                        return Err(serde::de::Error::custom(format_args!(
                            "the member {name:?} comes twice"
                        )));
                    }
                    if members.len() == MEMBERS_MAX {
                        return Err(serde::de::Error::custom("too many members"));
                    }
                    members.push((name, map.next_value()?));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Gather).map(Members)
    }
}

/// What a value is, by its first byte: enough for a value that has been parsed.
pub(in crate::api) fn kind(raw: &RawValue) -> &'static str {
    match raw.get().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// A string.
pub(in crate::api) fn text(raw: &RawValue) -> Result<Cow<'_, str>, String> {
    if kind(raw) != "a string" {
        return Err(format!("must be a string, not {}", kind(raw)));
    }
    // A lone surrogate is JSON and no text: the one thing that may go wrong here.
    serde_json::from_str::<Text<'_>>(raw.get())
        .map(|text| text.0)
        .map_err(|error| format!("is not text: {error}"))
}

/// `true` or `false`.
pub(in crate::api) fn boolean(raw: &RawValue) -> Result<bool, String> {
    match raw.get() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("must be true or false, not {}", kind(raw))),
    }
}

/// A whole number within bounds.
pub(in crate::api) fn whole(raw: &RawValue, least: u64, most: u64) -> Result<u64, String> {
    let number = raw.get().parse::<u64>().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| {
        // Numbers have no length that JSON limits.
        let given = match (kind(raw), raw.get()) {
            ("a number", number) if number.len() <= SHOWN_BYTES_MAX => number,
            ("a number", _) => "this number",
            (kind, _) => kind,
        };
        format!("must be a whole number from {least} to {most}, not {given}")
    })
}

/// The elements of an array: at least one, at most `most`.
pub(in crate::api) fn elements(raw: &RawValue, most: usize) -> Result<Vec<&RawValue>, String> {
    if kind(raw) != "an array" {
        return Err(format!("must be an array, not {}", kind(raw)));
    }
    let elements: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
    match elements.len() {
        0 => Err("is empty; name at least one, or leave it out".to_owned()),
        many if many > most => Err(format!("has {many} elements; at most {most} are taken")),
        _ => Ok(elements),
    }
}
