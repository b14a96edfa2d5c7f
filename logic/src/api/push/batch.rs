//! Many pushes in one body: all of them are checked before any is sent.

use common::problem::Problem;
use http::StatusCode;
use serde_json::value::RawValue;

use super::members::{Members, kind};
use super::parse::{Faults, body_text, not_json, push};
use crate::limits::Sizes;
use crate::push::Push;

/// Most pushes in one batch. With `wait` none of them holds more than a 112 B entry and a channel: 200 KB.
pub(crate) const PUSHES_MAX: usize = 1000;

/// A JSON array.
pub(in crate::api) fn array(body: &[u8], sizes: Sizes) -> Result<Vec<Push<'_>>, Problem> {
    // One deeper than a push: the array itself.
    let text = body_text(body, sizes.json_depth_max + 1)?;
    let object = (
        '{',
        "a batch is an array of pushes, or has content-type application/x-ndjson and one push on each line",
    );
    let elements: Vec<&RawValue> =
        serde_json::from_str(text).map_err(|error| not_json(&error, text, object))?;
    check(elements.into_iter().map(|raw| (raw, String::new())), sizes)
}

/// Newline-delimited JSON: one push on each line; empty lines are passed over.
pub(in crate::api) fn lines(body: &[u8], sizes: Sizes) -> Result<Vec<Push<'_>>, Problem> {
    let text = body_text(body, sizes.json_depth_max)?;
    let mut pushes = Vec::new();
    let mut broken = None;
    for (number, line) in (1..).zip(text.split('\n')).filter(|(_, line)| !line.trim().is_empty()) {
        match serde_json::from_str::<&RawValue>(line) {
            Ok(raw) => pushes.push((raw, format!("line {number}: "))),
            Err(error) => {
                let at = format!("/{}", pushes.len());
                broken = Some(Problem::fault(at, format!("line {number}: {error}")));
            }
        }
        if broken.is_some() || pushes.len() > PUSHES_MAX {
            break;
        }
    }
    let Some(mut broken) = broken else { return check(pushes.into_iter(), sizes) };
    broken.code = "invalid_json";
    // The first bad line is told, and it may be one that is JSON.
    if !pushes.is_empty() {
        check(pushes.into_iter(), sizes)?;
    }
    Err(broken)
}

fn check<'a>(
    elements: impl ExactSizeIterator<Item = (&'a RawValue, String)>,
    sizes: Sizes,
) -> Result<Vec<Push<'a>>, Problem> {
    match elements.len() {
        0 => return Err(Problem::fault("", "the batch is empty")),
        1..=PUSHES_MAX => {}
        _ => {
            let detail = format!("a batch has at most {PUSHES_MAX} pushes; send several");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "batch_too_large", detail));
        }
    }
    let mut pushes = Vec::with_capacity(elements.len());
    let mut faults = Faults::default();
    for (place, (raw, words)) in elements.enumerate() {
        let at = format!("/{place}");
        if kind(raw) != "an object" {
            faults.add(at, format!("{words}must be an object, not {}", kind(raw)));
            continue;
        }
        match serde_json::from_str::<Members<'a>>(raw.get()) {
            Err(error) => faults.add(at, format!("{words}{error}")),
            Ok(members) => match push(&members, sizes) {
                Ok(push) => pushes.push(push),
                Err(inner) => faults.nest(inner, &at, &words),
            },
        }
    }
    if faults.is_empty() { Ok(pushes) } else { Err(faults.problem()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(body: &[u8]) -> Result<Vec<Push<'_>>, Problem> {
        super::array(body, Sizes::default())
    }

    fn lines(body: &[u8]) -> Result<Vec<Push<'_>>, Problem> {
        super::lines(body, Sizes::default())
    }

    #[test]
    fn a_fault_points_at_its_push_and_its_line() {
        let good = r#"{"to":{"all":true},"data":1}"#;
        let bad = r#"{"to":{"room":""},"data":1}"#;
        let problem = array(format!("[{good},{bad}]").as_bytes()).unwrap_err();
        assert_eq!(problem.errors[0].pointer, "/1/to/room");
        let body = format!("{good}\n\r\n{bad}\n");
        let problem = lines(body.as_bytes()).unwrap_err();
        assert_eq!(problem.errors[0].pointer, "/1/to/room");
        assert!(problem.errors[0].detail.starts_with("line 3: "), "{:?}", problem.errors);
        assert_eq!(lines(format!("{good}\r\n\n{good}").as_bytes()).unwrap().len(), 2);
        let problem = lines(format!("{good}\n{{").as_bytes()).unwrap_err();
        assert_eq!((problem.code, &*problem.errors[0].pointer), ("invalid_json", "/1"));
        let problem = lines(b"\n{").unwrap_err();
        assert_eq!((problem.code, &*problem.errors[0].pointer), ("invalid_json", "/0"));
    }

    #[test]
    fn of_two_bad_lines_the_first_is_told() {
        let bad = r#"{"to":{"room":""},"data":1}"#;
        for (body, first) in
            [(format!("{bad}\n{{"), "line 1: is empty"), (format!("{{\n{bad}"), "line 1: EOF")]
        {
            let problem = lines(body.as_bytes()).unwrap_err();
            assert!(problem.errors[0].detail.starts_with(first), "{body}: {:?}", problem.errors);
        }
    }

    #[test]
    fn a_body_of_the_other_form_is_told_which_forms_there_are() {
        let push = r#"{"to":{"all":true},"data":1}"#;
        for body in [push.to_owned(), format!("{push}\n{push}\n")] {
            let problem = array(body.as_bytes()).unwrap_err();
            assert_eq!(problem.code, "invalid_request");
            let detail = &problem.errors[0].detail;
            assert!(detail.contains("an array") && detail.contains("application/x-ndjson"), "{detail}");
        }
    }

    #[test]
    fn a_batch_has_one_to_a_thousand_pushes() {
        let push = r#"{"to":{"all":true},"data":1}"#;
        let many = |n| vec![push; n];
        assert_eq!(array(format!("[{}]", many(1000).join(",")).as_bytes()).unwrap().len(), 1000);
        assert_eq!(
            array(format!("[{}]", many(1001).join(",")).as_bytes()).unwrap_err().code,
            "batch_too_large"
        );
        assert_eq!(lines(many(1001).join("\n").as_bytes()).unwrap_err().code, "batch_too_large");
        assert_eq!(array(b"[]").unwrap_err().code, "invalid_request");
        assert_eq!(lines(b"\n\n").unwrap_err().code, "invalid_request");
        assert_eq!(array(push.as_bytes()).unwrap_err().code, "invalid_request");
    }
}
