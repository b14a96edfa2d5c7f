//! What two of Tidegate's crates need, and no more.
//!
//! Nothing here knows what a gateway or a logic node does. It is the vocabulary they share (ids, names, the
//! messages of the link, the messages of clients, limits) and the few habits of a node (serving HTTP/1,
//! counting, logging, ending).

pub mod accept;
pub mod backoff;
pub mod client;
pub mod descriptors;
pub mod edge;
pub mod fresh;
pub mod http1;
pub mod ids;
pub mod json;
pub mod limits;
pub mod link;
pub mod live;
pub mod logging;
pub mod metrics;
pub mod names;
pub mod nearest;
pub mod ops;
pub mod patterns;
pub mod problem;
pub mod reloads;
pub mod shutdown;
pub mod slow;
pub mod tasks;
pub mod tls;
pub mod token;
pub mod trace;
