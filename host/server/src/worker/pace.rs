//! How many runs end in a moment: so many jobs can be claimed before their workers are free.

use std::time::{Duration, Instant};

/// What is claimed ahead keeps the workers busy for so long.
const AHEAD: Duration = Duration::from_millis(30);
/// Runs are counted over this time at least.
const COUNTED_OVER: Duration = Duration::from_millis(10);

/// The pace at which runs end, lately.
pub(super) struct Pace {
    per_second: f64,
    count: usize,
    since: Instant,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { per_second: 0.0, count: 0, since: Instant::now() }
    }

    /// So many runs ended since the last call.
    pub(super) fn count(&mut self, runs: usize) {
        self.count += runs;
        let took = self.since.elapsed();
        if took >= COUNTED_OVER {
            self.per_second = (self.per_second + self.count as f64 / took.as_secs_f64()) / 2.0;
            self.count = 0;
            self.since = Instant::now();
        }
    }

    /// Runs that will end in a moment; so many at most.
    pub(super) fn ahead(&self, most: usize) -> usize {
        ((self.per_second * AHEAD.as_secs_f64()) as usize).min(most)
    }
}
