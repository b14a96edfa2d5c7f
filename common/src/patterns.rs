//! Patterns of room names: `*` stands for any text, `{userId}` and `{appId}` for whom the client is.

use std::fmt;

use crate::names::{self, BadName};

/// Patterns that one token or one node may name.
pub const PATTERNS_MAX: usize = 256;

/// A pattern that a room's name may match.
///
/// `news.*` matches `news.` and `news.eu`, `user.{userId}` the one room `user.alice` for the client of alice, and
/// nothing for a client without a user. Nothing else is special.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Box<str>);

/// Whom a pattern is matched for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Who<'a> {
    /// The user, if that is known.
    pub user: Option<&'a str>,
    /// The application, if that is known.
    pub app: Option<u32>,
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Pattern {
    /// Reads a pattern: as long as a name may be.
    ///
    /// # Errors
    /// [`BadName`], for what no name has.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        names::check(text).map(|()| Self(text.into()))
    }

    /// Whether a room's name matches, for someone.
    #[must_use]
    pub fn matches(&self, room: &str, who: Who<'_>) -> bool {
        match self.filled(who) {
            None => glob(self.0.as_bytes(), room.as_bytes()),
            // The user is text, not a pattern: `*` in it is a star.
            Some(parts) => parts.is_some_and(|parts| glob_parts(&parts, room)),
        }
    }

    /// The pattern's parts with who it is for filled in: `None` without placeholders, `Some(None)` when one has
    /// nothing to stand for.
    fn filled<'a>(&'a self, who: Who<'a>) -> Option<Option<Vec<Part<'a>>>> {
        if !self.0.contains("{userId}") && !self.0.contains("{appId}") {
            return None;
        }
        let mut parts = Vec::new();
        let mut rest = &*self.0;
        while let Some((before, name, after)) = placeholder(rest) {
            parts.push(Part::Pattern(before));
            let text = match name {
                "{userId}" => who.user.map(|user| Part::Text(user.into())),
                _ => who.app.map(|app| Part::Text(app.to_string().into())),
            };
            let Some(text) = text else { return Some(None) };
            parts.push(text);
            rest = after;
        }
        parts.push(Part::Pattern(rest));
        Some(Some(parts))
    }
}

/// A stretch of a pattern.
enum Part<'a> {
    /// May contain `*`.
    Pattern(&'a str),
    /// Stands for itself.
    Text(std::borrow::Cow<'a, str>),
}

fn placeholder(text: &str) -> Option<(&str, &str, &str)> {
    ["{userId}", "{appId}"]
        .into_iter()
        .filter_map(|name| text.find(name).map(|at| (at, name)))
        .min()
        .map(|(at, name)| (&text[..at], name, &text[at + name.len()..]))
}

/// A byte of a pattern: one to match, or a star.
#[derive(Clone, Copy, PartialEq)]
enum Step {
    Byte(u8),
    Star,
}

fn steps(pattern: &[u8]) -> impl Iterator<Item = Step> + '_ {
    pattern.iter().map(|byte| if *byte == b'*' { Step::Star } else { Step::Byte(*byte) })
}

fn glob(pattern: &[u8], name: &[u8]) -> bool {
    walk(&steps(pattern).collect::<Vec<_>>(), name)
}

fn glob_parts(parts: &[Part<'_>], name: &str) -> bool {
    let mut all = Vec::new();
    for part in parts {
        match part {
            Part::Pattern(text) => all.extend(steps(text.as_bytes())),
            Part::Text(text) => all.extend(text.bytes().map(Step::Byte)),
        }
    }
    walk(&all, name.as_bytes())
}

/// Matches with one place to go back to, the last star: at most pattern × name steps, 256 × 256.
fn walk(pattern: &[Step], name: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut star = None;
    while read < name.len() {
        match pattern.get(at) {
            Some(Step::Byte(byte)) if *byte == name[read] => (at, read) = (at + 1, read + 1),
            Some(Step::Star) => {
                star = Some((at, read));
                at += 1;
            }
            _ => match star {
                Some((star_at, from)) => {
                    (at, read) = (star_at + 1, from + 1);
                    star = Some((star_at, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|step| *step == Step::Star)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, room: &str) -> bool {
        let who = Who { user: Some("al*ce"), app: Some(7) };
        Pattern::parse(pattern).unwrap().matches(room, who)
    }

    #[test]
    fn stars_and_placeholders_match_what_they_stand_for() {
        for (pattern, room, expected) in [
            ("r1", "r1", true),
            ("r1", "r12", false),
            ("news.*", "news.", true),
            ("news.*", "news.eu.de", true),
            ("news.*", "new", false),
            ("*", "anything", true),
            ("*.eu", "a.b.eu", true),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXcXb", false),
            ("**", "x", true),
            ("user.{userId}", "user.al*ce", true),
            ("user.{userId}", "user.alXce", false),
            ("{appId}/{userId}/*", "7/al*ce/inbox", true),
            ("{appId}/{userId}/*", "8/al*ce/inbox", false),
            ("{other}", "{other}", true),
        ] {
            assert_eq!(matches(pattern, room), expected, "{pattern} {room}");
        }
        let nobody = Who::default();
        assert!(!Pattern::parse("user.{userId}").unwrap().matches("user.{userId}", nobody));
        assert!(!Pattern::parse("user.{userId}").unwrap().matches("user.", nobody));
        assert!(Pattern::parse("").is_err());
    }

    /// The same by recursion, slowly.
    fn slow(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|at| slow(rest, &name[at..])),
            Some((byte, rest)) => name.first() == Some(byte) && slow(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn a_pattern_matches_what_the_slow_way_says(pattern in "[ab*]{1,8}", name in "[ab]{0,10}") {
            prop_assert_eq!(glob(pattern.as_bytes(), name.as_bytes()), slow(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
