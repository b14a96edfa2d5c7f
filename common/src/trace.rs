//! Whose doing a push is: the trace context of its call (W3C Trace Context, `traceparent`), for joining log lines of
//! callers, logic nodes and gateways.
//!
//! Nothing is sampled, kept or sent on to clients here, so `tracestate` is not read, and nothing is made up for callers that
//! send none.

use std::fmt;

/// Length of a `traceparent` of version 00 (§3.2): `00-` + 32 + `-` + 16 + `-` + 2.
const LENGTH: usize = 55;

/// A call within a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// Of the whole trace; never 0.
    pub trace_id: u128,
    /// Of the caller's part in it; never 0.
    pub parent_id: u64,
    /// Of ours; never 0.
    pub span_id: u64,
    /// As the caller gave them.
    pub flags: u8,
}

/// The same on the link.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Context {
    /// The upper half of the trace's id.
    #[prost(fixed64, tag = "1")]
    pub trace_high: u64,
    /// The lower half.
    #[prost(fixed64, tag = "2")]
    pub trace_low: u64,
    /// The sender's part in it.
    #[prost(fixed64, tag = "3")]
    pub span_id: u64,
    /// As the caller gave them.
    #[prost(uint32, tag = "4")]
    pub flags: u32,
}

impl Trace {
    /// Reads a `traceparent`, and draws an id for our part. `None`: it is invalid, and to be treated as if it were not there
    /// (§4.3).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let bytes = text.as_bytes();
        let known = bytes.get(..LENGTH)?;
        for (at, byte) in known.iter().enumerate() {
            if if matches!(at, 2 | 35 | 52) { *byte != b'-' } else { !is_hex(*byte) } {
                return None;
            }
        }
        // Version ff is forbidden; a later one may have more behind another dash (§2.2.2).
        let is_later = &text[..2] != "00";
        let fits = bytes.len() == LENGTH || (is_later && bytes[LENGTH] == b'-');
        if &text[..2] == "ff" || !fits {
            return None;
        }
        let trace_id = u128::from_str_radix(&text[3..35], 16).ok().filter(|id| *id != 0)?;
        let parent_id = u64::from_str_radix(&text[36..52], 16).ok().filter(|id| *id != 0)?;
        let flags = u8::from_str_radix(&text[53..55], 16).ok()?;
        Some(Self { trace_id, parent_id, span_id: fastrand::u64(1..), flags })
    }

    /// For the link.
    #[must_use]
    pub fn context(&self) -> Context {
        Context {
            trace_high: (self.trace_id >> 64) as u64,
            trace_low: self.trace_id as u64,
            span_id: self.span_id,
            flags: self.flags.into(),
        }
    }
}

impl From<Context> for Trace {
    /// The sender's part is the parent of ours.
    fn from(context: Context) -> Self {
        Self {
            trace_id: u128::from(context.trace_high) << 64 | u128::from(context.trace_low),
            parent_id: context.span_id,
            span_id: fastrand::u64(1..),
            flags: context.flags as u8,
        }
    }
}

/// An id as it stands in logs: lower-case hexadecimal digits, all of them.
#[derive(Debug, Clone, Copy)]
pub struct Shown(Option<Trace>, Part);

#[derive(Debug, Clone, Copy)]
enum Part {
    Trace,
    Parent,
    Span,
}

impl Shown {
    /// The ids of a trace, its parent and our part; nothing is shown of none.
    #[must_use]
    pub fn all(trace: Option<Trace>) -> [Self; 3] {
        [Part::Trace, Part::Parent, Part::Span].map(|part| Self(trace, part))
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(trace) = self.0 else { return Ok(()) };
        match self.1 {
            Part::Trace => write!(f, "{:032x}", trace.trace_id),
            Part::Parent => write!(f, "{:016x}", trace.parent_id),
            Part::Span => write!(f, "{:016x}", trace.span_id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_read_and_shown_as_it_came() {
        let trace = Trace::parse(GOOD).unwrap();
        let [id, parent, span] = Shown::all(Some(trace)).map(|shown| shown.to_string());
        assert_eq!((&*id, &*parent, trace.flags), (&GOOD[3..35], &GOOD[36..52], 1));
        assert!(span.len() == 16 && span != parent);
        let there = Trace::from(trace.context());
        assert_eq!((there.trace_id, there.parent_id), (trace.trace_id, trace.span_id));
        assert_eq!(Shown::all(None)[0].to_string(), "");
    }

    #[test]
    fn what_the_specification_forbids_is_as_good_as_nothing() {
        let later = format!("cc{}", &GOOD[2..]);
        assert!(Trace::parse(&later).is_some() && Trace::parse(&format!("{later}-what-comes")).is_some());
        let zeros =
            |from: usize, to: usize| format!("{}{}{}", &GOOD[..from], "0".repeat(to - from), &GOOD[to..]);
        for bad in [
            String::new(),
            GOOD[..54].to_owned(),
            format!("{GOOD}-"),
            format!("{GOOD}1"),
            format!("{later}x"),
            format!("ff{}", &GOOD[2..]),
            GOOD.to_uppercase(),
            GOOD.replace('-', "_"),
            zeros(3, 35),
            zeros(36, 52),
            format!("0ä{}", &GOOD[3..]),
            GOOD.replace("01", "0g"),
        ] {
            assert_eq!(Trace::parse(&bad), None, "{bad}");
        }
    }
}
