//! Query parameters: known ones only, each at most once.

use common::nearest::nearest;
use common::problem::Problem;
use http::StatusCode;

/// The values of the `known` parameters, in their order.
///
/// # Errors
/// 400 for a parameter that is not known or comes twice. Values are taken as they are written: none that we
/// know needs percent-encoding.
pub(super) fn read<'a, const N: usize>(
    query: Option<&'a str>,
    known: &[&'static str; N],
) -> Result<[Option<&'a str>; N], Problem> {
    let mut values = [None; N];
    for pair in query.unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let bad = |detail| Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_query", detail));
        let Some(at) = known.iter().position(|known| *known == name) else {
            return bad(match nearest(name, known.iter().copied()) {
                Some(near) => format!("unknown query parameter {name:?}; did you mean {near:?}?"),
                None if N == 0 => format!("unknown query parameter {name:?}; this path takes none"),
                None => format!("unknown query parameter {name:?}; known are {}", known.join(", ")),
            });
        };
        if values[at].replace(value).is_some() {
            return bad(format!("query parameter {name:?} comes twice"));
        }
    }
    Ok(values)
}

/// A parameter that is `true` or `false`; false if it is not there.
pub(super) fn flag(name: &str, value: Option<&str>) -> Result<bool, Problem> {
    match value {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => {
            let detail = format!("query parameter {name:?} is {other:?}; it is true or false");
            Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_query", detail))
        }
    }
}
