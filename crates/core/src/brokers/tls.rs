//! Certificates of a broker's TLS: by which authorities we know it, and by which certificate it knows us.
//!
//! The files are read at the start, so that a wrong name is said there, and again before each connection, so that new
//! ones are taken without a restart.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{OFF, invalid, state};
use crate::error::{Code, Error, Result};
use crate::settings::Settings;

/// The files that the settings name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tls {
    pub authorities: Option<PathBuf>,
    pub own: Option<Own>,
}

/// Our own certificate, and its key.
#[derive(Clone, Debug, PartialEq)]
pub struct Own {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What is in these files.
pub struct Pem {
    pub authorities: Option<Vec<u8>>,
    /// The certificate, and the key.
    pub own: Option<(Vec<u8>, Vec<u8>)>,
}

impl Tls {
    pub fn from_settings(settings: &Settings) -> Self {
        let file = |name: &String| (name != OFF).then(|| PathBuf::from(name));
        let certificate = file(&settings.queue_certificate_file);
        let key = file(&settings.queue_key_file);
        Self {
            authorities: file(&settings.queue_ca_file),
            own: certificate.map(|certificate| Own { key: key.unwrap_or_else(|| certificate.clone()), certificate }),
        }
    }

    /// Whether anything is said that only TLS can keep.
    pub fn is_asked(&self) -> bool {
        self.authorities.is_some() || self.own.is_some()
    }

    /// Refuses files that cannot be used, and a URL that uses none.
    ///
    /// # Errors
    /// `setting_invalid`, without the URL.
    pub fn check(&self, url: &str) -> Result<()> {
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        if self.is_asked() && !matches!(scheme, "rediss" | "valkeys" | "nats" | "tls") {
            return Err(invalid(
                "there are certificates for the queue, and its URL is not one of TLS",
                "write rediss:// for Redis, or leave queue_ca_file and queue_certificate_file away",
            ));
        }
        self.read().map(drop).map_err(|why| invalid(why, "name a file in PEM that this user may read"))
    }

    /// Reads the files again, for a connection.
    ///
    /// # Errors
    /// `queue_unavailable`.
    pub fn load(&self) -> Result<Pem> {
        self.read().map_err(|why| Error::new(Code::QueueUnavailable, why).hint(state::HINT))
    }

    /// Reads the files, and looks whether they hold what they should.
    fn read(&self) -> std::result::Result<Pem, String> {
        let authorities = self.authorities.as_deref().map(|path| certificates("queue_ca_file", path)).transpose()?;
        let own = self.own.as_ref().map(|own| {
            let key = bytes("queue_key_file", &own.key)?;
            PrivateKeyDer::from_pem_slice(&key).map_err(|error| unusable("queue_key_file", &own.key, &error))?;
            Ok::<_, String>((certificates("queue_certificate_file", &own.certificate)?, key))
        });
        Ok(Pem { authorities, own: own.transpose()? })
    }
}

/// The content of a file that holds certificates.
fn certificates(setting: &str, path: &Path) -> std::result::Result<Vec<u8>, String> {
    let content = bytes(setting, path)?;
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    match found {
        Err(error) => Err(unusable(setting, path, &error)),
        Ok(found) if found.is_empty() => Err(unusable(setting, path, &"there is no certificate in it")),
        Ok(_) => Ok(content),
    }
}

fn bytes(setting: &str, path: &Path) -> std::result::Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| unusable(setting, path, &error))
}

fn unusable(setting: &str, path: &Path, why: &dyn Display) -> String {
    format!("{setting} cannot be used: {}: {why}", path.display())
}

/// Whether a failure on the way to a broker is one of certificates, which TLS calls by these words.
pub fn is_refused(reason: &str) -> bool {
    ["certificate", "fatal alert"].iter().any(|words| reason.contains(words))
}

/// A broker that we do not trust, or that does not trust us.
pub fn refused(broker: &str, place: &str, reason: &str) -> Error {
    Error::new(Code::QueueUnavailable, format!("no TLS with {broker} at {place}: {reason}")).hint(
        "name the authority that signs its certificate in queue_ca_file, connect to a name that the certificate has, and \
         show it a certificate of ours with queue_certificate_file if it asks for one",
    )
}
