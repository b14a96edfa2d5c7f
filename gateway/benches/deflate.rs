//! `cargo bench -p gateway --bench deflate`: what compressing a frame of similar items brings, and what it costs,
//! beside the floor: one bare `send` of the same frame, plain, through loopback in the same run.

// A program that talks to people.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use gateway::deflate_bench::{shrink, similar};

/// What a gateway does unless told otherwise, and 4 KiB of window.
const LEVEL: u32 = 6;
const WINDOW_BITS: u8 = 12;

fn main() -> Result<(), Box<dyn Error>> {
    let ten = similar(10);
    let default = shrink(&ten, LEVEL, WINDOW_BITS);
    println!("figure                                                     target  measured");
    println!(
        "bytes on the wire, 10 similar items a frame, ÷ plain       ≤ 0.25  {:.3}   ({} of {})",
        default.packed as f64 / default.plain as f64,
        default.packed,
        default.plain,
    );
    println!("\nitems  window  level   bytes   ÷ plain      µs   ÷ one send");
    for items in [1, 10, 100, 300] {
        let frame = similar(items);
        let send = floor(&frame)?;
        for (bits, level) in [(9, 6), (12, 1), (12, 3), (12, 6), (12, 9), (15, 1), (15, 6)] {
            let shrunk = shrink(&frame, level, bits);
            println!(
                "{items:>5}  {:>6}  {level:>5}  {:>6}     {:.3}  {:>6.1}       {:>6.1}",
                1_u32 << bits,
                shrunk.packed,
                shrunk.packed as f64 / shrunk.plain as f64,
                shrunk.took.as_secs_f64() * 1e6,
                shrunk.took.as_secs_f64() / send.as_secs_f64(),
            );
        }
    }
    Ok(())
}

/// What the kernel alone takes for one `send` of this frame, the best of several rounds.
fn floor(frame: &[u8]) -> io::Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    let (mut receiver, _) = listener.accept()?;
    sender.set_nodelay(true)?;
    let mut read = vec![0; frame.len()];
    let mut best = Duration::MAX;
    for _ in 0..200 {
        let mut sending = Duration::ZERO;
        for _ in 0..20 {
            let began = Instant::now();
            sender.write_all(frame)?;
            sending += began.elapsed();
            receiver.read_exact(&mut read)?;
        }
        best = best.min(sending / 20);
    }
    Ok(best)
}
