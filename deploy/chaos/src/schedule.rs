//! Which fault comes when: drawn from a seed, in storms with calms between them, and calm at the end.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;

/// Whom a fault is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    Gateway(u32),
    Logic(u32),
    Redis,
    /// Clients' link to a gateway.
    ClientLink(u32),
    /// A logic node's link to a gateway.
    GatewayLink(u32, u32),
    /// A logic node's link to Redis.
    RedisLink(u32),
}

impl Target {
    /// What it is one of.
    pub(crate) fn role(self) -> &'static str {
        match self {
            Self::Gateway(_) => "gateway",
            Self::Logic(_) => "logic",
            Self::Redis => "redis",
            Self::ClientLink(_) => "client-link",
            Self::GatewayLink(..) => "gateway-link",
            Self::RedisLink(_) => "redis-link",
        }
    }

    /// Whether it is a process.
    fn is_node(self) -> bool {
        matches!(self, Self::Gateway(_) | Self::Logic(_) | Self::Redis)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway(g) => write!(to, "gateway-{g}"),
            Self::Logic(l) => write!(to, "logic-{l}"),
            Self::Redis => write!(to, "redis"),
            Self::ClientLink(g) => write!(to, "clients->gateway-{g}"),
            Self::GatewayLink(l, g) => write!(to, "logic-{l}->gateway-{g}"),
            Self::RedisLink(l) => write!(to, "logic-{l}->redis"),
        }
    }
}

/// Which directions of a link.
pub(crate) type Ways = [bool; 2];

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// SIGKILL; started again when it is over.
    Kill,
    /// SIGSTOP, and SIGCONT when it is over.
    Pause,
    /// Its connections are cut, and none is let in until it is over.
    Cut,
    /// Bytes wait in these directions until it is over.
    Hold(Ways),
    /// Bytes are swallowed in these directions; who lost some is cut when it is over.
    Swallow(Ways),
    /// Bytes are late by so much, and up to so much more.
    Slow { latency: Duration, jitter: Duration },
    /// Bytes come so many at a time, at the most.
    Slice(usize),
    /// So many bytes a second.
    Narrow(u64),
}

impl Act {
    /// Its name in logs and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Cut => "cut",
            Self::Hold(_) => "hold",
            Self::Swallow(_) => "swallow",
            Self::Slow { .. } => "slow",
            Self::Slice(_) => "slice",
            Self::Narrow(_) => "narrow",
        }
    }
}

/// Names of all acts.
pub(crate) const ACTS: [&str; 8] = ["kill", "pause", "cut", "hold", "swallow", "slow", "slice", "narrow"];

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Since the beginning of the schedule.
    pub(crate) at: Duration,
    pub(crate) lasts: Duration,
    pub(crate) target: Target,
    pub(crate) act: Act,
}

impl fmt::Display for Fault {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, lasts) = (self.at.as_secs_f64(), self.lasts.as_secs_f64());
        write!(to, "{at:7.2} s  {lasts:5.2} s  {:<22} {:?}", self.target.to_string(), self.act)
    }
}

/// What may be drawn.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) targets: Vec<Target>,
    /// Names of acts.
    pub(crate) acts: Vec<&'static str>,
    /// Faults begin and end in this time.
    pub(crate) length: Duration,
    /// So many processes are killed, each role and node in turn; `None`: as it comes.
    pub(crate) kills: Option<usize>,
}

/// One storm in so many is long: longer than a link may be silent, so that who was away is given up.
const LONG_ONE_IN: usize = 6;

/// Faults of one storm beside kills that are asked for.
const FAULTS_A_STORM_MAX: usize = 3;

/// Draws a schedule: the same for the same seed and plan.
pub(crate) fn draw(seed: u64, plan: &Plan) -> Vec<Fault> {
    let mut rng = Rng::with_seed(seed);
    let storms = storms(&mut rng, plan.length);
    let mut nodes: Vec<Target> = plan.targets.iter().copied().filter(|target| target.is_node()).collect();
    rng.shuffle(&mut nodes);
    let mut victims = nodes.iter().copied().cycle();
    let mut faults = Vec::new();
    let mut left = plan.kills.unwrap_or(0);
    for (number, &(begin, length)) in storms.iter().enumerate() {
        let mut busy: Vec<Target> = Vec::new();
        // Those that are asked for are spread evenly; nobody is killed twice in one storm.
        let kills = left.div_ceil(storms.len() - number).min(nodes.len());
        left -= kills;
        for victim in victims.by_ref().take(kills) {
            busy.push(victim);
            faults.push(within(&mut rng, begin, length, victim, Act::Kill));
        }
        let others = if plan.kills.is_some() {
            rng.usize(0..FAULTS_A_STORM_MAX)
        } else {
            rng.usize(1..=FAULTS_A_STORM_MAX)
        };
        for _ in 0..others {
            let Some((target, act)) = draw_one(&mut rng, plan, &busy) else { continue };
            busy.push(target);
            faults.push(within(&mut rng, begin, length, target, act));
        }
    }
    faults.sort_by_key(|fault| fault.at);
    faults
}

/// Beginning and length of each storm. The calm behind one is at least four tenths of it: 0.4 / 1.4 = 28 % of the time.
fn storms(rng: &mut Rng, length: Duration) -> Vec<(Duration, Duration)> {
    let mut storms = Vec::new();
    let mut at = Duration::from_millis(500);
    loop {
        let is_long = rng.usize(0..LONG_ONE_IN) == 0;
        let storm = if is_long { 5.0 + 2.5 * rng.f64() } else { 1.0 + 2.0 * rng.f64() };
        let storm = Duration::from_secs_f64(storm);
        let rest = length.saturating_sub(at);
        if rest < storm {
            // A short run has one at least.
            if storms.is_empty() {
                storms.push((at, rest.max(Duration::from_millis(500))));
            }
            return storms;
        }
        storms.push((at, storm));
        at += storm.mul_f64(1.4 + 0.6 * rng.f64());
    }
}

/// A fault that begins and ends within a storm.
fn within(rng: &mut Rng, begin: Duration, length: Duration, target: Target, act: Act) -> Fault {
    let late = length.mul_f64(0.4 * rng.f64());
    let lasts = (length - late).mul_f64(0.2 + 0.8 * rng.f64());
    // A crashed process is started again soon: it does not need the whole storm, and needs some of it to start.
    let lasts = if act == Act::Kill { lasts.mul_f64(0.4) } else { lasts };
    Fault { at: begin + late, lasts, target, act }
}

fn draw_one(rng: &mut Rng, plan: &Plan, busy: &[Target]) -> Option<(Target, Act)> {
    let mut free: Vec<Target> =
        plan.targets.iter().copied().filter(|target| !busy.contains(target)).collect();
    // A role first: there are many more links than nodes.
    let mut roles: Vec<&str> = free.iter().map(|target| target.role()).collect();
    roles.sort_unstable();
    roles.dedup();
    let role = *roles.get(rng.usize(0..roles.len().max(1)))?;
    free.retain(|target| target.role() == role);
    let target = *free.get(rng.usize(0..free.len().max(1)))?;
    let on_nodes = ["kill", "pause"];
    let fits = |name: &&&str| {
        on_nodes.contains(*name) == target.is_node() && (**name != "kill" || plan.kills.is_none())
    };
    let names: Vec<&str> = plan.acts.iter().filter(fits).copied().collect();
    let name = *names.get(rng.usize(0..names.len().max(1)))?;
    let ways = [[true, true], [true, false], [false, true]][rng.usize(0..3)];
    let act = match name {
        "kill" => Act::Kill,
        "pause" => Act::Pause,
        "cut" => Act::Cut,
        "hold" => Act::Hold(ways),
        "swallow" => Act::Swallow(ways),
        "slow" => {
            let [latency, jitter] = [150, 100].map(|most| Duration::from_millis(rng.u64(1..=most)));
            Act::Slow { latency, jitter }
        }
        "slice" => Act::Slice(rng.usize(1..=64)),
        _ => Act::Narrow(rng.u64(20..=500) * 1024),
    };
    Some((target, act))
}

/// How much of `length` no fault lasts in.
pub(crate) fn quiet_share(spans: &[(f64, f64)], length: f64) -> f64 {
    let mut spans = spans.to_vec();
    spans.sort_by(|one, two| one.0.total_cmp(&two.0));
    let (mut covered, mut until) = (0.0, 0.0_f64);
    for (from, to) in spans {
        covered += (to.min(length) - from.max(until)).max(0.0);
        until = until.max(to);
    }
    1.0 - covered / length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(secs: u64, kills: Option<usize>) -> Plan {
        let mut targets = vec![Target::Gateway(0), Target::Gateway(1), Target::Logic(0), Target::Redis];
        targets.extend([Target::ClientLink(0), Target::GatewayLink(0, 1), Target::RedisLink(0)]);
        Plan { targets, acts: ACTS.to_vec(), length: Duration::from_secs(secs), kills }
    }

    #[test]
    fn a_seed_repeats_and_another_differs() {
        let plan = plan(60, None);
        assert_eq!(draw(7, &plan), draw(7, &plan));
        assert_ne!(draw(7, &plan), draw(8, &plan));
    }

    #[test]
    fn a_quarter_of_the_time_is_quiet_and_the_end_is() {
        for seed in 0..500 {
            for (secs, kills) in [(30, None), (60, None), (200, Some(100))] {
                let plan = plan(secs, kills);
                let faults = draw(seed, &plan);
                let spans: Vec<_> = faults
                    .iter()
                    .map(|fault| (fault.at.as_secs_f64(), (fault.at + fault.lasts).as_secs_f64()))
                    .collect();
                let quiet = quiet_share(&spans, secs as f64);
                assert!(
                    quiet >= 0.25 && spans.iter().all(|(_, to)| *to <= secs as f64),
                    "seed {seed}, {secs} s: {quiet}"
                );
            }
        }
    }

    #[test]
    fn kills_that_are_asked_for_are_spread_over_all_roles() {
        for seed in 0..100 {
            let faults = draw(seed, &plan(200, Some(100)));
            let kills: Vec<_> = faults.iter().filter(|fault| fault.act == Act::Kill).collect();
            assert_eq!(kills.len(), 100, "seed {seed}");
            for role in ["gateway", "logic", "redis"] {
                assert!(kills.iter().filter(|kill| kill.target.role() == role).count() >= 20, "seed {seed}");
            }
        }
    }

    #[test]
    fn nobody_has_two_faults_at_a_time() {
        for seed in 0..200 {
            let faults = draw(seed, &plan(120, Some(40)));
            for (number, one) in faults.iter().enumerate() {
                for two in &faults[number + 1..] {
                    let is_apart = one.at + one.lasts <= two.at || one.target != two.target;
                    assert!(is_apart, "seed {seed}: {one} and {two}");
                }
            }
        }
    }

    #[test]
    fn quiet_time_is_what_no_span_covers() {
        assert_eq!(quiet_share(&[(1.0, 3.0), (2.0, 4.0), (8.0, 20.0)], 10.0), 0.5);
        assert_eq!(quiet_share(&[], 10.0), 1.0);
    }
}
