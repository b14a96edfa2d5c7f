//! The least of Redis' protocol: a command, and the first line of its answer.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A snapshot of what these runs store takes far less.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// Gives a command; what it was answered, without the sign before it.
pub(crate) async fn ask(address: &str, words: &[&str]) -> Result<String, String> {
    let talk = async {
        let mut stream = BufReader::new(TcpStream::connect(address).await?);
        let mut text = format!("*{}\r\n", words.len());
        for word in words {
            text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        stream.write_all(text.as_bytes()).await?;
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        Ok::<_, std::io::Error>(line)
    };
    let line = tokio::time::timeout(ANSWER_TIME_MAX, talk).await.map_err(|_| "no answer in time")?;
    let line = line.map_err(|why| why.to_string())?;
    match line.trim_end().split_at_checked(1) {
        Some(("+" | ":", rest)) => Ok(rest.to_owned()),
        _ => Err(line),
    }
}
