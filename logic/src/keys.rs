//! API keys: who may call, and what for. Pure: text in, a decision out.

use std::fmt;

use serde::Deserialize;
use subtle::ConstantTimeEq;

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
struct Key {
    name: String,
    scopes: Vec<Scope>,
    key: String,
}

/// All keys of a node.
#[derive(Clone, Default)]
pub struct Keys(Vec<Key>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| (&key.name, &key.scopes))).finish()
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
}

/// What was found for a key that a caller showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// It is this one, and it may.
    May(&'a str),
    /// It is this one, and it may something else.
    MayNot(&'a str),
    /// None is like it.
    Unknown,
    /// It would be one without the quotes or spaces around it.
    Wrapped,
}

impl Keys {
    /// Reads keys: TOML tables `[[key]]` with `name`, `scopes` and `key`, or one key a line, which may everything.
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
            let own = |entry: Entry| Key { name: entry.name, scopes: entry.scopes, key: entry.key };
            file.key.into_iter().map(own).collect()
        } else {
            let scopes = [Scope::Push, Scope::Read, Scope::Manage];
            let plain = |(at, line): (usize, &str)| Key {
                name: format!("line {}", at + 1),
                scopes: scopes.to_vec(),
                key: line.trim_end().to_owned(),
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
            Some(key) if key.scopes.contains(&wanted) => Found::May(&key.name),
            Some(key) => Found::MayNot(&key.name),
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
    let Key { name, scopes, key } = key;
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

    #[test]
    fn a_key_may_what_its_scopes_say() {
        let keys = Keys::parse(FILE).unwrap();
        for (shown, scope, found) in [
            ("orders-0123456789", Scope::Push, Found::May("orders")),
            ("orders-0123456789", Scope::Read, Found::May("orders")),
            ("orders-0123456789", Scope::Manage, Found::MayNot("orders")),
            ("desk-0123456789abc", Scope::Manage, Found::May("desk")),
            ("desk-0123456789ab", Scope::Manage, Found::Unknown),
            ("desk-0123456789abcd", Scope::Manage, Found::Unknown),
            ("", Scope::Read, Found::Unknown),
            ("\"desk-0123456789abc\"", Scope::Manage, Found::Wrapped),
            (" desk-0123456789abc", Scope::Manage, Found::Wrapped),
        ] {
            assert_eq!(keys.find(shown, scope), found, "{shown:?} {scope}");
        }
        assert!(!format!("{keys:?}").contains("0123456789"), "a key is never printed");
    }

    #[test]
    fn a_plain_file_has_a_key_a_line_that_may_everything() {
        let keys = Keys::parse("# mine\n0123456789abcdef\n\nfedcba9876543210\n").unwrap();
        assert_eq!(keys.find("fedcba9876543210", Scope::Manage), Found::May("line 4"));
        assert_eq!(keys.find("0123456789abcdef", Scope::Push), Found::May("line 2"));
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
