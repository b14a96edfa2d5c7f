//! Why connections did not get their TLS, counted: few reasons, and fixed ones.

use rustls::Error;

use super::Refused;
use crate::metrics::{Counter, Family, Metrics};

/// Why one did not become a connection with TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It spoke HTTP without TLS, and was told.
    Plaintext,
    /// It took too long.
    Late,
    /// It went away, or its connection failed.
    Gone,
    /// Its certificate, or ours, was not accepted.
    Certificate,
    /// It knows no version, cipher or protocol that is spoken here.
    Incompatible,
    /// What it sent is no TLS, or TLS of a kind that nobody means.
    Broken,
}

/// All of them, with their labels.
const ALL: [(Reason, &str); 6] = [
    (Reason::Plaintext, "plaintext"),
    (Reason::Late, "late"),
    (Reason::Gone, "gone"),
    (Reason::Certificate, "certificate"),
    (Reason::Incompatible, "incompatible"),
    (Reason::Broken, "broken"),
];

impl Refused {
    /// Why, in one of few words.
    #[must_use]
    pub fn reason(&self) -> Reason {
        let Self::Failed(error) = self else { return Reason::Plaintext };
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            None => Reason::Gone,
            Some(Error::InvalidCertificate(_) | Error::NoCertificatesPresented) => Reason::Certificate,
            Some(Error::AlertReceived(alert)) => said(*alert),
            Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => Reason::Incompatible,
            Some(_) => Reason::Broken,
        }
    }
}

/// What a peer says when it ends the handshake itself (RFC 8446 §6).
fn said(alert: rustls::AlertDescription) -> Reason {
    use rustls::AlertDescription as Alert;
    match alert {
        Alert::CloseNotify | Alert::UserCanceled => Reason::Gone,
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::CertificateRequired => Reason::Certificate,
        Alert::ProtocolVersion
        | Alert::HandshakeFailure
        | Alert::InsufficientSecurity
        | Alert::NoApplicationProtocol => Reason::Incompatible,
        _ => Reason::Broken,
    }
}

/// Counters of a port that speaks TLS, one for each reason. Clones count together.
#[derive(Debug, Clone)]
pub struct Refusals([Counter; ALL.len()]);

impl Refusals {
    /// All are there from the start, at zero.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let help = "TLS handshakes that failed or took too long, by reason";
        let family: Family<[(&'static str, &'static str); 1], Counter> =
            metrics.register("tls_refused", help);
        Self(ALL.map(|(_, label)| family.get_or_create_owned(&[("reason", label)])))
    }

    /// Counts one.
    pub fn count(&self, reason: Reason) {
        self.0[reason as usize].inc();
    }

    /// Of all reasons together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().map(Counter::get).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustls::AlertDescription as Alert;

    use super::*;

    #[test]
    fn each_reason_has_the_counter_of_its_label() {
        let metrics = Metrics::new("test");
        let refusals = Refusals::new(&metrics);
        for (times, (reason, _)) in ALL.into_iter().enumerate() {
            (0..=times).for_each(|_| refusals.count(reason));
        }
        let text = metrics.text();
        for (times, (_, label)) in ALL.into_iter().enumerate() {
            let line = format!("tidegate_test_tls_refused_total{{reason=\"{label}\"}} {}\n", times + 1);
            assert!(text.contains(&line), "{line} in {text}");
        }
        assert_eq!(refusals.total(), 21);
    }

    #[test]
    fn whatever_fails_has_a_reason() {
        let failed = |error| Refused::Failed(io::Error::other(error)).reason();
        assert_eq!(Refused::Plaintext.reason(), Reason::Plaintext);
        assert_eq!(Refused::Failed(io::ErrorKind::UnexpectedEof.into()).reason(), Reason::Gone);
        assert_eq!(failed(Error::AlertReceived(Alert::UnknownCA)), Reason::Certificate);
        assert_eq!(failed(Error::AlertReceived(Alert::ProtocolVersion)), Reason::Incompatible);
        assert_eq!(failed(Error::AlertReceived(Alert::UserCanceled)), Reason::Gone);
        assert_eq!(failed(Error::NoApplicationProtocol), Reason::Incompatible);
        assert_eq!(failed(Error::DecryptError), Reason::Broken);
    }
}
