//! Where time and fresh ids come from. Passed in, so that tests can hold it still.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use uuid::Uuid;

use crate::Timestamp;

/// The source of time and of fresh ids.
pub trait Clock: Send + Sync + 'static {
    /// Now, cut to the microsecond that both databases keep.
    fn now(&self) -> Timestamp;

    /// A fresh UUIDv7.
    fn id(&self) -> Uuid;
}

/// A time cut to the microsecond that both databases keep.
pub fn to_micros(time: Timestamp) -> Timestamp {
    DateTime::from_timestamp_micros(time.timestamp_micros()).unwrap_or(time)
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the time")]
        let now = Utc::now();
        now.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(now)
    }

    fn id(&self) -> Uuid {
        #[expect(clippy::disallowed_methods, reason = "the one place that makes ids")]
        Uuid::now_v7()
    }
}
