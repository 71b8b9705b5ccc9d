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

use uuid::Uuid;

use crate::{
    Platform, Result, ServiceError,
    secrets::{MAC_BYTES, Use},
};

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

/// A place as a tenant is told of it. Places count what happens in all tenants, so they are masked, for
/// each tenant in another way.
fn told(platform: &Platform, tenant: TenantId, place: Place) -> String {
    let (mask, check) = mask(&platform.secrets.mac(Use::Place, &[tenant.0.as_bytes(), place.event.as_bytes()]));
    format!("{:016x}{check:08x}-{}", place.position.cast_unsigned() ^ mask, place.event.simple())
}

/// The place that a tenant was told of so.
fn meant(platform: &Platform, tenant: TenantId, text: &str) -> Option<Place> {
    let (head, event) = text.split_once('-')?;
    let (position, wanted) = head.split_at_checked(16)?;
    let event: Uuid = event.parse().ok()?;
    let (masked, wanted) = (u64::from_str_radix(position, 16).ok()?, u32::from_str_radix(wanted, 16).ok()?);
    let macs = platform.secrets.macs(Use::Place, &[tenant.0.as_bytes(), event.as_bytes()]);
    let (mask, _) = macs.iter().map(mask).find(|(_, check)| *check == wanted)?;
    Some(Place { position: (masked ^ mask).cast_signed(), event })
}

fn mask(mac: &[u8; MAC_BYTES]) -> (u64, u32) {
    let (mut mask, mut check) = ([0; 8], [0; 4]);
    let bytes = mask.iter_mut().chain(&mut check);
    bytes.zip(mac).for_each(|(byte, of_mac)| *byte = *of_mac);
    (u64::from_le_bytes(mask), u32::from_le_bytes(check))
}

/// Begin a stream after the place that an id of an event names; from now on when missing.
pub async fn stream(
    platform: &Arc<Platform>,
    tenant: TenantId,
    pattern: Option<Pattern>,
    after: Option<&str>,
) -> Result<Stream> {
    let unknown = || {
        let why = "this is not the id of an event of this stream; begin without it".to_owned();
        ServiceError::BadParameter("Last-Event-ID".to_owned(), why)
    };
    let after = after.map(|id| meant(platform, tenant, id).ok_or_else(unknown)).transpose()?;
    let seat = platform.streams.enter(tenant)?;
    let head = events::head(&mut platform.db.platform_read().await?).await?;
    // A place beyond every event is of a database that was restored to what it was before.
    let place = after.map_or(head, |place| place.min(head));
    Ok(Stream { platform: Arc::clone(platform), tenant, pattern, place, _seat: seat })
}

impl Stream {
    /// The id of the place that it goes on from.
    pub fn place(&self) -> String {
        told(&self.platform, self.tenant, self.place)
    }

    /// The id of an event of it.
    pub fn id_of(&self, placed: &Placed) -> String {
        told(&self.platform, self.tenant, placed.place)
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
