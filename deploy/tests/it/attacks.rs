//! Attacks: a gateway and a logic node in 512 MiB of memory, healthy clients on them, and strangers who try to ruin it.
//!
//! Each attack ends with the same questions: do both nodes live, did neither panic, did their memory keep its bound, did
//! healthy clients get all of theirs within twice the time it took before, and was every attacker closed for a reason
//! that SECURITY.md names.

mod bound;
mod compressed;
mod fragments;
mod handshakes;
mod healthy;
mod idle;
mod json;
mod lengths;
mod link;
mod memory;
mod pings;
mod rooms;
mod stranger;
mod tokens;

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, cluster};
use bound::Bound;
use healthy::Healthy;

/// How long healthy clients are measured before an attack.
const CALM: Duration = Duration::from_secs(2);

/// An attack is over by then.
const LONGEST: Duration = Duration::from_secs(60);

/// Healthy clients wait at most so many times longer than before.
const SLOWER_MAX: f64 = 2.0;

/// Starts a cluster with these flags for the gateway, attacks it, and asks how it is.
fn withstands(name: &str, flags: &[&str], attack: impl FnOnce(&Cluster)) {
    withstands_as(name, flags, "", attack);
}

/// The same with healthy clients who say this too in the query of their handshake.
#[allow(clippy::print_stdout, reason = "what each attack cost the others, for whoever asks for the output")]
fn withstands_as(name: &str, flags: &[&str], query: &str, attack: impl FnOnce(&Cluster)) {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("link");
    std::fs::write(&secret, "0123456789abcdef").unwrap();
    let mut cluster = cluster().window("100ms").flags(flags).secret(secret.to_str().unwrap()).start();
    let bound = Bound::around(&cluster);
    let healthy = Healthy::join(&cluster, query);
    let before = healthy.p99_of(|| std::thread::park_timeout(CALM));
    let began = Instant::now();
    let during = healthy.p99_of(|| {
        stranger::yields_to_others();
        attack(&cluster);
        // An attack that ends at once is still felt by pushes that are on their way.
        std::thread::park_timeout(CALM.saturating_sub(began.elapsed()));
    });
    let took = began.elapsed();
    println!(
        "{name}: p99 {before:?} before, {during:?} during {took:?}; memory at most {} MiB of {} ({})",
        bound.peak_bytes() >> 20,
        bound::BYTES_MAX >> 20,
        bound.kind()
    );
    healthy.leaves_in_health();
    for node in cluster.gateways.iter_mut().chain(&mut cluster.logics) {
        assert!(node.is_running(), "{name}: a node ended:\n{}", node.output());
        let output = node.output();
        assert!(!output.contains("panicked"), "{name}: a node panicked:\n{output}");
        let lines = output.lines().count();
        assert!(
            lines < 200,
            "{name}: {lines} lines in the log, the last:\n{}",
            &output[output.len() - 2_000..]
        );
    }
    assert!(bound.peak_bytes() <= bound::BYTES_MAX, "{name}: {} bytes", bound.peak_bytes());
    assert!(
        during.as_secs_f64() <= before.as_secs_f64() * SLOWER_MAX,
        "{name}: p99 {before:?}, then {during:?}"
    );
    assert!(took < LONGEST, "{name} took {took:?}");
}
