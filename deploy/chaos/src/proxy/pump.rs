//! One direction of a connection: what is read is due at a time, and is written then.

use std::io::Result;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{Flow, Weather};

/// Read at a time.
const CHUNK_BYTES: usize = 16 * 1024;

/// Chunks on their way at a time, 1 MiB at the most: past it the sender waits, as behind a full window.
const CHUNKS_MAX: usize = 64;

/// Moves bytes one way, until the end of either side. `way`: 0 to the server, 1 from it.
pub(super) async fn pump(
    mut from: OwnedReadHalf,
    to: OwnedWriteHalf,
    way: usize,
    mut weather: watch::Receiver<Weather>,
) -> Result<()> {
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    let writing = Box::pin(write(to, receiver, way, weather.clone()));
    let reading = Box::pin(async move {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let now = *weather.borrow_and_update();
            match now.flow[way] {
                Flow::Hold => {
                    if weather.changed().await.is_err() {
                        return Ok(());
                    }
                }
                Flow::Swallow => return swallow(&mut from, &mut weather).await,
                Flow::Pass => tokio::select! {
                    biased;
                    changed = weather.changed() => if changed.is_err() { return Ok(()) },
                    read = from.read(&mut buffer) => {
                        let length = read?;
                        let due = Instant::now() + now.latency + random_part(now.jitter);
                        if length == 0 || sender.send((due, buffer[..length].to_vec())).await.is_err() {
                            return Ok(());
                        }
                    }
                },
            }
        }
    });
    // Both are waited for: what was read before the end is written. The writer ends with the sender, which the reader owns.
    let (read, written) = tokio::join!(reading, writing);
    read.and(written)
}

fn random_part(most: Duration) -> Duration {
    most.mul_f64(fastrand::f64())
}

async fn write(
    mut to: OwnedWriteHalf,
    mut chunks: mpsc::Receiver<(Instant, Vec<u8>)>,
    way: usize,
    mut weather: watch::Receiver<Weather>,
) -> Result<()> {
    let mut last = Instant::now();
    while let Some((due, bytes)) = chunks.recv().await {
        // Bytes do not overtake each other, whatever their delays.
        last = last.max(due);
        tokio::time::sleep_until(last).await;
        while weather.borrow_and_update().flow[way] == Flow::Hold {
            if weather.changed().await.is_err() {
                return Ok(());
            }
        }
        let Weather { slice, rate, .. } = *weather.borrow();
        let most = if slice == 0 { bytes.len() } else { fastrand::usize(1..=slice) };
        for piece in bytes.chunks(most.max(1)) {
            to.write_all(piece).await?;
            if slice != 0 {
                tokio::task::yield_now().await;
            }
        }
        if rate != 0 {
            tokio::time::sleep(Duration::from_secs_f64(bytes.len() as f64 / rate as f64)).await;
        }
    }
    to.shutdown().await
}

/// Reads and throws away, until that is over; then the connection has a hole and is not gone on with.
pub(super) async fn swallow(from: &mut OwnedReadHalf, weather: &mut watch::Receiver<Weather>) -> Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    while weather.borrow_and_update().flow.contains(&Flow::Swallow) {
        tokio::select! {
            changed = weather.changed() => if changed.is_err() { return Ok(()) },
            read = from.read(&mut buffer) => if read? == 0 {
                // It has gone; whoever still waits on the other side shall go on to wait.
                if weather.changed().await.is_err() { return Ok(()) }
            },
        }
    }
    Ok(())
}
