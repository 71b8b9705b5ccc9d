//! Passing events on to the stream of the bus, for consumers outside.

use chrono::TimeDelta;
use purlin_store::{
    bus::Bus,
    events::{self, Place},
};

use crate::{Platform, Result, ServiceError};

/// Under this name the database remembers how far it went, for when the bus forgot.
const NAME: &str = "bus";
const AT_ONCE_MAX: u32 = 100;
/// Events older than this are not passed on any more.
const AGE_MAX: TimeDelta = TimeDelta::days(7);

/// What came of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relayed {
    /// So many were passed on, and there may be more.
    Some(usize),
    /// There was nothing to pass on.
    Nothing,
    /// Another host was faster.
    Beaten,
}

/// Pass on what was committed since the last round. Safe to run on every host.
pub async fn relay(platform: &Platform, bus: &Bus, stream: &str, length_max: u32) -> Result<Relayed> {
    let remembered = bus.relayed(stream).await.map_err(|error| unreachable(&error))?;
    let mut tx = platform.db.platform_read().await?;
    let from = match remembered.as_deref().map(str::parse) {
        Some(Ok(place)) => place,
        _ => match events::relayed(&mut tx, NAME).await? {
            Some(place) => place,
            // The first time: from here on. It is remembered, so that it is known when the bus forgets.
            None => {
                let head = events::head(&mut tx).await?;
                drop(tx);
                remember(platform, head).await?;
                return Ok(Relayed::Some(0));
            }
        },
    };
    let since = platform.now() - AGE_MAX;
    let mut placed = events::read_on_all(&mut tx, from, since, AT_ONCE_MAX).await?;
    if placed.is_empty() {
        let head = events::head(&mut tx).await?;
        // The stream is ahead of the database, which was restored: what is here and was not passed on is.
        if from > head {
            let from = events::relayed(&mut tx, NAME).await?.map_or(head, |place| place.min(head));
            placed = events::read_on_all(&mut tx, from, since, AT_ONCE_MAX).await?;
        }
    }
    drop(tx);
    let Some(reached) = placed.last().map(|p| p.place) else { return Ok(Relayed::Nothing) };
    let mut entries = Vec::with_capacity(placed.len());
    for p in &placed {
        let mut event = p.event.clone();
        event.show_outside(&platform.settings.public_url);
        let event = serde_json::to_string(&event).map_err(ServiceError::internal)?;
        entries.push([p.place.to_string(), p.tenant.to_string(), p.event.event_type.clone(), event]);
    }
    let expected = remembered.unwrap_or_default();
    if !bus.relay(stream, &expected, &entries, length_max).await.map_err(|error| unreachable(&error))? {
        return Ok(Relayed::Beaten);
    }
    remember(platform, reached).await?;
    Ok(Relayed::Some(entries.len()))
}

async fn remember(platform: &Platform, place: Place) -> Result<()> {
    let mut tx = platform.db.platform().await?;
    events::set_relayed(&mut tx, NAME, place, platform.now()).await?;
    Ok(tx.commit().await?)
}

fn unreachable(error: &purlin_store::StoreError) -> ServiceError {
    ServiceError::Unavailable(error.to_string())
}
