//! The model's answer for people.

use std::fmt;

use super::{Answer, Bound, Stream};

/// What the model assumes, whatever is asked.
const ASSUMED: [&str; 5] = [
    "costs grow as clients and frames do: a client on a full gateway costs what it costs on the one that was measured",
    "gateways and their clients are spread evenly, and an item's clients over all gateways by chance",
    "a frame over loopback costs what one over a network card costs; on loopback the sender also pays for much of the receiver, a card has its own interrupts",
    "no TLS and no compression in the gateway; a proxy in front needs its own",
    "cores are those of the machine on which the constants were measured; --constants takes those of yours",
];

fn bits(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{:.1} Gbit/s", v / 1e9),
        v if v >= 1e6 => format!("{:.1} Mbit/s", v / 1e6),
        v => format!("{:.1} kbit/s", v / 1e3),
    }
}

fn gib(value: f64) -> String {
    format!("{:.1} GiB", value / f64::from(1 << 30))
}

/// A number with its thousands apart.
fn count(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn describe(stream: &Stream) -> String {
    let Stream { frames_per_second, items_per_frame, frame_bytes, window_secs } = stream;
    format!(
        "{frames_per_second:.2} frames a second, {items_per_frame:.1} items of it in each ({frame_bytes:.0} B), window {window_secs:.1} s"
    )
}

impl Answer {
    fn write_gateways(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.bound {
            Bound::Cpu => "CPU",
            Bound::Memory => "memory",
            Bound::Network => "the network",
            Bound::Connections => "the number of connections",
        };
        let each = count(self.clients_per_gateway as f64);
        writeln!(f, "gateways   {} with {each} clients each; {why} decides", count(self.gateways as f64))?;
        writeln!(
            f,
            "           {:.1} cores busy, {} of memory, {} to clients, all together; {} frames a second",
            self.gateway_cores,
            gib(self.gateway_memory),
            bits(self.client_bandwidth),
            count(self.stream.frames_per_second * self.question.clients as f64)
        )
    }

    fn write_fewer(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.fewer.is_empty() {
            writeln!(f, "with fewer gateways the window widens by itself, and frames become fuller:")?;
        }
        for fewer in &self.fewer {
            let gateways = fewer.gateways;
            match &fewer.stream {
                Some(stream) => {
                    let frames = count(fewer.frames_per_second);
                    writeln!(f, "  {gateways:>7}  {frames} frames/s; a client {}", describe(stream))?;
                }
                None => {
                    writeln!(f, "  {gateways:>7}  not possible: connections or bytes alone are too many")?
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = &self.question;
        writeln!(f, "A MODEL, not a measurement: measured costs, multiplied.")?;
        writeln!(
            f,
            "asked      {} clients × {} items of {} B a second; nodes of {} cores, {}, {}, of which {:.0} % are planned with",
            count(asked.clients as f64),
            asked.items_per_second,
            asked.size,
            asked.cores_per_node,
            gib(asked.memory_per_node as f64),
            bits(asked.network_per_node),
            asked.used * 100.0
        )?;
        writeln!(f, "a client   {}", describe(&self.stream))?;
        self.write_gateways(f)?;
        writeln!(
            f,
            "logic      {} nodes for {} pushes a second, {:.1} cores busy",
            self.logic_nodes,
            count(self.pushes_per_second),
            self.logic_cores
        )?;
        writeln!(
            f,
            "links      {}, {} together; {:.1} % of the thread that takes them at each gateway",
            count(self.links as f64),
            bits(self.link_bandwidth),
            self.link_thread * 100.0
        )?;
        self.write_fewer(f)?;
        writeln!(f, "assumed:")?;
        ASSUMED.iter().try_for_each(|one| writeln!(f, "  {one}"))?;
        if !self.doubts.is_empty() {
            writeln!(f, "where it stops to hold:")?;
            self.doubts.iter().try_for_each(|doubt| writeln!(f, "  {doubt}"))?;
        }
        writeln!(f, "reckoned with (--json has the command that measured each):")?;
        for (name, value) in self.constants.values() {
            writeln!(f, "  {name} {value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Constants, Question, answer};

    #[test]
    fn an_answer_says_that_it_is_a_model_and_what_it_assumes() {
        let text = answer(&Question { clients: 50_000_000, ..Question::default() }, &Constants::default())
            .unwrap()
            .to_string();
        for part in [
            "A MODEL",
            "50,000,000 clients",
            "gateways",
            "logic",
            "links",
            "assumed:",
            "TLS",
            "window widens",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(
            (count(1234567.0), count(12.0), bits(2.5e9)),
            ("1,234,567".into(), "12".into(), "2.5 Gbit/s".into())
        );
    }

    #[test]
    fn impossible_questions_are_refused() {
        let bad = |change: Question| answer(&change, &Constants::default()).is_err();
        assert!(bad(Question { clients: 0, ..Question::default() }));
        assert!(bad(Question { items_per_second: f64::NAN, ..Question::default() }));
        assert!(bad(Question { audience: 2_000_000, ..Question::default() }));
        assert!(bad(Question { used: 0.0, ..Question::default() }));
    }
}
