//! What a layout needs of each limit.

use common::descriptors::RESERVED;

use super::{Asked, Layout, Memory};
use crate::limits::Limits;
use crate::limits::finding::{Finding, Verdict, count, memory as bytes};
use crate::reactor::SOURCES_MAX;

/// Of the kernel for a connection with both ends here, idle: two sockets, two files, two inodes and their entries in
/// epoll sets. Measured: 7 GB for a million pairs.
const KERNEL_PAIR: u64 = 7_168;

/// Of a gateway for an idle client: 1.0 KiB measured, and a quarter for what its frames take.
const GATEWAY_CLIENT: u64 = 1_280;

/// Of the process that holds a client, which stays below it.
const AGENT_CLIENT: u64 = 512;

/// Of a process without clients: 8 MiB measured at the start, and what buffers and threads come to under load.
const GATEWAY: u64 = 24 << 20;
const AGENT: u64 = 16 << 20;

/// Threads of a process: 11 measured in a gateway with one worker.
const GATEWAY_THREADS: u64 = 16;
const AGENT_THREADS: u64 = 8;

/// Descriptors of a process beside its clients': 18 measured, and links and ops calls.
const PROCESS_FILES: u64 = 64;

/// Packets that may wait for a core while a hundred thousand readers share it with the writers.
const NETDEV_BACKLOG: u64 = 10_000;

/// Entries of connections before their handshake is done, beside those that are under way.
const BACKLOG_LEAST: u64 = 128;

/// What it all takes while clients are idle.
pub(super) fn memory(layout: &Layout) -> Memory {
    let clients = u64::from(layout.clients);
    // Of a connection to elsewhere one end is here.
    let (ends, gateways) = if layout.local { (2, u64::from(layout.gateways)) } else { (1, 0) };
    Memory {
        kernel: clients * KERNEL_PAIR / 2 * ends,
        gateways: if layout.local { clients * GATEWAY_CLIENT + gateways * GATEWAY } else { 0 },
        agents: clients * AGENT_CLIENT + u64::from(layout.agents) * AGENT,
    }
}

/// Every limit beside what is needed of it.
pub(super) fn findings(layout: &Layout, asked: &Asked, limits: &Limits) -> Vec<Finding> {
    let clients = u64::from(layout.clients);
    let ends = clients * if layout.local { 2 } else { 1 };
    let mut findings = vec![descriptors(layout, asked, limits)];
    findings.extend(files(layout, ends, limits));
    findings.push(ports(clients, limits));
    findings.extend(backlogs(layout, asked, limits));
    if let Some(table) = limits.conntrack {
        let left = Some(table.max.saturating_sub(table.count));
        let most = table.count + clients;
        findings.push(
            Finding::must("net.netfilter.nf_conntrack_max, free", left, clients, count)
                .advise(|| sysctl("net.netfilter.nf_conntrack_max", most + most / 10)),
        );
    }
    findings.push(room(layout, limits));
    findings.push(
        // A socket with anything in it holds a page: so much if all of them have unread bytes at once.
        Finding::should("net.ipv4.tcp_mem, pages", limits.tcp_pages, clients, count).advise(|| {
            let (low, pressure) = (clients / 2, clients / 4 * 3);
            format!("enough while clients read in time; else sysctl -w net.ipv4.tcp_mem='{low} {pressure} {clients}'")
        }),
    );
    findings.push(
        Finding::must("fs.epoll.max_user_watches", limits.watches, ends + RESERVED, count)
            .advise(|| sysctl("fs.epoll.max_user_watches", ends * 2)),
    );
    let gateways = if layout.local { u64::from(layout.gateways) } else { 0 };
    let threads = gateways * GATEWAY_THREADS + u64::from(layout.agents) * AGENT_THREADS;
    findings.push(Finding::must("threads that may still start", limits.threads, threads, count).advise(
        || {
            format!(
                "sysctl -w kernel.threads-max={0} kernel.pid_max={0}, ulimit -u, pids.max of the group",
                threads * 4
            )
        },
    ));
    findings
}

/// Descriptors of each process: more processes make good what is missing, so little is needed of one.
fn descriptors(layout: &Layout, asked: &Asked, limits: &Limits) -> Finding {
    let publishers = u64::from(asked.publishers);
    let most = layout.clients_per_agent.max(if layout.local { layout.clients_per_gateway } else { 0 });
    let needed = u64::from(most) + RESERVED.max(publishers);
    Finding::must("descriptors of a process (ulimit -Hn)", limits.descriptors, needed, count).advise(|| {
        let nr_open = limits.nr_open.filter(|most| *most < needed);
        let first = nr_open.map(|_| sysctl("fs.nr_open", needed) + " && ").unwrap_or_default();
        format!("{first}ulimit -n {needed}, as root, in the shell that starts it")
    })
}

/// Open files of the machine.
fn files(layout: &Layout, ends: u64, limits: &Limits) -> Vec<Finding> {
    let processes = u64::from(layout.agents) + if layout.local { u64::from(layout.gateways) + 1 } else { 0 };
    let needed = ends + processes * PROCESS_FILES;
    let free = limits.file_max.map(|most| most.saturating_sub(limits.files_open.unwrap_or(0)));
    let most = needed + limits.files_open.unwrap_or(0);
    let finding = Finding::must("fs.file-max, free", free, needed, count);
    vec![if limits.privileged {
        finding.at_most(Verdict::Warn).advise(|| {
            format!("this process is exempt; for others: {}", sysctl("fs.file-max", most + most / 10))
        })
    } else {
        finding.advise(|| sysctl("fs.file-max", most + most / 10))
    }]
}

/// Ports × sources: a port that is bound is taken for all destinations.
fn ports(clients: u64, limits: &Limits) -> Finding {
    let sources = u64::from(SOURCES_MAX);
    let needed = clients.div_ceil(sources);
    Finding::must("net.ipv4.ip_local_port_range, ports", limits.ports, needed, count).advise(|| {
        format!("sysctl -w net.ipv4.ip_local_port_range='1024 65535': {sources} addresses have so many each")
    })
}

/// What may wait: connects at a listener, packets at a core.
fn backlogs(layout: &Layout, asked: &Asked, limits: &Limits) -> [Finding; 3] {
    // All that are under way may be to one gateway; each process has its part of them.
    let under_way = u64::from(asked.connects_in_flight.min(layout.clients)).max(BACKLOG_LEAST);
    let is_large = layout.clients >= 10_000;
    [
        Finding::must("net.core.somaxconn", limits.somaxconn, under_way, count)
            .at_most(if layout.local { Verdict::Fail } else { Verdict::Warn })
            .advise(|| {
                format!(
                    "{}, or --connects-in-flight {}",
                    sysctl("net.core.somaxconn", 4_096),
                    limits.somaxconn.unwrap_or(1)
                )
            }),
        Finding::should("net.ipv4.tcp_max_syn_backlog", limits.syn_backlog, under_way, count)
            .advise(|| sysctl("net.ipv4.tcp_max_syn_backlog", 4_096)),
        Finding::should(
            "net.core.netdev_max_backlog",
            limits.netdev_backlog,
            if is_large { NETDEV_BACKLOG } else { 1 },
            count,
        )
        .advise(|| {
            format!(
                "only if a run says that packets were dropped: {}",
                sysctl("net.core.netdev_max_backlog", NETDEV_BACKLOG)
            )
        }),
    ]
}

/// Memory: what is needed must be there before the first client, or the kernel ends whom it likes.
fn room(layout: &Layout, limits: &Limits) -> Finding {
    let needed = layout.memory.total();
    Finding::must("memory available", limits.memory_left(), needed, bytes).advise(|| {
        let group = limits.memory_group.filter(|left| Some(*left) == limits.memory_left());
        match group {
            Some(_) => {
                "the control group sets it: memory.max, docker run --memory, limits.memory of the pod".into()
            }
            None => "end what else runs here, or take a larger machine".into(),
        }
    })
}

fn sysctl(name: &str, value: u64) -> String {
    format!("sysctl -w {name}={value}")
}
