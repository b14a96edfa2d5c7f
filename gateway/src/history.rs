//! Histories as a gateway sees them: who keeps none pays nothing for it.
//!
//! Logic keeps the items. Here they are brought into the order of their offsets ([`order`]), and it is known how far each
//! history has come ([`track`]); what is missing is asked for ([`fetch`]) and offered as if it had come ([`repair`]); and a
//! client that was away gets what it missed, each item once and in order, before what is live ([`resume`]).

#[cfg(test)]
mod crowd;
mod fetch;
mod order;
pub(crate) mod repair;
pub(crate) mod resume;
mod track;
mod tracks;

#[cfg(test)]
pub(crate) use fetch::Part;
pub(crate) use fetch::{Away, Fetches, Keeps, Subscribed};
#[cfg(test)]
pub(crate) use order::{Asked, Asks, Fate};
pub(crate) use order::{Coming, Out};
pub(crate) use repair::Repairs;
pub(crate) use track::{Due, Held, Settled, Track};
pub(crate) use tracks::Tracks;
