//! The tenant this invocation serves.

use serde_json::Value;

use crate::bindings::purlin::platform::tenancy as wit;

/// A tenant.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Its id.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// Its name in addresses.
    pub slug: String,
    /// The plan it is on.
    pub plan: String,
    /// Its settings, an object.
    pub settings: Value,
}

/// The tenant. Fixed by the host; no call takes a tenant.
pub fn current() -> Tenant {
    let tenant = wit::current();
    Tenant {
        id: tenant.id,
        name: tenant.name,
        slug: tenant.slug,
        plan: tenant.plan,
        settings: serde_json::from_str(&tenant.settings).unwrap_or_default(),
    }
}
