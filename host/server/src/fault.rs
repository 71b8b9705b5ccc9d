//! Named points at which a test can stop the host dead, to kill it there. Compiled to
//! nothing without the feature `faults`.

/// Stop here for ever if the environment names this point, after telling so in a file.
#[cfg(feature = "faults")]
pub(crate) async fn point(name: &str) {
    if std::env::var("PURLIN_FAULT_POINT").is_ok_and(|wanted| wanted == name)
        && let Ok(file) = std::env::var("PURLIN_FAULT_FILE")
    {
        tracing::warn!(name, "stopped at a fault point");
        if let Err(error) = std::fs::write(&file, name) {
            tracing::error!(%error, file, "a fault point could not be told");
        }
        std::future::pending::<()>().await;
    }
}

/// Nothing.
#[cfg(not(feature = "faults"))]
pub(crate) async fn point(_name: &str) {}
