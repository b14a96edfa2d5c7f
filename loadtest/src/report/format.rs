//! Numbers as people read them.

/// A count with its thousands apart.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with about three digits that mean something.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 1_000.0 => {
            let sign = if value < 0.0 { "-" } else { "" };
            format!("{sign}{}", count(large.round() as u64))
        }
        middle if middle >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        0.0 => "0".into(),
        small if small >= 0.01 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// Bytes.
pub(crate) fn bytes(value: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (value, 0);
    while value.abs() >= 1_024.0 && unit + 1 < units.len() {
        value /= 1_024.0;
        unit += 1;
    }
    if unit == 0 { format!("{value:.0} B") } else { format!("{} {}", number(value), units[unit]) }
}

/// A time given in milliseconds.
pub(crate) fn millis(ms: f64) -> String {
    match ms {
        ms if ms >= 10_000.0 => format!("{} s", number(ms / 1e3)),
        ms if ms >= 1.0 || ms == 0.0 => format!("{} ms", number(ms)),
        ms => format!("{} µs", number(ms * 1e3)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        let counts = [0, 12, 123, 1_234, 1_234_567].map(count);
        assert_eq!(counts, ["0", "12", "123", "1,234", "1,234,567"]);
        let numbers = [0.0, 0.001_23, 0.123, 12.34, 123.4, 12_345.6, -12_345.6].map(number);
        assert_eq!(numbers, ["0", "0.0012", "0.12", "12.3", "123", "12,346", "-12,346"]);
        let sizes = [0.0, 1_023.0, 1_536.0, 3.5 * 1_048_576.0].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.50 KiB", "3.50 MiB"]);
        let times = [0.0, 0.25, 12.0, 1_500.0, 12_000.0].map(millis);
        assert_eq!(times, ["0 ms", "250 µs", "12.0 ms", "1,500 ms", "12.0 s"]);
    }
}
