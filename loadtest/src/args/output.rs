//! Where reports go, what is asked of their figures, and two of them beside each other.

use std::path::PathBuf;

use loadtest::Threshold;

/// Where the report goes as JSON.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct JsonOutput {
    /// Also write the report as JSON to a file; `-`: to standard output, and the text to standard error
    #[arg(long, value_name = "FILE|-")]
    pub(crate) json: Option<String>,
}

/// Where the report of a run goes, and what is asked of it.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Output {
    #[command(flatten)]
    pub(crate) json: JsonOutput,
    /// Also write the report to a file as one page of HTML with plots
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<String>,
    /// What a figure must be, as fanout.p99<500ms or lost<=0, else the program ends with 99; repeatable; help lists
    /// the figures
    #[arg(long = "threshold", value_name = "FIGURE<VALUE", value_parser = Asked::read)]
    pub(crate) thresholds: Vec<Asked>,
    /// Afterwards measure the floor too: what the kernel alone costs with as many connections and such frames
    #[arg(long)]
    pub(crate) floor: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CompareArgs {
    /// Report of the first run, as JSON
    #[arg(value_name = "A.json")]
    pub(crate) before: PathBuf,
    /// Report of the second
    #[arg(value_name = "B.json")]
    pub(crate) after: PathBuf,
    /// Differences up to this part are noise; a run whose seconds vary more has more
    #[arg(long, default_value = "10%", value_parser = read_part)]
    pub(crate) noise: f64,
    /// What a figure of the second run must be, also beside the first, as cpu.gateway.perFrame<+10%; repeatable; help
    /// lists the figures
    #[arg(long = "threshold", value_name = "FIGURE<VALUE", value_parser = Asked::read)]
    pub(crate) thresholds: Vec<Asked>,
}

/// A threshold, or the question what there is.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    Help,
    Threshold(Box<Threshold>),
}

impl Asked {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "help" => Ok(Self::Help),
            text => text.parse().map(|threshold| Self::Threshold(Box::new(threshold))),
        }
    }

    /// The thresholds; `None`: somebody asks which figures there are.
    pub(crate) fn all(asked: &[Self]) -> Option<Vec<Threshold>> {
        let threshold = |asked: &Self| match asked {
            Self::Help => None,
            Self::Threshold(threshold) => Some((**threshold).clone()),
        };
        asked.iter().map(threshold).collect()
    }
}

/// A part of something: 10% or 0.1.
fn read_part(text: &str) -> Result<f64, String> {
    let part = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse(),
    };
    part.ok().filter(|part| (0.0..10.0).contains(part)).ok_or_else(|| "written 10% or 0.1".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_written_as_percent_or_as_a_number() {
        let near = |text, wanted: f64| read_part(text).is_ok_and(|part| (part - wanted).abs() < 1e-9);
        assert!(near("10%", 0.1) && near("0.25", 0.25) && near("0", 0.0));
        assert!(["-1", "x%", "NaN", "2000%"].iter().all(|text| read_part(text).is_err()));
    }

    #[test]
    fn help_among_thresholds_asks_for_the_list() {
        let read = |text| Asked::read(text).unwrap();
        assert_eq!(Asked::all(&[read("lost<1"), read("fanout.p99<1s")]).map(|all| all.len()), Some(2));
        assert!(Asked::all(&[read("lost<1"), read("help")]).is_none());
        assert!(Asked::read("lst<1").unwrap_err().contains("lost"));
    }
}
