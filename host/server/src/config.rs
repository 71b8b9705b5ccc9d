//! Settings: defaults, then `purlin.toml`, then the environment.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use figment::{
    Figment,
    providers::{Format, Serialized, Toml},
};
use ipnet::IpNet;
use purlin_domain::plan::{DEFAULT, Plans};
use purlin_service::store;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Every setting. `purlin.example.toml` and docs/operations.md list them too; a test
/// holds the three together.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Address to listen on.
    pub(crate) listen: SocketAddr,
    /// Address to serve metrics on, for Prometheus; none are served without it.
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// Where keys, the embedded database and compiled components are kept.
    pub(crate) data_dir: PathBuf,
    /// A PostgreSQL URL; the embedded SQLite database without it.
    pub(crate) database_url: Option<String>,
    /// A PostgreSQL URL whose role may migrate, when the serving one may not.
    pub(crate) migrate_database_url: Option<String>,
    /// Whether `serve` applies pending migrations first.
    pub(crate) migrate_on_start: bool,
    /// Connections to PostgreSQL at most.
    pub(crate) database_connections: u32,
    /// Reading connections to SQLite.
    pub(crate) sqlite_readers: u32,
    /// Whether PostgreSQL may be signed in to as a superuser, which row-level security does not hold: for
    /// development.
    pub(crate) allow_superuser: bool,
    /// How long a statement that reads for a tenant, as that of a list, may take.
    pub(crate) list_timeout_ms: u64,
    /// A Redis URL; hints between hosts pass through it.
    pub(crate) redis_url: Option<String>,
    /// The master key that secrets are sealed under; made in the data directory when missing.
    pub(crate) master_key_file: Option<PathBuf>,
    /// Where signed checkpoints of the audit log are kept; in the data directory when missing.
    pub(crate) checkpoint_dir: Option<PathBuf>,
    /// Where compiled components are kept; in the data directory when missing.
    pub(crate) cache_dir: Option<PathBuf>,
    /// Where files of tenants are kept; in the data directory when missing. Hosts share it.
    pub(crate) files_dir: Option<PathBuf>,
    /// The stream of Redis that events are passed on to, where there is a Redis; empty for none.
    pub(crate) event_stream: String,
    /// Events that the stream keeps, about.
    pub(crate) event_stream_length: u32,
    /// The `iss` of every token.
    pub(crate) issuer: String,
    /// Minutes an access token lives.
    pub(crate) access_token_minutes: u64,
    /// Whether strangers may register a tenant.
    pub(crate) registration_open: bool,
    /// The operator's address, for the account made at first run.
    pub(crate) operator_email: String,
    /// The operator's password; made up and kept in the data directory when missing.
    pub(crate) operator_password: Option<String>,
    /// Requests a minute from one address to what needs no token: register, sign in, refresh.
    pub(crate) auth_requests_per_minute: u32,
    /// Milliseconds that a try at one account is slowed at most, when there were many.
    pub(crate) auth_slowdown_ms: u64,
    /// Where people reach the applications; links in mails begin so.
    pub(crate) public_url: String,
    /// An SMTP server, such as `smtps://user:password@mail.example`; mails go to a folder without it.
    pub(crate) smtp_url: Option<String>,
    /// The sender of mails.
    pub(crate) mail_from: String,
    /// The folder for mails where there is no SMTP server; in the data directory when missing.
    pub(crate) mail_dir: Option<PathBuf>,
    /// Origins whose pages may call the API; `*` for all.
    pub(crate) cors_origins: Vec<String>,
    /// Networks of proxies whose `X-Forwarded-For` is believed.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// Requests at the same time; more are answered 503 at once.
    pub(crate) requests_at_once: u32,
    /// Connections at the same time; more wait.
    pub(crate) connections: u32,
    /// Jobs run at the same time.
    pub(crate) workers: u32,
    /// Guests that run at the same time.
    pub(crate) guests: u32,
    /// Seconds a worker holds a job without a beat.
    pub(crate) lease_seconds: u64,
    /// Milliseconds between two looks for due jobs when nothing hints at any.
    pub(crate) poll_ms: u64,
    /// Days that lines of plugin logs are kept.
    pub(crate) plugin_log_days: u64,
    /// Days that jobs which ended well are kept.
    pub(crate) job_history_days: u64,
    /// Days that dead letters are kept.
    pub(crate) dead_letter_days: u64,
    /// Networks beside the open internet that webhooks may be sent to, over `http` too.
    pub(crate) egress_allow: Vec<IpNet>,
    /// Hours that nothing may be taken by a webhook before it is disabled.
    pub(crate) webhook_patience_hours: u64,
    /// What is logged: `error`, `warn`, `info`, `debug`, or a filter such as `info,purlin_service=debug`.
    pub(crate) log: String,
    /// `text` or `json`.
    pub(crate) log_format: LogFormat,
    /// A collector of OpenTelemetry that spans are sent to, by OTLP over HTTP; none are without it.
    pub(crate) otlp_endpoint: Option<String>,
    /// The plans that tenants can be on, by name, in place of those the host comes with.
    pub(crate) plans: Option<Plans>,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            metrics_listen: None,
            data_dir: PathBuf::from("./.purlin"),
            database_url: None,
            migrate_database_url: None,
            migrate_on_start: true,
            database_connections: 20,
            sqlite_readers: 4,
            list_timeout_ms: 3_000,
            allow_superuser: false,
            redis_url: None,
            master_key_file: None,
            checkpoint_dir: None,
            cache_dir: None,
            files_dir: None,
            event_stream: "purlin:events".to_owned(),
            event_stream_length: 100_000,
            issuer: "purlin".to_owned(),
            access_token_minutes: 15,
            registration_open: true,
            operator_email: "operator@purlin.local".to_owned(),
            operator_password: None,
            auth_requests_per_minute: 60,
            auth_slowdown_ms: 4_000,
            public_url: "http://127.0.0.1:8080".to_owned(),
            smtp_url: None,
            mail_from: "purlin@localhost".to_owned(),
            mail_dir: None,
            cors_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            requests_at_once: 1_000,
            connections: 10_000,
            workers: 200,
            guests: 32,
            lease_seconds: 30,
            poll_ms: 1_000,
            plugin_log_days: 7,
            job_history_days: 30,
            dead_letter_days: 90,
            egress_allow: Vec::new(),
            webhook_patience_hours: 120,
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            otlp_endpoint: None,
            plans: None,
        }
    }
}

impl Config {
    /// Read the settings. A file that is named must exist; `purlin.toml` need not.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, String> {
        // Of this directory alone, not of those above it; one that is named must be there.
        let file = file.or(Some(Path::new("purlin.toml")).filter(|file| file.exists()));
        let toml = file.map_or_else(Figment::new, |file| Figment::from(Toml::file_exact(file)));
        let config: Self = Figment::from(Serialized::defaults(Self::default()))
            .merge(toml)
            .merge(Serialized::globals(environment()))
            .extract()
            .map_err(|error| format!("settings: {error}"))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let positive = [
            ("workers", u64::from(self.workers)),
            ("guests", u64::from(self.guests)),
            ("database_connections", u64::from(self.database_connections)),
            ("sqlite_readers", u64::from(self.sqlite_readers)),
            ("list_timeout_ms", self.list_timeout_ms),
            ("lease_seconds", self.lease_seconds),
            ("poll_ms", self.poll_ms),
            ("access_token_minutes", self.access_token_minutes),
            ("auth_requests_per_minute", u64::from(self.auth_requests_per_minute)),
            ("requests_at_once", u64::from(self.requests_at_once)),
            ("connections", u64::from(self.connections)),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(format!("settings: `{name}` must be at least 1"));
        }
        if self.guests > 1_000 || self.workers > 1_000 {
            return Err("settings: `workers` and `guests` are at most 1000".to_owned());
        }
        if self.plans.as_ref().is_some_and(|plans| !plans.knows(DEFAULT)) {
            return Err(format!("settings: `plans` must have a plan `{DEFAULT}`: new tenants are on it"));
        }
        let is_web = |url: &String| url.starts_with("http://") || url.starts_with("https://");
        if self.otlp_endpoint.as_ref().is_some_and(|url| !is_web(url)) {
            return Err("settings: `otlp_endpoint` must begin with http:// or https://".to_owned());
        }
        match &self.database_url {
            Some(url) if !url.starts_with("postgres://") && !url.starts_with("postgresql://") => {
                Err("settings: `database_url` must begin with postgres:// (leave it out for the embedded database)"
                    .to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Where the data is.
    pub(crate) fn store(&self) -> store::Config {
        match &self.database_url {
            Some(url) => store::Config::Postgres {
                url: url.clone(),
                migrate_url: self.migrate_database_url.clone(),
                connections: self.database_connections,
                list_timeout: Duration::from_millis(self.list_timeout_ms),
                allow_superuser: self.allow_superuser,
            },
            None => store::Config::Sqlite {
                file: self.data_dir.join("purlin.db"),
                readers: self.sqlite_readers,
                list_timeout: Duration::from_millis(self.list_timeout_ms),
            },
        }
    }
}

/// What the environment sets. Text stays text, whatever it looks like: a password may be
/// all digits.
fn environment() -> serde_json::Map<String, Value> {
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    let mut set = serde_json::Map::new();
    for (name, default) in defaults.as_object().into_iter().flatten() {
        let variable = match name.as_str() {
            "database_url" => "DATABASE_URL".to_owned(),
            "redis_url" => "REDIS_URL".to_owned(),
            name => format!("PURLIN_{}", name.to_uppercase()),
        };
        let Ok(text) = std::env::var(variable) else { continue };
        let value = match default {
            _ if name == "plans" => serde_json::from_str(&text).unwrap_or(Value::String(text)),
            Value::Number(_) | Value::Bool(_) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
            // A list is written with commas between.
            Value::Array(_) => text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect(),
            _ => Value::String(text),
        };
        set.insert(name.clone(), value);
    }
    set
}

/// The names of all settings.
#[cfg(test)]
fn known_names() -> Vec<String> {
    let all = serde_json::to_value(Config::default()).unwrap_or_default();
    all.as_object().map(|all| all.keys().cloned().collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_file_and_the_docs_name_every_setting() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let example = std::fs::read_to_string(root.join("purlin.example.toml")).unwrap();
        let docs = std::fs::read_to_string(root.join("docs/operations.md")).unwrap();
        for name in known_names() {
            assert!(example.contains(&format!("{name} =")), "purlin.example.toml lacks {name}");
            assert!(docs.contains(&format!("`{name}`")), "docs/operations.md lacks {name}");
        }
    }

    #[test]
    fn the_example_file_holds_the_defaults() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let example = std::fs::read_to_string(root.join("purlin.example.toml")).unwrap();
        let uncommented: String =
            example.lines().filter(|line| !line.starts_with("# ")).collect::<Vec<_>>().join("\n").replace("\n#", "\n");
        let read: Config = Figment::from(Toml::string(&uncommented)).extract().unwrap();
        let defaults = Config::default();
        assert_eq!(read.listen, defaults.listen);
        assert_eq!(read.workers, defaults.workers);
        assert_eq!(read.guests, defaults.guests);
        assert_eq!(read.lease_seconds, defaults.lease_seconds);
        assert_eq!(read.log, defaults.log);
    }
}
