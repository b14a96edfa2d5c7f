//! What the whole machine uses, and the units in which the kernel counts.

use std::sync::OnceLock;

/// Types of entries of the auxiliary vector, getauxval(3).
const AT_PAGESZ: u64 = 6;
const AT_CLKTCK: u64 = 17;

/// Ticks a second in which `/proc/PID/stat` counts CPU time.
pub(crate) fn ticks_per_sec() -> f64 {
    static TICKS: OnceLock<u64> = OnceLock::new();
    // 100 on every Linux that has a C library (`sysconf(_SC_CLK_TCK)`).
    *TICKS.get_or_init(|| auxiliary(AT_CLKTCK).unwrap_or(100)) as f64
}

/// Bytes of a page, in which `/proc/PID/statm` counts memory.
pub(super) fn page_bytes() -> u64 {
    static PAGE: OnceLock<u64> = OnceLock::new();
    *PAGE.get_or_init(|| auxiliary(AT_PAGESZ).unwrap_or(4_096))
}

/// What the kernel told this process at its start: pairs of words, a type and a value.
fn auxiliary(wanted: u64) -> Option<u64> {
    let bytes = std::fs::read("/proc/self/auxv").ok()?;
    let word = |bytes: &[u8]| bytes.try_into().ok().map(usize::from_ne_bytes);
    let mut words = bytes.chunks_exact(size_of::<usize>()).filter_map(word);
    while let (Some(kind), Some(value)) = (words.next(), words.next()) {
        if kind as u64 == wanted && value > 0 {
            return Some(value as u64);
        }
    }
    None
}

/// Memory in use on the machine: all that programs could not get, the kernel's included.
pub(super) fn memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    kib("MemTotal:").saturating_sub(kib("MemAvailable:")) * 1_024
}

/// Bytes that went through the loopback interface since it is up.
pub(super) fn loopback_bytes() -> u64 {
    parse_interface(&std::fs::read_to_string("/proc/net/dev").unwrap_or_default(), "lo:")
}

/// Bytes that an interface has sent: on loopback what is sent is what is received.
fn parse_interface(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(name));
    line.and_then(|line| line.split_whitespace().nth(8)?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_its_units() {
        assert_eq!(auxiliary(AT_CLKTCK), Some(100));
        assert!(auxiliary(AT_PAGESZ).is_some_and(u64::is_power_of_two));
        assert_eq!(auxiliary(4_711), None);
        assert!(memory_bytes() > 0);
    }

    #[test]
    fn an_interface_is_found_by_its_name() {
        let text = "Inter-|   Receive | Transmit\n face |bytes packets\n    lo: 700 1 0 0 0 0 0 0 900 2 0\n  eth0: 1 2 3 4 5 6 7 8 9 10\n";
        assert_eq!(parse_interface(text, "lo:"), 900);
        assert_eq!(parse_interface(text, "eth0:"), 9);
        assert_eq!(parse_interface(text, "wlan0:"), 0);
    }
}
