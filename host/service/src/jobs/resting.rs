//! Tenants that had their invocations of this minute: their jobs wait where they are, in
//! their order, rather than being claimed and given back again and again.

use std::time::{Duration, Instant};

use moka::sync::Cache;
use purlin_domain::id::TenantId;

const TENANTS_MAX: u64 = 100_000;
/// Nobody rests longer than the minute that is counted.
const LONGEST: Duration = Duration::from_secs(60);

pub(crate) struct Resting(Cache<TenantId, Instant>);

impl Resting {
    pub(crate) fn new() -> Self {
        Self(Cache::builder().max_capacity(TENANTS_MAX).time_to_live(LONGEST).build())
    }

    /// Claim nothing that a plugin of this tenant runs, for so long.
    pub(crate) fn rest(&self, tenant: TenantId, pause: Duration) {
        self.0.insert(tenant, Instant::now() + pause.min(LONGEST));
    }

    /// Whether the tenant rests now.
    pub(crate) fn rests(&self, tenant: TenantId) -> bool {
        self.0.get(&tenant).is_some_and(|until| until > Instant::now())
    }
}
