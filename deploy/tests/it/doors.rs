//! Three doors through which a gateway goes: a signal, a call of the API, and what Kubernetes does. Whichever it is: it is not
//! ready any more, then each client is told its turn, evenly spread over the drain, and at its turn good-bye.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

use crate::cluster::{Cluster, Node, cluster};
use crate::process::http;

/// Nothing that is waited for takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

const DRAIN: Duration = Duration::from_secs(2);

const CLIENTS: u32 = 40;

/// A client that stays until it is told good-bye.
struct Client(WebSocket<TcpStream>);

impl Client {
    fn connect(gateway: &Node) -> Self {
        let stream = TcpStream::connect(&gateway.main).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (socket, _) = client(format!("{}/ws?room=r", gateway.ws()), stream).unwrap();
        let mut client = Self(socket);
        assert_eq!(client.next()["cmd"], "hello");
        client
    }

    fn next(&mut self) -> Value {
        loop {
            match self.0.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The turn that it is told.
    fn turn(&mut self) -> Duration {
        let told = self.next();
        assert_eq!(told["cmd"], "reconnect", "{told}");
        Duration::from_millis(told["data"]["afterMs"].as_u64().unwrap())
    }

    /// The code of the good-bye, before which nothing else comes.
    fn closed(&mut self) -> u16 {
        match self.0.read().unwrap() {
            Message::Close(Some(frame)) => frame.code.into(),
            other => panic!("{other:?}"),
        }
    }
}

fn is_ready(gateway: &Node) -> bool {
    http(&gateway.ops, "GET /readyz", "").starts_with("HTTP/1.1 200 ")
}

fn goes_through(cluster: &mut Cluster, gateway: usize, door: impl FnOnce(&Cluster, &Node)) {
    let node = &cluster.gateways[gateway];
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::connect(node)).collect();
    assert!(is_ready(node));
    let began = Instant::now();
    door(cluster, node);
    let first = clients[0].turn();
    assert!(!is_ready(node), "a balancer knows before clients do");
    let others = clients[1..].iter_mut().map(Client::turn);
    let mut turns: Vec<Duration> = std::iter::once(first).chain(others).collect();
    let mut leaving: Vec<(Duration, Client)> = turns.iter().copied().zip(clients).collect();
    turns.sort_unstable();
    for (place, turn) in (0..).zip(&turns) {
        let even = DRAIN * place / CLIENTS;
        assert!(turn.abs_diff(even) <= Duration::from_millis(1), "{turn:?} is not {even:?}: {turns:?}");
    }
    leaving.sort_unstable_by_key(|(turn, _)| *turn);
    for (turn, mut client) in leaving {
        assert_eq!(client.closed(), 1012);
        let waited = began.elapsed() + Duration::from_millis(1);
        assert!(waited >= turn, "sent away after {waited:?}, told {turn:?}");
    }
    assert_eq!(cluster.gateways[gateway].ended(), Some(0));
}

#[test]
fn every_door_leads_to_the_same_paced_drain() {
    let mut cluster = cluster().gateways(3).drain("2s").start();
    goes_through(&mut cluster, 0, |_, gateway| gateway.signal("TERM"));
    goes_through(&mut cluster, 1, |cluster, _| {
        let (status, answer) = cluster.logics[0].call("POST /v1/gateways/gw-1/drain", "");
        assert_eq!((status, &answer["changed"]), (202, &true.into()), "{answer}");
    });
    // The manifests' preStop waits, while the endpoint is taken away from elsewhere; then comes the signal.
    goes_through(&mut cluster, 2, |_, gateway| {
        std::thread::park_timeout(Duration::from_millis(500));
        assert!(is_ready(gateway), "nothing changes before the signal");
        gateway.signal("TERM");
    });
}
