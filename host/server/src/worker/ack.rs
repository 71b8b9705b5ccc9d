//! Acknowledging runs that did nothing but end well: whatever came together while the last
//! ones were written is written at once.

use std::{sync::Arc, time::Duration};

use purlin_domain::Json;
use purlin_service::{Platform, jobs};
use tokio::{
    sync::{Notify, mpsc},
    time::sleep,
};

use super::held::InFlight;

const AT_ONCE_MAX: usize = 1_000;
const TRIES: u32 = 5;
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);

/// A run that ended, with what it returned.
pub(super) type End = (Box<InFlight>, Option<Json>);

/// Write ends until nobody sends any.
pub(super) async fn acknowledge(platform: Arc<Platform>, mut ends: mpsc::Receiver<End>, ended: Arc<Notify>) {
    let mut batch = Vec::new();
    while ends.recv_many(&mut batch, AT_ONCE_MAX).await > 0 {
        write(&platform, &batch).await;
        batch.clear();
        ended.notify_one();
    }
}

/// What cannot be written is run again when its lease ends: it did nothing that counts.
async fn write(platform: &Platform, batch: &[End]) {
    let done: Vec<_> = batch.iter().map(|(in_flight, result)| (&in_flight.job, result.as_ref())).collect();
    for attempt in 1..=TRIES {
        match jobs::acknowledge(platform, &done).await {
            Ok(0) => return,
            Ok(lost) => {
                tracing::warn!(lost, "leases were lost before the end of their runs was written");
                return;
            }
            Err(error) => {
                tracing::warn!(%error, attempt, count = done.len(), "the end of runs could not be written");
                sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}
