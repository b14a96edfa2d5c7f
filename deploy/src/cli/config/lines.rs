//! On which line of a file each key stands, so that whoever is told of a fault finds it.

use std::collections::HashMap;

use toml::de::{DeTable, DeValue};

/// Where a fault is: a table, which one of several, and perhaps a key in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(in crate::cli) struct Place {
    pub(in crate::cli) table: String,
    /// Of tables that may stand there more than once, from 0.
    pub(in crate::cli) number: usize,
    /// Empty: the table itself.
    pub(in crate::cli) key: String,
}

impl Place {
    /// A key of a table that stands there once.
    pub(in crate::cli) fn of(table: &str, key: &str) -> Self {
        Self { table: table.to_owned(), number: 0, key: key.to_owned() }
    }
}

/// The lines of one file, counted from 1.
#[derive(Debug, Default)]
pub(super) struct Lines(HashMap<Place, usize>);

impl Lines {
    /// Of a text that was read as a table before.
    pub(super) fn of(text: &str) -> Self {
        let mut lines = Self::default();
        let Ok(tables) = DeTable::parse(text) else { return lines };
        for (name, value) in tables.get_ref() {
            let (table, line) = (name.get_ref().as_ref(), line_of(text, name.span().start));
            lines.0.insert(Place::of(table, ""), line);
            match value.get_ref() {
                DeValue::Table(keys) => lines.keys(text, keys, &Place::of(table, "")),
                DeValue::Array(tables) => {
                    for (number, one) in tables.iter().enumerate() {
                        let place = Place { number, ..Place::of(table, "") };
                        lines.0.insert(place.clone(), line_of(text, one.span().start));
                        if let DeValue::Table(keys) = one.get_ref() {
                            lines.keys(text, keys, &place);
                        }
                    }
                }
                _ => {}
            }
        }
        lines
    }

    fn keys(&mut self, text: &str, keys: &DeTable<'_>, of: &Place) {
        for name in keys.keys() {
            let place = Place { key: name.get_ref().as_ref().to_owned(), ..of.clone() };
            self.0.insert(place, line_of(text, name.span().start));
        }
    }

    /// The line of a place, or of its table.
    pub(super) fn find(&self, place: &Place) -> Option<usize> {
        let table = Place { key: String::new(), ..place.clone() };
        self.0.get(place).or_else(|| self.0.get(&table)).copied()
    }
}

/// The line of a byte.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_line_and_what_has_none_that_of_its_table() {
        let text = "# x\n[gateway]\nwindow = \"1s\"\n\n[[rooms]]\nmatch = \"a\"\n[[rooms]]\n\nttl = \"1h\"\n";
        let lines = Lines::of(text);
        let at = |table: &str, number, key: &str| lines.find(&Place { number, ..Place::of(table, key) });
        assert_eq!((at("gateway", 0, ""), at("gateway", 0, "window")), (Some(2), Some(3)));
        assert_eq!((at("rooms", 0, "match"), at("rooms", 1, "ttl")), (Some(6), Some(9)));
        assert_eq!((at("rooms", 1, "match"), at("logic", 0, "x")), (Some(7), None));
    }
}
