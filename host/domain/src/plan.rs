//! What a tenant's plan includes.

use crate::access::PermissionSet;

/// The plan a tenant is on when nobody chose another.
pub const DEFAULT: &str = "standard";

/// The permissions a plan includes. `None` for a plan that does not exist.
pub fn allows(plan: &str) -> Option<PermissionSet> {
    match plan {
        DEFAULT => Some(PermissionSet::all()),
        _ => None,
    }
}
