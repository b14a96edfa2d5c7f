//! Values as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use loadtest::Event;

/// More than one logic node answers: in a closed loop so many pushes are drawn for each second.
const CALLS_PER_SEC_MAX: f64 = 50_000.0;

/// How often is pushed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rate {
    /// So often, whatever the answers do.
    PerSec(f64),
    /// As fast as pushes are answered.
    Max,
}

impl Rate {
    /// Pushes a second, or a bound of them.
    pub(super) fn per_sec(self) -> f64 {
        match self {
            Self::PerSec(rate) => rate,
            Self::Max => CALLS_PER_SEC_MAX,
        }
    }
}

impl FromStr for Rate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(rate) => Ok(Self::PerSec(rate)),
            Err(_) if text == "max" => Ok(Self::Max),
            Err(_) => Err("a number is expected, or max".into()),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PerSec(rate) => rate.fmt(f),
            Self::Max => f.write_str("max"),
        }
    }
}

/// What happens to the cluster while it is pushed to: `30s:kill=gateway-1`, `40s:start=gateway-1`.
pub(super) fn read_event(text: &str) -> Result<(Duration, Event), String> {
    let expected = || format!("{text:?}: an event is written 30s:kill=gateway-1 or 40s:start=gateway-1");
    let (at, what) = text.split_once(':').ok_or_else(expected)?;
    let (verb, whom) = what.split_once('=').ok_or_else(expected)?;
    let at = humantime::parse_duration(at).map_err(|error| format!("{at:?}: {error}"))?;
    let number = whom.strip_prefix("gateway").ok_or_else(expected)?;
    let number = match number.strip_prefix('-') {
        Some(number) => number.parse().map_err(|_| expected())?,
        None if number.is_empty() => 0,
        None => return Err(expected()),
    };
    match verb {
        "kill" => Ok((at, Event::KillGateway(number))),
        "start" => Ok((at, Event::StartGateway(number))),
        _ => Err(expected()),
    }
}

/// A number of clients: `20000`, `20_000`, `20,000`, `20k`, `1.5m`.
pub(super) fn read_count(text: &str) -> Result<u32, String> {
    let wrong = || format!("{text:?}: a number is expected, such as 20000, 20k, 1m or 1.5m");
    let lower = text.trim().to_ascii_lowercase();
    let (digits, times) = match lower.strip_suffix(['k', 'm']) {
        Some(digits) => (digits, if lower.ends_with('k') { 1e3 } else { 1e6 }),
        None => (lower.as_str(), 1.0),
    };
    let digits: String = digits.chars().filter(|c| !matches!(c, '_' | ',')).collect();
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_digit() || c == '.');
    let number = digits.parse::<f64>().ok().filter(|_| is_number).ok_or_else(wrong)? * times;
    if number.fract() != 0.0 {
        return Err(format!("{text:?} is not a whole number"));
    }
    if number > f64::from(u32::MAX) {
        return Err(format!("{text:?}: at most {}", u32::MAX));
    }
    Ok(number as u32)
}

/// A size as the documentation writes sizes.
pub(super) fn read_size(text: &str) -> Result<usize, String> {
    let size: bytesize::ByteSize =
        text.parse().map_err(|_| "sizes are written 200, 4KiB, 64KiB".to_owned())?;
    usize::try_from(size.as_u64()).map_err(|error| error.to_string())
}

/// The key in a file: read at once, so that a file that is not there is a usage error.
pub(super) fn read_key(path: &str) -> Result<String, String> {
    let key = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let key = key.trim();
    let visible = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
    if visible { Ok(key.to_owned()) } else { Err("the file holds no key of visible ASCII characters".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_people_write_them() {
        for (text, number) in [
            ("1m", 1_000_000),
            ("1M", 1_000_000),
            ("100k", 100_000),
            ("1.5m", 1_500_000),
            ("0.1k", 100),
            ("20000", 20_000),
            ("20_000", 20_000),
            ("1,000,000", 1_000_000),
            ("0", 0),
        ] {
            assert_eq!(read_count(text), Ok(number), "{text}");
        }
        for bad in ["", "m", "-1", "1.5", "1.0001k", "1e6", "ten", "5g", "5000m", "1k5", ".5k", "inf", "nan"]
        {
            assert!(read_count(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rates_and_events_are_read_and_nonsense_is_refused() {
        assert_eq!(("7.5".parse(), "max".parse()), (Ok(Rate::PerSec(7.5)), Ok(Rate::Max)));
        assert!("fast".parse::<Rate>().is_err() && Rate::Max.to_string() == "max");
        let secs = Duration::from_secs;
        for (text, event) in [
            ("30s:kill=gateway", (secs(30), Event::KillGateway(0))),
            ("1m:start=gateway-12", (secs(60), Event::StartGateway(12))),
        ] {
            assert_eq!(read_event(text), Ok(event));
        }
        for bad in
            ["", "30s", "30s:kill", "x:kill=gateway", "1s:stop=gateway", "1s:kill=logic", "1s:kill=gateway-x"]
        {
            assert!(read_event(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_are_read_as_they_are_written() {
        for (text, bytes) in [("200", 200), ("64KiB", 65_536), ("100KiB", 102_400), ("1kB", 1_000)] {
            assert_eq!(read_size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "KiB", "-1", "64Kix"] {
            assert!(read_size(bad).is_err(), "{bad:?}");
        }
    }
}
