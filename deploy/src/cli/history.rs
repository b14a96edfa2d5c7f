//! The rules of histories in a configuration file: tables `[[rooms]]` and `[[users]]`, first match wins.

use std::path::Path;
use std::time::Duration;

use ::logic::{AGE_MAX, HistoryRule, HistoryRules, ITEMS_MAX, RULES_MAX};
use common::patterns::Pattern;
use toml::{Table, Value};

use super::config::{Fault, File, Place, hint};
use super::values;
use crate::failure::Failure;

/// The tables that are no role's.
pub(super) const TABLES: [&str; 2] = ["rooms", "users"];

const KEYS: [&str; 3] = ["match", "history", "ttl"];

/// The rules of the file that a node was given, if it was given one.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn rules(file: Option<&Path>) -> Result<HistoryRules, Failure> {
    file.map_or_else(|| Ok(HistoryRules::default()), |path| File::read(path).map(|file| rules_of(&file)))
}

/// The rules of a file.
pub(super) fn rules_of(file: &File) -> HistoryRules {
    // What is wrong with them was said by `read`.
    let of = |name: &str| file.table(name).and_then(|value| read(name, value).ok()).unwrap_or_default();
    HistoryRules { rooms: of("rooms"), users: of("users") }
}

/// What `dev` keeps if its file says nothing: of every room and user a hundred items for ten minutes.
pub(super) fn of_dev() -> HistoryRules {
    let matches = Pattern::parse("*").expect("a star is a pattern");
    let rule = HistoryRule { matches, items: 100, age: Duration::from_secs(600) };
    HistoryRules { rooms: vec![rule.clone()], users: vec![rule] }
}

/// Reads the rules of one kind.
///
/// # Errors
/// Everything that is wrong with them.
pub(super) fn read(name: &str, value: &Value) -> Result<Vec<HistoryRule>, Vec<Fault>> {
    let all = |fault: String| Err(vec![(Place::of(name, ""), fault)]);
    let Some(tables) = value.as_array() else {
        return all(format!("{name:?} must be tables: [[{name}]]"));
    };
    if tables.len() > RULES_MAX {
        return all(format!("[[{name}]]: {} rules; at most {RULES_MAX} are taken", tables.len()));
    }
    let (mut rules, mut wrong) = (Vec::new(), Vec::new());
    for (number, table) in tables.iter().enumerate() {
        match table.as_table().ok_or_else(|| ("", "must be a table".to_owned())).and_then(rule) {
            Ok(rule) => rules.push(rule),
            Err((key, fault)) => {
                let place = Place { number, ..Place::of(name, key) };
                wrong.push((place, format!("[[{name}]] {}: {fault}", number + 1)));
            }
        }
    }
    if wrong.is_empty() { Ok(rules) } else { Err(wrong) }
}

/// A rule; or the key that is at fault, and how.
fn rule(table: &Table) -> Result<HistoryRule, (&str, String)> {
    if let Some(unknown) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err((unknown, format!("unknown key {unknown:?}; {}", hint(unknown, &KEYS))));
    }
    let text = |key: &'static str| {
        let value = table.get(key).ok_or_else(|| (key, format!("{key:?} is missing")))?;
        value.as_str().ok_or_else(|| (key, format!("{key:?} is a text in quotes")))
    };
    let matches = Pattern::parse(text("match")?).map_err(|bad| ("match", format!("\"match\" {bad}")))?;
    let age = values::age(text("ttl")?, AGE_MAX).map_err(|bad| ("ttl", format!("\"ttl\": {bad}")))?;
    let wrong = |words: String| ("history", format!("\"history\" {words}"));
    let items = table.get("history").ok_or_else(|| wrong("is missing: how many items are kept".into()))?;
    let items = items.as_integer().and_then(|items| usize::try_from(items).ok());
    let items = items.filter(|items| (1..=ITEMS_MAX).contains(items));
    let items = items.ok_or_else(|| wrong(format!("is a number of items from 1 to {ITEMS_MAX}")))?;
    Ok(HistoryRule { matches, items, age })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rooms(text: &str) -> Result<Vec<HistoryRule>, Vec<String>> {
        let table: Table = text.parse().unwrap();
        read("rooms", &table["rooms"]).map_err(|wrong| wrong.into_iter().map(|(_, fault)| fault).collect())
    }

    #[test]
    fn rules_are_read_in_their_order() {
        let rules = rooms(
            "[[rooms]]\nmatch = \"chat.*\"\nhistory = 1000\nttl = \"1h\"\n[[rooms]]\nmatch = \"*\"\nhistory = 1\nttl = \"10s\"",
        );
        let rules = rules.unwrap();
        assert_eq!((rules[0].items, rules[0].age), (1000, Duration::from_secs(3600)));
        assert_eq!((rules[1].matches.to_string(), rules[1].items), ("*".to_owned(), 1));
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_said_with_its_place() {
        for (text, fault) in [
            ("rooms = 1", "\"rooms\" must be tables: [[rooms]]"),
            ("[[rooms]]", "[[rooms]] 1: \"match\" is missing"),
            ("[[rooms]]\nmatch=\"a\"\nttl=\"1h\"", "[[rooms]] 1: \"history\" is missing"),
            ("[[rooms]]\nmatch=\"a\"\nttl=\"1h\"\nhistory=0", "[[rooms]] 1: \"history\" is a number"),
            ("[[rooms]]\nmatch=\"a\"\nttl=\"1h\"\nhistory=-5", "[[rooms]] 1: \"history\" is a number"),
            ("[[rooms]]\nmatch=\"a\"\nttl=\"300d\"\nhistory=1", "[[rooms]] 1: \"ttl\": it must be from"),
            ("[[rooms]]\nmatch=\"a\"\nttl=3\nhistory=1", "[[rooms]] 1: \"ttl\" is a text in quotes"),
            ("[[rooms]]\nmatch=\"\"\nttl=\"1h\"\nhistory=1", "[[rooms]] 1: \"match\" is empty"),
            ("[[rooms]]\nmatsch=\"a\"", "[[rooms]] 1: unknown key \"matsch\"; did you mean \"match\"?"),
        ] {
            let found = rooms(text).unwrap_err();
            assert!(found.len() == 1 && found[0].starts_with(fault), "{text}: {found:?}");
        }
    }
}
