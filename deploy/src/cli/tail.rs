//! `tidegate tail`: connects as a client and prints what arrives, until it is interrupted or has seen enough.

mod print;

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use common::backoff::Backoff;
use common::client::{Hello, Incoming};
use common::tls::Stream;
use futures_util::{SinkExt, StreamExt};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message, protocol::WebSocketConfig};

use super::values;
use crate::failure::Failure;
use crate::{nodes, output, web};
use print::Printer;

const EXAMPLES: &str = "Examples:
  tidegate tail --room r1
  tidegate tail --room r1 --room r2 --user u1 --frames
  tidegate tail --room prices --count 10 | jq .data
  tidegate tail --room r1 --url ws://127.0.0.1:7300

Items are JSON lines when standard output is not a terminal. A lost connection is made again; remarks go to standard error.";

/// A handshake that takes longer will not come.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);

/// Waits between attempts to connect again.
const AGAIN_FIRST: Duration = Duration::from_millis(200);
const AGAIN_MOST: Duration = Duration::from_secs(10);

/// Longest frame that is taken: 1,000 items of 64 KiB do not come, since 64 KiB flush a target early.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Flags of `tail`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Join this room (repeatable)
    #[arg(long, value_parser = values::name)]
    room: Vec<String>,
    /// Be this user; a gateway with --insecure or in dev believes it
    #[arg(long, value_parser = values::name)]
    user: Option<String>,
    /// Be a connection of this application
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    app_id: Option<u32>,
    /// A client token, where the gateway wants one (tidegate token makes one)
    #[arg(long, env = "TIDEGATE_TOKEN", hide_env_values = true, value_name = "JWT")]
    token: Option<String>,
    /// A gateway
    #[arg(long, default_value = "ws://127.0.0.1:7200")]
    url: String,
    /// File with the authority to trust for wss:// [default: those that this machine trusts]
    #[arg(long, env = "TIDEGATE_TLS_CA", hide_env_values = true, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Show frames too: how many items and bytes each carried
    #[arg(long)]
    frames: bool,
    /// End after so many items
    #[arg(long, value_name = "N")]
    count: Option<NonZeroU64>,
}

/// Why a connection is over.
enum Over {
    /// As many items as were wanted have come.
    Enough,
    /// It may be made again, after this long at least.
    Lost { why: String, after: Duration },
}

type Socket = WebSocketStream<Stream>;

impl Args {
    /// Prints items until it is enough.
    ///
    /// # Errors
    /// A gateway that cannot be reached at first (69), or that does not want us (1).
    pub(crate) fn run(&self) -> Result<(), Failure> {
        nodes::on_runtime(Box::pin(self.follow()))
    }

    async fn follow(&self) -> Result<(), Failure> {
        let node = web::Node::parse(&self.url, "ws", self.tls_ca.as_deref())?;
        let address = node.origin.address();
        let scheme = if node.origin.is_tls { "wss" } else { "ws" };
        let url = format!("{scheme}://{address}{}", self.path(&node.uri));
        let mut printer = Printer::new(self.frames, self.count);
        let mut random = fastrand::Rng::new();
        let mut backoff = Backoff::new(AGAIN_FIRST, AGAIN_MOST);
        let mut was_connected = false;
        loop {
            let (why, after) = match open(&url, &node, self.token.as_deref()).await {
                Ok(mut socket) => match listen(&mut socket, &address, &mut printer).await? {
                    (Over::Enough, _) => return leave(socket).await,
                    (Over::Lost { why, after }, greeted) => {
                        if greeted {
                            was_connected = true;
                            backoff.reset();
                        }
                        (why, after)
                    }
                },
                Err(Failure::Said { code: 69, text }) if was_connected => (text, Duration::ZERO),
                Err(failure) => return Err(failure),
            };
            let wait = after.max(backoff.next(&mut random));
            let shown = humantime::format_duration(Duration::from_millis(wait.as_millis() as u64));
            output::note(&format!("tidegate tail: {why}; connecting again in {shown}"));
            sleep(wait).await;
        }
    }

    fn path(&self, uri: &http::Uri) -> String {
        let mut query = form_urlencoded::Serializer::new(uri.query().unwrap_or("").to_owned());
        for room in &self.room {
            query.append_pair("room", room);
        }
        if let Some(user) = &self.user {
            query.append_pair("userId", user);
        }
        if let Some(app) = self.app_id {
            query.append_pair("appId", &app.to_string());
        }
        let path = if matches!(uri.path(), "" | "/") { "/ws" } else { uri.path() };
        let query = query.finish();
        if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
    }
}

/// Connects and shakes hands.
async fn open(url: &str, node: &web::Node, token: Option<&str>) -> Result<Socket, Failure> {
    let address = &node.origin;
    let bad = |what: &str| Failure::usage(format!("--{what} cannot stand in a request"));
    let mut request = url.into_client_request().map_err(|_| bad("url"))?;
    if let Some(token) = token {
        let value = format!("Bearer {}", token.trim()).parse().map_err(|_| bad("token"))?;
        request.headers_mut().insert(http::header::AUTHORIZATION, value);
    }
    let stream = node.connect().await.map_err(|no_answer| {
        Failure::unavailable(format!("{no_answer}. Is a gateway there? --url says where"))
    })?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX));
    let shaken = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
    match timeout(HANDSHAKE_TIME_MAX, Box::pin(shaken)).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(tungstenite::Error::Http(answer))) => {
            let body = answer.body().as_deref().unwrap_or_default();
            let text = format!("{address} refused: {}", web::problem_in_words(answer.status(), body));
            // The node is full or leaving: another time, then.
            if answer.status().is_server_error() {
                Err(Failure::unavailable(text))
            } else {
                Err(Failure::failed(text))
            }
        }
        Ok(Err(error)) => Err(Failure::unavailable(format!("{address}: {error}"))),
        Err(_) => Err(Failure::unavailable(format!("{address} did not answer the handshake"))),
    }
}

/// Prints until the connection is over; says also whether the gateway had greeted us.
async fn listen(socket: &mut Socket, address: &str, printer: &mut Printer) -> Result<(Over, bool), Failure> {
    let mut greeted = false;
    let mut turn = Instant::now();
    // Until the hello says how often the gateway pings.
    let mut silence_max = Duration::from_secs(60);
    loop {
        let lost = |why: String| Over::Lost { why, after: turn.saturating_duration_since(Instant::now()) };
        let text = match timeout(silence_max, socket.next()).await {
            Err(_) => return Ok((lost(format!("{address} is silent")), greeted)),
            Ok(None) => return Ok((lost(format!("{address} closed")), greeted)),
            Ok(Some(Err(error))) => return Ok((lost(format!("{address}: {error}")), greeted)),
            Ok(Some(Ok(Message::Text(text)))) => text,
            Ok(Some(Ok(Message::Close(said)))) => {
                let (code, why) =
                    said.map_or((1005, String::new()), |said| (said.code.into(), said.reason.to_string()));
                let text = format!("{address} closed with {code} {why}");
                // 4500 to 4999: do not come again.
                return if (4500..5000).contains(&code) {
                    Err(Failure::failed(text))
                } else {
                    Ok((lost(text), greeted))
                };
            }
            // Pings are answered by the protocol.
            Ok(Some(Ok(_))) => continue,
        };
        let Ok(message) = serde_json::from_str::<Incoming<'_>>(&text) else {
            output::note("tidegate tail: a message that is not understood was passed over");
            continue;
        };
        match &*message.cmd {
            "push" => {
                if printer.frame(&text, &message.items)? {
                    return Ok((Over::Enough, greeted));
                }
            }
            "hello" => {
                greeted = true;
                if let Some(hello) =
                    message.data.and_then(|data| serde_json::from_str::<Hello>(data.get()).ok())
                {
                    silence_max =
                        Duration::from_millis(hello.heartbeat_ms).mul_f64(2.5).max(Duration::from_secs(5));
                    let user = hello.user_id.map(|user| format!(", user {user}")).unwrap_or_default();
                    let client = hello.client_id;
                    output::note(&format!("tidegate tail: connected to {address} as client {client}{user}"));
                }
            }
            // It counts from now: when the good-bye comes at that time, nothing of it is left.
            "reconnect" => turn = Instant::now() + print::reconnect_after(message.data),
            _ => output::note(&format!("tidegate tail: {text}")),
        }
    }
}

/// Says good-bye; whether the gateway hears it is its affair.
async fn leave(mut socket: Socket) -> Result<(), Failure> {
    let _ = timeout(Duration::from_secs(1), socket.close(None)).await;
    let _ = timeout(Duration::from_secs(1), socket.flush()).await;
    Ok(())
}
