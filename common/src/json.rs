//! The one question about JSON that no parser of ours answers by itself: how deep does it nest?

/// Whether arrays and objects in `text` nest at most `max` deep.
///
/// Reads bytes, not grammar: brackets inside strings are passed over, nothing else is checked. Runs before
/// a parser, so that no parser's recursion depends on what a stranger sends.
#[must_use]
pub fn nests_within(text: &[u8], max: usize) -> bool {
    let mut depth = 0_usize;
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                if depth > max {
                    return false;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    true
}

fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => _ = bytes.next(),
            b'"' => return,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::nests_within;

    #[test]
    fn depth_counts_brackets_outside_strings() {
        assert!(nests_within(b"{\"a\":[1,{}]}", 3));
        assert!(!nests_within(b"{\"a\":[1,{}]}", 2));
        assert!(nests_within(br#"["[[[[\"[[[["]"#, 1));
        assert!(nests_within(b"[][][][]", 1));
        assert!(!nests_within(&b"[".repeat(100_000), 64));
        assert!(nests_within(b"\"\\", 0));
    }
}
