//! Each fault of the proxy, on real sockets: what it holds, loses, cuts and slows.

use std::net::Ipv4Addr;

use common::shutdown::Shutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A link to a server of ours: the proxy, and both ends of a connection through it.
async fn link() -> (Proxy, SocketAddr, TcpListener, TcpStream, TcpStream) {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let at = free.local_addr().unwrap();
    drop(free);
    let tasks = Tasks::new(Shutdown::new());
    let proxy = Proxy::bind(at, server.local_addr().unwrap(), &tasks).await.unwrap();
    let client = TcpStream::connect(at).await.unwrap();
    let (served, _) = server.accept().await.unwrap();
    (proxy, at, server, client, served)
}

#[tokio::test]
async fn bytes_pass_in_order_late_and_in_slices() {
    let (proxy, _, _server, mut client, mut served) = link().await;
    let (latency, jitter) = (Duration::from_millis(30), Duration::from_millis(20));
    proxy.change(|weather| *weather = Weather { latency, jitter, slice: 7, ..*weather });
    let sent: Vec<u8> = (0..100_000_u32).map(|byte| byte as u8).collect();
    let begun = tokio::time::Instant::now();
    client.write_all(&sent).await.unwrap();
    let mut got = vec![0; sent.len()];
    served.read_exact(&mut got).await.unwrap();
    assert!(got == sent && begun.elapsed() >= latency, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_is_held_comes_afterwards_and_the_other_direction_goes_on() {
    let (proxy, _, _server, mut client, mut served) = link().await;
    proxy.change(|weather| weather.flow[0] = Flow::Hold);
    client.write_all(b"up").await.unwrap();
    served.write_all(b"down").await.unwrap();
    let mut got = [0; 4];
    client.read_exact(&mut got).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(50), served.read(&mut got)).await;
    assert!(early.is_err(), "nothing passes");
    proxy.calm();
    assert_eq!(served.read(&mut got).await.unwrap(), 2);
}

#[tokio::test]
async fn what_is_swallowed_is_gone_and_so_is_its_connection() {
    let (proxy, at, server, mut client, mut served) = link().await;
    proxy.change(|weather| weather.flow = [Flow::Swallow; 2]);
    client.write_all(b"lost").await.unwrap();
    let mut later = TcpStream::connect(at).await.unwrap();
    let mut got = [0; 8];
    let early = tokio::time::timeout(Duration::from_millis(50), served.read(&mut got)).await;
    assert!(early.is_err(), "nobody hears anything");
    proxy.calm();
    assert!(matches!(served.read(&mut got).await, Ok(0) | Err(_)), "cut, without what was swallowed");
    assert!(matches!(later.read(&mut got).await, Ok(0) | Err(_)), "it never reached anybody");
    let mut fresh = TcpStream::connect(at).await.unwrap();
    let (mut served, _) = server.accept().await.unwrap();
    fresh.write_all(b"new").await.unwrap();
    assert_eq!(served.read(&mut got).await.unwrap(), 3);
}

#[tokio::test]
async fn a_cut_ends_those_that_are_there_and_a_shut_link_refuses_others() {
    let (proxy, at, server, mut client, _served) = link().await;
    proxy.change(|weather| *weather = Weather { is_shut: true, cuts: weather.cuts + 1, ..*weather });
    let mut got = [0; 8];
    assert!(matches!(client.read(&mut got).await, Ok(0) | Err(_)));
    let mut refused = TcpStream::connect(at).await.unwrap();
    assert!(matches!(refused.read(&mut got).await, Ok(0) | Err(_)));
    proxy.calm();
    let mut fresh = TcpStream::connect(at).await.unwrap();
    let (mut served, _) = server.accept().await.unwrap();
    served.write_all(b"hello").await.unwrap();
    assert_eq!(fresh.read(&mut got).await.unwrap(), 5);
}

#[tokio::test]
async fn what_a_server_says_before_it_closes_arrives() {
    let (proxy, _, _server, mut client, mut served) = link().await;
    proxy.change(|weather| weather.latency = Duration::from_millis(20));
    served.write_all(b"bye").await.unwrap();
    drop(served);
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"bye");
}
