//! The server that one would write first: tokio-tungstenite as it comes, and for each client a channel and a task
//! that writes what comes out of it. It is a measure for the others, so it is written without any care for speed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use common::http1::{self, Answer, Handler};
use common::shutdown::Shutdown;
use common::tasks::Tasks;
use futures_util::{SinkExt, StreamExt};
use http::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

/// First argument of a program that is to be this server; then where clients connect, and where is published.
pub(super) const ROLE: &str = "plain-server";

/// Messages that may wait for a client; one more is dropped.
const WAITING_MAX: usize = 256;

/// Publishers at a time.
const PUBLISHERS_MAX: usize = 64;

type Clients = Arc<Mutex<HashMap<SocketAddr, mpsc::Sender<Message>>>>;

pub(super) fn play(arguments: &[String]) -> ExitCode {
    let addresses: Vec<SocketAddr> = arguments.iter().filter_map(|address| address.parse().ok()).collect();
    let (&[clients, publishers], Ok(_)) = (&addresses[..], common::descriptors::raise()) else {
        return ExitCode::from(2);
    };
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    match runtime.block_on(serve(clients, publishers)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_cannot_bind) => ExitCode::FAILURE,
    }
}

async fn serve(clients_at: SocketAddr, publishers_at: SocketAddr) -> std::io::Result<()> {
    let shutdown = Shutdown::new();
    let tasks = Tasks::new(shutdown.clone());
    let clients = Clients::default();
    let (listener, publishers) =
        (TcpListener::bind(clients_at).await?, TcpListener::bind(publishers_at).await?);
    let publish = Publish { clients: clients.clone() };
    tasks.spawn(http1::serve(publishers, publish, tasks.clone(), shutdown, PUBLISHERS_MAX));
    loop {
        // Out of descriptors, say: the next one may find some.
        let Ok((stream, peer)) = listener.accept().await else { continue };
        let (clients, inner) = (clients.clone(), tasks.clone());
        tasks.spawn(async move { client(stream, peer, clients, inner).await });
    }
}

async fn client(stream: TcpStream, peer: SocketAddr, clients: Clients, tasks: Tasks) {
    // A client that goes while it is greeted is no loss.
    let Ok(()) = stream.set_nodelay(true) else { return };
    let Ok(socket) = Box::pin(tokio_tungstenite::accept_async(stream)).await else { return };
    let (mut sink, mut messages) = socket.split();
    let (sender, mut receiver) = mpsc::channel(WAITING_MAX);
    clients.lock().insert(peer, sender);
    tasks.spawn(async move {
        while let Some(message) = receiver.recv().await {
            if sink.send(message).await.is_err() {
                break;
            }
        }
    });
    while let Some(Ok(_)) = messages.next().await {}
    clients.lock().remove(&peer);
}

#[derive(Clone)]
struct Publish {
    clients: Clients,
}

impl Handler for Publish {
    async fn handle(&self, request: Request<Incoming>, _peer: SocketAddr, _request_id: &str) -> Answer {
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let text = String::from_utf8_lossy(&body).into_owned();
        let message = Message::text(text);
        for client in self.clients.lock().values() {
            // Full: its client does not keep up.
            _ = client.try_send(message.clone());
        }
        http1::ok("text/plain", Bytes::from_static(b"published\n"))
    }
}
