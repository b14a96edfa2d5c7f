//! What a stranger may send to a logic node, for fuzzing (`deploy/fuzz`): each of these takes any bytes, and panics where
//! something that is promised of them does not hold. Not a part of the node's interface.

pub use crate::api::fuzz::{call, push};
pub use crate::routing::fuzz::{receipts, routes};
