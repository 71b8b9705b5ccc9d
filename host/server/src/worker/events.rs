//! Between the claim of deliveries and their run: their events are brought along, many at once,
//! while the next ones are claimed.

use std::sync::Arc;

use purlin_service::{Platform, jobs};
use tokio::sync::mpsc;

use super::held::InFlight;

/// Batches that wait here at most; how many jobs they hold is bounded by whoever claims.
pub(super) const BATCHES_MAX: usize = 16;

/// Hand on what was claimed until no more is, or nobody takes it.
pub(super) async fn bring(
    platform: Arc<Platform>,
    mut batches: mpsc::Receiver<Vec<InFlight>>,
    hand: mpsc::Sender<Box<InFlight>>,
) {
    while let Some(mut batch) = batches.recv().await {
        let mut jobs: Vec<_> = batch.iter_mut().map(|in_flight| &mut in_flight.job).collect();
        if let Err(error) = jobs::bring_events(&platform, &mut jobs).await {
            tracing::debug!(%error, "events could not be brought along; each run asks for its own");
        }
        for in_flight in batch {
            if hand.send(Box::new(in_flight)).await.is_err() {
                return;
            }
        }
    }
}
