//! The figures of a report by name: what thresholds are about and what is compared.
//!
//! A figure is read from the JSON of a report, so that one that was written by another run is read the same way.

use serde_json::Value;

use crate::account::Role;
use crate::report::format;

/// In what a figure is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds.
    Millis,
    /// Microseconds of CPU time.
    Micros,
    /// Bytes.
    Bytes,
    /// Things.
    Count,
    /// Things a second.
    PerSec,
    /// A part or a multiple of something.
    Ratio,
}

/// Which way a figure gets better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Less of it.
    Lower,
    /// More of it.
    Higher,
    /// None of it: any more is worse, noise or not.
    Zero,
    /// It is a circumstance.
    Neither,
}

/// A figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Its name.
    pub name: String,
    /// In what it is counted.
    pub unit: Unit,
    /// Which way it gets better.
    pub better: Better,
    /// What it is.
    pub what: String,
    /// Where it stands in the JSON; a role stands for the entry of `roles` that is about it.
    path: String,
}

/// Distributions: name, path, what it is.
const TIMES: [(&str, &str, &str); 10] = [
    ("total", "/latency/total", "intended time to receipt, merged items"),
    ("wait", "/latency/wait", "intended time to the first receipt at a gateway, merged items"),
    ("fanout", "/latency/fanout", "first receipt at a gateway to each receipt, merged items"),
    ("urgent.total", "/latency/urgentTotal", "intended time to receipt, urgent items"),
    ("urgent.wait", "/latency/urgentWait", "intended time to the first receipt, urgent items"),
    ("urgent.fanout", "/latency/urgentFanout", "first receipt to each receipt, urgent items"),
    ("push", "/latency/push", "intended time to 202"),
    ("push.service", "/latency/pushService", "request to 202"),
    ("handshake", "/ramp/handshake", "connect to hello"),
    ("publisher.late", "/lateness/publisher", "how late pushes were offered"),
];

/// What is known of a distribution: name, member.
const STATISTICS: [(&str, &str); 7] = [
    ("min", "minMs"),
    ("mean", "meanMs"),
    ("p50", "p50Ms"),
    ("p90", "p90Ms"),
    ("p99", "p99Ms"),
    ("p99.9", "p999Ms"),
    ("max", "maxMs"),
];

/// All others: name, path, unit, which way is better, what it is.
const SINGLE: [(&str, &str, Unit, Better, &str); 28] = [
    ("lost", "/totals/lost", Unit::Count, Better::Zero, "accepted, never received"),
    ("duplicated", "/totals/duplicated", Unit::Count, Better::Zero, "received again"),
    ("reordered", "/totals/reordered", Unit::Count, Better::Zero, "received after a later one"),
    ("corrupted", "/totals/corrupted", Unit::Count, Better::Zero, "not as it was sent"),
    ("unexpected", "/totals/unexpected", Unit::Count, Better::Zero, "received and not meant for the client"),
    ("excused", "/totals/excused", Unit::Count, Better::Lower, "missed with an excuse"),
    (
        "underWay",
        "/totals/underWay",
        Unit::Count,
        Better::Neither,
        "not there yet when the run was interrupted",
    ),
    ("late", "/totals/late", Unit::Count, Better::Lower, "received later than --late"),
    ("expected", "/totals/expected", Unit::Count, Better::Neither, "items that clients should get"),
    ("received", "/totals/received", Unit::Count, Better::Neither, "items that clients got"),
    ("frames", "/frames/messages", Unit::Count, Better::Neither, "push messages that clients got"),
    ("wireBytes", "/frames/wireBytes", Unit::Bytes, Better::Lower, "their payloads"),
    ("connected", "/ramp/connected", Unit::Count, Better::Higher, "clients greeted"),
    ("connects", "/ramp/connectsPerSec", Unit::PerSec, Better::Higher, "clients greeted a second"),
    ("deliveries", "/rates/itemsPerSec", Unit::PerSec, Better::Higher, "items received a second"),
    ("deliveries.max", "/rates/itemsPerSecMax", Unit::PerSec, Better::Neither, "the same in the best second"),
    ("framesPerSec", "/rates/framesPerSec", Unit::PerSec, Better::Neither, "push messages received a second"),
    ("pushes.accepted", "/pushes/accepted", Unit::Count, Better::Higher, "pushes answered 202"),
    ("pushes.refused", "/pushes/refused", Unit::Count, Better::Lower, "pushes refused"),
    ("pushes.unknown", "/pushes/unknown", Unit::Count, Better::Lower, "pushes without a clear answer"),
    ("pushes.unsent", "/pushes/unsent", Unit::Count, Better::Lower, "pushes that were never sent"),
    ("kernel.retransmits", "/kernel/retransmits", Unit::Count, Better::Neither, "TCP segments sent again"),
    (
        "kernel.softnetDrops",
        "/kernel/softnetDrops",
        Unit::Count,
        Better::Neither,
        "packets dropped at a core",
    ),
    ("kernel.listenOverflows", "/kernel/listenOverflows", Unit::Count, Better::Neither, "full backlogs"),
    (
        "generator.late",
        "/lateness/loopMsMax",
        Unit::Millis,
        Better::Neither,
        "event loops away from their sockets",
    ),
    (
        "generator.busy",
        "/lateness/busyMax",
        Unit::Ratio,
        Better::Neither,
        "event loops not waiting, busiest second",
    ),
    ("floor.ratio", "/floor/gatewayRatio", Unit::Ratio, Better::Lower, "gateway CPU a frame ÷ a bare send's"),
    (
        "machine.memory",
        "/whole/memoryHoldBytes",
        Unit::Bytes,
        Better::Neither,
        "in use, all clients connected",
    ),
];

/// Of each role: group, name in it, path, unit, what it is.
const OF_ROLE: [(&str, &str, &str, Unit, &str); 6] = [
    ("cpu", "perItem", "/cost/cpuUsPerItem", Unit::Micros, "CPU time for an item received"),
    ("cpu", "perFrame", "/cost/cpuUsPerFrame", Unit::Micros, "CPU time for a push message received"),
    ("cpu", "perConnection", "/cost/cpuUsPerConnection", Unit::Micros, "CPU time for a connect"),
    ("memory", "perConnection", "/cost/bytesPerConnection", Unit::Bytes, "memory for a connection"),
    ("memory", "hold", "/memoryHold/rssBytes", Unit::Bytes, "memory with all clients connected"),
    ("memory", "max", "/rssBytesMax", Unit::Bytes, "memory at most"),
];

const ROLES: [Role; 5] = [Role::Logic, Role::Gateway, Role::Generator, Role::Coordinator, Role::Peer];

impl Figure {
    /// All that there are.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for (name, path, what) in TIMES {
            let better = if name == "publisher.late" { Better::Neither } else { Better::Lower };
            all.extend(STATISTICS.iter().map(|(statistic, member)| Self {
                name: format!("{name}.{statistic}"),
                unit: Unit::Millis,
                better,
                what: what.to_owned(),
                path: format!("{path}/{member}"),
            }));
        }
        all.extend(SINGLE.iter().map(|&(name, path, unit, better, what)| Self {
            name: name.to_owned(),
            unit,
            better,
            what: what.to_owned(),
            path: path.to_owned(),
        }));
        for role in ROLES {
            let better = if role.is_server() { Better::Lower } else { Better::Neither };
            all.extend(OF_ROLE.iter().map(|&(group, name, path, unit, what)| Self {
                name: format!("{group}.{role}.{name}"),
                unit,
                better,
                what: what.to_owned(),
                path: format!("/roles/{role}{path}"),
            }));
        }
        all
    }

    /// The figure of a name.
    ///
    /// # Errors
    /// There is none: says which name is nearest.
    pub fn named(name: &str) -> Result<Self, String> {
        let name = if name.ends_with(".p999") { name.replace(".p999", ".p99.9") } else { name.to_owned() };
        let all = Self::all();
        if let Some(figure) = all.iter().find(|figure| figure.name == name) {
            return Ok(figure.clone());
        }
        let near = |figure: &&Self| (strsim::jaro_winkler(&figure.name, &name) * 1e6) as u64;
        let nearest = all.iter().max_by_key(near).map_or("", |figure| &figure.name);
        Err(format!(
            "no figure is called {name:?}; the nearest is {nearest:?}, and `--threshold help` lists all"
        ))
    }

    /// Its value in the JSON of a report. `None`: it was not measured there.
    #[must_use]
    pub fn of(&self, report: &Value) -> Option<f64> {
        if let Some((distribution, _)) = self.path.rsplit_once('/')
            && self.unit == Unit::Millis
            && report.pointer(&format!("{distribution}/count")) == Some(&Value::from(0))
        {
            return None;
        }
        let Some(rest) = self.path.strip_prefix("/roles/") else {
            return report.pointer(&self.path)?.as_f64();
        };
        let (role, path) = rest.split_once('/')?;
        let roles = report.get("roles")?.as_array()?;
        let found = roles.iter().find(|each| each.get("role").and_then(Value::as_str) == Some(role))?;
        found.pointer(&format!("/{path}"))?.as_f64()
    }

    /// A value of it in each second in which items came, as far as seconds know it: how it varies within a run.
    pub(crate) fn seconds(&self, report: &Value) -> Vec<f64> {
        let points = report.get("timeline").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let came =
            |point: &&Value| point.get("received").and_then(Value::as_u64).is_some_and(|count| count > 0);
        let number = |point: &Value, path: &str| point.pointer(path).and_then(Value::as_f64);
        let of = |point: &Value| match (self.name.split_once('.'), &*self.name) {
            (_, "deliveries") => Some(number(point, "/received")? / number(point, "/secs")?),
            (Some(("total", _)), _) => number(point, &format!("/latency/{}", self.path.rsplit_once('/')?.1)),
            (Some(("cpu", rest)), _) if rest.ends_with("perItem") || rest.ends_with("perFrame") => {
                let (role, what) = rest.split_once('.')?;
                let count = if what == "perItem" { "/received" } else { "/frames" };
                Some(number(point, &format!("/roles/{role}/cores"))? / number(point, count)?)
            }
            _ => None,
        };
        points.iter().filter(came).filter_map(of).filter(|value| value.is_finite()).collect()
    }

    /// A value with its unit.
    #[must_use]
    pub fn show(&self, value: f64) -> String {
        match self.unit {
            Unit::Millis => format::millis(value),
            Unit::Micros => format!("{} µs", format::number(value)),
            Unit::Bytes => format::bytes(value),
            Unit::Count => format::count(value.max(0.0) as u64),
            Unit::PerSec => format!("{}/s", format::number(value)),
            Unit::Ratio => format!("{value:.3}"),
        }
    }

    /// All figures, for people.
    #[must_use]
    pub fn list() -> String {
        let mut text = String::from(
            "a figure, <, <=, > or >=, and a value with its unit: fanout.p99<500ms, lost<=0, deliveries>=1m/s, memory.gateway.perConnection<1KiB, floor.ratio<1.2\n\n",
        );
        let statistics = STATISTICS.map(|(name, _)| name).join(", ");
        let mut line = |name: &str, what: &str| text.push_str(&format!("  {name:<34} {what}\n"));
        for (name, _, what) in TIMES {
            line(&format!("{name}.*"), what);
        }
        line("", &format!("where * is one of {statistics}"));
        SINGLE.iter().for_each(|(name, _, _, _, what)| line(name, what));
        for (group, name, _, _, what) in OF_ROLE {
            line(&format!("{group}.ROLE.{name}"), what);
        }
        line("", &format!("where ROLE is one of {}", ROLES.map(Role::name).join(", ")));
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_unique_and_unknown_ones_get_the_nearest() {
        let mut names: Vec<_> = Figure::all().into_iter().map(|figure| figure.name).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(names.iter().all(|name| Figure::named(name).is_ok()));
        assert_eq!(Figure::named("fanout.p999").unwrap().name, "fanout.p99.9");
        for (wrong, near) in
            [("fanout.p98", "fanout.p9"), ("lst", "lost"), ("cpu.gatway.perFrame", "cpu.gateway.perFrame")]
        {
            let said = Figure::named(wrong).unwrap_err();
            assert!(said.contains(near), "{said}");
        }
    }

    #[test]
    fn what_was_not_measured_has_no_value() {
        let report = json!({
            "latency": {"total": {"count": 0, "p99Ms": 0.0}, "fanout": {"count": 3, "p99Ms": 7.5}},
            "roles": [{"role": "logic", "cost": {}}, {"role": "gateway", "cost": {"cpuUsPerFrame": 8.5, "cpuUsPerItem": null}}],
            "floor": null,
        });
        let of = |name| Figure::named(name).unwrap().of(&report);
        assert_eq!((of("total.p99"), of("fanout.p99")), (None, Some(7.5)));
        assert_eq!((of("cpu.gateway.perFrame"), of("cpu.gateway.perItem")), (Some(8.5), None));
        assert_eq!(
            (of("cpu.logic.perFrame"), of("cpu.peer.perFrame"), of("floor.ratio")),
            (None, None, None)
        );
    }
}
