//! Whose history is kept, and how much of it: the first rule that matches a name decides, and without one there is
//! no history.

use std::time::Duration;

use common::names::Kind;
use common::patterns::{Pattern, Who};

use super::{Keep, Whose};

/// Rules of one kind that a node may have: each is compared with every name that is pushed to.
pub const RULES_MAX: usize = 256;

/// Most items that a rule may keep of one room or user.
pub const ITEMS_MAX: usize = 100_000;

/// For how long a rule may keep an item at most.
pub const AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// How much is kept of what matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRule {
    /// Names of rooms, or of users.
    pub matches: Pattern,
    /// The newest so many items of each, at least 1.
    pub items: usize,
    /// Items younger than this.
    pub age: Duration,
}

/// The rules of a node, each list in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryRules {
    /// For rooms.
    pub rooms: Vec<HistoryRule>,
    /// For users.
    pub users: Vec<HistoryRule>,
}

impl HistoryRules {
    /// Whether nothing is kept of anybody.
    pub(crate) fn is_empty(&self) -> bool {
        self.rooms.is_empty() && self.users.is_empty()
    }

    /// The history of a name, if one is kept.
    pub(crate) fn find<'a>(&self, kind: Kind, name: &'a str) -> Option<Whose<'a>> {
        let rules = match kind {
            Kind::Room => &self.rooms,
            Kind::User => &self.users,
            Kind::App => return None,
        };
        let rule = rules.iter().find(|rule| rule.matches.matches(name, Who::default()))?;
        Some(Whose { kind, name, keep: Keep { items: rule.items.max(1), age: rule.age } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rule = |matches: &str, items| HistoryRule {
            matches: Pattern::parse(matches).unwrap(),
            items,
            age: Duration::from_secs(1),
        };
        let rules = HistoryRules { rooms: vec![rule("chat.eu.*", 7), rule("chat.*", 9)], users: Vec::new() };
        let kept = |kind, name| rules.find(kind, name).map(|whose| whose.keep.items);
        assert_eq!(kept(Kind::Room, "chat.eu.1"), Some(7));
        assert_eq!(kept(Kind::Room, "chat.us"), Some(9));
        assert_eq!(kept(Kind::Room, "news"), None);
        assert_eq!(kept(Kind::User, "chat.us"), None);
        assert!(HistoryRules::default().is_empty() && !rules.is_empty());
    }
}
