//! Passing events on to the stream of the bus.

use std::{sync::Arc, time::Duration};

use purlin_service::{
    Platform,
    events::{self, Relayed},
};
use tokio::time::sleep;

const LOOK_EVERY: Duration = Duration::from_millis(500);
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(2);

/// Pass on until this is dropped.
pub(crate) async fn pass_on(platform: Arc<Platform>, stream: String, length_max: u32) {
    let Some(bus) = platform.bus.clone() else { return };
    loop {
        match events::relay(&platform, &bus, &stream, length_max).await {
            Ok(Relayed::Some(count)) => tracing::trace!(count, stream, "passed events on"),
            Ok(Relayed::Nothing | Relayed::Beaten) => sleep(LOOK_EVERY).await,
            Err(error) => {
                tracing::warn!(%error, stream, "events could not be passed on; they will be");
                sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}
