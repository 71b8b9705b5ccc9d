//! Named points at which a test can stop the host dead, to kill it there. Compiled to
//! nothing without the feature `faults`.

use std::sync::Arc;

use purlin_domain::clock::{Clock, SystemClock};

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

/// The clock of the host; by so many days behind, where the environment says so.
pub(crate) fn clock() -> Arc<dyn Clock> {
    #[cfg(feature = "faults")]
    if let Some(days) = std::env::var("PURLIN_FAULT_DAYS_BEHIND").ok().and_then(|days| days.parse::<u64>().ok()) {
        return Arc::new(Behind(std::time::Duration::from_secs(days * 24 * 60 * 60)));
    }
    Arc::new(SystemClock)
}

#[cfg(feature = "faults")]
struct Behind(std::time::Duration);

#[cfg(feature = "faults")]
impl Clock for Behind {
    fn now(&self) -> purlin_domain::Timestamp {
        SystemClock.now() - self.0
    }

    fn id(&self) -> uuid::Uuid {
        SystemClock.id()
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
