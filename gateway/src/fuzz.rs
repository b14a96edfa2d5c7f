//! What a stranger may send to a gateway, for fuzzing (`deploy/fuzz`): each of these takes any bytes, and panics where
//! something that is promised of them does not hold. Not a part of the gateway's interface.

pub use crate::deflate::fuzz::deflate;
pub use crate::handshake::fuzz::handshake;
pub use crate::session::story::frames;
