//! The few settings of the host that `up` and `demo` need to know: from the environment,
//! then `purlin.toml`, then the defaults.

use std::path::PathBuf;

use anyhow::{Context, Result};

pub struct Settings {
    pub address: String,
    pub data_dir: PathBuf,
    pub operator_email: String,
    pub operator_password: Option<String>,
    pub database: Option<String>,
}

pub fn read() -> Result<Settings> {
    let file = match std::fs::read_to_string("purlin.toml") {
        Ok(text) => text.parse::<toml::Table>().context("purlin.toml")?,
        Err(_) => toml::Table::new(),
    };
    let setting = |name: &str, variable: &str| {
        std::env::var(variable).ok().or_else(|| file.get(name).and_then(|value| value.as_str()).map(str::to_owned))
    };
    Ok(Settings {
        address: setting("listen", "PURLIN_LISTEN").unwrap_or_else(|| "127.0.0.1:8080".to_owned()),
        data_dir: setting("data_dir", "PURLIN_DATA_DIR").unwrap_or_else(|| "./.purlin".to_owned()).into(),
        operator_email: setting("operator_email", "PURLIN_OPERATOR_EMAIL")
            .unwrap_or_else(|| "operator@purlin.local".to_owned()),
        operator_password: setting("operator_password", "PURLIN_OPERATOR_PASSWORD"),
        database: setting("database_url", "DATABASE_URL"),
    })
}
