//! Frames that break the protocol or its limits, byte by byte (RFC 6455 §5).

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::clients::{PATIENCE, connect, handshake};
use crate::node::{settings, start};

/// A masked frame with a mask of zeros.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..126 => bytes.push(0x80 | short as u8),
        long => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

/// Sends bytes after a handshake, reads to the end, and gives the code of the close frame that came.
async fn close_code(address: std::net::SocketAddr, bytes: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(handshake("").as_bytes()).await.unwrap();
    stream.write_all(bytes).await.ok();
    let mut read = Vec::new();
    let mut chunk = [0_u8; 4096];
    loop {
        let got = tokio::time::timeout(PATIENCE, stream.read(&mut chunk)).await.expect("a close in time");
        match got {
            Ok(got) if got > 0 => read.extend_from_slice(&chunk[..got]),
            _ => break,
        }
        // The close frame is the last thing sent: two bytes of head, two of code.
        let close = read.windows(2).rposition(|pair| pair[0] == 0x88 && (2..126).contains(&pair[1]));
        if let Some(code) = close.and_then(|at| read.get(at + 2..at + 4)) {
            return Some(u16::from_be_bytes([code[0], code[1]]));
        }
    }
    None
}

#[tokio::test]
async fn each_bad_frame_gets_its_close_code() {
    let gateway = start(settings()).await;
    let mut bystander = connect(gateway.clients, "").await;
    let mut unmasked = frame(0x81, b"ping");
    unmasked[1] &= 0x7f;
    let mut claims_much = vec![0x81, 0x80 | 127];
    claims_much.extend_from_slice(&u64::MAX.to_be_bytes());
    claims_much.extend_from_slice(&[0; 4]);
    let fragments: Vec<u8> = [frame(0x01, &[b'x'; 60_000]), frame(0x80, &[b'x'; 60_000])].concat();
    let unfinished: Vec<u8> = [frame(0x01, b"a"), frame(0x81, b"b")].concat();
    for (name, bytes, code) in [
        ("binary", frame(0x82, b"x"), 1003),
        ("unmasked", unmasked, 1002),
        ("reserved bit", frame(0xc1, b"x"), 1002),
        ("reserved opcode", frame(0x83, b"x"), 1002),
        ("reserved control opcode", frame(0x8b, b"x"), 1002),
        ("continuation of nothing", frame(0x80, b"x"), 1002),
        ("text inside a message", unfinished, 1002),
        ("fragmented ping", frame(0x09, b"x"), 1002),
        ("long ping", frame(0x89, &[0; 126]), 1002),
        ("not UTF-8", frame(0x81, &[0xff, 0xfe]), 1007),
        ("too long", frame(0x81, &vec![b'x'; 65_537]), 1009),
        ("claims to be endless", claims_much, 1009),
        ("too long in fragments", fragments, 1009),
        ("good-bye", frame(0x88, &1000_u16.to_be_bytes()), 1000),
    ] {
        assert_eq!(close_code(gateway.clients, &bytes).await, Some(code), "{name}");
    }
    gateway.wait_for("/clients", 1).await;
    bystander.say("ping").await;
    assert_eq!(bystander.next_text().await, "pong");
}

#[tokio::test]
async fn fragments_and_pings_between_them_are_fine() {
    let gateway = start(settings()).await;
    let mut stream = TcpStream::connect(gateway.clients).await.unwrap();
    stream.write_all(handshake("").as_bytes()).await.unwrap();
    let bytes = [frame(0x01, b"pi"), frame(0x89, b"mark"), frame(0x80, b"ng")].concat();
    for byte in bytes {
        stream.write_all(&[byte]).await.unwrap();
    }
    let mut read = Vec::new();
    let found = async {
        while !read.ends_with(b"pong") {
            stream.read_buf(&mut read).await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("a pong in time");
    assert!(read.windows(6).any(|window| window == b"\x8a\x04mark"), "the ping was answered too");
}

#[tokio::test]
async fn endless_empty_fragments_starve_nobody() {
    // The gateway and this test share one thread: if it were kept, the bystander would get no answer.
    let gateway = start(settings()).await;
    let mut bystander = connect(gateway.clients, "").await;
    let address = gateway.clients;
    let flood = std::thread::spawn(move || {
        use std::io::Write;
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(handshake("").as_bytes()).unwrap();
        stream.write_all(&frame(0x01, b"")).unwrap();
        let fragments = frame(0x00, b"").repeat(100_000);
        while stream.write_all(&fragments).is_ok() {}
    });
    gateway.wait_for("/clients", 2).await;
    for _ in 0..5 {
        bystander.say("ping").await;
        assert_eq!(bystander.next_text().await, "pong");
    }
    assert!(!flood.is_finished(), "it still sends");
}
