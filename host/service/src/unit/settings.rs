//! What administrators set for the acting plugin.

use purlin_domain::{Json, error::HostError};
use purlin_store::plugin_secrets;

use super::{HostResult, Unit, unavailable};
use crate::{ServiceError, installations};

impl Unit {
    /// The settings of the acting plugin, defaults filled in.
    pub fn settings(&self) -> HostResult<Json> {
        let plugin = self.acting()?;
        Ok(plugin.loaded.descriptor.with_defaults(&plugin.installation.settings))
    }

    /// A secret of the acting plugin.
    pub async fn secret(&self, name: &str) -> HostResult<String> {
        let plugin = self.acting()?;
        if plugin.loaded.descriptor.secrets.iter().all(|secret| secret.name != name) {
            let detail = format!("`{name}` is not among the secrets the descriptor declares");
            return Err(HostError::invalid("/name", "undeclared", detail));
        }
        let (tenant, plugin) = (self.principal.tenant, &plugin.installation.plugin);
        let mut tx = self.platform.db.read(tenant).await.map_err(unavailable)?;
        let sealed = plugin_secrets::sealed(&mut tx, plugin, name).await.map_err(unavailable)?;
        let sealed = sealed.ok_or(HostError::NotFound)?;
        let plain = self.platform.secrets.open(&installations::secret_context(tenant, plugin, name), &sealed)?;
        Ok(String::from_utf8(plain).map_err(ServiceError::internal)?)
    }
}
