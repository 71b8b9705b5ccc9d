//! `identity`: the people of the tenant.

use purlin_domain::{error::HostError, id::UserId};

use super::Host;
use crate::{
    bindings::purlin::platform::{identity as wit, types},
    state::{State, id},
};

/// A user, as plugins see one.
#[derive(Clone, Debug)]
pub struct User {
    /// The id.
    pub id: UserId,
    /// The address.
    pub email: String,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// Whether the user may sign in.
    pub is_active: bool,
}

/// What the platform answers.
pub trait Identity {
    /// The user whose request caused this.
    fn caused_by(&mut self) -> Option<UserId>;

    /// A user of the tenant; needs the grant `users:read`.
    fn user(&mut self, id: UserId) -> impl Future<Output = Result<User, HostError>> + Send;
}

impl<H: Host> wit::Host for State<H> {
    fn caused_by(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.call(0)?.caused_by().map(|id| id.to_string()))
    }

    async fn find(&mut self, user: String) -> wasmtime::Result<Result<wit::User, types::Error>> {
        let host = self.call(user.len())?;
        let found = async { host.user(id(&user)?).await }.await;
        Ok(found.map_err(types::Error::from).map(|user| wit::User {
            id: user.id.to_string(),
            email: user.email,
            first_name: user.first_name,
            last_name: user.last_name,
            is_active: user.is_active,
        }))
    }
}
