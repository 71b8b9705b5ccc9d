//! Uploads looked into by the runtime, on behalf of the service.

use std::{pin::Pin, sync::Arc};

use purlin_runtime::{Runtime, RuntimeError};
use purlin_service::plugins::{Inspect, InspectError, Inspection};

use crate::adapter::UnitHost;

pub(crate) struct Inspector(pub(crate) Arc<Runtime<UnitHost>>);

impl Inspect for Inspector {
    fn inspect(
        &self,
        component: Vec<u8>,
    ) -> Pin<Box<dyn Future<Output = Result<Inspection, InspectError>> + Send + '_>> {
        Box::pin(async move {
            match self.0.inspect(&component).await {
                Ok(found) => {
                    Ok(Inspection { digest: found.digest, descriptor: found.descriptor, report: found.report })
                }
                Err(RuntimeError::Refused(violations)) => Err(InspectError::Refused(violations)),
                Err(RuntimeError::Failed(why)) => Err(InspectError::Failed(why)),
            }
        })
    }
}
