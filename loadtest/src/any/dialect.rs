//! What a server expects of its clients and of who publishes. The words that stand for something: `{client}` is a
//! client's number, `{item}` the item as the JSON object it is, `{string}` the same inside a JSON string (escaped,
//! without the quotes), `{bytes}` its length.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::pattern::Pattern;

/// How a client connects, subscribes, and knows an item.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dialect {
    /// `ws://host:port/path`; may contain `{client}`.
    pub url: String,
    /// More fields of the request, `Name: value`; may contain `{client}`.
    pub headers: Vec<String>,
    /// A subprotocol to ask for.
    pub protocol: Option<String>,
    /// What clients send is binary and not text.
    pub binary: bool,
    /// What a client sends once it is connected, each a message; may contain `{client}`.
    pub subscribe: Vec<String>,
    /// Part of the message that says that a client is subscribed; none: it is once all of the above is sent.
    pub ready: Option<String>,
    /// What is answered to what.
    pub replies: Vec<Reply>,
    /// Where in a message an item is.
    pub pattern: Pattern,
    /// Items may be split over messages: these are one stream of bytes.
    pub streamed: bool,
}

impl Dialect {
    /// The message with which a client answers this one, if it is one that wants an answer.
    pub(super) fn reply(&self, message: &[u8]) -> Option<&str> {
        self.replies.iter().find(|reply| message.starts_with(reply.to.as_bytes())).map(|reply| &*reply.with)
    }
}

/// An answer that a server expects, as to a ping that is a message: `PING=PONG`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reply {
    /// How a message begins that wants it.
    pub to: String,
    /// The answer.
    pub with: String,
}

impl FromStr for Reply {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((to, with)) if !to.is_empty() => Ok(Self { to: to.into(), with: with.into() }),
            _ => Err("an answer is written ASKED=ANSWER".into()),
        }
    }
}

impl TryFrom<String> for Reply {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Reply> for String {
    fn from(reply: Reply) -> Self {
        format!("{}={}", reply.to, reply.with)
    }
}

/// How an item gets in: an HTTP request each (`http://`), or a message on a WebSocket of its own (`ws://`).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Publishing {
    /// Where to.
    pub url: String,
    /// Method of the request; empty: POST.
    pub method: String,
    /// More fields of the request, `Name: value`.
    pub headers: Vec<String>,
    /// The body or the message; empty: `{item}`.
    pub body: String,
    /// The message is binary and not text.
    pub binary: bool,
    /// What is sent on a WebSocket before anything else, each a message.
    pub first: Vec<String>,
    /// What is answered to what on it.
    pub replies: Vec<Reply>,
}

impl Publishing {
    /// The body for an item.
    pub(super) fn fill(&self, item: &str) -> String {
        let form = if self.body.is_empty() { "{item}" } else { &self.body };
        let bytes = item.len().to_string();
        let as_string = serde_json::Value::from(item).to_string();
        let escaped = as_string.trim_start_matches('"').strip_suffix('"').unwrap_or_default();
        form.replace("{bytes}", &bytes).replace("{string}", escaped).replace("{item}", item)
    }
}

/// A form, filled for one client.
pub(super) fn for_client(form: &str, client: u32) -> String {
    form.replace("{client}", &client.to_string())
}

/// Text as it is written on a command line: `\r`, `\n`, `\t`, `\0` and `\\` stand for what they do in most languages.
#[must_use]
pub fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(one) = rest.next() {
        if one != '\\' {
            plain.push(one);
            continue;
        }
        match rest.next() {
            Some('r') => plain.push('\r'),
            Some('n') => plain.push('\n'),
            Some('t') => plain.push('\t'),
            Some('0') => plain.push('\0'),
            Some('\\') => plain.push('\\'),
            other => {
                plain.push('\\');
                plain.extend(other);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_filled() {
        let filled =
            |body: &str| Publishing { body: body.into(), ..Publishing::default() }.fill(r#"{"a":"b"}"#);
        assert_eq!(filled(""), r#"{"a":"b"}"#);
        assert_eq!(filled("PUB t {bytes}\r\n{item}\r\n"), "PUB t 9\r\n{\"a\":\"b\"}\r\n");
        assert_eq!(filled(r#"{"content":"{string}"}"#), r#"{"content":"{\"a\":\"b\"}"}"#);
        assert_eq!(for_client("c-{client}", 7), "c-7");
    }

    #[test]
    fn escapes_and_answers_are_read() {
        assert_eq!(unescape(r"CONNECT {}\r\n\\x\y"), "CONNECT {}\r\n\\x\\y");
        assert_eq!("PING=PONG=1".parse(), Ok(Reply { to: "PING".into(), with: "PONG=1".into() }));
        assert!("=x".parse::<Reply>().is_err() && "x".parse::<Reply>().is_err());
        let dialect = Dialect { replies: vec!["2=3".parse().unwrap()], ..Dialect::default() };
        assert_eq!((dialect.reply(b"2probe"), dialect.reply(b"12")), (Some("3"), None));
    }
}
