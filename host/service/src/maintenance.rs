//! What has to be done now and then: forget what is old, prepare next months' partitions.

use purlin_store::{jobs, plugin_logs};

use crate::{Platform, Result};

/// One round. Safe to run on every host at any time.
pub async fn run(platform: &Platform) -> Result<()> {
    let now = platform.now();
    platform.db.make_partitions(now).await?;
    let mut tx = platform.db.platform().await?;
    let lines = plugin_logs::delete_before(&mut tx, now - platform.settings.plugin_log_life).await?;
    let jobs = jobs::delete_finished_before(&mut tx, now - platform.settings.job_history_life).await?;
    tx.commit().await?;
    if lines + jobs > 0 {
        tracing::info!(lines, jobs, "forgot old plugin log lines and jobs");
    }
    Ok(())
}
