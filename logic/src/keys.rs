//! API keys: who may call, and what for. Pure: text in, a decision out.

pub(crate) mod usage;

use std::fmt;
use std::sync::{Arc, OnceLock};

use common::limits::rate::Rate;
use serde::Deserialize;
use subtle::ConstantTimeEq;

use crate::limits::CALL_BURST_SECS;
use usage::{Usage, Usages};

/// Fewest bytes of a key.
const KEY_BYTES_MIN: usize = 16;

/// Keys that one node knows.
const KEYS_MAX: usize = 1_024;

/// What a key allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// `POST /v1/push` and `/v1/push/batch`.
    Push,
    /// Everything that changes nothing.
    Read,
    /// Everything that changes who is connected, where and as whom.
    Manage,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Push => "push",
            Self::Read => "read",
            Self::Manage => "manage",
        })
    }
}

/// One key. The key itself is never printed.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) name: String,
    scopes: Vec<Scope>,
    key: String,
    /// Calls a second that its entry names, 0 for any number.
    rate: Option<u32>,
    /// Looked up at its first use.
    usage: OnceLock<Arc<Usage>>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.name, self.scopes)
    }
}

impl Key {
    fn new(name: String, scopes: Vec<Scope>, key: String, rate: Option<u32>) -> Self {
        Self { name, scopes, key, rate, usage: OnceLock::new() }
    }

    /// What it has been used for.
    pub(crate) fn usage(&self, usages: &Usages) -> &Usage {
        self.usage.get_or_init(|| usages.of(&self.name))
    }

    /// How often it may be used: as its entry says, or else the node.
    pub(crate) fn rate(&self, of_all: Option<Rate>) -> Option<Rate> {
        self.rate.map_or(of_all, |rate| Rate::a_second(rate, CALL_BURST_SECS))
    }
}

/// All keys of a node.
#[derive(Clone, Default)]
pub struct Keys(Vec<Key>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    key: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    scopes: Vec<Scope>,
    key: String,
    rate: Option<u32>,
}

/// What was found for a key that a caller showed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Found<'a> {
    /// It is this one, and it may.
    May(&'a Key),
    /// It is this one, and it may something else.
    MayNot(&'a Key),
    /// None is like it.
    Unknown,
    /// It would be one without the quotes or spaces around it.
    Wrapped,
}

impl Keys {
    /// Reads keys: TOML tables `[[key]]` with `name`, `scopes`, `key` and perhaps `rate` (calls a second), or one key a
    /// line, which may everything.
    ///
    /// # Errors
    /// What is wrong, and where, in words that hold no key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = || {
            text.lines()
                .enumerate()
                .filter(|(_, line)| !matches!(line.trim().chars().next(), None | Some('#')))
        };
        let keys: Vec<Key> = if lines().any(|(_, line)| line.trim() == "[[key]]") {
            let file: File = toml::from_str(text).map_err(|error| unquoted(&error))?;
            let own = |entry: Entry| Key::new(entry.name, entry.scopes, entry.key, entry.rate);
            file.key.into_iter().map(own).collect()
        } else {
            let scopes = [Scope::Push, Scope::Read, Scope::Manage];
            let plain = |(at, line): (usize, &str)| {
                Key::new(format!("line {}", at + 1), scopes.to_vec(), line.trim_end().to_owned(), None)
            };
            lines().map(plain).collect()
        };
        if keys.is_empty() {
            return Err("it holds no key".into());
        }
        if keys.len() > KEYS_MAX {
            return Err(format!("{} keys; at most {KEYS_MAX}", keys.len()));
        }
        for (at, key) in keys.iter().enumerate() {
            check(key)?;
            if let Some(twin) = keys[..at].iter().find(|other| other.key == key.key || other.name == key.name)
            {
                return Err(format!("key {:?}: its name or key is that of {:?} too", key.name, twin.name));
            }
        }
        Ok(Self(keys))
    }

    /// Adds those of another source.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Looks a key up; each is compared, in constant time, whatever the one before said.
    pub(crate) fn find(&self, shown: &str, wanted: Scope) -> Found<'_> {
        let same = |key: &Key, shown: &str| bool::from(key.key.as_bytes().ct_eq(shown.as_bytes()));
        let find = |shown: &str| {
            self.0.iter().fold(None, |found, key| if same(key, shown) { Some(key) } else { found })
        };
        match find(shown) {
            Some(key) if key.scopes.contains(&wanted) => Found::May(key),
            Some(key) => Found::MayNot(key),
            None if find(bare(shown)).is_some() => Found::Wrapped,
            None => Found::Unknown,
        }
    }
}

/// Without quotes and spaces around it.
fn bare(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\''))
}

fn check(key: &Key) -> Result<(), String> {
    let Key { name, scopes, key, .. } = key;
    if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
        return Err(format!("key {name:?}: a name has 1 to 64 bytes and no control characters"));
    }
    if scopes.is_empty() {
        return Err(format!("key {name:?}: no scopes; there are push, read, manage"));
    }
    if bare(key) != key {
        return Err(format!("key {name:?}: quotes or spaces around it would be part of it; take them away"));
    }
    if let Some(at) = key.bytes().position(|byte| !byte.is_ascii_graphic()) {
        return Err(format!("key {name:?}: a space or a character beyond visible ASCII at byte {at}"));
    }
    if key.len() < KEY_BYTES_MIN {
        return Err(format!(
            "key {name:?}: {} bytes; at least {KEY_BYTES_MIN} (openssl rand -hex 32)",
            key.len()
        ));
    }
    Ok(())
}

/// What TOML says, without the lines that it quotes: they may hold a key.
fn unquoted(error: &toml::de::Error) -> String {
    error.message().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        # of the shop
        [[key]]
        name = "orders"
        scopes = ["push", "read"]
        key = "orders-0123456789"
        [[key]]
        name = "desk"
        scopes = ["manage"]
        key = "desk-0123456789abc"
    "#;

    /// What was found, with the name of the key.
    fn find<'a>(keys: &'a Keys, shown: &str, wanted: Scope) -> (&'static str, &'a str) {
        match keys.find(shown, wanted) {
            Found::May(key) => ("may", &key.name),
            Found::MayNot(key) => ("may not", &key.name),
            Found::Unknown => ("unknown", ""),
            Found::Wrapped => ("wrapped", ""),
        }
    }

    #[test]
    fn a_key_may_what_its_scopes_say() {
        let keys = Keys::parse(FILE).unwrap();
        for (shown, scope, found) in [
            ("orders-0123456789", Scope::Push, ("may", "orders")),
            ("orders-0123456789", Scope::Read, ("may", "orders")),
            ("orders-0123456789", Scope::Manage, ("may not", "orders")),
            ("desk-0123456789abc", Scope::Manage, ("may", "desk")),
            ("desk-0123456789ab", Scope::Manage, ("unknown", "")),
            ("desk-0123456789abcd", Scope::Manage, ("unknown", "")),
            ("", Scope::Read, ("unknown", "")),
            ("\"desk-0123456789abc\"", Scope::Manage, ("wrapped", "")),
            (" desk-0123456789abc", Scope::Manage, ("wrapped", "")),
        ] {
            assert_eq!(find(&keys, shown, scope), found, "{shown:?} {scope}");
        }
        assert!(!format!("{keys:?}").contains("0123456789"), "a key is never printed");
    }

    #[test]
    fn a_plain_file_has_a_key_a_line_that_may_everything() {
        let keys = Keys::parse("# mine\n0123456789abcdef\n\nfedcba9876543210\n").unwrap();
        assert_eq!(find(&keys, "fedcba9876543210", Scope::Manage), ("may", "line 4"));
        assert_eq!(find(&keys, "0123456789abcdef", Scope::Push), ("may", "line 2"));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_key() {
        let entry = |name: &str, scopes: &str, key: &str| {
            format!("[[key]]\nname = \"{name}\"\nscopes = [{scopes}]\nkey = '{key}'\n")
        };
        for (text, words) in [
            (String::new(), "no key"),
            ("# only words".into(), "no key"),
            ("short-hush".into(), "10 bytes"),
            ("\"hush-0123456789abcdef\"".into(), "quotes"),
            ("hush 0123456789abcdef".into(), "byte 4"),
            ("hush-0123456789abcdef\nhush-0123456789abcdef".into(), "too"),
            (entry("a", "", "hush-0123456789abc"), "no scopes"),
            (entry("a", "\"write\"", "hush-0123456789abc"), "unknown variant `write`"),
            (entry("", "\"push\"", "hush-0123456789abc"), "name"),
            (entry("a", "\"push\"", "hush-0123456789abc ").replace("key =", "kee ="), "unknown field `kee`"),
            (entry("a", "\"push\"", "hush-0123456789abc "), "spaces"),
        ] {
            let said = Keys::parse(&text).unwrap_err();
            assert!(said.contains(words) && !said.contains("hush"), "{text}: {said}");
        }
    }
}
