//! Signatures of callbacks, as the Standard Webhooks specification has them, and the file of their secrets.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use crate::error::{Code, Error, Result};
use crate::settings::Settings;

/// What stands before a secret.
const PREFIX: &str = "whsec_";
/// Bytes of a secret that is made here, and those that one may have.
const SECRET_BYTES: usize = 32;
const ALLOWED_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// The file's name in the job store's folder.
const FILE: &str = "callback.secret";

/// The secrets that callbacks are signed with.
pub struct Secrets {
    path: PathBuf,
    /// As they were read last.
    known: Mutex<Vec<Secret>>,
}

#[derive(Clone)]
struct Secret {
    /// The host whose callbacks it signs; every other one's if it has none.
    host: Option<String>,
    key: hmac::Key,
}

impl Secrets {
    /// Reads the secrets that the settings name; a file in the store's folder is made if it is not there.
    ///
    /// # Errors
    /// `setting_invalid`.
    pub fn open(settings: &Settings, folder: &Path) -> Result<Self> {
        let path = match settings.callback_secret_file.as_str() {
            "auto" => {
                let path = folder.join(FILE);
                make(&path).map_err(|e| invalid(&path, &e.to_string()))?;
                path
            }
            given => PathBuf::from(given),
        };
        let known = Mutex::new(read(&path)?);
        Ok(Self { path, known })
    }

    /// Where they are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file again, so that secrets can be changed while the server runs; where it cannot be read, those that are
    /// known go on.
    ///
    /// # Errors
    /// `setting_invalid`.
    pub fn refresh(&self) -> Result<()> {
        let found = read(&self.path)?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(())
    }

    /// The signature field of an event that goes to a host: one signature for each of its secrets.
    pub fn sign(&self, host: &str, id: &str, timestamp: u64, body: &[u8]) -> String {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let own = known.iter().any(|secret| secret.host.as_deref() == Some(host));
        let wanted = own.then_some(host);
        let signatures: Vec<String> = known
            .iter()
            .filter(|secret| secret.host.as_deref() == wanted)
            .map(|secret| {
                let mut signing = hmac::Context::with_key(&secret.key);
                signing.update(format!("{id}.{timestamp}.").as_bytes());
                signing.update(body);
                format!("v1,{}", STANDARD.encode(signing.sign()))
            })
            .collect();
        signatures.join(" ")
    }
}

/// Makes a file with one secret, readable by nobody else, unless there is one.
fn make(path: &Path) -> std::io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let mut secret = [0; SECRET_BYTES];
    SystemRandom::new().fill(&mut secret).map_err(|_| std::io::Error::other("the system gives no random bytes"))?;
    // Written whole or not at all: it is renamed when it is on the disk.
    let draft = path.with_extension("draft");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
    writeln!(file, "{PREFIX}{}", STANDARD.encode(secret))?;
    file.sync_all()?;
    fs::rename(draft, path)
}

fn read(path: &Path) -> Result<Vec<Secret>> {
    let text = fs::read_to_string(path).map_err(|e| invalid(path, &e.to_string()))?;
    let mut secrets = Vec::new();
    for (line, number) in text.lines().map(str::trim).zip(1..) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (host, secret) =
            line.rsplit_once(char::is_whitespace).map_or((None, line), |(host, secret)| (Some(host), secret));
        let bytes = secret.strip_prefix(PREFIX).and_then(|text| STANDARD.decode(text).ok());
        let Some(bytes) = bytes.filter(|bytes| ALLOWED_BYTES.contains(&bytes.len())) else {
            return Err(invalid(path, &format!("line {number} is no secret")));
        };
        let host = host.map(|host| host.trim().to_ascii_lowercase());
        secrets.push(Secret { host, key: hmac::Key::new(hmac::HMAC_SHA256, &bytes) });
    }
    if !secrets.iter().any(|secret| secret.host.is_none()) {
        return Err(invalid(path, "it holds no secret for all hosts"));
    }
    Ok(secrets)
}

fn invalid(path: &Path, why: &str) -> Error {
    let message = format!("the callback secrets at {} cannot be used: {why}", path.display());
    Error::new(Code::SettingInvalid, message)
        .hint("a line is whsec_ and 24 to 64 bytes in base64; a host before it makes it that host's")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(folder: &tempfile::TempDir, text: &str) -> Result<Secrets> {
        let path = folder.path().join("secrets");
        fs::write(&path, text).unwrap();
        let settings = Settings { callback_secret_file: path.display().to_string(), ..Settings::default() };
        Secrets::open(&settings, folder.path())
    }

    #[test]
    fn a_known_signature() {
        // The vector that libraries of the specification test themselves with.
        let folder = tempfile::tempdir().unwrap();
        let secrets = secrets(&folder, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let signature = secrets.sign("a.b", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn several_secrets_are_several_signatures_and_a_host_may_have_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second, third] = [1, 2, 3].map(|byte| format!("{PREFIX}{}", STANDARD.encode([byte; 32])));
        let secrets = secrets(&folder, &format!("# old\n{first}\n\n{second}\nA.b {third}\n")).unwrap();
        let both = secrets.sign("c.d", "e", 1, b"x");
        assert_eq!(both.split(' ').count(), 2);
        let own = secrets.sign("a.b", "e", 1, b"x");
        assert!(!own.contains(' ') && !both.contains(&own));
        fs::write(secrets.path(), format!("{second}\n")).unwrap();
        secrets.refresh().unwrap();
        assert!(both.ends_with(&secrets.sign("c.d", "e", 1, b"x")));
        fs::write(secrets.path(), "whsec_\n").unwrap();
        assert!(secrets.refresh().is_err());
        assert!(both.ends_with(&secrets.sign("c.d", "e", 1, b"x")), "a broken file took the secrets away");
    }

    #[test]
    fn a_secret_is_made_once_and_is_nobody_elses() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let open = || Secrets::open(&Settings::default(), folder.path()).unwrap().sign("a.b", "e", 1, b"x");
        assert_eq!(open(), open());
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let short = format!("{PREFIX}{}", STANDARD.encode([1; 23]));
        let own = format!("a.b {PREFIX}{}", STANDARD.encode([1; 32]));
        for text in ["", "# nothing", "secret", "whsec_!!!!", &short, &own] {
            let error = secrets(&folder, text).err().expect(text);
            assert_eq!(error.code(), Code::SettingInvalid, "{text}");
            assert!(!error.to_string().contains("AQEB"), "the secret is told: {error}");
        }
    }
}
