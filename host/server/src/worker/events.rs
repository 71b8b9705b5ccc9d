//! Between the claim of deliveries and their run: their events are brought along, many at once,
//! while the next ones are claimed.

use std::sync::Arc;

use purlin_service::{
    Platform,
    jobs::{self, Claimed},
};
use tokio::sync::mpsc;

use super::held::Hold;

/// Claimed together, and held.
pub(super) type Batch = (Vec<Claimed>, Vec<Hold>);

/// Batches that wait here at most; how many jobs they hold is bounded by whoever claims.
pub(super) const BATCHES_MAX: usize = 16;

/// Hand on what was claimed until no more is, or nobody takes it.
pub(super) async fn bring(
    platform: Arc<Platform>,
    mut batches: mpsc::Receiver<Batch>,
    hand: mpsc::Sender<(Claimed, Hold)>,
) {
    while let Some((mut jobs, holds)) = batches.recv().await {
        if let Err(error) = jobs::bring_events(&platform, &mut jobs).await {
            tracing::debug!(%error, "events could not be brought along; each run asks for its own");
        }
        for claim in jobs.into_iter().zip(holds) {
            if hand.send(claim).await.is_err() {
                return;
            }
        }
    }
}
