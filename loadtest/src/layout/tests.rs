//! Plans for machines that the tests are not on.

use super::*;
use crate::limits::Conntrack;

type Change = fn(&mut Limits);

/// A machine on which nothing is missing.
fn ample() -> Limits {
    Limits {
        cores: 2,
        descriptors: Some(1_048_576),
        nr_open: Some(1_048_576),
        file_max: Some(10_000_000),
        files_open: Some(1_000),
        privileged: false,
        ports: Some(PORTS_USUAL),
        somaxconn: Some(4_096),
        syn_backlog: Some(4_096),
        netdev_backlog: Some(10_000),
        conntrack: None,
        memory: Some(24 << 30),
        memory_group: None,
        tcp_pages: Some(4_000_000),
        watches: Some(8_000_000),
        threads: Some(100_000),
    }
}

fn asked(clients: u32) -> Asked {
    Asked { clients, gateways: Gateways::Here(0), agents: 0, publishers: 16, connects_in_flight: 512 }
}

fn failing(layout: &Layout) -> Vec<&'static str> {
    let failing = layout.findings.iter().filter(|finding| finding.verdict == Verdict::Fail);
    failing.map(|finding| finding.limit).collect()
}

#[test]
fn processes_are_as_many_as_descriptors_demand() {
    for (clients, descriptors, gateways, agents) in [
        (1_000_000, Some(1_048_576), 1, 1),
        (1_000_000, Some(20_000), 52, 52),
        (1_000_000, Some(65_536), 16, 16),
        (2_000_000, Some(4_000_000), 2, 1),
        (100_000, Some(20_000), 6, 6),
        (20_000, Some(20_000), 2, 2),
        (2_000, Some(20_000), 1, 1),
        (10_000, None, 3, 3),
        (1, Some(20_000), 1, 1),
    ] {
        let layout = Layout::draw(&asked(clients), &Limits { descriptors, ..ample() });
        assert_eq!((layout.gateways, layout.agents), (gateways, agents), "{clients} with {descriptors:?}");
        assert_eq!(layout.clients_per_agent, clients.div_ceil(agents));
        let fits =
            u64::from(layout.clients_per_gateway) + RESERVED <= descriptors.unwrap_or(DESCRIPTORS_USUAL);
        assert!(fits && failing(&layout).is_empty(), "{layout:?}");
    }
}

#[test]
fn what_was_asked_for_is_the_least() {
    let few = Limits { descriptors: Some(20_000), ..ample() };
    let drawn = |gateways, agents| {
        let layout = Layout::draw(&Asked { gateways, agents, ..asked(50_000) }, &few);
        (layout.gateways, layout.agents, layout.local)
    };
    assert_eq!(drawn(Gateways::Here(0), 0), (3, 3, true));
    assert_eq!(drawn(Gateways::Here(5), 0), (5, 5, true));
    assert_eq!(drawn(Gateways::Here(1), 4), (3, 4, true));
    assert_eq!(drawn(Gateways::Elsewhere(8), 0), (8, 3, false), "only this end is here");
}

#[test]
fn every_limit_that_is_too_low_is_found_before_the_start() {
    let cases: [(&str, Change); 9] = [
        ("fs.file-max, free", |limits| limits.file_max = Some(1_900_000)),
        ("net.ipv4.ip_local_port_range, ports", |limits| limits.ports = Some(10)),
        ("net.core.somaxconn", |limits| limits.somaxconn = Some(128)),
        ("net.netfilter.nf_conntrack_max, free", |limits| {
            limits.conntrack = Some(Conntrack { max: 1_000_100, count: 200 });
        }),
        ("memory available", |limits| limits.memory = Some(8 << 30)),
        ("memory available", |limits| limits.memory_group = Some(4 << 30)),
        ("fs.epoll.max_user_watches", |limits| limits.watches = Some(1_999_999)),
        ("threads that may still start", |limits| limits.threads = Some(20)),
        ("descriptors of a process (ulimit -Hn)", |limits| limits.descriptors = Some(200)),
    ];
    let asked = asked(1_000_000);
    assert!(Layout::plan(&asked, &ample()).is_ok());
    for (limit, change) in cases {
        let mut limits = ample();
        change(&mut limits);
        let found = Layout::plan(&asked, &limits).expect_err(limit);
        let named = found.iter().find(|finding| finding.limit == limit);
        let named = named.unwrap_or_else(|| panic!("{limit}: {found:?}"));
        assert!(named.advice.is_some(), "{named:?}");
    }
}

#[test]
fn a_million_pairs_just_fit_a_machine_of_24_gib_with_20_000_descriptors() {
    let limits = Limits {
        descriptors: Some(20_000),
        file_max: Some(2_466_183),
        files_open: Some(520),
        memory: Some(24_195_968 * 1024),
        ..ample()
    };
    let layout = Layout::plan(&asked(1_000_000), &limits).unwrap();
    assert!(layout.memory.total() < 14 << 30, "{}", memory(layout.memory.total()));
    assert!(layout.source_addresses > 36, "a port that is bound is taken for all gateways: {layout:?}");
    assert!(Layout::plan(&asked(1_300_000), &limits).is_err(), "files");
}

#[test]
fn the_number_that_would_fit_does_fit() {
    let cases: [(u32, Change); 4] = [
        (400_000, |limits| limits.memory = Some(5 << 30)),
        (100_000, |limits| limits.file_max = Some(250_000)),
        (250_000, |limits| limits.ports = Some(5)),
        (0, |limits| limits.memory = Some(1 << 20)),
    ];
    for (least, change) in cases {
        let mut limits = Limits { descriptors: Some(20_000), ..ample() };
        change(&mut limits);
        let most = Layout::most(&asked(1_000_000), &limits);
        assert!((least..1_000_000).contains(&most), "{most}");
        assert!(most == 0 || Layout::plan(&asked(most), &limits).is_ok());
        assert!(Layout::plan(&asked(most + 1), &limits).is_err(), "{most} is not the most");
    }
    assert_eq!(Layout::most(&asked(1_000), &ample()), 1_000);
}

#[test]
fn what_cannot_be_read_is_unknown_and_stops_nobody() {
    let layout = Layout::plan(&asked(1_000), &Limits { cores: 2, ..Limits::default() }).unwrap();
    assert!(layout.findings.iter().all(|finding| finding.verdict == Verdict::Unknown), "{layout:?}");
}

#[test]
fn whom_the_kernel_exempts_is_only_warned() {
    let limits = Limits { file_max: Some(1_000_000), privileged: true, ..ample() };
    let layout = Layout::plan(&asked(1_000_000), &limits).unwrap();
    let finding = layout.findings.iter().find(|finding| finding.limit.contains("file-max")).unwrap();
    assert_eq!(finding.verdict, Verdict::Warn);
    assert!(finding.advice.as_ref().is_some_and(|advice| advice.contains("exempt")));
}

#[test]
fn one_end_elsewhere_is_not_paid_for_here() {
    let here = Layout::draw(&asked(100_000), &ample());
    let there = Layout::draw(&Asked { gateways: Gateways::Elsewhere(4), ..asked(100_000) }, &ample());
    assert_eq!((there.memory.gateways, there.memory.kernel), (0, here.memory.kernel / 2));
    assert!(there.to_string().contains("4 elsewhere"), "{there}");
}
