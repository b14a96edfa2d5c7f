//! A report for people.

use std::fmt;

use super::{Percentiles, Report};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_course(f)?;
        self.write_received(f)?;
        self.write_gateways(f)?;
        self.write_latency(f)?;
        for (title, lines) in [("went wrong", &self.examples), ("notes", &self.notes)] {
            if !lines.is_empty() {
                writeln!(f, "\n{title}")?;
            }
            lines.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        let totals = &self.totals;
        let complete = if self.complete { "" } else { " (interrupted: a partial report)" };
        writeln!(
            f,
            "\n{}: {} lost, {} duplicated, {} reordered, {} corrupted of {} expected items{complete}",
            if self.verdict.ok { "PASS" } else { "FAIL" },
            totals.lost,
            totals.duplicated,
            totals.reordered,
            totals.corrupted,
            totals.expected,
        )?;
        self.verdict.reasons.iter().try_for_each(|reason| writeln!(f, "  {reason}"))
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
        writeln!(
            f,
            "pushes    {} scheduled ({}/s for {:.0} s, {}), {} sent, {} accepted, {} refused, {} unknown, {} unsent, {} partial",
            pushes.scheduled,
            plan.rate,
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
        let latency = &self.latency;
        let (p50, p90, p99, p999) = ("p50", "p90", "p99", "p99.9");
        writeln!(
            f,
            "\n{:<40} {:>10} {p50:>9} {p90:>9} {p99:>9} {p999:>9} {:>9}",
            "latency, ms", "count", "max"
        )?;
        let rows = [
            ("merged: intended to received", &latency.total),
            ("  accept + link + merge wait", &latency.wait),
            ("  fan-out (first to each receipt)", &latency.fanout),
            ("urgent: intended to received", &latency.urgent_total),
            ("  accept + link", &latency.urgent_wait),
            ("  fan-out", &latency.urgent_fanout),
            ("push: intended to 202", &latency.push),
            ("  request to 202", &latency.push_service),
        ];
        for (name, Percentiles { count, p50_ms, p90_ms, p99_ms, p999_ms, max_ms, .. }) in rows {
            let ms = [p50_ms, p90_ms, p99_ms, p999_ms, max_ms].map(|ms| format!(" {ms:>9.2}")).concat();
            writeln!(f, "{name:<40} {count:>10}{ms}")?;
        }
        Ok(())
    }
}
