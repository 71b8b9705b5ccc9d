//! `access`: what this invocation may do.

use purlin_domain::error::HostError;

use super::Host;
use crate::{
    bindings::purlin::platform::{access as wit, types},
    state::State,
};

/// What the platform answers.
pub trait Access {
    /// Refuse unless this may be done.
    fn require(&mut self, resource: &str, action: &str) -> Result<(), HostError>;

    /// How the decision comes about, one line a step.
    fn explain(&mut self, resource: &str, action: &str) -> Vec<String>;
}

impl<H: Host> wit::Host for State<H> {
    fn check(&mut self, resource: String, action: String) -> wasmtime::Result<bool> {
        Ok(self.call(resource.len() + action.len())?.require(&resource, &action).is_ok())
    }

    fn require(&mut self, resource: String, action: String) -> wasmtime::Result<Result<(), types::Error>> {
        Ok(self.call(resource.len() + action.len())?.require(&resource, &action).map_err(types::Error::from))
    }

    fn explain(&mut self, resource: String, action: String) -> wasmtime::Result<wit::Decision> {
        let host = self.call(resource.len() + action.len())?;
        Ok(wit::Decision {
            allowed: host.require(&resource, &action).is_ok(),
            reasons: host.explain(&resource, &action),
        })
    }
}
