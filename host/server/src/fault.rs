//! Named points at which a test can stop the host dead, to kill it there. Compiled to
//! nothing without the feature `faults`.

/// Stop here for ever if the environment names this point, after telling so in a file.
#[cfg(feature = "faults")]
pub(crate) async fn point(name: &str) {
    if let Some(file) = named(name) {
        tell(&file, name);
        std::future::pending::<()>().await;
    }
}

/// Pause here for a second if the environment names this point, after telling so in a file.
#[cfg(feature = "faults")]
pub(crate) async fn pause(name: &str) {
    if let Some(file) = named(name) {
        tell(&file, name);
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}

/// End the process at once, as a defect would, if the environment names this kind of job.
#[cfg(feature = "faults")]
pub(crate) fn abort(kind: &str) {
    if std::env::var("PURLIN_FAULT_ABORT").is_ok_and(|wanted| wanted == kind) {
        std::process::abort();
    }
}

/// Nothing.
#[cfg(not(feature = "faults"))]
pub(crate) fn abort(_kind: &str) {}

#[cfg(feature = "faults")]
fn named(name: &str) -> Option<String> {
    std::env::var("PURLIN_FAULT_POINT").ok().filter(|wanted| wanted == name)?;
    std::env::var("PURLIN_FAULT_FILE").ok()
}

#[cfg(feature = "faults")]
fn tell(file: &str, name: &str) {
    tracing::warn!(name, "stopped at a fault point");
    if let Err(error) = std::fs::write(file, name) {
        tracing::error!(%error, file, "a fault point could not be told");
    }
}

/// Nothing.
#[cfg(not(feature = "faults"))]
pub(crate) async fn point(_name: &str) {}

/// Nothing.
#[cfg(not(feature = "faults"))]
pub(crate) async fn pause(_name: &str) {}
