//! The one table of settings: every word, its type, default, range, and what it does.
//!
//! Flags, environment variables, `monorail.toml`, Python's `settings.py` and the reference page all come
//! from this table, so that a setting is the same word everywhere.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::error::{Code, Error, Result};
use crate::names;
use crate::suggest;
use crate::values::UnknownColumns;

/// What values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    Bool,
    /// A whole number, both ends allowed.
    Int {
        minimum: u64,
        maximum: u64,
    },
    /// A number, both ends allowed.
    Float {
        minimum: f64,
        maximum: f64,
    },
    /// Text that is not empty.
    Text,
    /// One of some words.
    Choice(&'static [&'static str]),
}

/// Whom a setting is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole server.
    Serve,
    /// Every model, and it may be given for one model alone.
    Model,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub name: &'static str,
    pub form: Form,
    pub scope: Scope,
    /// One sentence.
    pub help: &'static str,
    default: fn() -> Value,
}

impl Setting {
    /// The default, in JSON.
    pub fn default(&self) -> Value {
        (self.default)()
    }
}

/// A type that a setting's value has in Rust.
trait Held: Sized {
    /// From JSON that has the setting's form already.
    fn from_value(value: &Value) -> Option<Self>;
    fn to_value(&self) -> Value;
}

impl Held for bool {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_bool()
    }

    fn to_value(&self) -> Value {
        json!(self)
    }
}

impl Held for u16 {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_u64()?.try_into().ok()
    }

    fn to_value(&self) -> Value {
        json!(self)
    }
}

impl Held for usize {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_u64()?.try_into().ok()
    }

    fn to_value(&self) -> Value {
        json!(self)
    }
}

impl Held for f64 {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_f64()
    }

    fn to_value(&self) -> Value {
        json!(self)
    }
}

impl Held for String {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }

    fn to_value(&self) -> Value {
        json!(self)
    }
}

impl Held for UnknownColumns {
    fn from_value(value: &Value) -> Option<Self> {
        match value.as_str()? {
            "refuse" => Some(UnknownColumns::Refuse),
            "ignore" => Some(UnknownColumns::Ignore),
            _ => None,
        }
    }

    fn to_value(&self) -> Value {
        json!(match self {
            UnknownColumns::Refuse => "refuse",
            UnknownColumns::Ignore => "ignore",
        })
    }
}

/// Where a model's worker processes find their packages. Python's to act on: Rust starts what it is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkerEnvironment {
    /// This interpreter if it has exactly the locked packages, else an environment of the model's own.
    #[default]
    Auto,
    /// Always an environment of the model's own.
    Isolated,
}

impl Held for WorkerEnvironment {
    fn from_value(value: &Value) -> Option<Self> {
        match value.as_str()? {
            "auto" => Some(WorkerEnvironment::Auto),
            "isolated" => Some(WorkerEnvironment::Isolated),
            _ => None,
        }
    }

    fn to_value(&self) -> Value {
        json!(match self {
            WorkerEnvironment::Auto => "auto",
            WorkerEnvironment::Isolated => "isolated",
        })
    }
}

macro_rules! settings {
    ($($name:ident: $type:ty = $default:expr, $form:expr, $scope:ident, $help:literal;)*) => {
        /// Every setting, as a server uses it.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Settings { $(#[doc = $help] pub $name: $type,)* }

        impl Default for Settings {
            fn default() -> Self { Self { $($name: $default,)* } }
        }

        /// Every setting, in the order of the reference page.
        pub const TABLE: &[Setting] = &[$(Setting {
            name: stringify!($name),
            form: $form,
            scope: Scope::$scope,
            help: $help,
            default: || Held::to_value(&{ let value: $type = $default; value }),
        },)*];

        impl Settings {
            /// Takes a value that has the setting's form.
            fn take(&mut self, name: &str, value: &Value) -> Option<()> {
                match name {
                    $(stringify!($name) => self.$name = Held::from_value(value)?,)*
                    _ => return None,
                }
                Some(())
            }
        }
    };
}

settings! {
    host: String = "127.0.0.1".to_owned(), Form::Text, Serve,
        "Address to listen on; 0.0.0.0 is every IPv4 address of the machine.";
    port: u16 = 8_000, Form::Int { minimum: 0, maximum: 65_535 }, Serve,
        "Port to listen on; 0 finds a free one.";
    threads: usize = 0, Form::Int { minimum: 0, maximum: 1_024 }, Serve,
        "Threads that serve, each with an engine of its own; 0 is as many as there are cores.";
    max_batch_rows: usize = 1_024, Form::Int { minimum: 1, maximum: 1_048_576 }, Model,
        "Most rows that callers share one engine call with.";
    max_queue_rows: usize = 65_536, Form::Int { minimum: 1, maximum: 1_073_741_824 }, Model,
        "Most rows of a model that wait; a request above that is answered 503 with Retry-After.";
    limit_rows: usize = 1_000_000, Form::Int { minimum: 1, maximum: 1_073_741_824 }, Model,
        "Most rows of one request; more are answered 413.";
    limit_body_bytes: usize = 64 << 20, Form::Int { minimum: 1, maximum: 1 << 34 }, Serve,
        "Most bytes of a request's body; more are answered 413.";
    limit_buffered_bytes: usize = 1 << 30, Form::Int { minimum: 1, maximum: 1 << 40 }, Serve,
        "Most bytes of large bodies and answers that all connections hold together; a body above is answered 503.";
    unknown_columns: UnknownColumns = UnknownColumns::Refuse, Form::Choice(&["refuse", "ignore"]), Model,
        "What happens to a column that the signature does not have: refuse answers 422, ignore skips it.";
    min_workers: usize = 1, Form::Int { minimum: 1, maximum: 1_024 }, Model,
        "Least worker processes of a model that needs them.";
    max_workers: usize = 0, Form::Int { minimum: 0, maximum: 1_024 }, Model,
        "Most worker processes of a model; 0 is as many as there are cores.";
    worker_timeout_s: f64 = 60.0, Form::Float { minimum: 0.01, maximum: 86_400.0 }, Model,
        "Longest time that a worker may take for one batch; then it is killed and another one started.";
    worker_memory_bytes: usize = 0, Form::Int { minimum: 0, maximum: 1 << 50 }, Model,
        "Resident memory above which a worker is replaced after its batch; 0 is no cap.";
    worker_max_batches: usize = 0, Form::Int { minimum: 0, maximum: 1 << 40 }, Model,
        "Batches after which a worker is replaced; 0 is never.";
    worker_idle_s: f64 = 60.0, Form::Float { minimum: 0.01, maximum: 86_400.0 }, Model,
        "How long a worker above min_workers may be idle before it is stopped.";
    worker_start_timeout_s: f64 = 120.0, Form::Float { minimum: 0.01, maximum: 86_400.0 }, Model,
        "Longest time that a worker may take to start and load its model.";
    worker_environment: WorkerEnvironment = WorkerEnvironment::Auto, Form::Choice(&["auto", "isolated"]), Model,
        "Where workers run: auto is this Python if it has the locked packages, isolated always another.";
    drain_s: f64 = 10.0, Form::Float { minimum: 0.0, maximum: 3_600.0 }, Serve,
        "Longest time that a stopping server waits for what it has accepted.";
    idle_timeout_s: f64 = 75.0, Form::Float { minimum: 0.1, maximum: 86_400.0 }, Serve,
        "How long a connection may lie idle between requests.";
    read_timeout_s: f64 = 30.0, Form::Float { minimum: 0.1, maximum: 86_400.0 }, Serve,
        "How long a client may take to send a request's head, or pause while it sends a body or takes an answer.";
    max_connections: usize = 10_000, Form::Int { minimum: 1, maximum: 1_000_000 }, Serve,
        "Most connections at once; more wait to be accepted.";
    jobs: String = "auto".to_owned(), Form::Text, Serve,
        "Folder where asynchronous predictions are kept; auto is `jobs` in the registry, off keeps none.";
    limit_jobs_bytes: usize = 8 << 30, Form::Int { minimum: 1, maximum: 1 << 50 }, Serve,
        "Most bytes of the job store; a job above is answered 429.";
    job_ttl_s: f64 = 86_400.0, Form::Float { minimum: 0.0, maximum: 1e9 }, Serve,
        "How long a job is kept after it has ended, unless it says otherwise.";
    callback_hosts: String = "off".to_owned(), Form::Text, Serve,
        "Hosts that jobs' ends are told to: hooks.example.com, *.example.com, http://10.0.0.5:8080; off is none.";
    callback_networks: String = "public".to_owned(), Form::Text, Serve,
        "Networks that these hosts may be in: public is the internet, 10.0.0.0/8 a block of addresses.";
    callback_secret_file: String = "auto".to_owned(), Form::Text, Serve,
        "File of the secrets that callbacks are signed with; auto is `callback.secret` in the jobs' folder.";
    callback_ca_file: String = "off".to_owned(), Form::Text, Serve,
        "File of certificates (PEM) that callbacks trust besides the public ones; off is none.";
    callback_timeout_s: f64 = 15.0, Form::Float { minimum: 0.1, maximum: 300.0 }, Serve,
        "Longest time of one attempt to tell of a job's end.";
    callback_attempts: usize = 20, Form::Int { minimum: 1, maximum: 1_000 }, Serve,
        "Attempts to tell of a job's end before it is given up.";
    queue: String = "off".to_owned(), Form::Text, Serve,
        "URL of a broker that requests come from too, such as redis://HOST:6379; off takes none.";
    queue_group: String = "monorail".to_owned(), Form::Text, Serve,
        "Servers of one group share the requests of a queue.";
    queue_attempts: usize = 5, Form::Int { minimum: 1, maximum: 1_000 }, Serve,
        "How often a message may be tried before it is a dead letter.";
    queue_ack_wait_s: f64 = 30.0, Form::Float { minimum: 0.1, maximum: 3_600.0 }, Serve,
        "How long a message may be with a server that says nothing before another one gets it.";
    queue_ca_file: String = "off".to_owned(), Form::Text, Serve,
        "Certificates in PEM of the authorities that sign the broker's; off takes the system's.";
    queue_certificate_file: String = "off".to_owned(), Form::Text, Serve,
        "Certificate in PEM that the server shows to a broker that asks for one; off shows none.";
    queue_key_file: String = "off".to_owned(), Form::Text, Serve,
        "Private key in PEM of queue_certificate_file; off if it is in the same file.";
    queue_reply_to: String = "off".to_owned(), Form::Text, Serve,
        "What a message's reply-to header must begin with to be followed; off follows none.";
    requests: String = "off".to_owned(), Form::Text, Model,
        "Stream or subject of the queue that the model's requests come from; off takes none.";
    replies: String = "auto".to_owned(), Form::Text, Model,
        "Stream or subject that replies go to; auto is the requests' name with `.replies`.";
    limit_job_body_bytes: usize = 1 << 30, Form::Int { minimum: 1, maximum: 1 << 40 }, Serve,
        "Most bytes of a job's body in Arrow; other bodies have limit_body_bytes. More are answered 413.";
    limit_job_rows: usize = 100_000_000, Form::Int { minimum: 1, maximum: 1 << 40 }, Serve,
        "Most rows of a job over 1 MiB of Arrow; other jobs have limit_rows. More are answered 413.";
    limit_job_streams: usize = 1_000, Form::Int { minimum: 0, maximum: 1_000_000 }, Serve,
        "Most streams of a job's events (text/event-stream) at once; one above is answered 503.";
    access_log: bool = false, Form::Bool, Serve,
        "Whether each request is logged, in one line on stderr.";
}

/// A server's settings, and those of models that differ.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServeSettings {
    pub serve: Settings,
    /// By model name: all settings, the server's with the model's own over them.
    pub models: BTreeMap<String, Settings>,
}

impl ServeSettings {
    /// Reads a JSON object of settings by name; `models` in it is an object of settings by model name.
    ///
    /// # Errors
    /// `setting_invalid`, with the nearest word for one that is not known.
    pub fn from_json(text: &str) -> Result<Self> {
        let mut given: Map<String, Value> = serde_json::from_str(text)
            .map_err(|e| Error::new(Code::SettingInvalid, format!("the settings cannot be read: {e}")))?;
        let models = given.shift_remove("models").unwrap_or_else(|| json!({}));
        let serve = Settings::from_json(&given)?;
        let Value::Object(models) = models else {
            return Err(Error::new(Code::SettingInvalid, "models is not an object of settings by model name"));
        };
        let mut own = BTreeMap::new();
        for (name, given) in &models {
            names::check_name(name)?;
            let Value::Object(given) = given else {
                return Err(Error::new(Code::SettingInvalid, format!("models.{name} is not an object of settings")));
            };
            let place = format!("models.{name}.");
            let mut settings = serve.clone();
            settings.apply(given, &place, Some(Scope::Model))?;
            own.insert(name.clone(), settings);
        }
        Ok(Self { serve, models: own })
    }

    /// The settings for a model.
    pub fn model(&self, name: &str) -> &Settings {
        self.models.get(name).unwrap_or(&self.serve)
    }
}

impl Settings {
    /// Reads settings by name; what is absent has its default.
    ///
    /// # Errors
    /// `setting_invalid`, with the nearest word for one that is not known.
    pub fn from_json(given: &Map<String, Value>) -> Result<Self> {
        let mut settings = Self::default();
        settings.apply(given, "", None)?;
        Ok(settings)
    }

    fn apply(&mut self, given: &Map<String, Value>, place: &str, scope: Option<Scope>) -> Result<()> {
        for (name, value) in given {
            let Some(setting) = TABLE.iter().find(|s| s.name == name) else {
                return Err(unknown(place, name, scope));
            };
            if scope.is_some_and(|s| s != setting.scope) {
                let message = format!("{place}{name} is a setting of the whole server, not of one model");
                return Err(Error::new(Code::SettingInvalid, message).hint(format!("put {name} under [serve]")));
            }
            if !has_form(setting.form, value) || self.take(name, value).is_none() {
                let shown = names::shorten(&value.to_string());
                let message = format!("{place}{name} is {shown}; it must be {}", describe(setting.form));
                return Err(Error::new(Code::SettingInvalid, message).hint(setting.help));
            }
        }
        Ok(())
    }
}

fn unknown(place: &str, name: &str, scope: Option<Scope>) -> Error {
    let known = || TABLE.iter().filter(|s| scope.is_none_or(|scope| s.scope == scope)).map(|s| s.name);
    let hint = match suggest::nearest(name, known()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("settings are {}", known().collect::<Vec<_>>().join(", ")),
    };
    Error::new(Code::SettingInvalid, format!("there is no setting {place}{}", names::shorten(name))).hint(hint)
}

fn has_form(form: Form, value: &Value) -> bool {
    match form {
        Form::Bool => value.is_boolean(),
        Form::Int { minimum, maximum } => value.as_u64().is_some_and(|n| (minimum..=maximum).contains(&n)),
        Form::Float { minimum, maximum } => value.as_f64().is_some_and(|n| (minimum..=maximum).contains(&n)),
        Form::Text => value.as_str().is_some_and(|text| !text.is_empty() && !text.contains('\0')),
        Form::Choice(words) => value.as_str().is_some_and(|word| words.contains(&word)),
    }
}

/// A form in words: what a value must be.
pub fn describe(form: Form) -> String {
    match form {
        Form::Bool => "true or false".to_owned(),
        Form::Int { minimum, maximum } => format!("a whole number from {minimum} to {maximum}"),
        Form::Float { minimum, maximum } => format!("a number from {minimum} to {maximum}"),
        Form::Text => "text".to_owned(),
        Form::Choice(words) => words.join(" or "),
    }
}

/// The table as JSON, for Python's `settings.py` and the reference page.
pub fn table_json() -> String {
    let rows: Vec<Value> = TABLE
        .iter()
        .map(|setting| {
            let (kind, minimum, maximum, choices) = match setting.form {
                Form::Bool => ("bool", Value::Null, Value::Null, Value::Null),
                Form::Int { minimum, maximum } => ("int", json!(minimum), json!(maximum), Value::Null),
                Form::Float { minimum, maximum } => ("float", json!(minimum), json!(maximum), Value::Null),
                Form::Text => ("string", Value::Null, Value::Null, Value::Null),
                Form::Choice(words) => ("string", Value::Null, Value::Null, json!(words)),
            };
            let scope = match setting.scope {
                Scope::Serve => "serve",
                Scope::Model => "model",
            };
            json!({
                "name": setting.name, "type": kind, "default": setting.default(), "minimum": minimum,
                "maximum": maximum, "help": setting.help, "scope": scope, "choices": choices,
            })
        })
        .collect();
    Value::from(rows).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Error {
        let error = ServeSettings::from_json(text).expect_err(text);
        assert_eq!(error.code(), Code::SettingInvalid, "{text}");
        error
    }

    #[test]
    fn every_default_has_its_form() {
        let mut settings = Settings::default();
        for setting in TABLE {
            assert!(has_form(setting.form, &setting.default()), "{}", setting.name);
            assert!(settings.take(setting.name, &setting.default()).is_some());
            assert!(setting.help.ends_with('.'));
        }
        assert_eq!(settings, Settings::default());
        assert_eq!(serde_json::from_str::<Vec<Value>>(&table_json()).unwrap().len(), TABLE.len());
    }

    #[test]
    fn reads_settings_and_those_of_models() {
        let text = r#"{"port": 0, "drain_s": 3, "max_batch_rows": 64, "models": {"flights": {"max_batch_rows": 8, "unknown_columns": "ignore"}}}"#;
        let settings = ServeSettings::from_json(text).unwrap();
        assert_eq!((settings.serve.port, settings.serve.drain_s, settings.serve.max_batch_rows), (0, 3.0, 64));
        assert_eq!(settings.model("flights").max_batch_rows, 8);
        assert_eq!(settings.model("flights").unknown_columns, UnknownColumns::Ignore);
        assert_eq!(settings.model("boats"), &settings.serve);
        assert_eq!(ServeSettings::from_json("{}").unwrap(), ServeSettings::default());
    }

    #[test]
    fn refuses_what_is_out_of_range_or_unknown() {
        for (text, words) in [
            (r#"{"port": 65536}"#, "port is 65536; it must be a whole number from 0 to 65535"),
            (r#"{"port": -1}"#, "port is -1"),
            (r#"{"port": "80"}"#, "port is \\\"80\\\""),
            (r#"{"port": 1.5}"#, "port is 1.5"),
            (r#"{"max_batch_rows": 0}"#, "from 1 to"),
            (r#"{"drain_s": null}"#, "drain_s is null"),
            (r#"{"access_log": 1}"#, "true or false"),
            (r#"{"unknown_columns": "drop"}"#, "refuse or ignore"),
            (r#"{"host": ""}"#, "it must be text"),
            (r#"{"max_batch_row": 1}"#, "did you mean max_batch_rows?"),
            (r#"{"nonsense": 1}"#, "settings are host, port"),
            (r#"{"models": {"flights": {"port": 1}}}"#, "models.flights.port is a setting of the whole server"),
            (r#"{"models": {"flights": {"limit_row": 1}}}"#, "did you mean limit_rows?"),
            (r#"{"models": {"flights": {"limit_rows": 0}}}"#, "models.flights.limit_rows is 0"),
            (r#"{"models": []}"#, "models is not an object"),
            ("[]", "cannot be read"),
        ] {
            let shown = refused(text).to_string();
            assert!(shown.contains(words) || shown.contains(&words.replace('\\', "")), "{text}: {shown}");
        }
        assert_eq!(ServeSettings::from_json(r#"{"models": {"../x": {}}}"#).unwrap_err().code(), Code::NameInvalid);
    }
}
