//! Where the log goes: stderr, as text or JSON. Where metrics are served.

use std::io::IsTerminal;

use metrics_exporter_prometheus::PrometheusBuilder;
use purlin_service::metrics;
use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{Config, LogFormat};

pub(crate) fn start(config: &Config) -> Result<(), String> {
    let filter = EnvFilter::try_new(&config.log).map_err(|error| format!("settings: `log`: {error}"))?;
    // Notices such as "relation already exists" help nobody.
    let filter = match "sqlx::postgres::notice=warn".parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    };
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // Where stderr is gone, telling so there would panic in whatever task logged.
        .log_internal_errors(false);
    let started = match config.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|error| error.to_string())
}

/// Seconds, from a job that is there at once to one that waited for minutes.
const BUCKETS_S: [f64; 21] = [
    0.0005, 0.001, 0.0015, 0.002, 0.0025, 0.003, 0.0035, 0.004, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
    5.0, 15.0, 60.0, 300.0,
];

/// Serve metrics where the settings say, if they do.
pub(crate) fn serve_metrics(config: &Config) -> Result<(), String> {
    let Some(address) = config.metrics_listen else { return Ok(()) };
    PrometheusBuilder::new()
        .with_http_listener(address)
        .set_buckets(&BUCKETS_S)
        .and_then(PrometheusBuilder::install)
        .map_err(|error| format!("{address}: {error}; set PURLIN_METRICS_LISTEN to another address"))?;
    metrics::describe();
    Ok(())
}
