//! A comparison for people: one table, for terminals or as Markdown.

use std::fmt;

use super::Discipline;
use super::report::{Report, Row};

const HEADER: [&str; 12] = [
    "peer",
    "",
    "CPU a frame",
    "÷ floor",
    "CPU an item",
    "÷ floor",
    "items a frame",
    "memory a client, idle",
    "after",
    "p50",
    "p99",
    "lost",
];

/// What another tool found on another machine, 10,000 clients, 30 publishes of 200 bytes.
const ELSEWHERE: &str = "elsewhere (another tool, another machine, 10,000 clients; for plausibility only), F: nchan 1.12 × floor, \
10.4 KB · ws on Node 1.41, 6.1 KB · nats-server 1.76, 25 KB";

impl Row {
    fn cells(&self) -> [String; 12] {
        let measured = &self.measured;
        let ratio = |ratio: f64| if ratio > 0.0 { format!("{ratio:.2}") } else { "–".into() };
        let kib = |bytes: f64| format!("{:.2} KiB", bytes / 1024.0);
        let latency = measured.latency;
        let lost = match measured.faults() {
            faults if faults.is_empty() => "0".to_owned(),
            faults => faults.join(", "),
        };
        [
            self.name.clone(),
            self.discipline.to_string(),
            format!("{:.2} µs", measured.cpu_us_per_frame),
            ratio(self.frame_to_floor),
            format!("{:.2} µs", measured.cpu_us_per_item),
            ratio(self.item_to_floor),
            format!("{:.2}", measured.delivered as f64 / measured.frames.max(1) as f64),
            kib(measured.memory_per_client_idle),
            kib(measured.memory_per_client_after),
            format!("{:.1} ms", latency.p50_ms),
            format!("{:.1} ms", latency.p99_ms),
            lost,
        ]
    }
}

impl Report {
    /// The tables as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for discipline in [Discipline::Frames, Discipline::Merged] {
            let rows: Vec<_> = self.rows.iter().filter(|row| row.discipline == discipline).collect();
            if rows.is_empty() {
                continue;
            }
            text += &format!("{}\n\n", self.heading(discipline));
            let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
            text += &line(&HEADER.map(str::to_owned));
            text += &line(&HEADER.map(|_| "---".to_owned()));
            rows.iter().for_each(|row| text += &line(&row.cells()));
            text.push('\n');
        }
        self.beside().iter().for_each(|line| text += &format!("- {line}\n"));
        text
    }

    fn heading(&self, discipline: Discipline) -> String {
        match discipline {
            Discipline::Frames => format!(
                "F, one publish is one message: {} clients, {} publishes of {} B, one every {} ms",
                self.clients, self.publishes, self.size, self.every_ms
            ),
            Discipline::Merged => format!(
                "M, merged if the server can: {} clients, {} items of {} B a second for {} s",
                self.clients, self.item_rate, self.size, self.merged_secs
            ),
        }
    }

    /// What stands below the tables.
    fn beside(&self) -> Vec<String> {
        let mut lines = vec![format!("measured on {} by: {}", self.machine, self.command)];
        let floors: Vec<f64> =
            self.rows.iter().map(|row| row.floor_us).filter(|floor| *floor > 0.0).collect();
        if let (Some(least), Some(most)) =
            (floors.iter().copied().reduce(f64::min), floors.iter().copied().reduce(f64::max))
        {
            lines.push(format!("floor, a bare send in the same run: {least:.2} to {most:.2} µs of CPU; each peer is divided by the floors before and after it"));
        }
        lines.push("CPU and memory (Pss) are those of all processes of a server; latency counts from the intended time, on a machine that clients and server share".into());
        let mut named = Vec::new();
        for row in &self.rows {
            if !named.contains(&&row.id) {
                named.push(&row.id);
                lines.push(format!("{}: {}; {}", row.name, row.version, row.configuration.join(", ")));
            }
            let busy = row.measured.machine_busy;
            if busy > 0.9 {
                lines.push(format!(
                    "{} {}: the machine was {:.0} % busy: its latencies are those of a queue",
                    row.name,
                    row.discipline,
                    busy * 100.0
                ));
            }
            let faults = row.measured.kernel.faults();
            lines.extend(
                faults.iter().map(|fault| format!("{} {}: no result: {fault}", row.name, row.discipline)),
            );
        }
        let absent = self.absent.iter().map(|absent| match absent.discipline {
            Some(discipline) => format!("{} {discipline}: not measured: {}", absent.name, absent.why),
            None => format!("{}: {}", absent.name, absent.why),
        });
        lines.extend(absent);
        lines.extend(self.notes.iter().cloned());
        if self.interrupted {
            lines.push("interrupted: what is missing was not measured".into());
        }
        lines.push(ELSEWHERE.into());
        lines
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for discipline in [Discipline::Frames, Discipline::Merged] {
            let rows: Vec<_> =
                self.rows.iter().filter(|row| row.discipline == discipline).map(Row::cells).collect();
            if rows.is_empty() {
                continue;
            }
            writeln!(f, "{}", self.heading(discipline))?;
            let header = HEADER.map(str::to_owned);
            let lines: Vec<_> = std::iter::once(&header).chain(&rows).collect();
            let width =
                |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
            for cells in &lines {
                write!(f, "  {:<width$}", cells[0], width = width(0))?;
                for (column, cell) in cells.iter().enumerate().skip(1) {
                    write!(f, "  {cell:>width$}", width = width(column))?;
                }
                writeln!(f)?;
            }
            writeln!(f)?;
        }
        self.beside().iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
