//! Whose connection it is where proxies stand in front: the PROXY protocol before the first byte, and
//! `X-Forwarded-For` or `Forwarded` in a request.
//!
//! Both are what a stranger could write as well, so they count from trusted addresses only. From any other address
//! no PROXY header is looked for (one that is sent is bad HTTP), and what a request says of earlier hops is passed
//! over. Balancers of both kinds may stand in a row: the address that a PROXY header names is asked again whether
//! it is trusted.

mod cidr;
mod forwarded;
mod proxy;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncReadExt};

pub use cidr::{BadCidr, Cidr};
pub use forwarded::Field;
pub use proxy::{BadHeader, HEADER_BYTES_MAX, Parsed, parse};

/// What one listener believes of those who connect to it. By default nothing: the peer is who it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edge {
    /// Addresses of proxies that are believed.
    pub trusted: Vec<Cidr>,
    /// Whether these begin each connection with a PROXY header.
    pub proxy_protocol: bool,
    /// Which header of a request they write.
    pub field: Field,
}

impl Edge {
    /// Whether an address is a proxy of ours.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|range| range.contains(address))
    }

    /// Who began a connection: its peer, or whom the peer names where it is trusted and has to. Reads exactly the
    /// header and nothing behind it.
    ///
    /// # Errors
    /// [`BadHeader`]: what came is no header, or none came in `time_max`. The connection is of no use then.
    pub async fn origin<S: AsyncRead + Unpin>(
        &self,
        stream: &mut S,
        peer: SocketAddr,
        time_max: Duration,
    ) -> Result<SocketAddr, BadHeader> {
        if !self.proxy_protocol || !self.trusts(peer.ip()) {
            return Ok(peer);
        }
        let named = tokio::time::timeout(time_max, read(stream)).await.map_err(|_| BadHeader::Late)??;
        Ok(named.map_or(peer, |address| SocketAddr::new(address.ip().to_canonical(), address.port())))
    }

    /// Whose request it is: the nearest address that is not trusted, from the peer on over the hops that trusted
    /// proxies have written down. What cannot be read ends the way there: the last proxy known is the answer.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut nearest = peer.to_canonical();
        if !self.trusts(nearest) {
            return nearest;
        }
        for hop in self.field.hops(headers) {
            let Some(address) = hop else { break };
            nearest = address.to_canonical();
            if !self.trusts(nearest) {
                break;
            }
        }
        nearest
    }
}

/// Reads a header of either version; `None`: it names nobody, so the peer speaks for itself.
async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Option<SocketAddr>, BadHeader> {
    let mut bytes = vec![0; proxy::PREFIX_BYTES];
    fill(stream, &mut bytes).await?;
    // One piece after the other, each as long as the header says that it must be.
    loop {
        match parse(&bytes) {
            Ok(Parsed::Whole(named)) => return Ok(named),
            Ok(Parsed::Needs(more)) => {
                let known = bytes.len();
                bytes.resize(known + more, 0);
                fill(stream, &mut bytes[known..]).await?;
            }
            Err(bad) => return Err(bad),
        }
    }
}

async fn fill<S: AsyncRead + Unpin>(stream: &mut S, bytes: &mut [u8]) -> Result<(), BadHeader> {
    stream.read_exact(bytes).await.map(drop).map_err(|_| BadHeader::BrokenOff)
}

#[cfg(test)]
mod tests;
