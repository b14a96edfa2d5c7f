//! The data stream: deliveries in, receipts out.
//!
//! Deliveries are read only while the merger and the receipts have room. What is not read stays in HTTP/2's
//! window, then in logic's queue, then becomes a 503: back-pressure without a word.

use bytes::Bytes;
use common::link::codec::{Inbound, Outbound};
use common::link::message::{Down, down};
use common::link::stream::{self, Lost};
use h2::{RecvStream, SendStream};

use super::{Link, admit};

pub(super) async fn run(
    link: &Link,
    mut send: SendStream<Bytes>,
    mut receive: RecvStream,
) -> Result<(), Lost> {
    link.greeted.cancelled().await;
    tokio::select! {
        // First: of a link that is over nothing is taken any more.
        biased;
        () = link.over.token.cancelled() => Ok(()),
        ended = read(link, &mut receive) => ended,
        ended = write(link, &mut send) => ended,
    }
}

async fn read(link: &Link, receive: &mut RecvStream) -> Result<(), Lost> {
    let mut inbound = Inbound::default();
    let mut admitted = admit::Admitted::default();
    loop {
        link.parts.pusher.room().await;
        link.outgoing.room().await;
        stream::receive(receive, &mut inbound).await?;
        while let Some(message) = inbound.next_message::<Down>().map_err(Lost::Garbage)? {
            if let Some(down::Body::Delivery(delivery)) = message.body {
                admitted.admit(delivery, link).await;
            }
        }
        admitted.hand_over(link);
    }
}

async fn write(link: &Link, send: &mut SendStream<Bytes>) -> Result<(), Lost> {
    let mut outbound = Outbound::default();
    loop {
        outbound.put(&link.outgoing.next().await);
        if let Some(bytes) = outbound.take() {
            stream::send(send, bytes).await?;
        }
    }
}
