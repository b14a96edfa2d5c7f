//! `tidegate doctor`: what this machine allows, and what to change before it carries many clients.
//!
//! Only looks. The numbers are those of a node with a million clients; less is a warning, not a failure.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::str::FromStr;

use clap::Arg;
use serde::Serialize;

use super::config::role_command;
use crate::failure::Failure;
use crate::output;

const EXAMPLES: &str = "Examples:
  tidegate doctor
  tidegate doctor --json | jq '.checks[] | select(.verdict != \"ok\")'

Exit code 0: nothing fails (warnings do not count); 1: something does.";

/// Flags of `doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Check {
    /// A number that should be `good` and must be `least`.
    fn number(name: &'static str, found: u64, least: u64, good: u64, advice: impl Into<String>) -> Self {
        let verdict = match found {
            _ if found < least => Verdict::Fail,
            _ if found < good => Verdict::Warn,
            _ => Verdict::Ok,
        };
        let advice = (verdict != Verdict::Ok).then(|| advice.into());
        Self { name, verdict, found: found.to_string(), advice }
    }
}

impl Args {
    /// Prints the table.
    ///
    /// # Errors
    /// That a check fails (1).
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let checks: Vec<Check> =
            [descriptors(), kernel(), vec![profile(PROFILE, read)], machine(), ports(), limits()]
                .into_iter()
                .flatten()
                .collect();
        let failing = checks.iter().filter(|check| check.verdict == Verdict::Fail).count();
        if self.json {
            let report = serde_json::json!({ "ok": failing == 0, "checks": checks });
            output::line(&report.to_string())?;
        } else {
            output::line(&table(&checks))?;
        }
        match failing {
            0 => Ok(()),
            1 => Err(Failure::failed("doctor: 1 check fails")),
            many => Err(Failure::failed(format!("doctor: {many} checks fail"))),
        }
    }
}

fn table(checks: &[Check]) -> String {
    let wide = |cells: &dyn Fn(&Check) -> usize| checks.iter().map(cells).max().unwrap_or(0);
    let (name, found) = (wide(&|check| check.name.len()), wide(&|check| check.found.len()));
    let mut lines = Vec::new();
    for check in checks {
        let verdict = match check.verdict {
            Verdict::Ok => "ok  ",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        let advice = check.advice.as_deref().unwrap_or("");
        let line = format!("{verdict}  {:name$}  {:found$}  {advice}", check.name, check.found);
        lines.push(line.trim_end().to_owned());
    }
    lines.join("\n")
}

fn descriptors() -> Vec<Check> {
    let Ok((soft, hard)) = rlimit::Resource::NOFILE.get() else {
        let advice = Some("getrlimit(RLIMIT_NOFILE) does not answer".to_owned());
        return vec![Check { name: "descriptors", verdict: Verdict::Fail, found: "unknown".into(), advice }];
    };
    let fits = hard.saturating_sub(common::descriptors::RESERVED);
    let advice = format!(
        "room for {fits} clients a process; more: LimitNOFILE=1048576 in systemd, ulimit -Hn, or more gateway processes"
    );
    let soft = Check {
        name: "descriptors, soft",
        verdict: Verdict::Ok,
        found: soft.to_string(),
        // Said so that nobody changes what need not be changed.
        advice: (soft < hard).then(|| "raised to the hard limit at start".to_owned()),
    };
    vec![soft, Check::number("descriptors, hard", hard, 1024, 100_000, advice)]
}

/// The kernel's settings for very many connections, with the reason for each.
const PROFILE: &str = include_str!("../../sysctl/90-tidegate.conf");

/// Where the Debian package puts it. There it changes nothing: whose machine it is decides.
const PACKAGED: &str = "/usr/share/tidegate/90-tidegate.conf";

/// The settings of a profile: names and values. A `-` before a name: it may not be there.
fn settings(profile: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = profile.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).map(|(name, value)| (name.trim(), value.trim()))
}

/// Whether a profile is in force: what is a single number may be greater.
fn profile(profile: &str, read: impl Fn(&str) -> Option<String>) -> Check {
    let numbers = |text: &str| text.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>();
    let differs = |(name, wanted): (&str, &str)| {
        // What is not there, or may not be read here, cannot be set either.
        let found = read(name.trim_start_matches('-'))?;
        let in_force = match (numbers(&found).as_deref(), numbers(wanted).as_deref()) {
            (Ok([found]), Ok([wanted])) => found >= wanted,
            (found, wanted) => found == wanted,
        };
        (!in_force).then(|| name.trim_start_matches('-').to_owned())
    };
    let different: Vec<_> = settings(profile).filter_map(differs).collect();
    let all = settings(profile).count();
    let advice = || {
        let names = different.join(", ");
        let from = if Path::new(PACKAGED).exists() { PACKAGED } else { "deploy/sysctl/90-tidegate.conf" };
        format!("copy {from} to /etc/sysctl.d and run sysctl --system; it differs in {names}")
    };
    Check {
        name: "sysctl profile",
        verdict: if different.is_empty() { Verdict::Ok } else { Verdict::Warn },
        found: format!("{} of {all} in force", all - different.len()),
        advice: (!different.is_empty()).then(advice),
    }
}

fn kernel() -> Vec<Check> {
    let mut checks = Vec::new();
    let mut number = |name: &'static str, least: u64, good: u64| {
        if let Some(found) = read(name).and_then(|text| first::<u64>(&text)) {
            checks.push(Check::number(name, found, least, good, format!("sysctl -w {name}={good}")));
        }
    };
    number("fs.file-max", 10_000, 1_100_000);
    number("fs.nr_open", 10_000, 1_048_576);
    number("net.core.somaxconn", 128, 4096);
    number("net.ipv4.tcp_max_syn_backlog", 128, 4096);
    // Present only where connections are tracked; then each client takes an entry.
    number("net.netfilter.nf_conntrack_max", 10_000, 1_100_000);
    if let Some(text) = read("net.ipv4.ip_local_port_range") {
        let bounds: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        if let [low, high] = bounds[..] {
            let ports = (high + 1).saturating_sub(low);
            let advice = "for proxies and load generators: sysctl -w net.ipv4.ip_local_port_range='1024 65535' (our own ports reserved)";
            let mut check = Check::number("net.ipv4.ip_local_port_range", ports, 1000, 28_000, advice);
            check.found = format!("{low}-{high}");
            checks.push(check);
        }
    }
    checks
}

fn machine() -> Vec<Check> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let mut checks =
        vec![Check::number("cores", cores, 1, 2, "one core does everything; two or more are better")];
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:")).and_then(first::<u64>);
    if let Some(kib) = available {
        // 3 KiB of ours and about 4 KiB of the kernel's for an idle connection, and 64 MiB to start with.
        let fits = kib.saturating_sub(64 * 1024) / 7;
        let advice = format!("room for about {fits} clients on this machine");
        let mut check = Check::number("memory available", kib / 1024, 128, 1024, advice);
        check.found = format!("{} MiB", kib / 1024);
        checks.push(check);
    }
    checks
}

fn ports() -> Vec<Check> {
    let named = [
        ("port 7100 (API)", 7100),
        ("port 7109 (ops of logic)", 7109),
        ("port 7200 (clients)", 7200),
        ("port 7201 (link)", 7201),
        ("port 7209 (ops of gateway)", 7209),
        ("port 7300 (second gateway of dev)", 7300),
        ("port 7301 (its link)", 7301),
        ("port 7309 (its ops)", 7309),
    ];
    let check = |(name, port)| match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Check { name, verdict: Verdict::Ok, found: "free".into(), advice: None },
        Err(error) => {
            let advice =
                Some(format!("{error}; a node here needs another: --listen, --ingress, --ops, --port-base"));
            Check { name, verdict: Verdict::Warn, found: "taken".into(), advice }
        }
    };
    named.into_iter().map(check).collect()
}

/// The limits that hold only where they are asked for: what is right depends on who connects.
fn limits() -> Vec<Check> {
    let named = [("limits off, gateway", "gateway"), ("limits off, logic", "logic")];
    let check = |(name, role)| {
        let command = role_command(role);
        let is_off = |arg: &&Arg| {
            arg.get_help_heading() == Some("Limits")
                && arg.get_default_values().iter().any(|value| *value == "0")
        };
        let flags: Vec<_> = command.get_arguments().filter(is_off).filter_map(Arg::get_long).collect();
        let advice = format!(
            "unless they are set; where strangers connect, set --{} (tidegate {role} --help)",
            flags.join(", --")
        );
        Check { name, verdict: Verdict::Ok, found: flags.len().to_string(), advice: Some(advice) }
    };
    named.into_iter().map(check).collect()
}

/// The value of a kernel setting; `None` where this kernel has none.
fn read(name: &str) -> Option<String> {
    std::fs::read_to_string(Path::new("/proc/sys").join(name.replace('.', "/"))).ok()
}

fn first<T: FromStr>(text: &str) -> Option<T> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_judged_and_advice_given_only_where_it_helps() {
        let judged = |found| Check::number("x", found, 10, 100, "more");
        assert_eq!((judged(9).verdict, judged(9).advice.as_deref()), (Verdict::Fail, Some("more")));
        assert_eq!(judged(99).verdict, Verdict::Warn);
        assert_eq!((judged(100).verdict, judged(100).advice), (Verdict::Ok, None));
    }

    #[test]
    fn a_profile_is_in_force_if_nothing_is_less() {
        let text = "# why\na.b = 10\nc = 1 2\n-d = 5";
        let look = |ab: &str, c: &str| {
            let (ab, c) = (ab.to_owned(), c.to_owned());
            profile(text, move |name| match name {
                "a.b" => Some(ab.clone()),
                "c" => Some(c.clone()),
                _ => None,
            })
        };
        assert_eq!(
            (look("10", "1\t2\n").verdict, look("11", "1 2").found),
            (Verdict::Ok, "3 of 3 in force".to_owned())
        );
        let differs = look("9", "1 3");
        assert!(differs.verdict == Verdict::Warn && differs.advice.unwrap().ends_with("differs in a.b, c"));
        assert_eq!(differs.found, "1 of 3 in force");
    }

    #[test]
    fn each_line_of_the_profile_has_its_reason_and_what_can_be_read_here_is_named_right() {
        let lines: Vec<_> = PROFILE.lines().collect();
        let mut checked = 0;
        for (at, line) in
            lines.iter().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        {
            assert!(lines[at - 1].starts_with("# "), "{line}: no reason");
            assert!(line.contains(" = "), "{line}");
            checked += 1;
        }
        assert_eq!(checked, settings(PROFILE).count());
        let there =
            settings(PROFILE).filter(|(name, _)| read(name.trim_start_matches('-')).is_some()).count();
        assert!(there >= checked - 3, "{there} of {checked} are settings of this kernel");
    }
}
