//! Tokens that nobody gave, or that were given to somebody else: a table of forgeries, each refused with words.

mod forge;

use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::stranger::{End, PATIENCE, assert_ends, ends, upgrade};
use super::withstands_as;
use crate::process::Running;
use forge::{Forger, SECRET};

/// Those that there are to be, at the least.
const WAYS: usize = 60;

const ANY: &str = "127.0.0.1:0";

/// How long they come as fast as they go.
const STORM: Duration = Duration::from_secs(5);

/// Puts the keys that count into a folder; what `--token-key-file` names.
fn keys(folder: &Path, forger: &Forger) -> String {
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let public = forger.public_keys();
    let keys: Vec<_> = public.iter().enumerate().map(|(n, pem)| file(&format!("key-{n}"), pem)).collect();
    [file("secret", SECRET), keys.join(",")].join(",")
}

/// A gateway that takes tokens of four keys, for one audience, from one issuer.
fn gateway(forger: &Forger) -> (Running, String) {
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(folder.path(), forger);
    let link = folder.path().join("link");
    std::fs::write(&link, "0123456789abcdef").unwrap();
    let mut gateway = Running::start(&[
        "gateway",
        "--listen",
        ANY,
        "--ingress",
        ANY,
        "--ops",
        ANY,
        "--link-secret-file",
        link.to_str().unwrap(),
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

fn query(token: &str) -> String {
    let token: String = form_urlencoded::byte_serialize(token.as_bytes()).collect();
    format!("token={token}")
}

fn connect(clients: &str, token: &str) -> TcpStream {
    upgrade(clients, &query(token), "")
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
    gateway.catch_up();
    assert!(gateway.is_running() && !gateway.text().contains("panicked"), "{}", gateway.text());
}

#[test]
fn forged_tokens_as_fast_as_they_go_hold_up_nobody_who_has_a_good_one() {
    let forger = Forger::new();
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(folder.path(), &forger);
    let flags = ["--token-key-file", &keys, "--token-audience", "push", "--token-issuer", "me"];
    let good = &forger.good()[0].1;
    withstands_as("forged tokens", &flags, &format!("&{}", query(good)), |cluster| {
        let forgeries = forger.forgeries();
        let until = Instant::now() + STORM;
        while Instant::now() < until {
            let gateway = &cluster.gateways[0].main;
            let storm = forgeries.iter().map(|(_, token)| connect(gateway, token)).collect();
            assert_ends(&ends(storm, b"", PATIENCE), &[End::Code(4501)]);
        }
    });
}
