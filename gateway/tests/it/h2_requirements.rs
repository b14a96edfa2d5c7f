//! What RFC 9113 and RFC 7541 demand of a server, frame by frame, of the link's port. The cases are those of h2spec, of
//! as many sections as the RFC has kept; priorities, which it has not, must only do no harm.

use std::net::SocketAddr;

use futures_util::future::join_all;

use crate::node;
use wire::{Frame, Peer, kind};

mod fields;
mod frames;
mod states;
mod wire;

const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;

/// Errors of a connection whose code is another in the RFC than in h2, which says PROTOCOL_ERROR of nearly all that it
/// cannot read. What must follow is the same, GOAWAY and the end; the code is for people.
const FRAME_SIZE_ERROR: &[u32] = &[6, PROTOCOL_ERROR];
const COMPRESSION_ERROR: &[u32] = &[9, PROTOCOL_ERROR];
const WINDOW_ERROR: &[u32] = &[FLOW_CONTROL_ERROR, PROTOCOL_ERROR];

/// What must become of frames.
#[derive(Debug, Clone, Copy)]
enum Wants {
    /// The connection ends, with GOAWAY and one of these codes (§5.4.1).
    Connection(&'static [u32]),
    /// The stream ends, with RST_STREAM or more than that, and one of these codes (§5.4.2).
    Stream(u32, &'static [u32]),
    /// Nothing: the connection lives, and no stream of it ended.
    Alive,
}

/// Section, what it is about, what is sent behind the preface and the settings.
type Case = (&'static str, &'static str, Vec<u8>, Wants);

/// Whether a frame ends a stream that is to end, as it is to.
fn ends_stream(frame: &Frame, wants: Wants) -> bool {
    let Wants::Stream(stream, wanted) = wants else { return false };
    let is_its = frame.kind == kind::RST_STREAM && frame.stream == stream || frame.kind == kind::GOAWAY;
    is_its && frame.says_one_of(wanted)
}

async fn try_case(address: SocketAddr, bytes: &[u8], wants: Wants) -> Result<(), String> {
    let mut peer = Peer::connect(address).await;
    peer.send(bytes).await;
    let mark = *b"afterall";
    if matches!(wants, Wants::Alive) {
        peer.send(&wire::frame(kind::PING, 0, 0, &mark)).await;
    }
    let mut seen = Vec::new();
    while let Some(frame) = peer.next().await.map_err(|why| format!("{why}, after {seen:?}"))? {
        let is_pong = matches!(wants, Wants::Alive) && frame.kind == kind::PING && frame.payload == mark;
        let is_enough = is_pong || ends_stream(&frame, wants);
        seen.push(frame);
        if is_enough {
            break;
        }
    }
    let is_so = match wants {
        // All was read that came, so the connection has ended too.
        Wants::Connection(wanted) => seen.iter().any(|it| it.kind == kind::GOAWAY && it.says_one_of(wanted)),
        Wants::Stream(..) => seen.last().is_some_and(|it| ends_stream(it, wants)),
        Wants::Alive => {
            seen.iter().all(|it| !matches!(it.kind, kind::GOAWAY | kind::RST_STREAM))
                && seen.last().is_some_and(|it| it.payload == mark && it.flags == wire::ACK)
        }
    };
    if is_so { Ok(()) } else { Err(format!("{seen:?}")) }
}

#[tokio::test]
async fn frames_are_taken_as_the_rfc_has_it() {
    let gateway = node::start(node::settings()).await;
    let cases = [frames::cases(), states::cases(), fields::cases()].concat();
    assert!(cases.len() >= 33, "{}", cases.len());
    // Side by side: each has a connection of its own.
    let tried =
        join_all(cases.iter().map(|(_, _, bytes, wants)| try_case(gateway.ingress, bytes, *wants))).await;
    let failed: Vec<_> = tried
        .into_iter()
        .zip(&cases)
        .filter_map(|(tried, (section, what, _, wants))| {
            tried.err().map(|got| format!("§{section} {what}: wanted {wants:?}, got {got}"))
        })
        .collect();
    assert!(failed.is_empty(), "{} of {} cases:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

#[tokio::test]
async fn the_preface_begins_with_settings_on_both_sides() {
    let gateway = node::start(node::settings()).await;
    // §3.4: the server's first frame is SETTINGS, and not an acknowledgement.
    let mut peer = Peer::bare(gateway.ingress).await;
    peer.send(wire::PREFACE).await;
    peer.send(&wire::frame(kind::SETTINGS, 0, 0, b"")).await;
    let first = peer.next().await.unwrap().unwrap();
    assert_eq!((first.kind, first.flags, first.stream), (kind::SETTINGS, 0, 0));
    // §6.5.3: and ours are acknowledged.
    let ack = peer.next_of(kind::SETTINGS).await.unwrap();
    assert_eq!((ack.flags, ack.payload.len()), (wire::ACK, 0));
    // §3.4: another preface ends the connection.
    for wrong in [&b"INVALID CONNECTION PREFACE\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"] {
        let mut peer = Peer::bare(gateway.ingress).await;
        peer.send(wrong).await;
        while peer.next().await.unwrap().is_some() {}
    }
}

#[tokio::test]
async fn a_ping_is_answered_with_what_it_said() {
    let gateway = node::start(node::settings()).await;
    let mut peer = Peer::connect(gateway.ingress).await;
    // §6.7: an acknowledgement is not answered, a ping is, and what it says comes back.
    peer.send(&wire::frame(kind::PING, wire::ACK, 0, b"notasked")).await;
    peer.send(&wire::frame(kind::PING, 0, 0, b"h2spec\0\xff")).await;
    let pong = peer.next_of(kind::PING).await.unwrap();
    assert_eq!((&pong.payload[..], pong.flags), (&b"h2spec\0\xff"[..], wire::ACK));
}

#[tokio::test]
async fn no_more_is_sent_than_the_window_has_room_for() {
    let gateway = node::start(node::settings()).await;
    // §6.9.1 and §6.9.2: a window of 1 at first, then of 3 in all, then as much as is wanted.
    let mut peer = Peer::bare(gateway.ingress).await;
    peer.send(wire::PREFACE).await;
    peer.send(&wire::settings(&[(wire::INITIAL_WINDOW_SIZE, 1)])).await;
    peer.send(&wire::request(1, &[])).await;
    let first = peer.next_of(kind::DATA).await.unwrap();
    assert_eq!(first.payload.len(), 1);
    peer.send(&wire::settings(&[(wire::INITIAL_WINDOW_SIZE, 3)])).await;
    let second = peer.next_of(kind::DATA).await.unwrap();
    assert_eq!(second.payload.len(), 2, "what the change gave");
    peer.send(&wire::window_update(1, 1000)).await;
    assert!(peer.next_of(kind::DATA).await.unwrap().payload.len() > 2);
}

#[tokio::test]
async fn a_window_that_became_negative_is_waited_for() {
    let gateway = node::start(node::settings()).await;
    // §6.9.2: three are sent of three, then the window is made two: one more and nothing goes, two more and one does.
    let mut peer = Peer::bare(gateway.ingress).await;
    peer.send(wire::PREFACE).await;
    peer.send(&wire::settings(&[(wire::INITIAL_WINDOW_SIZE, 3)])).await;
    peer.send(&wire::request(1, &[])).await;
    assert_eq!(peer.next_of(kind::DATA).await.unwrap().payload.len(), 3);
    peer.send(&wire::settings(&[(wire::INITIAL_WINDOW_SIZE, 2)])).await;
    peer.send(&wire::window_update(1, 1)).await;
    peer.send(&wire::frame(kind::PING, 0, 0, b"between!")).await;
    loop {
        let frame = peer.next().await.unwrap().unwrap();
        assert_ne!(frame.kind, kind::DATA, "the window is empty");
        if frame.kind == kind::PING {
            break;
        }
    }
    peer.send(&wire::window_update(1, 1)).await;
    assert_eq!(peer.next_of(kind::DATA).await.unwrap().payload.len(), 1);
}

#[tokio::test]
async fn a_stream_too_many_is_refused() {
    let gateway = node::start(node::settings()).await;
    // §5.1.2: as many as the settings say, and no more; the links that are up do not notice.
    let mut peer = Peer::connect(gateway.ingress).await;
    let most = peer.setting(wire::MAX_CONCURRENT_STREAMS).expect("a bound is told");
    let streams: Vec<u8> = (0..=most).flat_map(|n| wire::request(2 * n + 1, &[])).collect();
    peer.send(&streams).await;
    loop {
        let frame = peer.next().await.unwrap().expect("a refusal before the end");
        if frame.kind == kind::RST_STREAM && frame.stream == 2 * most + 1 {
            assert!(matches!(frame.code(), Some(REFUSED_STREAM | PROTOCOL_ERROR)), "{frame:?}");
            break;
        }
    }
}
