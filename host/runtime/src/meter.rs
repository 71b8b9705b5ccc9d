//! CPU time of one invocation, counted only while the guest or a host call of it is being
//! polled.
//!
//! The thread's own CPU clock is a system call that takes a lock of the scheduler, which would
//! be the dearest part of a short invocation. So short polls are measured by the wall clock,
//! which cannot tell that the thread had to wait meanwhile; from the first that is not short,
//! the invocation is measured by the thread's clock.

use std::{
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use crate::engine::TICK;

/// A poll that takes longer is not short.
const SHORT: Duration = Duration::from_millis(1);

/// Adds up CPU time over the polls of one future.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    used_ns: AtomicU64,
    /// Whether the thread's clock measures.
    is_exact: AtomicBool,
    /// The clock that measures, when the present poll began. Only read on the polling thread.
    poll_began_ns: AtomicU64,
}

impl Meter {
    /// CPU time so far. Called on the thread that polls.
    pub(crate) fn used_now(&self) -> Duration {
        Duration::from_nanos(self.used_ns.load(Ordering::Relaxed).saturating_add(self.of_poll()))
    }

    /// CPU time of the polls that ended.
    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.used_ns.load(Ordering::Relaxed))
    }

    fn clock(&self) -> u64 {
        if self.is_exact.load(Ordering::Relaxed) { thread_ns() } else { wall_ns() }
    }

    fn begin(&self) {
        self.poll_began_ns.store(self.clock(), Ordering::Relaxed);
    }

    /// Time of the present poll. By the wall clock it is no more than a tick: a guest that
    /// computes gives way at each, and the thread may have waited for the rest.
    fn of_poll(&self) -> u64 {
        let took = self.clock().saturating_sub(self.poll_began_ns.load(Ordering::Relaxed));
        if self.is_exact.load(Ordering::Relaxed) { took } else { took.min(nanos(TICK)) }
    }

    fn end(&self) {
        let took = self.of_poll();
        self.used_ns.fetch_add(took, Ordering::Relaxed);
        if took > nanos(SHORT) {
            self.is_exact.store(true, Ordering::Relaxed);
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Since this process first asked.
fn wall_ns() -> u64 {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    nanos(FIRST.get_or_init(Instant::now).elapsed())
}

fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// A future whose polls are metered.
pub(crate) struct Metered<F> {
    future: Pin<Box<F>>,
    meter: Arc<Meter>,
}

impl<F: Future> Metered<F> {
    pub(crate) fn new(meter: Arc<Meter>, future: F) -> Self {
        Self { future: Box::pin(future), meter }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.meter.begin();
        let polled = self.future.as_mut().poll(cx);
        self.meter.end();
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computes for so long by the wall clock, in one poll.
    async fn compute(time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {
            std::hint::spin_loop();
        }
    }

    #[tokio::test]
    async fn short_polls_are_measured_by_the_wall_clock_and_later_ones_by_the_threads() {
        let meter = Arc::new(Meter::default());
        Metered::new(Arc::clone(&meter), compute(Duration::from_micros(100))).await;
        assert!(!meter.is_exact.load(Ordering::Relaxed) || meter.used() >= SHORT);
        assert!(meter.used() >= Duration::from_micros(100) && meter.used() <= TICK);
        // However long the first takes, no more than a tick is counted, and then the thread's clock measures.
        Metered::new(Arc::clone(&meter), compute(Duration::from_millis(20))).await;
        assert!(meter.is_exact.load(Ordering::Relaxed) && meter.used() <= TICK * 2 + SHORT);
        let (before, began) = (meter.used(), thread_ns());
        Metered::new(Arc::clone(&meter), compute(Duration::from_millis(20))).await;
        let own = Duration::from_nanos(thread_ns() - began);
        assert!(meter.used() - before <= own, "{:?} of {own:?}", meter.used() - before);
        std::thread::sleep(Duration::from_millis(5));
        assert!(meter.used() - before <= own, "what is not polled is not counted");
    }
}
