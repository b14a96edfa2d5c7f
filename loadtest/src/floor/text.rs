//! A floor for people.

use std::fmt;

use super::Report;
use crate::report::Percentiles;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cadence = match self.every_ms {
            0 => "at once".to_owned(),
            ms => format!("every {ms} ms"),
        };
        writeln!(f, "machine   {}", self.machine)?;
        writeln!(
            f,
            "floor     {} connections, {} rounds {cadence}, {} B a frame; {} pairs of processes, {} threads each",
            self.connections, self.rounds, self.bytes, self.pairs, self.threads
        )?;
        writeln!(
            f,
            "sends     {} at {:.0}/s; CPU a frame {:.2} µs sending, {:.2} µs reading",
            self.sends, self.sends_per_second, self.send_cpu_us, self.receive_cpu_us
        )?;
        writeln!(
            f,
            "connects  {:.0}/s; CPU a connection {:.2} µs accepting, {:.2} µs connecting",
            self.connects_per_second, self.accept_cpu_us, self.connect_cpu_us
        )?;
        for (name, times) in [("sent", &self.round_send_ms), ("read", &self.round_ms)] {
            let Percentiles { p50_ms, p90_ms, p99_ms, max_ms, .. } = times;
            writeln!(
                f,
                "round     first send to last {name}: p50 {p50_ms:.2} ms, p90 {p90_ms:.2}, p99 {p99_ms:.2}, max {max_ms:.2}"
            )?;
        }
        if self.is_valid() {
            return writeln!(f, "VALID: nothing was dropped or sent again, and every byte arrived");
        }
        writeln!(f, "INVALID: these figures are not a result")?;
        self.invalid.iter().try_for_each(|why| writeln!(f, "  {why}"))?;
        if !self.kernel.is_clean() {
            writeln!(
                f,
                "  others may have caused it: alone is a run in a network namespace of its own, as in"
            )?;
            writeln!(f, "  unshare -n sh -c 'ip link set lo up && tidegate-loadtest floor'")?;
        }
        Ok(())
    }
}
