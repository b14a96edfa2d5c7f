//! The tables of the page.

use super::super::format::{bytes, count, millis, number};
use super::super::{Report, measured::RoleReport};
use super::escape::escaped;

/// A cell: its text and its class.
pub(super) type Cell = (String, &'static str);

pub(super) fn plain(text: impl Into<String>) -> Cell {
    (text.into(), "")
}

/// A count of what should not be.
fn fault(number: u64) -> Cell {
    (count(number), if number > 0 { "bad" } else { "" })
}

pub(super) fn table(title: &str, head: &[&str], rows: Vec<Vec<Cell>>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let head = head.iter().map(|name| format!("<th>{}</th>", escaped(name))).collect::<String>();
    let cell = |(text, class): &Cell| format!("<td class=\"{class}\">{}</td>", escaped(text));
    let rows = rows
        .iter()
        .map(|row| format!("<tr>{}</tr>", row.iter().map(cell).collect::<String>()))
        .collect::<String>();
    format!(
        "<h2>{}</h2><div class=\"scroll\"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>",
        escaped(title)
    )
}

impl Report {
    pub(super) fn tables(&self) -> String {
        [
            self.threshold_table(),
            self.latency_table(),
            self.role_table(),
            self.floor_table(),
            self.gateway_table(),
            self.agent_table(),
            self.push_table(),
            self.slow_table(),
            self.lists(),
            self.origin_html(),
        ]
        .concat()
    }

    fn threshold_table(&self) -> String {
        let rows = self.measured.thresholds.iter().map(|judged| {
            let word = if judged.held { ("held".to_owned(), "good") } else { ("missed".to_owned(), "bad") };
            vec![plain(&*judged.threshold), plain(&*judged.shown), word]
        });
        table("Thresholds", &["threshold", "was", ""], rows.collect())
    }

    fn latency_table(&self) -> String {
        let rows = self.times().into_iter().filter(|(_, times)| times.count > 0).map(|(name, times)| {
            let mut row = vec![plain(name.trim()), plain(count(times.count))];
            row.extend(
                [
                    times.min_ms,
                    times.mean_ms,
                    times.p50_ms,
                    times.p90_ms,
                    times.p99_ms,
                    times.p999_ms,
                    times.max_ms,
                ]
                .map(|ms| plain(millis(ms))),
            );
            row
        });
        table("Latency", &["", "count", "min", "mean", "p50", "p90", "p99", "p99.9", "max"], rows.collect())
    }

    fn role_table(&self) -> String {
        let time = |us: Option<f64>| plain(us.map_or_else(|| "–".into(), |us| format!("{} µs", number(us))));
        let rows = self.measured.roles.iter().map(|RoleReport { used, cost }| {
            vec![
                plain(used.role.name()),
                plain(count(used.processes)),
                plain(format!("{:.2} + {:.2} s", used.cpu.user_secs, used.cpu.system_secs)),
                time(cost.cpu_us_per_item),
                time(cost.cpu_us_per_frame),
                time(cost.cpu_us_per_connection),
                plain(cost.bytes_per_connection.map_or_else(|| "–".into(), bytes)),
                plain(
                    [used.memory_begin, used.memory_hold, used.memory_end]
                        .map(|memory| bytes(memory.bytes() as f64))
                        .join(" → "),
                ),
                plain(bytes(used.disk_written_bytes as f64)),
                fault(used.ended.len() as u64),
            ]
        });
        let head = [
            "role",
            "processes",
            "CPU, user + kernel",
            "an item",
            "a frame",
            "a connect",
            "memory a connection",
            "memory: begin → connected → end",
            "to disk",
            "ended early",
        ];
        table("What each role used", &head, rows.collect())
    }

    fn floor_table(&self) -> String {
        let Some(floor) = &self.measured.floor else { return String::new() };
        let report = &floor.report;
        let ratio =
            |ratio: Option<f64>| plain(ratio.map_or_else(|| "–".into(), |ratio| format!("{ratio:.3}")));
        let us = |us: f64| plain(format!("{us:.2} µs"));
        let rows = vec![
            vec![plain("send: gateways ÷ bare sends"), us(report.send_cpu_us), ratio(floor.gateway_ratio)],
            vec![
                plain("receive: generators ÷ bare reads"),
                us(report.receive_cpu_us),
                ratio(floor.generator_ratio),
            ],
        ];
        let title = format!(
            "The floor in this run: {} connections, {} frames of {} B{}",
            count(u64::from(report.connections)),
            count(report.sends),
            report.bytes,
            if report.is_valid() { "" } else { " (INVALID)" }
        );
        table(&title, &["", "CPU a frame", "ratio"], rows)
    }

    fn gateway_table(&self) -> String {
        let rows = self.gateways.iter().map(|gateway| {
            let counts = &gateway.counts;
            vec![
                plain(&*gateway.url),
                plain(count(gateway.clients)),
                plain(count(counts.expected)),
                plain(count(counts.received)),
                fault(counts.lost),
                fault(counts.duplicated),
                fault(counts.reordered),
                fault(counts.corrupted),
                fault(counts.unexpected),
                plain(count(counts.excused)),
                plain(count(counts.late)),
                plain(count(gateway.reconnects)),
                plain(format!("{:?}", gateway.close_codes)),
            ]
        });
        let head = [
            "gateway",
            "clients",
            "expected",
            "received",
            "lost",
            "duplicated",
            "reordered",
            "corrupted",
            "unexpected",
            "excused",
            "late",
            "reconnects",
            "close codes",
        ];
        table("Every item at every client", &head, rows.collect())
    }

    fn agent_table(&self) -> String {
        if self.agents.len() < 2 && self.agents.iter().all(|agent| agent.lost.is_none()) {
            return String::new();
        }
        let rows = self.agents.iter().map(|agent| {
            let lost = agent.lost.as_deref().map_or((String::new(), ""), |why| (why.to_owned(), "bad"));
            vec![
                plain(&*agent.name),
                plain(count(agent.clients)),
                plain(format!("{:.2} s", agent.cpu_secs)),
                plain(bytes(agent.rss_bytes as f64)),
                plain(millis(agent.clock_error_ms)),
                lost,
            ]
        });
        let head = ["agent", "clients", "CPU", "memory", "clock within", "lost"];
        table("Processes that held the clients", &head, rows.collect())
    }

    fn push_table(&self) -> String {
        let rows = self.logics.iter().map(|logic| {
            let pushes = &logic.pushes;
            let mut row = vec![plain(&*logic.url)];
            row.extend([pushes.scheduled, pushes.sent, pushes.accepted].map(|number| plain(count(number))));
            row.extend([pushes.refused, pushes.unknown, pushes.unsent, pushes.partial].map(fault));
            row
        });
        table(
            "Pushes",
            &["logic", "scheduled", "sent", "accepted", "refused", "unknown", "unsent", "partial"],
            rows.collect(),
        )
    }

    fn slow_table(&self) -> String {
        let slow = &self.slow;
        if slow.stalled + slow.slow == 0 {
            return String::new();
        }
        let numbers =
            [slow.stalled, slow.slow, slow.closed, slow.gapped, slow.expected, slow.received, slow.missed];
        table(
            "Slow clients",
            &[
                "never read",
                "read slowly",
                "closed (4002)",
                "told of a gap",
                "expected",
                "received",
                "missed",
            ],
            vec![numbers.map(|number| plain(count(number))).into()],
        )
    }

    fn lists(&self) -> String {
        let errors = self.logics.iter().flat_map(|logic| {
            logic.errors.iter().map(|(error, times)| format!("{} × {error} ({})", count(*times), logic.url))
        });
        let errors: Vec<String> = errors.collect();
        let mut html = String::new();
        for (title, lines) in
            [("Why pushes failed", &errors), ("Went wrong", &self.examples), ("Notes", &self.notes)]
        {
            if !lines.is_empty() {
                let lines =
                    lines.iter().map(|line| format!("<li>{}</li>", escaped(line))).collect::<String>();
                html += &format!("<h2>{title}</h2><ul class=\"notes\">{lines}</ul>");
            }
        }
        html
    }

    fn origin_html(&self) -> String {
        let Self { plan, frames, kernel, measured, .. } = self;
        let origin = &measured.origin;
        let rows = [
            ("machine", origin.machine.to_string()),
            ("version", format!("{} (commit {})", origin.version, origin.commit)),
            ("begun", origin.begun_at.clone()),
            (
                "plan",
                format!(
                    "{} clients, {} rooms, {} a client, {} clients a user; {} pushes/s of {} B for {} s, mix {}, order {}, {} urgent; window {} ms; seed {}",
                    count(u64::from(plan.clients)),
                    count(u64::from(plan.rooms)),
                    plan.rooms_per_client,
                    plan.clients_per_user,
                    plan.rate,
                    plan.size,
                    plan.duration_secs,
                    plan.mix,
                    plan.order,
                    plan.urgent_share,
                    plan.window_ms,
                    plan.seed
                ),
            ),
            (
                "received",
                format!(
                    "{} frames, {} on the wire, {} as text, {} frames compressed",
                    count(frames.messages),
                    bytes(frames.wire_bytes as f64),
                    bytes(frames.text_bytes as f64),
                    count(frames.deflated)
                ),
            ),
            ("loopback", bytes(measured.whole.loopback_bytes as f64)),
            (
                "kernel",
                format!(
                    "{} retransmits ({} loss probes beside them), {} softnet drops, {} listen overflows",
                    kernel.retransmits, kernel.loss_probes, kernel.softnet_drops, kernel.listen_overflows
                ),
            ),
        ];
        let rows = rows
            .iter()
            .map(|(name, text)| format!("<dt>{name}</dt><dd>{}</dd>", escaped(text)))
            .collect::<String>();
        format!(
            "<h2>Repeat it</h2><pre>{}</pre><h2>Where and what</h2><dl>{rows}</dl>",
            escaped(&origin.command)
        )
    }
}
