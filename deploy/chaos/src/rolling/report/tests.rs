//! A good run passes; into it each fault is planted, and is found as what it is.

use super::*;

const DRAIN: Duration = Duration::from_secs(10);

/// Gateways 0 and 1 were replaced, and a logic node between them.
fn steps(begun: Instant) -> Vec<Step> {
    let step = |node: &str, gateway| Step {
        node: node.to_owned(),
        gateway,
        program: "current",
        begun,
        gone: DRAIN,
        ready: Duration::from_millis(100),
        stalled: Duration::ZERO,
    };
    vec![step("gateway-0", Some(0)), step("logic-0", None), step("gateway-1", Some(1))]
}

/// A hundred clients left gateway 0, one each tenth of a second.
fn departures(begun: Instant) -> Vec<Departure> {
    let departure = |client: u32| Departure {
        client,
        step: 1,
        gateway: 0,
        how: How::Turn,
        told: Some(begun),
        left: begun + Duration::from_millis(100) * client,
        back: Some(Duration::from_millis(u64::from(client))),
    };
    (0..100).map(departure).collect()
}

fn report(steps: &[Step], departures: &[Departure], flow: Flow) -> Report {
    let each = (1..).zip(steps);
    let mut report = Report {
        ok: true,
        findings: Vec::new(),
        examples: Vec::new(),
        seed: 1,
        logics: 1,
        gateways: 2,
        clients: 100,
        rate: 1.0,
        drain_ms: ms(DRAIN),
        flow,
        replaced: each.map(|(number, step)| replaced(number, step, DRAIN, departures)).collect(),
        refused_attempts: 0,
        put_off: 0,
        outside: 0,
    };
    report.judge(astray(steps, departures));
    report
}

fn findings(change: impl FnOnce(&mut Vec<Departure>, &mut Flow)) -> Vec<String> {
    let begun = Instant::now();
    let (mut departures, mut flow) =
        (departures(begun), Flow { pushed: 5, acknowledged: 5, ..Flow::default() });
    change(&mut departures, &mut flow);
    let report = report(&steps(begun), &departures, flow);
    assert_eq!(report.ok, report.findings.is_empty());
    assert!(report.to_string().contains(if report.ok { "chaos ok" } else { "chaos FAILED" }), "{report}");
    report.findings
}

#[test]
fn a_good_run_passes_and_is_told_in_figures() {
    assert_eq!(findings(|_, _| {}), [""; 0]);
    let begun = Instant::now();
    let first = replaced(1, &steps(begun)[0], DRAIN, &departures(begun));
    assert_eq!((first.went, first.reconnects_max, first.at_their_turn), (100, 1, 100));
    assert_eq!((first.tenths, first.after), ([10; 10], 0));
    assert_eq!((first.back_ms.p50, first.back_ms.p99, first.back_ms.max), (50, 99, 99));
}

#[test]
fn each_fault_is_found() {
    type Change = fn(&mut Vec<Departure>, &mut Flow);
    let planted: [(Change, &str); 9] = [
        (|_, flow| flow.lost = 1, "1 items lost"),
        (|_, flow| flow.duplicated = 2, "2 items duplicated"),
        (|_, flow| flow.reordered = 1, "1 items reordered"),
        (|_, flow| flow.resets = 1, "1 resets"),
        (|_, flow| flow.acknowledged = 4, "1 pushes not acknowledged"),
        (|all, _| all.push(all[7].clone()), "gateway-0: a client left 2 times"),
        (|all, _| all[3].how = How::Cut, "gateway-0: 1 clients were cut without a word"),
        (
            |all, _| all.iter_mut().for_each(|one| one.left = all_at_once(one)),
            "gateway-0: clients left unevenly",
        ),
        (|all, _| all[5].step = 2, "1 clients left a gateway that stayed"),
    ];
    for (change, words) in planted {
        let found = findings(change);
        assert!(found.len() == 1 && found[0].starts_with(words), "{words}: {found:?}");
    }
}

fn all_at_once(departure: &Departure) -> Instant {
    departure.told.unwrap()
}
