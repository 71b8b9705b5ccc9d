//! `tenancy`: the tenant of this invocation.

use purlin_domain::{Json, error::HostError, id::TenantId};

use super::Host;
use crate::{bindings::purlin::platform::tenancy as wit, error::HostUnavailable, state::State};

/// A tenant, as its plugins see it.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Its name for people.
    pub name: String,
    /// Its name in addresses.
    pub slug: String,
    /// The plan it is on.
    pub plan: String,
    /// Its settings.
    pub settings: Json,
}

/// What the platform answers.
pub trait Tenancy {
    /// The tenant.
    fn tenant(&mut self) -> impl Future<Output = Result<Tenant, HostError>> + Send;
}

impl<H: Host> wit::Host for State<H> {
    async fn current(&mut self) -> wasmtime::Result<wit::Tenant> {
        let tenant = self.call(0)?.tenant().await.map_err(|error| HostUnavailable(error.to_string()))?;
        Ok(wit::Tenant {
            id: tenant.id.to_string(),
            name: tenant.name,
            slug: tenant.slug,
            plan: tenant.plan,
            settings: tenant.settings.to_string(),
        })
    }
}
