//! TLS through the program alone: API, clients and link, each with real certificates and a foreign client.

mod operator;

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::authority::{Authority, Kind};
use crate::process::{Running, http, run, said, tidegate};

const ANY: &str = "127.0.0.1:0";

/// A folder with an authority `ca`, what it signed (`node`, `logic`, `ending`, which expires in nine and a half days, and
/// `old`, which has expired), another authority `other`, and a secret.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (authority, other) = (Authority::new(), Authority::new());
    authority.write(folder.path(), "ca");
    other.write(folder.path(), "other");
    for (name, kind) in
        [("node", Kind::Good), ("logic", Kind::Good), ("ending", Kind::Ending), ("old", Kind::Expired)]
    {
        authority.sign(folder.path(), name, kind);
    }
    other.sign(folder.path(), "stranger", Kind::Good);
    for (name, text) in [("link", "0123456789abcdef\n"), ("token", "0123456789abcdef0123456789abcdef\n")] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// Flags whose values with a dot or a bare name in the folder are files of it.
fn flags(folder: &Path, text: &str) -> Vec<String> {
    let file = |word: &str| folder.join(word).to_str().unwrap().to_owned();
    text.split_whitespace().map(|word| word.strip_prefix('@').map_or(word.to_owned(), file)).collect()
}

fn start(args: Vec<String>) -> Running {
    let mut running = Running::start(&args.iter().map(String::as_str).collect::<Vec<_>>());
    running.line("READY");
    running
}

fn gateway(folder: &Path, text: &str) -> Running {
    let ports = format!("gateway --listen {ANY} --ingress {ANY} --ops {ANY} --window 50ms --drain 0s ");
    start(flags(folder, &(ports + text)))
}

fn logic(folder: &Path, text: &str) -> Running {
    start(flags(folder, &format!("logic --listen {ANY} --ops {ANY} --drain 1s {text}")))
}

/// What curl gets.
fn curl(folder: &Path, args: &str) -> (i32, String) {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "20"]).args(flags(folder, args));
    let (code, out, err) = said(command);
    (code, out + &err)
}

const KEYS: &str = "--token-key-file @token --open-room *";
const TLS: &str = "--tls-cert @node.pem --tls-key @node.key";
const LINK: &str = "--link-tls-cert @node.pem --link-tls-key @node.key";

#[test]
fn a_cluster_speaks_tls_everywhere_and_certificates_prove_its_logic() {
    let folder = folder();
    let at = folder.path();
    let gateway = gateway(at, &format!("{KEYS} {TLS} {LINK} --link-tls-client-ca @ca.pem"));
    let (ingress, clients) = (gateway.after("link         "), gateway.after("clients      "));
    assert!(clients.starts_with("wss://"), "{clients}");
    let links = "--link-tls-ca @ca.pem --link-tls-cert @logic.pem --link-tls-key @logic.key --link-tls-name gateway.test";
    let mut logic = logic(at, &format!("--api-key api-0123456789abcdef {TLS} {links} --gateway {ingress}"));
    let url = logic.after("API          ");
    let url = url.trim_end_matches('/').to_owned();
    assert!(url.starts_with("https://"), "{url}");
    logic.line("linked");

    // Ours, and with them the foreign ones: OpenSSL in curl.
    let token = run(&["token", "--key-file", at.join("token").to_str().unwrap(), "--user", "alice"]);
    let token = String::from_utf8(token.stdout).unwrap();
    let ca = at.join("ca.pem").to_str().unwrap().to_owned();
    let clients = clients.trim_end_matches("/ws").to_owned();
    let tail =
        ["tail", "--url", &clients, "--tls-ca", &ca, "--room", "r", "--token", token.trim(), "--count", "2"];
    let mut tail = Running::start(&tail);
    tail.line("connected to");
    let mut push = tidegate(&[
        "push", "--url", &url, "--tls-ca", &ca, "--room", "r", "--data", "1", "--wait", "written",
    ]);
    push.env("TIDEGATE_API_KEY", "api-0123456789abcdef");
    let (code, out, err) = said(push);
    assert!(code == 0 && out.contains("\"matched\":1"), "{code} {out} {err}");
    let mut command = Command::new("curl");
    command.args([
        "-sS",
        "--max-time",
        "20",
        "--cacert",
        &ca,
        "-H",
        "authorization: Bearer api-0123456789abcdef",
    ]);
    command.args(["-H", "content-type: application/json", "-d", r#"{"to":{"room":"r"},"data":2}"#]);
    command.arg(format!("{url}/v1/push"));
    let (code, out, err) = said(command);
    assert!(code == 0 && out.contains("\"matched\":1"), "{code} {out} {err}");
    assert!(tail.ended().success());

    // Who does not trust them, and who comes without TLS.
    let (code, said) = curl(at, &format!("--cacert @other.pem {url}/"));
    assert!(code == 60, "curl calls it a certificate problem: {code} {said}");
    let plain = url.replace("https://", "http://");
    let (_, said) = curl(at, &format!("{plain}/v1/stats"));
    assert!(said.contains("tls_needed"), "{said}");
    let (code, said) = curl(
        at,
        &format!("--cacert @ca.pem --tls-max 1.2 {url}/openapi.json -o /dev/null -w %{{http_code}}"),
    );
    assert!(code == 0 && said.ends_with("200"), "TLS 1.2 is spoken too: {code} {said}");

    // A new certificate by SIGHUP, here one that has expired; then a broken one, which changes nothing.
    let copy = |from: &str| {
        for ending in ["pem", "key"] {
            std::fs::copy(at.join(format!("{from}.{ending}")), at.join(format!("node.{ending}"))).unwrap();
        }
    };
    copy("old");
    logic.signal("HUP");
    logic.line("read again");
    let (code, said) = curl(at, &format!("--cacert @ca.pem {url}/"));
    assert!(code == 60 && said.contains("expired"), "{code} {said}");
    std::fs::write(at.join("node.pem"), "broken").unwrap();
    logic.signal("HUP");
    assert!(logic.line("stays in force").contains("it holds no certificate"));
    let (code, said) = curl(at, &format!("--cacert @ca.pem {url}/"));
    assert!(code == 60 && said.contains("expired"), "{code} {said}");
}

#[test]
fn a_link_that_is_not_as_it_should_be_is_refused_with_the_reason() {
    let folder = folder();
    let at = folder.path();
    let with_tls =
        gateway(at, &format!("{KEYS} {LINK} --link-tls-client-ca @ca.pem --link-secret-file @link"));
    let expired = gateway(
        at,
        &format!("{KEYS} --link-tls-cert @old.pem --link-tls-key @old.key --link-secret-file @link"),
    );
    let plain = gateway(at, &format!("{KEYS} --link-secret-file @link"));
    let address = |gateway: &Running| gateway.after("link         ");
    let ca = "--link-tls-ca @ca.pem";
    let identity = "--link-tls-cert @logic.pem --link-tls-key @logic.key";
    for (gateway, flags, state, words) in [
        (&with_tls, format!("{ca} {identity}"), "linked", ""),
        (&with_tls, String::new(), "lost", "wants TLS on its link port"),
        (&with_tls, ca.to_owned(), "lost", "a certificate of ours"),
        (&with_tls, format!("--link-tls-ca @other.pem {identity}"), "refused", "not signed by an authority"),
        (&with_tls, format!("{ca} {identity} --link-tls-name elsewhere"), "refused", "another name"),
        (
            &with_tls,
            format!("{ca} --link-tls-cert @stranger.pem --link-tls-key @stranger.key"),
            "lost",
            "certificate",
        ),
        (&expired, ca.to_owned(), "refused", "has expired"),
        (&plain, ca.to_owned(), "refused", "no TLS"),
    ] {
        let logic =
            logic(at, &format!("--insecure --link-secret-file @link {flags} --gateway {}", address(gateway)));
        let api = logic.after("API          http://");
        let until = std::time::Instant::now() + std::time::Duration::from_secs(15);
        loop {
            let answer = http(api.trim_end_matches('/'), "GET /v1/gateways", "");
            let body = answer.split_once("\r\n\r\n").unwrap().1;
            let list: serde_json::Value = serde_json::from_str(body).unwrap();
            let reason = list[0]["reason"].as_str().unwrap_or_default();
            if list[0]["state"] == state && reason.contains(words) {
                break;
            }
            assert!(std::time::Instant::now() < until, "{flags}: not {state} {words:?}, but {list}");
            std::thread::yield_now();
        }
    }
}

#[test]
fn gateways_announce_themselves_over_https() {
    let folder = folder();
    let at = folder.path();
    let mut logic = logic(at, &format!("--insecure --link-secret-file @link {TLS} --link-tls-ca @ca.pem"));
    let url = logic.after("API          ").trim_end_matches('/').to_owned();
    let secret = format!("{KEYS} {LINK} --link-secret-file @link");
    let mut well = gateway(at, &format!("{secret} --announce {url} --tls-ca @ca.pem"));
    well.line("announced");
    logic.line("linked");
    let mut bad = gateway(at, &format!("{secret} --announce {url} --tls-ca @other.pem"));
    assert!(bad.line("cannot announce").contains("not signed by an authority"));
}

#[test]
fn what_cannot_be_is_said_before_anything_starts_and_plaintext_is_warned_of() {
    let folder = folder();
    let at = folder.path();
    for (text, words) in [
        ("gateway --insecure --tls-cert @node.pem", "--tls-cert needs --tls-key"),
        ("gateway --insecure --tls-cert @node.pem --tls-key @logic.key", "not the key of the certificate"),
        ("gateway --insecure --tls-cert @none.pem --tls-key @node.key", "none.pem: No such file"),
        ("gateway --insecure --link-tls-client-ca @ca.pem", "a link without TLS"),
        ("gateway --token-key-file @token --link-tls-cert @node.pem --link-tls-key @node.key", "link secret"),
        ("logic --insecure --link-tls-cert @node.pem --link-tls-key @node.key", "begin with --link-tls-ca"),
        ("logic --api-key 0123456789abcdef --link-tls-ca @ca.pem", "link secret"),
    ] {
        let args = flags(at, text);
        let (code, _, err) = said(tidegate(&args.iter().map(String::as_str).collect::<Vec<_>>()));
        assert!(code == 78 && err.contains(words), "{text}: {code} {err}");
    }
    let open = format!("gateway --insecure --listen 0.0.0.0:0 --ingress 0.0.0.0:0 --ops {ANY} --drain 0s");
    let mut gateway = start(flags(at, &open));
    let line = gateway.line("PLAINTEXT");
    assert!(line.contains("clients on 0.0.0.0:0") && line.contains("links on 0.0.0.0:0"), "{line}");
    let text = gateway.text();
    assert_eq!(text.matches("PLAINTEXT").count(), 1, "{text}");
    let silent =
        start(flags(at, &format!("{} {TLS}", open.replace("--ingress 0.0.0.0", "--ingress 127.0.0.1"))));
    assert!(!silent.text().contains("PLAINTEXT"), "{}", silent.text());
    assert!(TcpStream::connect(silent.after("ops          http://").trim_end_matches("/statusz")).is_ok());
}
