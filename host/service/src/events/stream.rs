//! Events as they are committed, for whoever listens.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::TimeDelta;
use purlin_domain::{id::TenantId, pattern::Pattern};
use purlin_store::events::{self, Place, Placed};
use tokio::time::{sleep, timeout};

use crate::{Platform, Result, ServiceError};

/// Streams at the same time, on this host and of one tenant.
const STREAMS_MAX: usize = 1_000;
const STREAMS_OF_TENANT_MAX: usize = 50;
const AT_ONCE_MAX: u32 = 50;
/// Between two looks when nothing hints at events.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After a hint, so that very many hints are not very many looks.
const GATHER: Duration = Duration::from_millis(50);
/// How far back a stream can begin.
const AGE_MAX: TimeDelta = TimeDelta::days(7);

/// The streams of this host, counted.
#[derive(Default)]
pub struct Streams {
    seats: Mutex<HashMap<TenantId, usize>>,
    /// The host stops.
    are_over: AtomicBool,
}

impl Streams {
    fn enter(self: &Arc<Self>, tenant: TenantId) -> Result<Seat> {
        self.go_on()?;
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = seats.values().sum();
        let of_tenant = seats.entry(tenant).or_default();
        if all >= STREAMS_MAX || *of_tenant >= STREAMS_OF_TENANT_MAX {
            return Err(ServiceError::Unavailable("there are too many event streams; close one".to_owned()));
        }
        *of_tenant += 1;
        Ok(Seat(Arc::clone(self), tenant))
    }

    fn go_on(&self) -> Result<()> {
        if self.are_over.load(Ordering::Acquire) {
            return Err(ServiceError::Unavailable("this host stops; listen again in a moment".to_owned()));
        }
        Ok(())
    }
}

/// End every stream: whoever listens comes back to another host, or to this one's successor.
pub fn end_streams(platform: &Platform) {
    platform.streams.are_over.store(true, Ordering::Release);
    platform.published.notify_waiters();
}

struct Seat(Arc<Streams>, TenantId);

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.0.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = seats.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                seats.remove(&self.1);
            }
        }
    }
}

/// A tenant's events from a place on.
pub struct Stream {
    platform: Arc<Platform>,
    tenant: TenantId,
    pattern: Option<Pattern>,
    place: Place,
    _seat: Seat,
}

/// Begin a stream after this place; from now on when missing.
pub async fn stream(
    platform: &Arc<Platform>,
    tenant: TenantId,
    pattern: Option<Pattern>,
    after: Option<Place>,
) -> Result<Stream> {
    let seat = platform.streams.enter(tenant)?;
    let place = match after {
        Some(place) => place,
        None => events::head(&mut platform.db.platform_read().await?).await?,
    };
    Ok(Stream { platform: Arc::clone(platform), tenant, pattern, place, _seat: seat })
}

impl Stream {
    /// The place that it goes on from.
    pub fn place(&self) -> Place {
        self.place
    }

    /// What was committed since the last call; waits for it no longer than this.
    pub async fn next(&mut self, patience: Duration) -> Result<Vec<Placed>> {
        let began = tokio::time::Instant::now();
        loop {
            // Listen before looking: what is committed in between rings.
            let platform = Arc::clone(&self.platform);
            let published = platform.published.notified();
            platform.streams.go_on()?;
            let (found, is_full) = self.look().await?;
            let left = patience.saturating_sub(began.elapsed());
            if !found.is_empty() || left.is_zero() {
                return Ok(found);
            }
            if is_full {
                continue;
            }
            if timeout(left.min(LOOK_EVERY), published).await.is_ok() {
                // What is published together is looked at together.
                sleep(GATHER).await;
            }
        }
    }

    /// What is new and matches, and whether there may be more.
    async fn look(&mut self) -> Result<(Vec<Placed>, bool)> {
        let since = self.platform.now() - AGE_MAX;
        let mut tx = self.platform.db.read(self.tenant).await?;
        let mut found = events::read_on(&mut tx, self.place, since, AT_ONCE_MAX).await?;
        let is_full = found.len() >= AT_ONCE_MAX as usize;
        if let Some(last) = found.last() {
            self.place = last.place;
        }
        if let Some(pattern) = &self.pattern {
            found.retain(|placed| pattern.matches(&placed.event.event_type));
        }
        for placed in &mut found {
            placed.event.show_outside(&self.platform.settings.public_url);
        }
        Ok((found, is_full))
    }
}
