//! Certificates and keys in PEM, as they stand in files. What is wrong is said with the flag and the file, and what to
//! change.

use std::fmt;
use std::path::PathBuf;

use rustls::RootCertStore;
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A file, and the flag that named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// With its dashes.
    pub flag: &'static str,
    /// The file.
    pub path: PathBuf,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.flag, self.path.display())
    }
}

impl Named {
    /// A file, and the flag that named it.
    #[must_use]
    pub fn new(flag: &'static str, path: impl Into<PathBuf>) -> Self {
        Self { flag, path: path.into() }
    }

    fn read(&self) -> Result<Vec<u8>, String> {
        std::fs::read(&self.path).map_err(|error| format!("{self}: {error}"))
    }

    /// The certificates in it, in order.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let text = self.read()?;
        let found: Vec<_> = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<_, Error>>()
            .map_err(|error| format!("{self}: not PEM: {error:?}"))?;
        if found.is_empty() {
            let hint = if contains(&text, b"PRIVATE KEY-----") {
                "; it holds a key: are the two mixed up?"
            } else {
                ""
            };
            return Err(format!("{self}: it holds no certificate (-----BEGIN CERTIFICATE-----){hint}"));
        }
        Ok(found)
    }

    /// The private key in it.
    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, String> {
        let text = self.read()?;
        PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
            Error::NoItemsFound if contains(&text, b"ENCRYPTED PRIVATE KEY-----") => {
                format!("{self}: the key is encrypted, and nobody can type a password here (openssl pkey -in FILE -out FILE)")
            }
            Error::NoItemsFound => format!("{self}: it holds no private key (-----BEGIN PRIVATE KEY-----)"),
            error => format!("{self}: not PEM: {error:?}"),
        })
    }

    /// The certificates in it, as authorities that are trusted.
    pub(super) fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots
                .add(certificate)
                .map_err(|error| format!("{self}: not a certificate of an authority: {error}"))?;
        }
        Ok(roots)
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

/// Why a certificate and its key do not go together, in words.
pub(super) fn mismatch(cert: &Named, key: &Named, error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            format!("{key}: this is not the key of the certificate in {cert}")
        }
        error => format!("{cert} with {key}: {error}"),
    }
}
