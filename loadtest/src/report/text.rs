//! A report for people.

use std::fmt;

use super::format::{bytes, count, number};
use super::{ClosedLoop, Percentiles, Report, RoleReport};
use crate::threshold::Judged;

/// Above why times and costs are no result.
pub(super) const INVALID: &str = "INVALID as a measurement: do not quote its times and costs";

/// Above why the generator is what was measured.
pub(super) const BOTTLENECK: &str = "BOTTLENECK: the generator, not the server, is the bottleneck";

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_course(f)?;
        self.write_received(f)?;
        self.write_gateways(f)?;
        self.write_latency(f)?;
        self.write_roles(f)?;
        for (title, lines) in [("went wrong", &self.examples), ("notes", &self.notes)] {
            if !lines.is_empty() {
                writeln!(f, "\n{title}")?;
            }
            lines.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        self.write_verdict(f)
    }
}

impl Report {
    fn write_course(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, ramp, pushes, generator, kernel, .. } = self;
        writeln!(
            f,
            "clients   {} greeted in {:.2} s ({:.0}/s, handshake p50 {:.2} ms, p99 {:.2} ms), {} rooms, {} a client, window {} ms, seed {}",
            ramp.connected,
            ramp.secs,
            ramp.connects_per_sec,
            ramp.handshake.p50_ms,
            ramp.handshake.p99_ms,
            plan.rooms,
            plan.rooms_per_client,
            plan.window_ms,
            plan.seed
        )?;
        if let Some(ClosedLoop { connections, secs, calls_per_sec }) = self.closed_loop {
            writeln!(
                f,
                "API       {calls_per_sec:.0} calls/s answered 202 over {secs:.1} s, a closed loop on {connections} connections: no push has an intended time"
            )?;
        }
        writeln!(
            f,
            "pushes    {} scheduled ({} for {:.0} s, {}), {} sent, {} accepted, {} refused, {} unknown, {} unsent, {} partial",
            pushes.scheduled,
            if self.closed_loop.is_some() { "closed loop".into() } else { format!("{}/s", plan.rate) },
            plan.duration_secs,
            plan.mix,
            pushes.sent,
            pushes.accepted,
            pushes.refused,
            pushes.unknown,
            pushes.unsent,
            pushes.partial
        )?;
        for logic in &self.logics {
            for (error, count) in logic.errors.iter().take(10) {
                writeln!(f, "          {} × {error} ({})", count, logic.url)?;
            }
        }
        writeln!(
            f,
            "generator {:.1} CPU s of {:.1} s, {:.0} MiB, {:.0} B a client · kernel: {} retransmits ({} loss probes beside them), {} softnet drops, {} listen overflows",
            generator.cpu_secs,
            generator.wall_secs,
            generator.rss_bytes as f64 / f64::from(1 << 20),
            generator.rss_bytes_per_client,
            kernel.retransmits,
            kernel.loss_probes,
            kernel.softnet_drops,
            kernel.listen_overflows
        )
    }

    /// What came: items, frames, bytes; and what slow clients missed.
    fn write_received(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frames, slow, totals, .. } = self;
        let items = totals.received + slow.received;
        writeln!(
            f,
            "received  {items} items in {} frames ({:.2} a frame), {} B on the wire ({:.3} of {} B of text; {} frames compressed)",
            frames.messages,
            items as f64 / frames.messages.max(1) as f64,
            frames.wire_bytes,
            frames.wire_bytes as f64 / frames.text_bytes.max(1) as f64,
            frames.text_bytes,
            frames.deflated,
        )?;
        let (rates, lateness) = (&self.measured.rates, &self.measured.lateness);
        writeln!(
            f,
            "rates     {} items/s, {} frames/s, {}/s over {:.1} s; {} items in the best second; event loops busy {:.0} %, away {:.0} ms at most",
            number(rates.items_per_sec),
            number(rates.frames_per_sec),
            bytes(rates.bytes_per_sec),
            rates.secs,
            number(rates.items_per_sec_max),
            lateness.busy * 100.0,
            lateness.loop_ms_max
        )?;
        if slow.stalled + slow.slow == 0 {
            return Ok(());
        }
        writeln!(
            f,
            "slow      {} clients never read, {} read slowly: {} closed with 4002, {} told of a gap, {} of {} items missed; lost by close code: {:?}",
            slow.stalled, slow.slow, slow.closed, slow.gapped, slow.missed, slow.expected, slow.close_codes
        )
    }

    fn write_gateways(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = [
            "gateway", "clients", "expected", "received", "lost", "dup", "reord", "corrupt", "unexp",
            "excused", "reconn",
        ];
        let row = |f: &mut fmt::Formatter<'_>, name: &str, cells: [String; 10]| {
            write!(f, "{name:<28}")?;
            cells.iter().try_for_each(|cell| write!(f, " {cell:>10}"))?;
            writeln!(f)
        };
        writeln!(f)?;
        row(f, head[0], std::array::from_fn(|at| head[at + 1].to_owned()))?;
        let mut clients = 0;
        let mut reconnects = 0;
        let each = self.gateways.iter().map(|gateway| {
            clients += gateway.clients;
            reconnects += gateway.reconnects;
            (gateway.url.as_str(), gateway.clients, gateway.counts, gateway.reconnects)
        });
        let mut rows: Vec<_> = each.collect();
        rows.push(("total", clients, self.totals, reconnects));
        for (name, clients, counts, reconnects) in rows {
            let cells = [
                clients,
                counts.expected,
                counts.received,
                counts.lost,
                counts.duplicated,
                counts.reordered,
                counts.corrupted,
                counts.unexpected,
                counts.excused,
                reconnects,
            ];
            row(f, name, cells.map(|cell| cell.to_string()))?;
        }
        let codes = self.gateways.iter().filter(|gateway| !gateway.close_codes.is_empty());
        for gateway in codes {
            writeln!(f, "{}: connections lost, by close code: {:?}", gateway.url, gateway.close_codes)?;
        }
        Ok(())
    }

    fn write_latency(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p90, p99, p999) = ("p50", "p90", "p99", "p99.9");
        writeln!(
            f,
            "\n{:<40} {:>10} {p50:>9} {p90:>9} {p99:>9} {p999:>9} {:>9}",
            "latency, ms", "count", "max"
        )?;
        for (name, Percentiles { count, p50_ms, p90_ms, p99_ms, p999_ms, max_ms, .. }) in self.times() {
            let ms = [p50_ms, p90_ms, p99_ms, p999_ms, max_ms].map(|ms| format!(" {ms:>9.2}")).concat();
            writeln!(f, "{name:<40} {count:>10}{ms}")?;
        }
        Ok(())
    }

    /// All distributions, as people call them.
    pub(super) fn times(&self) -> [(&'static str, &Percentiles); 10] {
        let latency = &self.latency;
        [
            ("merged: intended to received", &latency.total),
            ("  accept + link + merge wait", &latency.wait),
            ("  fan-out (first to each receipt)", &latency.fanout),
            ("urgent: intended to received", &latency.urgent_total),
            ("  accept + link (urgent)", &latency.urgent_wait),
            ("  fan-out (urgent)", &latency.urgent_fanout),
            ("push: intended to 202", &latency.push),
            ("  request to 202", &latency.push_service),
            ("publisher: behind its schedule", &self.measured.lateness.publisher),
            ("handshake: connect to hello", &self.ramp.handshake),
        ]
    }

    /// What each role used, and the floor.
    fn write_roles(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { measured, .. } = self;
        writeln!(
            f,
            "\n{:<12} {:>5} {:>9} {:>9} {:>10} {:>10} {:>11} {:>10} {:>10} {:>10} {:>10}",
            "role",
            "procs",
            "user s",
            "kernel s",
            "µs an item",
            "µs a frame",
            "µs a conn.",
            "begin",
            "connected",
            "end",
            "a conn."
        )?;
        let us = |us: Option<f64>| us.map_or_else(|| "–".into(), number);
        for RoleReport { used, cost } in &measured.roles {
            let memory = [used.memory_begin, used.memory_hold, used.memory_end]
                .map(|memory| format!(" {:>10}", bytes(memory.bytes() as f64)));
            writeln!(
                f,
                "{:<12} {:>5} {:>9.2} {:>9.2} {:>10} {:>10} {:>11}{} {:>10}",
                used.role.name(),
                used.processes,
                used.cpu.user_secs,
                used.cpu.system_secs,
                us(cost.cpu_us_per_item),
                us(cost.cpu_us_per_frame),
                us(cost.cpu_us_per_connection),
                memory.concat(),
                cost.bytes_per_connection.map_or_else(|| "–".into(), bytes),
            )?;
            for ended in &used.ended {
                writeln!(f, "  {} (process {}) was gone at {:.0} s", ended.name, ended.pid, ended.at_secs)?;
            }
        }
        let whole = &measured.whole;
        writeln!(
            f,
            "machine      memory in use {} before, {} with all connected; {} through loopback",
            bytes(whole.memory_begin_bytes as f64),
            bytes(whole.memory_hold_bytes as f64),
            bytes(whole.loopback_bytes as f64)
        )?;
        let Some(floor) = &measured.floor else { return Ok(()) };
        let ratio = |ratio: Option<f64>| ratio.map_or_else(|| "–".into(), |ratio| format!("{ratio:.3}"));
        writeln!(
            f,
            "floor        {:.2} µs a bare send, {:.2} µs a bare read ({} of {} B); gateway ÷ floor {}, generator ÷ floor {}{}",
            floor.report.send_cpu_us,
            floor.report.receive_cpu_us,
            count(floor.report.sends),
            floor.report.bytes,
            ratio(floor.gateway_ratio),
            ratio(floor.generator_ratio),
            if floor.report.is_valid() {
                String::new()
            } else {
                format!(" (INVALID: {})", floor.report.invalid.join("; "))
            }
        )
    }

    /// What came of it, in a sentence.
    pub(super) fn sentence(&self) -> String {
        let totals = &self.totals;
        let complete = match (self.complete, totals.under_way) {
            (true, _) => String::new(),
            (false, 0) => " (interrupted: a partial report)".to_owned(),
            (false, some) => format!(" (interrupted, with {} under way: a partial report)", count(some)),
        };
        let late =
            self.plan.late_ms.map_or_else(String::new, |ms| format!(", {} later than {ms} ms", totals.late));
        format!(
            "{} lost, {} duplicated, {} reordered, {} corrupted{late} of {} expected items{complete}",
            totals.lost,
            totals.duplicated,
            totals.reordered,
            totals.corrupted,
            count(totals.expected),
        )
    }

    fn write_verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let measured = &self.measured;
        let origin = &measured.origin;
        writeln!(f, "\nmachine   {}", origin.machine)?;
        writeln!(f, "version   {} (commit {}), begun {}", origin.version, origin.commit, origin.begun_at)?;
        writeln!(f, "repeat    {}", origin.command)?;
        for Judged { threshold, shown, held, .. } in &measured.thresholds {
            writeln!(f, "threshold {}: {threshold} ({shown})", if *held { "held" } else { "MISSED" })?;
        }
        for (title, lines) in [(INVALID, &measured.invalid), (BOTTLENECK, &measured.bottleneck)] {
            if !lines.is_empty() {
                writeln!(f, "{title}")?;
            }
            lines.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        let word = if self.verdict.ok { "PASS" } else { "FAIL" };
        writeln!(f, "{word}: {}", self.sentence())?;
        self.verdict.reasons.iter().try_for_each(|reason| writeln!(f, "  {reason}"))
    }
}
