//! Where signed checkpoints of the audit log are kept apart from the database: who can
//! change the one cannot, by that, change the other.

use purlin_domain::id::TenantId;

/// Keeps the newest checkpoint of each tenant.
pub trait KeepCheckpoints: Send + Sync {
    /// Keep this one instead of the one before it, unless that lies further on.
    fn keep(&self, tenant: TenantId, seq: i64, token: &str) -> Result<(), String>;
    /// The newest one that was kept here.
    fn newest(&self, tenant: TenantId) -> Result<Option<String>, String>;
}
