//! Any bytes as a file that a node reads at its start: settings, API keys, secrets, patterns of rooms.

use common::link::secret::Secret;
use common::patterns::{Pattern, Who};
use logic::Keys;

/// Any bytes as a file of a node. The first byte says of which kind.
///
/// # Panics
/// If one is refused without words, or taken and of no use.
pub fn config(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    match kind % 4 {
        0 => deploy::fuzz::config(rest),
        1 => match Keys::parse(&text) {
            Ok(keys) => assert!(!keys.is_empty()),
            Err(words) => assert!(!words.is_empty()),
        },
        2 => match Secret::parse(&text) {
            Ok(secret) => assert!(secret.is_proved_by(Some(secret.authorization().as_bytes()))),
            Err(words) => assert!(!words.is_empty()),
        },
        _ => {
            let (pattern, room) = text.split_once('\n').unwrap_or((&text, "r1"));
            if let Ok(pattern) = Pattern::parse(pattern) {
                let who = Who { user: Some("*"), app: Some(7) };
                let _ = pattern.matches(room, who);
                assert!(pattern.to_string() != "*" || pattern.matches(room, who), "a star is any text");
            }
        }
    }
}
