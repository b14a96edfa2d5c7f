//! Strangers on the link port, who speak HTTP/2 and nothing that it is for.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use super::stranger::connect;
use super::withstands;

/// Connections of each kind at a time.
const EACH: usize = 2;

/// Who has not said who it is has five seconds; the rest is the time to notice.
const NOTICED: Duration = Duration::from_secs(8);

/// Types of frames (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// `:method POST`, `:scheme http`, `:path /`, `:authority x` (RFC 7541, appendix A).
const REQUEST: &[u8] = &[0x83, 0x86, 0x84, 0x41, 1, b'x'];

/// A field of a header, not indexed.
const FIELD: &[u8] = &[0, 1, b'x', 4, b'm', b'o', b'r', b'e'];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// What a kind of flood begins with, and what it says over and over; streams have odd numbers that go up.
struct Flood {
    name: &'static str,
    first: Vec<u8>,
    again: fn(u32) -> Vec<u8>,
}

fn floods() -> Vec<Flood> {
    let begun = || frame(HEADERS, END_HEADERS, 1, REQUEST);
    let flood = |name, first, again| Flood { name, first, again };
    vec![
        flood("rapid reset", Vec::new(), |stream| {
            [frame(HEADERS, END_HEADERS, stream, REQUEST), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())]
                .concat()
        }),
        flood("streams", Vec::new(), |stream| frame(HEADERS, END_HEADERS, stream, REQUEST)),
        flood("continuation", frame(HEADERS, 0, 1, REQUEST), |_| frame(CONTINUATION, 0, 1, FIELD)),
        flood("empty continuation", frame(HEADERS, 0, 1, REQUEST), |_| frame(CONTINUATION, 0, 1, &[])),
        flood("settings", Vec::new(), |_| frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])),
        flood("pings", Vec::new(), |_| frame(PING, 0, 0, b"tidegate")),
        flood("answers to no ping", Vec::new(), |_| frame(PING, ACK, 0, b"tidegate")),
        flood("empty data", begun(), |_| frame(DATA, 0, 1, &[])),
        flood("priority", Vec::new(), |stream| frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 7])),
        flood("window updates", Vec::new(), |_| frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())),
        flood("silence", Vec::new(), |_| Vec::new()),
    ]
}

/// Floods until it is closed; the code of the GOAWAY that came, and after how long it was over.
fn attack(address: &str, flood: &Flood) -> (Option<u32>, Duration) {
    let mut stream = connect(address);
    stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let began = Instant::now();
    let hello = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat();
    stream.write_all(&[hello, flood.first.clone()].concat()).unwrap();
    let (mut number, mut said, mut chunk) = (1, Vec::new(), vec![0; 64 * 1024]);
    while began.elapsed() < 2 * NOTICED {
        let mut block = Vec::new();
        while block.len() < 16 * 1024 && number < u32::MAX / 4 {
            let more = (flood.again)(number);
            if more.is_empty() {
                break;
            }
            block.extend(more);
            number += 2;
        }
        // One who does not read its answers is not heard either; whoever is closed finds it when it reads.
        let _ = stream.write_all(&block);
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => said.extend_from_slice(&chunk[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    (goaway(&said), began.elapsed())
}

/// The code of the last GOAWAY among frames.
fn goaway(mut said: &[u8]) -> Option<u32> {
    let mut code = None;
    while let Some((head, rest)) = said.split_first_chunk::<9>() {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let Some(payload) = rest.get(..length) else { break };
        if head[3] == GOAWAY {
            code = payload.get(4..8).and_then(|code| Some(u32::from_be_bytes(code.try_into().ok()?)));
        }
        said = &rest[length..];
    }
    code
}

#[test]
#[allow(clippy::print_stdout, reason = "how each ended, for whoever asks for the output")]
fn slow_floods_of_http2_frames_end_their_own_link_only() {
    withstands("link", &[], |cluster| {
        let link = &cluster.gateways[0].link;
        let floods = floods();
        std::thread::scope(|scope| {
            let attacks: Vec<_> = floods
                .iter()
                .flat_map(|flood| (0..EACH).map(move |_| flood))
                .map(|flood| (flood.name, scope.spawn(|| attack(link, flood))))
                .collect();
            for (name, attack) in attacks {
                let (code, after) = attack.join().unwrap();
                println!("  {name}: GOAWAY {code:?} after {after:?}");
                assert!(after < NOTICED, "{name} was not ended: {after:?}");
            }
        });
        assert_eq!(cluster.states(0), ["linked"], "the link that is one");
    });
}
