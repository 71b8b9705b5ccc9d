//! `settings`: what the tenant's administrators set for the plugin.

use purlin_domain::{Json, error::HostError};

use super::Host;
use crate::{
    bindings::purlin::platform::{settings as wit, types},
    state::State,
};

/// What the platform answers.
pub trait Settings {
    /// The settings, defaults filled in.
    fn settings(&mut self) -> Result<Json, HostError>;

    /// A secret.
    fn secret(&mut self, name: &str) -> impl Future<Output = Result<String, HostError>> + Send;
}

impl<H: Host> wit::Host for State<H> {
    fn get(&mut self) -> wasmtime::Result<Result<String, types::Error>> {
        Ok(self.call(0)?.settings().map(|settings| settings.to_string()).map_err(types::Error::from))
    }

    async fn secret(&mut self, name: String) -> wasmtime::Result<Result<String, types::Error>> {
        Ok(self.call(name.len())?.secret(&name).await.map_err(types::Error::from))
    }
}
