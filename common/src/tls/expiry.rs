//! When our own certificates end: for the operator's port, and in the log before it happens.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::certificate::Certificate;
use super::{Acceptor, Connector};
use crate::metrics::{Family, Gauge, Metrics};
use crate::shutdown::Shutdown;

/// A certificate that ends sooner is spoken of. Authorities that give them for 90 days have them renewed by then.
const SOON: Duration = Duration::from_secs(30 * DAY_SECS);

/// How often it is spoken of.
const SAY_EVERY: Duration = Duration::from_secs(DAY_SECS);

/// How often it is looked whether another one was read.
const LOOK_EVERY: Duration = Duration::from_secs(60);

const DAY_SECS: u64 = 24 * 60 * 60;

/// Who shows a certificate.
#[derive(Debug, Clone)]
pub enum Shows {
    /// To those who connect.
    Acceptor(Acceptor),
    /// To those whom it connects to, if they ask.
    Connector(Connector),
}

impl Shows {
    fn certificate(&self) -> Option<Certificate> {
        match self {
            Self::Acceptor(acceptor) => Some(acceptor.certificate()),
            Self::Connector(connector) => connector.certificate(),
        }
    }
}

/// The certificates of a node. Clones are the same.
#[derive(Debug, Clone)]
pub struct Expiries(Arc<Vec<Row>>);

#[derive(Debug)]
struct Row {
    /// What it is shown on: clients, links, api.
    port: &'static str,
    shows: Shows,
    gauge: Gauge,
}

/// A certificate that ends soon, or has ended.
#[derive(Debug, PartialEq, Eq)]
struct Remark {
    has_ended: bool,
    /// Until then, or since then.
    days: u64,
}

impl Remark {
    fn on(expires: SystemTime, now: SystemTime) -> Option<Self> {
        match expires.duration_since(now) {
            Ok(left) if left >= SOON => None,
            Ok(left) => Some(Self { has_ended: false, days: left.as_secs() / DAY_SECS }),
            Err(since) => Some(Self { has_ended: true, days: since.duration().as_secs() / DAY_SECS }),
        }
    }

    fn log(&self, port: &str, file: &super::Named) {
        let days = self.days;
        if self.has_ended {
            tracing::error!(%port, %file, days, "a certificate HAS EXPIRED so many days ago, and others refuse it: put a new one in its place, which is read without a restart");
        } else {
            tracing::warn!(%port, %file, days, "a certificate expires in so many days: put a new one in its place, which is read without a restart");
        }
    }
}

impl Expiries {
    /// Those of a node, each with the port that it is shown on.
    #[must_use]
    pub fn new(metrics: &Metrics, shown: impl IntoIterator<Item = (&'static str, Shows)>) -> Self {
        let help = "When the certificate that is shown on a port expires, in seconds since 1970";
        let family: Family<[(&'static str, &'static str); 1], Gauge> =
            metrics.register("certificate_expiry_timestamp_seconds", help);
        let shown = shown.into_iter().filter(|(_, shows)| shows.certificate().is_some());
        let rows = shown.map(|(port, shows)| {
            let gauge = family.get_or_create_owned(&[("port", port)]);
            Row { port, shows, gauge }
        });
        let all = Self(Arc::new(rows.collect()));
        all.refresh();
        all
    }

    fn certificates(&self) -> impl Iterator<Item = (&Row, Certificate)> {
        self.0.iter().filter_map(|row| Some((row, row.shows.certificate()?)))
    }

    /// Brings the gauges up to date.
    pub fn refresh(&self) {
        for (row, certificate) in self.certificates() {
            row.gauge.set(unix_seconds(certificate.expires));
        }
    }

    /// All of them, for `/statusz`.
    #[must_use]
    pub fn status(&self) -> Value {
        let today = unix_seconds(SystemTime::now());
        let shown = |(row, certificate): (&Row, Certificate)| {
            let expires = unix_seconds(certificate.expires);
            let days_left = (expires - today).div_euclid(DAY_SECS.cast_signed());
            let file = certificate.file.path;
            json!({"port": row.port, "file": file, "expiresUnixSecs": expires, "daysLeft": days_left})
        };
        self.certificates().map(shown).collect()
    }

    /// Says in the log which ones end soon or have ended: now, once a day, and when another one was read.
    pub async fn watch(self, shutdown: Shutdown) {
        let mut said: Vec<Option<(SystemTime, Instant)>> = vec![None; self.0.len()];
        let mut every = interval(LOOK_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.or_stopped(every.tick()).await.is_some() {
            for (row, said) in self.0.iter().zip(&mut said) {
                let Some(Certificate { file, expires }) = row.shows.certificate() else { continue };
                let is_known =
                    said.is_some_and(|(known, when)| known == expires && when.elapsed() < SAY_EVERY);
                if is_known {
                    continue;
                }
                *said = Some((expires, Instant::now()));
                if let Some(remark) = Remark::on(expires, SystemTime::now()) {
                    remark.log(row.port, &file);
                }
            }
        }
    }
}

/// Certificates of before 1970 have ended then.
fn unix_seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_spoken_of_in_its_last_thirty_days_and_after_them() {
        let now = UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        let day = Duration::from_secs(DAY_SECS);
        let (soon, ended) =
            (|days| Remark { has_ended: false, days }, |days| Remark { has_ended: true, days });
        for (expires, remark) in [
            (now + 31 * day, None),
            (now + 30 * day, None),
            (now + 30 * day - Duration::from_secs(1), Some(soon(29))),
            (now + day, Some(soon(1))),
            (now + day / 2, Some(soon(0))),
            (now, Some(soon(0))),
            (now - Duration::from_secs(1), Some(ended(0))),
            (now - 3 * day, Some(ended(3))),
        ] {
            assert_eq!(Remark::on(expires, now), remark);
        }
    }
}
