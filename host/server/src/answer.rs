//! Guests that answer requests or check writes, on threads of their own.

use std::{sync::Arc, time::Duration};

use purlin_domain::{guest::WriteToCheck, id::TenantId, limits::GuestLimits, route::GuestRequest};
use purlin_runtime::{Invocation, Prepared, Runtime, RuntimeError};
use purlin_service::{
    Platform, Result, ServiceError,
    guests::{Answer, Checked, Ran, RunGuests, Running},
    plugins,
    store::shares::{Share, Shares},
    unit::Unit,
};
use tokio::runtime::Handle;
use tracing::Instrument;

use crate::{abort::AbortOnDrop, adapter::UnitHost};

/// Runs guests that answer requests or check writes.
pub(crate) struct Answerer {
    pub(crate) runtime: Arc<Runtime<UnitHost>>,
    pub(crate) guests: Handle,
    /// Requests that are answered at the same time, divided between tenants.
    pub(crate) answers: Shares<TenantId>,
    /// Writes that are checked at the same time, divided between tenants.
    pub(crate) checks: Shares<TenantId>,
}

/// How long a request or a write waits for its turn.
const PATIENCE: Duration = Duration::from_secs(2);

impl Answerer {
    async fn prepare(&self, platform: &Platform, digest: &str) -> Result<Arc<Prepared<UnitHost>>> {
        let component = plugins::component(platform, digest);
        self.runtime.prepare(digest, component).await.map_err(|error| match error {
            RuntimeError::Refused(_) => ServiceError::Plugin("plugin_failed"),
            RuntimeError::Failed(why) => ServiceError::Unavailable(why),
        })
    }

    /// Run it on the guests' own threads; dropped with this future.
    async fn run<A: Send + 'static>(
        &self,
        invocation: impl Future<Output = Invocation<UnitHost, A>> + Send + 'static,
    ) -> Result<Ran<A>> {
        let mut task = AbortOnDrop(self.guests.spawn(invocation.in_current_span()));
        let Invocation { outcome, host, log, usage } = (&mut task.0).await.map_err(ServiceError::internal)?;
        Ok(Ran { outcome, unit: host.map(|UnitHost(unit)| unit), log, usage })
    }
}

impl RunGuests for Answerer {
    fn answer<'a>(
        &'a self,
        platform: &'a Arc<Platform>,
        digest: &'a str,
        unit: Box<Unit>,
        request: GuestRequest,
        limits: GuestLimits,
    ) -> Running<'a, Answer> {
        Box::pin(async move {
            // Others' guests and jobs find a slot also while many ask one plugin.
            let _turn = turn(&self.answers, &unit, "requests to plugins").await?;
            let (runtime, prepared) = (Arc::clone(&self.runtime), self.prepare(platform, digest).await?);
            self.run(async move { runtime.answer(&prepared, UnitHost(unit), request, limits).await }).await
        })
    }

    fn check<'a>(
        &'a self,
        platform: &'a Arc<Platform>,
        digest: &'a str,
        unit: Box<Unit>,
        write: WriteToCheck,
        limits: GuestLimits,
    ) -> Running<'a, Checked> {
        Box::pin(async move {
            let _turn = turn(&self.checks, &unit, "writes that plugins check").await?;
            let (runtime, prepared) = (Arc::clone(&self.runtime), self.prepare(platform, digest).await?);
            self.run(async move { runtime.check(&prepared, UnitHost(unit), write, limits).await }).await
        })
    }
}

/// A turn for the tenant of a unit.
async fn turn(turns: &Shares<TenantId>, unit: &Unit, of: &str) -> Result<Share<TenantId>> {
    let tenant = unit.principal().tenant;
    turns.take(&tenant, PATIENCE).await.map_err(|error| ServiceError::Unavailable(format!("{of}: {error}")))
}
