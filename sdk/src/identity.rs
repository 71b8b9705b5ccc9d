//! The people of the tenant.

use crate::{Error, bindings::purlin::platform::identity as wit};

pub use wit::User;

/// The id of the user whose request caused this invocation, however long the chain since.
pub fn caused_by() -> Option<String> {
    wit::caused_by()
}

/// A user of this tenant. Needs the grant `users:read`.
pub fn find(id: &str) -> Result<User, Error> {
    Ok(wit::find(id)?)
}
