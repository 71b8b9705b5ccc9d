//! Requests to the routes of plugins, answered by guests on threads of their own.

use std::{pin::Pin, sync::Arc, time::Duration};

use purlin_domain::{limits::GuestLimits, route::GuestRequest};
use purlin_runtime::{Invocation, Runtime, RuntimeError};
use purlin_service::{
    Platform, Result, ServiceError, plugins,
    routes::{AnswerRequests, Answered},
    unit::Unit,
};
use tokio::{runtime::Handle, sync::Semaphore, time::timeout};

use crate::{abort::AbortOnDrop, adapter::UnitHost};

/// Runs the guests that answer requests.
pub(crate) struct Answerer {
    pub(crate) runtime: Arc<Runtime<UnitHost>>,
    pub(crate) guests: Handle,
    /// Requests that are answered at the same time.
    pub(crate) turns: Semaphore,
}

/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(2);

impl AnswerRequests for Answerer {
    fn answer<'a>(
        &'a self,
        platform: &'a Arc<Platform>,
        digest: &'a str,
        unit: Box<Unit>,
        request: GuestRequest,
        limits: GuestLimits,
    ) -> Pin<Box<dyn Future<Output = Result<Answered>> + Send + 'a>> {
        Box::pin(async move {
            // Others' guests and jobs find a slot also while many ask one plugin.
            let turn = timeout(PATIENCE, self.turns.acquire()).await;
            let _turn = turn.map_err(|_| ServiceError::Unavailable("too many requests to plugins".to_owned()))?;
            let component = plugins::component(platform, digest);
            let prepared = self.runtime.prepare(digest, component).await.map_err(|error| match error {
                RuntimeError::Refused(_) => ServiceError::Plugin("plugin_failed"),
                RuntimeError::Failed(why) => ServiceError::Unavailable(why),
            })?;
            let runtime = Arc::clone(&self.runtime);
            let answering = async move { runtime.answer(&prepared, UnitHost(unit), request, limits).await };
            let mut task = AbortOnDrop(self.guests.spawn(answering));
            let Invocation { outcome, host, log, .. } = (&mut task.0).await.map_err(ServiceError::internal)?;
            Ok(Answered { outcome, unit: host.map(|UnitHost(unit)| unit), log })
        })
    }
}
