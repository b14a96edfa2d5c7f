//! The constants of the model, as their file has them.

use serde::{Deserialize, Serialize};

use crate::peers::{Discipline, Report};
use crate::plan::BadPlan;

/// A figure, and what measured it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constant {
    /// In the unit that its name ends with, or bytes.
    pub value: f64,
    /// What measured it.
    pub command: String,
}

/// All constants of the model; what each is stands in `constants.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "they are described where their values stand")]
pub struct Constants {
    pub frame_cpu_us: Constant,
    pub frame_cpu_us_per_kib: Constant,
    pub idle_cpu_us: Constant,
    pub client_memory: Constant,
    pub kernel_memory: Constant,
    pub node_memory: Constant,
    pub link_item_cpu_us: Constant,
    pub push_cpu_us: Constant,
    pub push_gateway_cpu_us: Constant,
    pub item_overhead: Constant,
    pub segment_overhead: Constant,
}

impl Default for Constants {
    fn default() -> Self {
        toml::from_str(include_str!("constants.toml")).expect("a test reads it too")
    }
}

impl Constants {
    /// Reads a file of constants.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, BadPlan> {
        let constants: Self = toml::from_str(text).map_err(|error| BadPlan(error.to_string()))?;
        let all = constants.values();
        match all.iter().find(|(_, value)| !(value.is_finite() && *value >= 0.0)) {
            Some((name, value)) => {
                Err(BadPlan(format!("{name} = {value}: a cost is a number, and not below 0")))
            }
            None => Ok(constants),
        }
    }

    pub(super) fn values(&self) -> [(&'static str, f64); 11] {
        [
            ("frame_cpu_us", self.frame_cpu_us.value),
            ("frame_cpu_us_per_kib", self.frame_cpu_us_per_kib.value),
            ("idle_cpu_us", self.idle_cpu_us.value),
            ("client_memory", self.client_memory.value),
            ("kernel_memory", self.kernel_memory.value),
            ("node_memory", self.node_memory.value),
            ("link_item_cpu_us", self.link_item_cpu_us.value),
            ("push_cpu_us", self.push_cpu_us.value),
            ("push_gateway_cpu_us", self.push_gateway_cpu_us.value),
            ("item_overhead", self.item_overhead.value),
            ("segment_overhead", self.segment_overhead.value),
        ]
    }

    /// These constants with what a comparison found of Tidegate in their place: CPU a frame, memory a client and of
    /// a node, bytes around an item.
    ///
    /// # Errors
    /// Tidegate was not measured under *frames*.
    pub fn with(mut self, report: &Report) -> Result<Self, BadPlan> {
        let row =
            |discipline| report.rows.iter().find(|row| row.id == "tidegate" && row.discipline == discipline);
        let Some(frames) = row(Discipline::Frames) else {
            return Err(BadPlan(
                "Tidegate was not measured under F: there is nothing to make constants of".into(),
            ));
        };
        let new = |value: f64| Constant { value, command: report.command.clone() };
        let measured = &frames.measured;
        self.frame_cpu_us = new(measured.cpu_us_per_frame);
        self.client_memory = new(measured.memory_per_client_after.max(0.0));
        self.node_memory = new(measured.memory_bytes as f64 / measured.processes.max(1) as f64);
        if let Some(merged) =
            row(Discipline::Merged).map(|row| &row.measured).filter(|merged| merged.delivered > 0)
        {
            let around = merged.frame_bytes as f64 / merged.delivered as f64 - merged.size as f64;
            self.item_overhead = new(around.max(0.0));
        }
        Ok(self)
    }

    /// The file of these constants.
    ///
    /// # Panics
    /// Never: it is structs of numbers and text.
    #[must_use]
    pub fn file(&self) -> String {
        toml::to_string(self).expect("structs of numbers and text are TOML")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_can_be_read_and_written_again() {
        let constants = Constants::default();
        assert_eq!(Constants::parse(&constants.file()), Ok(constants.clone()));
        assert!(constants.values().iter().all(|(_, value)| *value > 0.0));
        let broken = constants.file().replace("value = 7.4", "value = -7.4");
        assert!(Constants::parse(&broken).unwrap_err().0.contains("frame_cpu_us"));
        assert!(Constants::parse("[frame]").is_err());
    }
}
