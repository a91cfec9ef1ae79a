//! Where NATS is and who we are there, read from the setting `queue`; and what its failures are called.

use std::fmt::{Display, Write};
use std::path::PathBuf;
use std::time::Duration;

use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use tokio::sync::watch;

use super::super::{Config, Tls, state, tls};
use super::ANSWER_TIMEOUT;
use crate::error::{Code, Error, Result};
use crate::http::query::decoded;

/// How long a connection may take, and how often a silent one is asked whether it lives.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const PING: Duration = Duration::from_secs(5);
/// The names in a URL's query that say where the file with a user's credentials is, or that with its key alone.
const CREDENTIALS: &str = "credentials";
const NKEY: &str = "nkey";
/// How the seed of a user's key begins.
const SEED: &str = "SU";

/// Who we are to the broker.
#[derive(Clone)]
enum User {
    Nobody,
    Password(String, String),
    Token(String),
    /// The file of a JWT and its key.
    Credentials(PathBuf),
    /// The file of a key's seed.
    Key(PathBuf),
}

/// The servers of a setting, and who we are there. Not to be shown: it may hold a password.
#[derive(Clone)]
pub struct Place {
    servers: Vec<ServerAddr>,
    user: User,
    /// The servers without the user, to be shown.
    text: String,
}

impl Place {
    /// Reads `nats://USER:PASSWORD@HOST:PORT`, or several with commas between; `tls://` is TLS.
    ///
    /// # Errors
    /// `setting_invalid`, without the URL.
    pub fn read(url: &str) -> Result<Self> {
        let mut place = Self { servers: Vec::new(), user: User::Nobody, text: String::new() };
        for one in url.split(',') {
            place.add(one.trim()).ok_or_else(|| {
                Error::new(Code::SettingInvalid, "the setting queue is no URL of NATS").hint(
                    "write nats://HOST:PORT, nats://USER:PASSWORD@HOST:PORT, nats://TOKEN@HOST:PORT or \
                     nats://HOST:PORT?credentials=FILE (or ?nkey=FILE), several with commas between; tls:// is TLS",
                )
            })?;
        }
        Ok(place)
    }

    fn add(&mut self, url: &str) -> Option<()> {
        let mut url = url.parse::<ServerAddr>().ok()?.into_inner();
        if !matches!(url.scheme(), "nats" | "tls") || !url.has_host() {
            return None;
        }
        let part = |text: &str| decoded(text).map(std::borrow::Cow::into_owned);
        let user = match (part(url.username())?, url.password()) {
            (name, _) if name.is_empty() => User::Nobody,
            (name, Some(password)) => User::Password(name, part(password)?),
            (token, None) => User::Token(token),
        };
        if matches!(self.user, User::Nobody) {
            self.user = user;
        }
        for (name, value) in url.query_pairs() {
            let file = PathBuf::from(value.into_owned());
            self.user = match name.as_ref() {
                CREDENTIALS => User::Credentials(file),
                NKEY => User::Key(file),
                _ => return None,
            };
        }
        url.set_query(None);
        url.set_username("").ok()?;
        url.set_password(None).ok()?;
        let server = ServerAddr::from_url(url).ok()?;
        let between = if self.text.is_empty() { "" } else { ", " };
        write!(self.text, "{between}{}:{}", server.host(), server.port()).ok()?;
        self.servers.push(server);
        Some(())
    }

    /// Connects, once; `gone` is told when the connection is lost, or the broker refuses something.
    ///
    /// # Errors
    /// `queue_unavailable`.
    pub async fn connect(&self, config: &Config, gone: watch::Sender<Option<String>>) -> Result<Client> {
        let options = match &self.user {
            User::Nobody => ConnectOptions::new(),
            User::Password(user, password) => ConnectOptions::with_user_and_password(user.clone(), password.clone()),
            User::Token(token) => ConnectOptions::with_token(token.clone()),
            User::Credentials(file) => {
                ConnectOptions::with_credentials_file(file).await.map_err(|error| unreadable("credentials", &error))?
            }
            User::Key(file) => {
                let content = std::fs::read_to_string(file).map_err(|error| unreadable("a key", &error))?;
                let seed = content.lines().map(str::trim).find(|line| line.starts_with(SEED));
                let seed = seed.ok_or_else(|| unreadable("a key", &format!("no line of it begins with {SEED}")))?;
                ConnectOptions::with_nkey(seed.to_owned())
            }
        };
        self.secured(options, &config.tls)?
            .name(&config.consumer)
            .connection_timeout(CONNECT_TIMEOUT)
            .request_timeout(Some(ANSWER_TIMEOUT))
            .ping_interval(PING)
            .max_reconnects(self.servers.len())
            .ignore_discovered_servers()
            .read_buffer_capacity(u16::MAX)
            .event_callback(move |event| {
                let reason = match event {
                    Event::Disconnected | Event::Closed => Some("the connection is lost".to_owned()),
                    Event::ServerError(error) => Some(error.to_string()),
                    _ => None,
                };
                if reason.is_some() {
                    gone.send_if_modified(|known| {
                        known.is_none() && {
                            *known = reason;
                            true
                        }
                    });
                }
                std::future::ready(())
            })
            .connect(self.servers.as_slice())
            .await
            .map_err(|error| self.unreachable(&error))
    }

    /// Has the broker known by the authorities of the settings, and shows it our certificate. Where either is said there
    /// is no connection without TLS.
    fn secured(&self, mut options: ConnectOptions, tls: &Tls) -> Result<ConnectOptions> {
        // The client reads them itself, and says less of what is wrong.
        tls.load()?;
        if let Some(authorities) = &tls.authorities {
            options = options.add_root_certificates(authorities.clone());
        }
        if let Some(own) = &tls.own {
            options = options.add_client_certificate(own.certificate.clone(), own.key.clone());
        }
        Ok(if tls.is_asked() { options.require_tls(true) } else { options })
    }

    fn unreachable(&self, error: &ConnectError) -> Error {
        match error.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                self.error("refuses the user or the password")
            }
            ConnectErrorKind::TimedOut => self.error("does not answer in time"),
            _ => {
                // The innermost reason says most.
                let mut reason: &dyn std::error::Error = error;
                while let Some(source) = reason.source() {
                    reason = source;
                }
                let reason = reason.to_string();
                if tls::is_refused(&reason) {
                    return tls::refused("NATS", &self.text, &reason);
                }
                self.error(&format!("cannot be reached: {reason}"))
            }
        }
    }

    /// Something about the broker that keeps us from it.
    pub fn error(&self, what: &str) -> Error {
        Error::new(Code::QueueUnavailable, format!("NATS at {} {what}", self.text)).hint(state::HINT)
    }

    /// A call that failed.
    pub fn fault(&self, error: &dyn std::error::Error) -> Error {
        self.says(&error.to_string())
    }

    /// What the broker refuses, in its own words.
    pub fn says(&self, reason: &str) -> Error {
        self.error(&format!("says: {reason}"))
    }

    /// The connection is gone, for a reason if one is known.
    pub fn lost(&self, reason: Option<&str>) -> Error {
        self.error(&format!("is gone: {}", reason.unwrap_or("the connection is lost")))
    }

    /// Nothing is heard any more.
    pub fn silent(&self) -> Error {
        self.error("does not answer in time")
    }
}

fn unreadable(what: &str, why: &dyn Display) -> Error {
    Error::new(Code::QueueUnavailable, format!("the file of {what} that the setting queue names cannot be read: {why}"))
        .hint("mend the file, or what the setting says of it; the server goes on trying")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_we_are_is_read_and_not_shown() {
        let place = Place::read("nats://me:a%2Cb@one:5000, tls://two").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(place.text, "one:5000, two:4222");
        assert!(matches!(&place.user, User::Password(user, password) if user == "me" && password == "a,b"));
        assert!(place.servers.iter().all(|server| !server.has_user_pass()));
        let shown = place.lost(None).to_string();
        assert!(!shown.contains("a,b") && shown.contains("one:5000"), "{shown}");
        let token = Place::read("nats://secret@one").map(|place| place.user);
        assert!(matches!(token, Ok(User::Token(token)) if token == "secret"));
        let file = Place::read("nats://one?credentials=/a/b.creds").map(|place| place.user);
        assert!(matches!(file, Ok(User::Credentials(path)) if path == std::path::Path::new("/a/b.creds")));
        let key = Place::read("nats://one?nkey=/a/b.nk").map(|place| place.user);
        assert!(matches!(key, Ok(User::Key(path)) if path == std::path::Path::new("/a/b.nk")));
        for wrong in ["nats://", "ws://one", "nats://one?other=1", "nats://one:x"] {
            assert!(Place::read(wrong).is_err_and(|error| error.code() == Code::SettingInvalid), "{wrong}");
        }
    }
}
