//! Reading a push frame: a scan that touches the few bytes around our payloads and builds no tree.
//!
//! It reads JSON in the form that gateways write (no white space) and passes over members it does not know.
//! A frame that it cannot read is a broken one: this is where a gateway that writes bad JSON is found.

use common::client::{PUSH_END, PUSH_START};

use crate::payload::Format;

/// One item of a push frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Item<'a> {
    /// The room's name, with whatever escapes it has.
    pub(crate) room: Option<&'a [u8]>,
    /// The event's name, with whatever escapes it has.
    pub(crate) event: Option<&'a [u8]>,
    /// What was pushed.
    pub(crate) data: &'a [u8],
}

/// A frame, or the rest of one, that is not a list of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken;

/// The items of a push frame. Ends after the last item, or after the first [`Broken`].
#[derive(Debug)]
pub(crate) struct Items<'a> {
    rest: &'a [u8],
    format: &'a Format,
    first: bool,
    ended: bool,
}

/// The items of a message, or `None` when it is not a push.
pub(crate) fn items<'a>(message: &'a [u8], format: &'a Format) -> Option<Items<'a>> {
    let rest = message.strip_prefix(PUSH_START)?;
    Some(Items { rest, format, first: true, ended: false })
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if self.rest == PUSH_END {
            self.ended = true;
            // A push of no items carries nothing; a comma before the end is not JSON.
            return None;
        }
        let item = self.item();
        self.ended = item.is_none();
        self.first = false;
        Some(item.ok_or(Broken))
    }
}

impl<'a> Items<'a> {
    fn item(&mut self) -> Option<Item<'a>> {
        if !self.first {
            self.take(b",")?;
        }
        self.take(b"{")?;
        let (mut room, mut event, mut data) = (None, None, None);
        loop {
            let key = self.string()?;
            self.take(b":")?;
            match key {
                b"room" => room = Some(self.string()?),
                b"event" => event = Some(self.string()?),
                b"data" => data = Some(self.data()?),
                _ => _ = self.value()?,
            }
            if self.take(b"}").is_some() {
                return Some(Item { room, event, data: data? });
            }
            self.take(b",")?;
        }
    }

    fn take(&mut self, token: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(token)?;
        Some(())
    }

    fn split(&mut self, at: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(at)?;
        self.rest = rest;
        Some(taken)
    }

    /// The inside of a string.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.take(b"\"")?;
        let mut at = 0;
        loop {
            match self.rest.get(at)? {
                b'"' => break,
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
        let inside = self.split(at)?;
        self.take(b"\"")?;
        Some(inside)
    }

    /// Our payload by its known length, if it ends there like one; any other value by its grammar.
    fn data(&mut self) -> Option<&'a [u8]> {
        let bytes = self.format.bytes();
        let ours = self.format.starts(self.rest)
            && self.rest.get(bytes - 2..bytes) == Some(b"\"}")
            && matches!(self.rest.get(bytes), Some(b'}' | b','));
        if ours { self.split(bytes) } else { self.value() }
    }

    /// Any value: up to the comma or bracket that ends it outside its own brackets and strings.
    fn value(&mut self) -> Option<&'a [u8]> {
        let (mut at, mut depth) = (0_usize, 0_usize);
        loop {
            match self.rest.get(at)? {
                b'"' => {
                    at += 1;
                    while *self.rest.get(at)? != b'"' {
                        at += if self.rest[at] == b'\\' { 2 } else { 1 };
                    }
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' | b',' if depth == 0 => break,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            at += 1;
        }
        self.split(at).filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Label;

    fn payload(format: &Format) -> String {
        let mut text = Vec::new();
        format.write(Label { item: 1, stream: 2, seq: 3, at: 4 }, &mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn items_are_found_with_room_event_and_unknown_members() {
        let format = Format::new(7, 200);
        let ours = payload(&format);
        let text = format!(
            r#"{{"cmd":"push","items":[{{"room":"r1","epoch":"e\"x","offset":41,"event":"load","data":{ours}}},{{"user":true,"x":[1,{{"a":"]"}}],"data":7}},{{"data":{ours},"event":"e"}}]}}"#
        );
        let items: Vec<_> = items(text.as_bytes(), &format).unwrap().map(Result::unwrap).collect();
        assert_eq!(items.len(), 3);
        let item = Item { room: Some(&b"r1"[..]), event: Some(&b"load"[..]), data: ours.as_bytes() };
        assert_eq!(items[0], item);
        assert_eq!(items[1], Item { room: None, event: None, data: b"7" });
        assert_eq!(items[2], Item { room: None, event: Some(&b"e"[..]), data: ours.as_bytes() });
    }

    #[test]
    fn other_messages_are_no_pushes() {
        let format = Format::new(7, 200);
        for text in ["", "pong", r#"{"cmd":"hello"}"#, r#"{"cmd":"push","items":"#] {
            assert!(items(text.as_bytes(), &format).is_none(), "{text:?}");
        }
    }

    #[test]
    fn a_frame_cut_anywhere_is_broken_once_and_ends() {
        let format = Format::new(7, 200);
        let ours = payload(&format);
        let text = format!(r#"{{"cmd":"push","items":[{{"room":"r1","data":{ours}}},{{"data":{ours}}}]}}"#);
        for end in PUSH_START.len()..text.len() {
            let read: Vec<_> = items(&text.as_bytes()[..end], &format).unwrap().collect();
            assert_eq!(read.iter().filter(|item| item.is_err()).count(), 1, "cut at {end}");
            assert!(read.last().unwrap().is_err());
        }
    }

    #[test]
    fn missing_commas_and_wrong_types_are_broken() {
        let format = Format::new(7, 200);
        for inside in
            [r#"{"data":1}{"data":2}"#, r#"{"room":7,"data":1}"#, r#"{"room":"r"}"#, "7", r#"{"data":}"#]
        {
            let text = format!(r#"{{"cmd":"push","items":[{inside}]}}"#);
            let read: Vec<_> = items(text.as_bytes(), &format).unwrap().collect();
            assert_eq!(read.last(), Some(&Err(Broken)), "{inside}");
        }
    }
}
