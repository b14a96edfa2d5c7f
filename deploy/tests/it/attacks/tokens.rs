//! Tokens that nobody gave, or that were given to somebody else: a table of forgeries, each refused with words.

mod forge;

use std::net::TcpStream;
use std::time::Duration;

use super::stranger::{End, assert_ends, ends, upgrade};
use crate::process::Running;
use forge::{Forger, SECRET};

/// Those that there are to be, at the least.
const WAYS: usize = 60;

const ANY: &str = "127.0.0.1:0";

/// A gateway that takes tokens of four keys, for one audience, from one issuer.
fn gateway(forger: &Forger) -> (Running, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let public = forger.public_keys();
    let keys: Vec<_> = public.iter().enumerate().map(|(n, pem)| file(&format!("key-{n}"), pem)).collect();
    let keys = [file("secret", SECRET), keys.join(",")].join(",");
    let link = file("link", "0123456789abcdef");
    let mut gateway = Running::start(&[
        "gateway",
        "--listen",
        ANY,
        "--ingress",
        ANY,
        "--ops",
        ANY,
        "--link-secret-file",
        &link,
        "--token-key-file",
        &keys,
        "--token-audience",
        "push",
        "--token-issuer",
        "me",
    ]);
    gateway.line("READY");
    let clients = gateway.after("clients      ws://").trim_end_matches("/ws").to_owned();
    (gateway, clients)
}

fn connect(clients: &str, token: &str) -> TcpStream {
    let token: String = form_urlencoded::byte_serialize(token.as_bytes()).collect();
    upgrade(clients, &format!("token={token}"), "")
}

#[test]
fn tokens_forged_in_sixty_ways_are_refused() {
    let forger = Forger::new();
    let (mut gateway, clients) = gateway(&forger);
    let forgeries = forger.forgeries();
    assert!(forgeries.len() >= WAYS, "{} ways", forgeries.len());
    for (name, token) in &forgeries {
        let ended = ends(vec![connect(&clients, token)], b"", Duration::from_secs(5));
        assert_eq!(ended[0].0, End::Code(4501), "{name}: {token:.200}");
    }
    // What is not forged is taken, or the table would say nothing.
    for (name, token) in forger.good() {
        let ended = ends(vec![connect(&clients, &token)], b"", Duration::from_millis(300));
        assert_eq!(ended[0].0, End::Open, "{name}");
    }
    let many = forgeries.iter().map(|(_, token)| connect(&clients, token)).collect();
    assert_ends(&ends(many, b"", Duration::from_secs(5)), &[End::Code(4501)]);
    gateway.catch_up();
    assert!(gateway.is_running() && !gateway.text().contains("panicked"), "{}", gateway.text());
}
