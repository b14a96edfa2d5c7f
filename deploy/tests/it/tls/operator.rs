//! What whoever runs a node sees of TLS: certificates before they end, and who did not get a connection and why.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{ANY, KEYS, TLS, curl, flags, folder, gateway, logic, start};
use crate::process::{Running, http};

fn ops(running: &Running) -> String {
    running.after("ops          http://").trim_end_matches("/statusz").to_owned()
}

fn seconds_from_now(metrics: &str, port: &str) -> f64 {
    let name = format!("certificate_expiry_timestamp_seconds{{port=\"{port}\"}} ");
    let expires: f64 = metrics.split(&name).nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    expires - now.as_secs_f64()
}

#[test]
fn certificates_are_spoken_of_before_they_end_and_shown_until_then() {
    let folder = folder();
    let at = folder.path();
    let links = "--link-tls-cert @old.pem --link-tls-key @old.key --link-secret-file @link";
    let mut gateway = gateway(at, &format!("{KEYS} --tls-cert @ending.pem --tls-key @ending.key {links}"));
    let soon = gateway.line("a certificate expires in so many days");
    assert!(soon.contains("--tls-cert") && soon.contains("ending.pem") && soon.contains('9'), "{soon}");
    let over = gateway.line("HAS EXPIRED");
    assert!(over.contains("--link-tls-cert") && over.to_lowercase().contains("error"), "{over}");

    let ops = ops(&gateway);
    let day = 86_400.0;
    let metrics = http(&ops, "GET /metrics", "");
    let left = seconds_from_now(&metrics, "clients") / day;
    assert!((9.4..9.5).contains(&left), "{left} days");
    assert!(seconds_from_now(&metrics, "links") < -1000.0 * day);
    let status = http(&ops, "GET /statusz", "");
    assert!(status.contains("\"daysLeft\":9,") && status.contains("\"port\":\"links\""), "{status}");

    // One that is put in its place is shown from then on.
    for kind in ["pem", "key"] {
        std::fs::copy(at.join(format!("node.{kind}")), at.join(format!("ending.{kind}"))).unwrap();
    }
    gateway.signal("HUP");
    gateway.line("read again");
    let until = Instant::now() + Duration::from_secs(10);
    while seconds_from_now(&http(&ops, "GET /metrics", ""), "clients") < 1000.0 * day {
        assert!(Instant::now() < until, "it still shows the old one");
    }

    let identity = "--link-tls-ca @ca.pem --link-tls-cert @ending.pem --link-tls-key @ending.key";
    let args = format!("logic --insecure --listen {ANY} --ops {ANY} --drain 1s {TLS} {identity}");
    let logic = start(flags(at, &args));
    let metrics = http(&self::ops(&logic), "GET /metrics", "");
    assert!(seconds_from_now(&metrics, "api").min(seconds_from_now(&metrics, "links")) > 1000.0 * day);
}

#[test]
fn who_does_not_get_its_tls_from_the_api_is_counted_with_the_reason() {
    let folder = folder();
    let at = folder.path();
    let logic = logic(at, &format!("--insecure {TLS} --head-time 500ms"));
    let url = logic.after("API          ");
    let address = url.trim_start_matches("https://").trim_end_matches('/').to_owned();
    let ops = ops(&logic);

    assert!(http(&address, "GET /v1/stats", "").contains("TLS is spoken on this port"));
    assert!(curl(at, &format!("--cacert @other.pem {url}v1/stats")).0 != 0);
    drop(TcpStream::connect(&address).unwrap());
    let mut stranger = TcpStream::connect(&address).unwrap();
    stranger.write_all(b"\x80\x80\x80\x80\x80\x80\x80\x80").unwrap();
    let _silent = TcpStream::connect(&address).unwrap();
    let (code, said) = curl(at, &format!("--cacert @ca.pem {url}v1/stats"));
    assert_eq!(code, 0, "{said}");

    let counted = ["plaintext", "certificate", "gone", "broken", "late"];
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let metrics = http(&ops, "GET /metrics", "");
        let is_there = |reason: &&str| {
            metrics.contains(&format!("tidegate_logic_tls_refused_total{{reason=\"{reason}\"}} 1\n"))
        };
        if counted.iter().all(is_there) {
            assert!(metrics.contains("tls_refused_total{reason=\"incompatible\"} 0\n"), "{metrics}");
            assert!(metrics.contains("refused_total{limit=\"head_time\"} 1\n"), "{metrics}");
            break;
        }
        assert!(Instant::now() < until, "{metrics}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert!(http(&ops, "GET /statusz", "").contains("\"refused\":5"));
}
