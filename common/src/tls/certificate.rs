//! Until when a certificate counts, read out of it: as much DER as that takes. rustls has checked the rest.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;

use super::files::Named;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// A certificate of ours, as it stands in its file now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Where it was read.
    pub file: Named,
    /// The last moment at which others accept it.
    pub expires: SystemTime,
}

impl Certificate {
    /// Of a chain the first, which is renewed more often than those behind it, and whose end others look at.
    ///
    /// # Errors
    /// No end can be read in it.
    pub(super) fn first_of(file: &Named, chain: &[CertificateDer<'_>]) -> Result<Self, String> {
        let expires = chain.first().and_then(|first| not_after(first));
        let expires = expires.ok_or_else(|| format!("{file}: it cannot be read until when it is valid"))?;
        Ok(Self { file: file.clone(), expires })
    }
}

/// The end of a certificate's validity (RFC 5280 §4.1).
fn not_after(der: &[u8]) -> Option<SystemTime> {
    let (certificate, _) = inside(der, SEQUENCE)?;
    let (mut fields, _) = inside(certificate, SEQUENCE)?;
    if let Some((_, rest)) = inside(fields, VERSION) {
        fields = rest;
    }
    // The number, the algorithm, and who signed it.
    for _ in 0..3 {
        (_, _, fields) = value(fields)?;
    }
    let (validity, _) = inside(fields, SEQUENCE)?;
    let (_, _, end) = value(validity)?;
    let (tag, end, _) = value(end)?;
    time(tag, std::str::from_utf8(end).ok()?)
}

/// One value in DER (X.690 §8.1): its tag, what is in it, and what follows.
fn value(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (inside, rest) = rest.split_at_checked(length)?;
    Some((tag, inside, rest))
}

/// What is in a value that has this tag, and what follows.
fn inside(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    value(der).filter(|(found, ..)| *found == tag).map(|(_, inside, rest)| (inside, rest))
}

/// A time (RFC 5280 §4.1.2.5): `YYMMDDHHMMSSZ` up to 2049, `YYYYMMDDHHMMSSZ` from then on.
fn time(tag: u8, text: &str) -> Option<SystemTime> {
    let digits = text.strip_suffix('Z').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let (year, rest) = digits.split_at(2);
            let year: u64 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        (GENERALIZED_TIME, 14) => {
            let (year, rest) = digits.split_at(4);
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let two = |at: usize| rest[at..at + 2].parse::<u64>().ok();
    let days = days_since_1970(year, two(0)?, two(2)?)?;
    let seconds = days * 86_400 + two(4)? * 3600 + two(6)? * 60 + two(8)?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Days from 1970 to a day of the calendar; `None` before that.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    // Years that begin in March, so that the day which some have more is their last.
    let years = if month > 2 { year } else { year.checked_sub(1)? };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day.checked_sub(1)?;
    // Of year 0 on; 719,468 days lie between its March and 1970.
    (years * 365 + years / 4 - years / 100 + years / 400 + day_of_year).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_read_out_of_it() {
        let key = KeyPair::generate().unwrap();
        for (year, month, day, seconds) in [
            (1971, 1, 1, 31_536_000),
            (2000, 2, 29, 951_782_400),
            (2024, 12, 31, 1_735_603_200),
            (2049, 12, 31, 2_524_521_600),
            (2050, 1, 1, 2_524_608_000),
            (2100, 3, 1, 4_107_542_400),
            (9999, 12, 31, 253_402_214_400),
        ] {
            let mut params = CertificateParams::new(vec!["x".to_owned()]).unwrap();
            params.not_before = date_time_ymd(1970, 1, 2);
            params.not_after = date_time_ymd(year, month, day);
            let certificate = params.self_signed(&key).unwrap();
            let expected = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(not_after(certificate.der()), Some(expected), "{year}-{month}-{day}");
        }
    }

    #[test]
    fn what_is_cut_short_or_no_time_has_no_end() {
        let key = KeyPair::generate().unwrap();
        let whole = CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
        let der = whole.der();
        assert!(not_after(der).is_some());
        (0..der.len()).for_each(|length| assert_eq!(not_after(&der[..length]), None, "{length}"));
        for text in ["", "Z", "2401010000Z", "240101000000", "24010100000xZ", "240001000000"] {
            assert_eq!(time(UTC_TIME, text), None, "{text}");
        }
        assert_eq!(time(GENERALIZED_TIME, "240101000000Z"), None);
    }
}
