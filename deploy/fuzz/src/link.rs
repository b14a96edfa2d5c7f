//! Any bytes as what comes on a stream of the link, from logic or from a gateway.

use std::fmt::Debug;

use common::link::codec::{Garbage, Inbound, Outbound};
use common::link::message::{ControlDown, ControlUp, Down, Up};
use prost::Message;

/// Any bytes on a stream of the link: the first byte says on which, the second in pieces of how many the rest comes.
///
/// # Panics
/// If pieces make a difference, if what was read is written otherwise, or if logic's tables take harm.
pub fn link(data: &[u8]) {
    let Some(([stream, piece], bytes)) = data.split_first_chunk() else { return };
    let piece = usize::from(*piece) + 1;
    match stream % 4 {
        0 => _ = heard::<ControlDown>(bytes, piece),
        1 => logic::fuzz::routes(&heard::<ControlUp>(bytes, piece)),
        2 => _ = heard::<Down>(bytes, piece),
        _ => logic::fuzz::receipts(&heard::<Up>(bytes, piece)),
    }
}

/// The messages, read at once and in pieces, and read again as they would be written.
fn heard<M: Message + Default + PartialEq + Debug>(bytes: &[u8], piece: usize) -> Vec<M> {
    let (messages, end) = read::<M>(bytes.chunks(bytes.len().max(1)));
    let (pieced, pieced_end) = read::<M>(bytes.chunks(piece));
    assert!(pieced == messages && pieced_end == end, "in pieces of {piece}: {pieced:?} {pieced_end:?}");
    let mut outbound = Outbound::default();
    messages.iter().for_each(|message| outbound.put(message));
    let written = outbound.take().unwrap_or_default();
    // An empty message is none: that is how a chunk is filled up.
    let is_there = |message: &&M| message.encoded_len() > 0;
    let (again, end) = read::<M>([&written[..]].into_iter());
    assert!(
        again.iter().eq(messages.iter().filter(is_there)) && end.is_none(),
        "written, and read otherwise"
    );
    messages
}

/// Messages up to the end of the bytes, or to what cannot be read.
fn read<'a, M: Message + Default>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<M>, Option<Garbage>) {
    let (mut inbound, mut messages) = (Inbound::default(), Vec::new());
    for chunk in chunks {
        inbound.put(chunk);
        loop {
            match inbound.next_message::<M>() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(garbage) => return (messages, Some(garbage)),
            }
        }
    }
    (messages, None)
}
