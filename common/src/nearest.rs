//! "Did you mean": the known name nearest to an unknown one.

/// The candidate most like `word`, if one is near enough to be what was meant.
///
/// Likeness is Jaro–Winkler, at least 0.8, as command-line parsers use it.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_typo_finds_its_word_and_nonsense_does_not() {
        assert_eq!(nearest("widnow", ["window", "listen"]), Some("window"));
        assert_eq!(nearest("zzzz", ["window", "listen"]), None);
    }
}
