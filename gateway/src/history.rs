//! Histories as a gateway sees them: who keeps none pays nothing for it.
//!
//! Logic keeps the items; here is how far each history has come ([`track`]), how a part of one is asked for ([`fetch`]),
//! and how a client that was away gets what it missed, each item once and in order, before what is live ([`resume`]).

mod fetch;
pub(crate) mod repair;
pub(crate) mod resume;
mod track;

pub(crate) use fetch::{Away, Fetches, Keeps};
pub(crate) use track::{Due, Held, Settled, Track, Tracks};
