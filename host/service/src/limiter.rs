//! Rates of requests: shared between hosts through the bus where there is one, counted
//! here alone while it is away. Never open.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use moka::sync::Cache;
use purlin_store::StoreError;
use tokio::sync::Semaphore;

use crate::{Platform, Result, ServiceError};

/// A rate: so many at once, and one more each interval.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) name: &'static str,
    pub(crate) burst: u32,
    pub(crate) interval: Duration,
}

impl Rate {
    /// So many a minute, all of them at once if need be.
    pub(crate) fn per_minute(name: &'static str, count: u32) -> Self {
        let count = count.max(1);
        Self { name, burst: count, interval: Duration::from_secs(60) / count }
    }
}

/// Callers counted here at the same time; those that were not seen longest are forgotten.
const COUNTED_MAX: u64 = 100_000;
/// Requests that wait because of their account's rate, on this host.
const SLOWED_MAX: usize = 256;

pub(crate) struct Limiter {
    due_us: Cache<String, Arc<AtomicI64>>,
    slowed: Semaphore,
    /// Until when the bus is taken for away, in microseconds; 0 while it answers.
    away_until_us: AtomicI64,
}

/// How long a bus that did not answer is not asked again.
const AWAY_US: i64 = 1_000_000;

impl Limiter {
    pub(crate) fn new() -> Self {
        let due_us = Cache::builder().max_capacity(COUNTED_MAX).time_to_idle(Duration::from_secs(3_600)).build();
        Self { due_us, slowed: Semaphore::new(SLOWED_MAX), away_until_us: AtomicI64::new(0) }
    }

    /// Whether the bus is taken for away. One caller each second asks it again.
    fn is_away(&self, now: i64) -> bool {
        let until = self.away_until_us.load(Ordering::Acquire);
        until != 0
            && (now < until
                || self
                    .away_until_us
                    .compare_exchange(until, now + AWAY_US, Ordering::AcqRel, Ordering::Acquire)
                    .is_err())
    }

    /// Remember whether the bus answered; only a change is told.
    fn heard(&self, now: i64, error: Option<&StoreError>) {
        let until = if error.is_some() { now + AWAY_US } else { 0 };
        let was_away = self.away_until_us.swap(until, Ordering::AcqRel) != 0;
        match error {
            Some(error) if !was_away => tracing::warn!(%error, "the bus is away; rates are counted on this host alone"),
            None if was_away => tracing::info!("the bus is back; rates are counted with other hosts"),
            _ => {}
        }
    }

    /// The generic cell rate algorithm, as in the bus: whether it is within, and when the
    /// next would be due.
    fn count(&self, key: String, now: i64, interval: i64, burst: i64) -> (bool, i64) {
        let due = self.due_us.get_with(key, || Arc::new(AtomicI64::new(0)));
        let advance = |due: i64| Some(due.max(now) + interval).filter(|after| after - burst * interval <= now);
        match due.fetch_update(Ordering::AcqRel, Ordering::Acquire, advance) {
            Ok(before) => (true, before.max(now) + interval),
            Err(due) => (false, due.max(now)),
        }
    }
}

/// How long until the request would be within the rate; none when it is.
async fn over(platform: &Platform, rate: Rate, who: &str) -> Option<(Duration, Duration)> {
    let key = format!("purlin:rate:{}:{who}", rate.name);
    let interval = i64::try_from(rate.interval.as_micros()).unwrap_or(i64::MAX).max(1);
    let (now, burst) = (platform.now().timestamp_micros(), i64::from(rate.burst));
    let shared = match &platform.bus {
        Some(bus) if !platform.limiter.is_away(now) => {
            let counted = bus.count(&key, now, interval, burst).await;
            platform.limiter.heard(now, counted.as_ref().err());
            counted.ok()
        }
        _ => None,
    };
    let (within, due) = shared.unwrap_or_else(|| platform.limiter.count(key, now, interval, burst));
    let duration = |us: i64| Duration::from_micros(u64::try_from(us).unwrap_or(0));
    let allowed_at = due + interval - burst * interval;
    (!within).then(|| (duration(allowed_at - now), duration(due - now)))
}

/// Refuse what comes faster than this.
pub(crate) async fn limit(platform: &Platform, rate: Rate, who: &str) -> Result<()> {
    match over(platform, rate, who).await {
        None => Ok(()),
        Some((retry_after, reset_after)) => Err(ServiceError::TooMany { limit: rate.burst, retry_after, reset_after }),
    }
}

/// Slow down what comes faster than this, by so much at most. Nobody is refused, so that a
/// stranger cannot lock an owner out; only when very many wait already.
pub(crate) async fn pace(platform: &Platform, rate: Rate, who: &str, at_most: Duration) -> Result<()> {
    let Some((wait, reset_after)) = over(platform, rate, who).await else { return Ok(()) };
    let Ok(_slot) = platform.limiter.slowed.try_acquire() else {
        return Err(ServiceError::TooMany { limit: rate.burst, retry_after: at_most, reset_after });
    };
    tokio::time::sleep(wait.min(at_most)).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_each_interval() {
        let limiter = Limiter::new();
        let count = |now| limiter.count("k".to_owned(), now, 1_000, 3).0;
        assert_eq!([count(0), count(0), count(0), count(0)], [true, true, true, false]);
        assert_eq!([count(999), count(1_000), count(1_000)], [false, true, false]);
        assert!(limiter.count("other".to_owned(), 0, 1_000, 3).0);
        assert_eq!([count(60_000), count(60_000), count(60_000), count(60_000)], [true, true, true, false]);
    }
}
