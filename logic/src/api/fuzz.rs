//! Any bytes as the body of a push, and as the line that a call begins with.

use common::client::Item;
use common::limits::{DATA_BYTES_MAX, NAMES_PER_PUSH_MAX};
use common::link::codec::{Inbound, Outbound};
use common::link::message::{Delivery, Down, down};
use common::names;
use common::problem::Problem;
use http::{Method, Uri};

use super::push::batch::{self, PUSHES_MAX};
use super::push::parse;
use super::{query, routes};
use crate::limits::Sizes;
use crate::publish::message;
use crate::push::{Push, Target};
use crate::query::cursor::{self, ClientPlace};

/// Any bytes as the body of a push. The first says of which of the three kinds it is.
///
/// # Panics
/// If a push is taken that breaks a limit or that clients could not read, or if a refusal has no reason.
pub fn push(data: &[u8]) {
    let Some((form, body)) = data.split_first() else { return };
    let sizes = Sizes::default();
    let parsed = match form % 3 {
        0 => parse::one(body, sizes).map(|push| vec![push]),
        1 => batch::array(body, sizes),
        _ => batch::lines(body, sizes),
    };
    match parsed {
        Ok(pushes) => {
            assert!((1..=PUSHES_MAX).contains(&pushes.len()), "{} pushes", pushes.len());
            pushes.iter().for_each(check_push);
        }
        Err(problem) => check_problem(&problem),
    }
}

/// Any bytes as a call: a method, a space, and a path with its query.
///
/// # Panics
/// If a name or a cursor is taken that is none, or if a refusal has no reason.
pub fn call(data: &[u8]) {
    let Some((method, target)) = std::str::from_utf8(data).ok().and_then(|text| text.split_once(' ')) else {
        return;
    };
    let (Ok(method), Ok(uri)) = (Method::from_bytes(method.as_bytes()), target.parse::<Uri>()) else {
        return;
    };
    match routes::find(&method, uri.path()) {
        Err(problem) => check_problem(&problem),
        Ok((_, segments)) => {
            for name in [segments.first(), segments.second()] {
                match name {
                    Ok(name) => assert_eq!(names::check(&name), Ok(())),
                    Err(problem) => check_problem(&problem),
                }
            }
        }
    }
    match query::read(uri.query(), &["appId", "limit", "cursor", "dryRun"]) {
        Err(problem) => check_problem(&problem),
        Ok([_, _, text, is_dry]) => {
            let _ = query::flag("dryRun", is_dry);
            let text = text.unwrap_or_default();
            if let Some(place) = ClientPlace::decode(text) {
                assert_eq!(place.encode(), text);
            }
            if let Some(place) = cursor::decode_name(text) {
                assert_eq!(
                    (cursor::encode_name(&place), names::check(&place.name)),
                    (text.to_owned(), Ok(()))
                );
            }
        }
    }
}

/// A push that was taken keeps all limits, and its item is what clients are promised.
fn check_push(push: &Push<'_>) {
    match &push.to {
        Target::All => {}
        Target::Names(_, names) => {
            assert!((1..=NAMES_PER_PUSH_MAX).contains(&names.len()));
            assert!(names.iter().all(|name| names::check(name).is_ok()));
        }
        Target::Clients(clients) => assert!((1..=NAMES_PER_PUSH_MAX).contains(&clients.len())),
    }
    assert!(push.except.len() <= NAMES_PER_PUSH_MAX && push.data.len() <= DATA_BYTES_MAX);
    assert!(push.key.is_empty() || names::check(&push.key).is_ok());
    assert_ne!(push.app, Some(0));
    let mut outbound = Outbound::default();
    message::put(&mut outbound, 1, &message::rest(&Delivery::default(), push));
    let mut inbound = Inbound::default();
    outbound.take().iter().for_each(|chunk| inbound.put(chunk));
    let Ok(Some(Down { body: Some(down::Body::Delivery(delivery)) })) = inbound.next_message() else {
        panic!("the link does not read it");
    };
    let item = [b"{", &delivery.body[..]].concat();
    match serde_json::from_slice::<Item<'_>>(&item) {
        Ok(item) => {
            assert_eq!(item.data.get(), push.data, "byte for byte");
            assert_eq!(item.event.is_some(), push.event.is_some());
        }
        Err(error) => panic!("clients do not read it: {error}"),
    }
}

/// A refusal is a caller's fault, and says why.
fn check_problem(problem: &Problem) {
    assert!(problem.status.is_client_error() && !problem.detail.is_empty(), "{problem:?}");
    assert!(problem.errors.len() <= 16, "{} errors", problem.errors.len());
    assert!(!problem.response("x").status().is_success());
}
