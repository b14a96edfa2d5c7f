//! The link: what logic and a gateway say to each other over HTTP/2, and how it is framed.
//!
//! Logic is the HTTP/2 client. On each link it opens two streams that live as long as the link: *control*
//! (`POST /v1/link/control`: hellos, routes, statistics) and *data* (`POST /v1/link/data`: deliveries one way,
//! receipts the other), so that neither blocks the other. Both carry length-delimited protobuf messages
//! ([`codec`]) in DATA frames whose flow control is the back-pressure ([`stream`]).

pub mod announce;
pub mod ask;
pub mod codec;
#[cfg(test)]
mod golden;
pub mod history;
pub mod message;
pub mod secret;
pub mod stream;

/// Version of the messages, said in both hellos. A peer that says another is refused with a reason.
pub const VERSION: u32 = 1;

/// Path of the control stream.
pub const CONTROL_PATH: &str = "/v1/link/control";

/// Path of the data stream.
pub const DATA_PATH: &str = "/v1/link/data";

/// Header that ties the data stream to its control stream: the same random text on both.
pub const LINK_HEADER: &str = "tidegate-link";
