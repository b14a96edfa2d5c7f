//! How a gateway makes itself known: a lease at a logic node, renewed until the gateway goes.
//!
//! `POST http://logic:7100/v1/link/announce` with the link secret, if there is one, as
//! `Authorization: Bearer SECRET`. The body is an [`Announcement`] in JSON, the answer a [`Lease`]. As on the link, members
//! are only ever added, and a reader passes over what it does not know: the other may be of a later release.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where a gateway announces itself.
pub const PATH: &str = "/v1/link/announce";

/// How often a gateway renews its lease.
pub const RENEW_EVERY: Duration = Duration::from_secs(3);

/// How long a lease lives without being renewed: three renewals may get lost.
pub const LEASE: Duration = Duration::from_secs(10);

/// A gateway says where logic may open a link to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Announcement {
    /// The gateway's name, unique in the cluster.
    pub name: String,
    /// `host:port` of its link port. A host of `0.0.0.0` or `[::]` stands for the address that the call
    /// comes from.
    pub ingress: String,
    /// The gateway is going: the lease ends now.
    #[serde(default)]
    pub leaving: bool,
}

/// The answer: how long the announcement holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// Milliseconds from now.
    pub lease_ms: u64,
}
